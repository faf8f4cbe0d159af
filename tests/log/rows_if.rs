//! Conditional writes: written if the stored rows are the expected ones, by one writer of many.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use forebay::job::Code;
use forebay::job::caps::ROWS_BATCH_MAX;
use forebay::log::{Batch, Log, Row, RowCondition, RowsWritten};

use crate::support::*;

fn mismatch(key: &'static str, found: Option<&'static str>) -> RowsWritten {
    RowsWritten::Mismatch { key: key.into(), found: found.map(Bytes::from) }
}

#[test]
fn a_batch_is_written_only_if_every_condition_holds() {
    check(async |bed| {
        let log = &bed.log;
        let write = async |conditions, rows| log.write_rows_if(conditions, rows).await.unwrap();
        let put = |value: &'static str| vec![Row::put("k", value), Row::put("also", value)];
        assert_eq!(write(vec![RowCondition::equals("k", "1")], put("no")).await, mismatch("k", None));
        assert_eq!(write(vec![RowCondition::absent("k")], put("1")).await, RowsWritten::Written);
        assert_eq!(write(vec![RowCondition::absent("k")], put("no")).await, mismatch("k", Some("1")));
        assert_eq!(write(vec![RowCondition::equals("k", "2")], put("no")).await, mismatch("k", Some("1")));
        let both = vec![RowCondition::equals("k", "1"), RowCondition::absent("also")];
        assert_eq!(write(both, put("no")).await, mismatch("also", Some("1")));
        assert_eq!(log.row("also".into()).await.unwrap(), Some("1".into()), "nothing of it is there");
        assert_eq!(write(vec![RowCondition::equals("k", "1")], put("")).await, RowsWritten::Written);
        assert_eq!(write(vec![RowCondition::equals("k", "")], vec![Row::remove("k")]).await, RowsWritten::Written);
        assert_eq!(log.row("k".into()).await.unwrap(), None);
        assert_eq!(write(vec![RowCondition::absent("k")], put("3")).await, RowsWritten::Written);
    });
}

#[test]
fn a_conditional_batch_without_conditions_or_rows_or_over_a_limit_is_refused() {
    check(async |bed| {
        let code = async |conditions, rows| bed.log.write_rows_if(conditions, rows).await.map_err(|f| f.code);
        let absent = || vec![RowCondition::absent("k")];
        assert_eq!(code(vec![], vec![Row::put("k", "v")]).await, Err(Code::Invalid));
        assert_eq!(code(absent(), vec![]).await, Err(Code::Invalid));
        assert_eq!(code(absent(), vec![Row::put("", "v")]).await, Err(Code::TooLarge));
        let many = vec![RowCondition::absent("k"); ROWS_BATCH_MAX + 1];
        assert_eq!(code(many, vec![Row::put("k", "v")]).await, Err(Code::TooLarge));
        assert_eq!(code(absent(), vec![Row::put("k", "v")]).await, Ok(RowsWritten::Written));
        bed.log.close().await;
        assert_eq!(code(absent(), vec![Row::put("k", "v")]).await, Err(Code::Overloaded));
    });
}

#[test]
fn a_condition_sees_every_batch_that_was_handed_over_before() {
    check(async |bed| {
        let log = &bed.log;
        let mut writer = start(log, job("appends-rows", 1)).await;
        for round in 0..50_u64 {
            let value = Bytes::from(round.to_string());
            // Handed over and not waited for: it is on its way when the condition is compared.
            drop(log.write_rows(vec![Row::put("plain", value.clone())]));
            let condition = RowCondition::equals("plain", value.clone());
            let written = log.write_rows_if(vec![condition], vec![Row::put("next", value.clone())]).await.unwrap();
            assert_eq!(written, RowsWritten::Written, "round {round}");
            let rows = vec![Row::put("event", value.clone())];
            log_append(log, &writer, Batch { events: vec![delta("x")], rows, ..Batch::default() });
            let condition = RowCondition::equals("event", value.clone());
            let written = log.write_rows_if(vec![condition], vec![Row::put("next", value)]).await.unwrap();
            assert_eq!(written, RowsWritten::Written, "round {round}");
        }
        writer.append(vec![end()].into()).await.unwrap();
    });
}

fn log_append(log: &Arc<dyn Log>, writer: &forebay::log::StreamWriter, batch: Batch) {
    log.append(writer.stream(), batch).unwrap();
}

/// Increments one row from many tasks by comparing and swapping. Every success is one increment.
async fn increments(log: &Arc<dyn Log>, tasks: u64, each: u64) {
    let tries = Arc::new(AtomicU64::new(0));
    let all: Vec<_> = (0..tasks)
        .map(|task| {
            let (log, tries) = (Arc::clone(log), Arc::clone(&tries));
            tokio::spawn(async move {
                let mut known: Option<Bytes> = None;
                let mut done = 0;
                while done < each {
                    tries.fetch_add(1, Ordering::Relaxed);
                    let number = known.as_ref().map_or(0, |value| String::from_utf8_lossy(value).parse().unwrap());
                    let next: u64 = number + 1;
                    let condition = RowCondition { key: "counter".into(), expected: known.clone() };
                    let rows =
                        vec![Row::put("counter", next.to_string()), Row::put(format!("by/{task}"), next.to_string())];
                    match log.write_rows_if(vec![condition], rows).await.unwrap() {
                        RowsWritten::Written => {
                            done += 1;
                            known = Some(next.to_string().into());
                        }
                        RowsWritten::Mismatch { found, .. } => known = found,
                    }
                }
            })
        })
        .collect();
    for task in all {
        task.await.unwrap();
    }
    let tries = tries.load(Ordering::Relaxed);
    println!("{tries} tries for {} increments", tasks * each);
    assert!(tries > tasks * each, "some came too late: there was a race");
}

#[test]
fn of_many_writers_one_wins_each_time() {
    check(async |bed| {
        increments(&bed.log, 8, 50).await;
        assert_eq!(bed.log.row("counter".into()).await.unwrap(), Some("400".into()));
    });
}

#[test]
fn one_wins_each_time_while_rows_are_sealed_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    for round in 1..=3_u64 {
        runtime().block_on(async {
            let disk = open(&config);
            let log: Arc<dyn Log> = disk.clone();
            assert_eq!(log.health().notes, Vec::<String>::new());
            let done = Arc::new(AtomicBool::new(false));
            let (sealed, until) = (Arc::clone(&disk), Arc::clone(&done));
            let sealer = tokio::task::spawn_blocking(move || {
                while !until.load(Ordering::Relaxed) {
                    sealed.settle();
                }
            });
            increments(&log, 4, 100).await;
            done.store(true, Ordering::Relaxed);
            sealer.await.unwrap();
            let expected = (round * 400).to_string();
            assert_eq!(log.row("counter".into()).await.unwrap(), Some(expected.into()), "round {round}");
        });
    }
}

#[test]
fn batches_that_write_nothing_leave_nothing_in_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    runtime().block_on(async {
        let log: Arc<dyn Log> = open(&config);
        for round in 0..20 {
            log.write_rows(vec![]).await.unwrap();
            let refused = log.write_rows_if(vec![RowCondition::equals("k", "never")], vec![Row::put("k", "no")]).await;
            assert!(matches!(refused.unwrap(), RowsWritten::Mismatch { .. }));
            log.write_rows(vec![Row::put("other", round.to_string())]).await.unwrap();
        }
    });
    let log: Arc<dyn Log> = open(&config);
    assert_eq!(log.health().notes, Vec::<String>::new(), "no tick is missing");
    runtime().block_on(async {
        assert_eq!(log.row("other".into()).await.unwrap(), Some("19".into()));
        assert_eq!(log.row("k".into()).await.unwrap(), None);
    });
}
