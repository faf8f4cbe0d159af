//! What every log promises.

use std::sync::Arc;

use forebay::job::{Code, Event, State};
use forebay::log::{Followed, Follower, Found, ListQuery, Opened};
use forebay::wire::{Cursor, record};
use futures_util::future::join_all;
use sha2::{Digest, Sha256};

use crate::support::*;

#[test]
fn records_are_read_as_they_were_appended_from_any_cursor() {
    check(async |bed| {
        let stream = finished(&bed.log, "a", 300, 100).await;
        let tail = stream.tail().durable;
        assert_eq!(tail, 302);
        let all = read(&bed.log, &stream, Cursor::Start, 4096).await;
        assert_eq!(texts(&all), (0..300).map(|i| text(i, 100)).collect::<Vec<_>>());
        assert!(matches!(all[0].event, Event::Accepted(_)));
        for from in [0, 1, 150, tail - 1, tail] {
            for budget in [1, 1000, usize::MAX] {
                let part = read(&bed.log, &stream, stream.cursor(from), budget).await;
                assert_eq!(part, all[from as usize..], "from {from}");
            }
        }
        assert_eq!(read(&bed.log, &stream, Cursor::Now, 1).await, []);
    });
}

#[test]
fn readers_that_join_anywhere_in_a_storm_all_read_the_same() {
    check(async |bed| {
        let mut writer = start(&bed.log, job("storm", 1)).await;
        let stream = Arc::clone(writer.stream());
        let mut readers = Vec::new();
        for i in 0..400_usize {
            let batch: Vec<_> = (0..1 + i % 5).map(|j| delta(text(i * 10 + j, 1 + (i * 131) % 900))).collect();
            writer.append(batch.into()).await.unwrap();
            if i % 8 == 0 {
                let (log, stream) = (Arc::clone(&bed.log), Arc::clone(&stream));
                // Some from the start, some from the tail of this moment, some from the one before.
                let tail = stream.tail().durable;
                let from = [0, tail, tail - 1, tail / 2][i / 8 % 4];
                readers.push(tokio::spawn(async move {
                    let mut follower = Follower::new(log, Arc::clone(&stream), stream.cursor(from)).unwrap();
                    let mut seen = Vec::new();
                    loop {
                        match follower.next(1 + i * 17).await.unwrap() {
                            Followed::Records(chunk) => {
                                assert!(chunk.next_seq() <= stream.tail().durable, "not durable yet");
                                seen.extend(chunk.iter().map(|(seq, bytes)| (seq, bytes.to_vec())));
                            }
                            Followed::End(state) => return (from, state, seen),
                        }
                    }
                }));
            }
        }
        writer.append(vec![end()].into()).await.unwrap();
        let tail = stream.tail().durable;
        let hash = |records: &[(u64, Vec<u8>)]| {
            let mut sha = Sha256::new();
            records.iter().for_each(|(_, bytes)| sha.update(bytes));
            sha.finalize()
        };
        let mut whole = None;
        for reader in join_all(readers).await {
            let (from, state, seen) = reader.unwrap();
            assert_eq!(state, State::Completed);
            assert!(seen.iter().map(|(seq, _)| *seq).eq(from..tail), "dense from {from}");
            let whole = whole.get_or_insert_with(|| seen.clone());
            assert_eq!(hash(&seen), hash(&whole[from as usize..]));
        }
    });
}

#[test]
fn a_terminal_that_races_a_subscription_is_never_missed() {
    check(async |bed| {
        for round in 0..100 {
            let name = format!("race-{round}");
            let mut writer = start(&bed.log, job(&name, 1)).await;
            let stream = Arc::clone(writer.stream());
            let log = Arc::clone(&bed.log);
            let reader = tokio::spawn(async move {
                let mut follower = Follower::new(log, stream, Cursor::Now).unwrap();
                loop {
                    if let Followed::End(state) = follower.next(100).await.unwrap() {
                        return state;
                    }
                }
            });
            writer.append(vec![delta("x"), end()].into()).await.unwrap();
            assert_eq!(reader.await.unwrap(), State::Completed);
        }
    });
}

#[test]
fn a_cursor_of_another_life_or_of_the_future_is_refused() {
    check(async |bed| {
        let stream = finished(&bed.log, "c", 3, 10).await;
        let code = |cursor| Follower::new(bed.log.clone(), Arc::clone(&stream), cursor).err().map(|f| f.code);
        assert_eq!(code(stream.cursor(5)), None);
        assert_eq!(code(stream.cursor(6)), Some(Code::CursorAhead));
        let other = forebay::job::Epoch(stream.epoch().0 ^ 1);
        assert_eq!(code(Cursor::At { epoch: other, seq: 0 }), Some(Code::EpochMismatch));
    });
}

#[test]
fn a_hundred_equal_submissions_at_once_open_one_stream() {
    check(async |bed| {
        let submit = |i: usize, body| {
            // By id, by key, by both.
            let mut job = job(if i % 3 == 1 { "other" } else { "same" }, body);
            job.idempotency_key = (!i.is_multiple_of(3)).then(|| "turn-17".into());
            if i % 3 == 1 {
                job.id = id(&format!("other-{i}"));
            }
            let log = Arc::clone(&bed.log);
            tokio::spawn(async move { log.open(Arc::new(job)).await })
        };
        // Both id and key name the job from the start.
        let first = submit(2, 1).await.unwrap().unwrap();
        let results = join_all((0..100).map(|i| submit(i, 1))).await;
        assert!(matches!(first, Opened::New(_)));
        assert!(results.into_iter().all(|result| matches!(result.unwrap().unwrap(), Opened::Joined(_))));
        let fresh = join_all((0..100).map(|_| {
            let log = Arc::clone(&bed.log);
            tokio::spawn(async move { log.open(Arc::new(job("fresh", 2))).await })
        }));
        let opened = fresh.await.into_iter().filter(|r| matches!(r.as_ref().unwrap(), Ok(Opened::New(_)))).count();
        assert_eq!(opened, 1);
        for i in 0..3 {
            assert_eq!(submit(i, 9).await.unwrap().unwrap_err().code, Code::Conflict, "{i}");
        }
    });
}

#[test]
fn a_forgotten_job_is_gone_and_its_id_is_free_for_another_life() {
    check(async |bed| {
        let mut keyed = job("f", 1);
        keyed.idempotency_key = Some("k".into());
        let mut writer = start(&bed.log, keyed.clone()).await;
        assert_eq!(bed.log.forget(&id("f")).await.unwrap_err().code, Code::Conflict);
        writer.append(vec![end()].into()).await.unwrap();
        let old = Arc::clone(writer.stream());
        bed.log.forget(&id("f")).await.unwrap();
        assert_eq!(bed.log.forget(&id("f")).await.unwrap_err().code, Code::NotFound);
        assert!(matches!(bed.log.find(&id("f")).await.unwrap(), Found::Nothing));
        keyed.body_sha256 = Some([2; 32]);
        let writer = start(&bed.log, keyed).await;
        assert_ne!(writer.stream().epoch(), old.epoch());
        let refused = Follower::new(bed.log.clone(), Arc::clone(writer.stream()), old.cursor(1));
        assert_eq!(refused.err().map(|f| f.code), Some(Code::EpochMismatch));
    });
}

#[test]
fn records_and_jobs_of_any_size_come_back_whole() {
    check(async |bed| {
        let mut large = job("large", 1);
        let prompt = text(7, 5_000_000);
        large.input = serde_json::value::to_raw_value(&serde_json::json!({"prompt": prompt})).unwrap();
        let mut writer = start(&bed.log, large.clone()).await;
        let sizes = [1, 6_000, 6_144, 6_200, 13_000, 39_000];
        let batch: Vec<_> = sizes.iter().map(|size| delta(text(1, *size))).collect();
        writer.append(batch.into()).await.unwrap();
        let refused = writer.append(vec![delta(text(1, 50_000))].into()).await.unwrap_err();
        assert_eq!(refused.code, Code::TooLarge);
        // A batch far over a tick, and the stream goes on after a refusal.
        let batch: Vec<_> = (0..200).map(|i| delta(text(i, 16_000))).collect();
        writer.append(batch.into()).await.unwrap();
        writer.append(vec![end()].into()).await.unwrap();
        let stream = Arc::clone(writer.stream());
        let kept = bed.log.job(&stream).await.unwrap().unwrap();
        assert_eq!(kept.input.get(), large.input.get());
        let all = read(&bed.log, &stream, Cursor::Start, 1 << 16).await;
        let expected = sizes.iter().map(|size| text(1, *size)).chain((0..200).map(|i| text(i, 16_000)));
        assert_eq!(texts(&all), expected.collect::<Vec<_>>());
    });
}

#[test]
fn jobs_are_listed_newest_first_by_page_and_filter() {
    check(async |bed| {
        for i in 0..20 {
            let mut one = job(&format!("l-{i}"), 1);
            if i % 2 == 0 {
                one.metadata = serde_json::from_str(r#"{"even":true}"#).unwrap();
            }
            let mut writer = start(&bed.log, one).await;
            if i % 5 == 0 {
                writer.append(vec![end()].into()).await.unwrap();
            }
        }
        let names = async |query: ListQuery| -> Vec<String> {
            let rows = bed.log.list(query).await.unwrap();
            rows.iter().map(|stream| stream.head().id.to_string()).collect()
        };
        let first = bed.log.list(ListQuery { limit: 7, ..ListQuery::default() }).await.unwrap();
        assert!(first.iter().is_sorted_by(|a, b| a.head().stream > b.head().stream));
        let after = first.last().map(|stream| stream.head().stream);
        let rest = names(ListQuery { limit: 100, after, ..ListQuery::default() }).await;
        assert_eq!((first.len(), rest.len()), (7, 13));
        let done = ListQuery { limit: 100, state: Some(State::Completed), ..ListQuery::default() };
        assert_eq!(names(done).await.len(), 4);
        let even = ListQuery { limit: 100, tags: vec![("even".into(), "true".into())], ..ListQuery::default() };
        assert_eq!(names(even).await.len(), 10);
    });
}

#[test]
fn outputs_are_files_named_by_their_digest() {
    check(async |bed| {
        let writer = start(&bed.log, job("o", 1)).await;
        let bytes = bytes::Bytes::from(vec![7; 100_000]);
        let stored = bed.log.put_output_bytes(writer.stream(), bytes.clone()).await.unwrap();
        let name = stored.sha256;
        assert_eq!(stored.bytes, 100_000);
        assert_eq!(name, Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        assert_eq!(bed.log.read_output(writer.stream(), &name, 100_000).await.unwrap(), bytes);
        for bad in ["", "../../mark", &"0".repeat(64)] {
            assert_eq!(bed.log.get_output(writer.stream(), bad).await.unwrap_err().code, Code::NotFound, "{bad}");
        }
    });
}

#[test]
fn an_abandoned_append_becomes_durable_before_what_comes_after_it() {
    check(async |bed| {
        let mut writer = start(&bed.log, job("ab", 1)).await;
        for i in 0..50 {
            let mut append = Box::pin(writer.append(vec![delta(text(i, 20))].into()));
            // Polled once and dropped, as a cancelled actor does.
            let _ = futures_util::poll!(&mut append);
        }
        writer.append(vec![end()].into()).await.unwrap();
        let all = read(&bed.log, &Arc::clone(writer.stream()), Cursor::Start, 999).await;
        assert_eq!(texts(&all), (0..50).map(|i| text(i, 20)).collect::<Vec<_>>());
        assert!(writer.append(vec![delta("late")].into()).await.is_err(), "nothing comes after a terminal");
    });
}

#[test]
fn a_dropped_open_leaves_the_id_to_be_joined() {
    check(async |bed| {
        for i in 0..50 {
            let name = format!("d-{i}");
            let mut opening = Box::pin(bed.log.open(Arc::new(job(&name, 1))));
            for _ in 0..i % 4 {
                if futures_util::poll!(&mut opening).is_ready() {
                    break;
                }
            }
            drop(opening);
            let mut writer = match bed.log.open(Arc::new(job(&name, 1))).await.unwrap() {
                Opened::New(writer) => writer,
                Opened::Joined(stream) => {
                    assert_eq!(stream.tail().durable, 1);
                    continue;
                }
            };
            writer.append(vec![end()].into()).await.unwrap();
        }
    });
}

#[test]
fn a_beginning_becomes_durable_with_the_first_append_or_with_whoever_asks_for_it() {
    check(async |bed| {
        let begin = async |name: &str| match bed.log.create(Arc::new(job(name, 1))).await.unwrap() {
            Opened::New(writer) => writer,
            Opened::Joined(_) => panic!("{name} is new"),
        };
        let mut writer = begin("appended").await;
        writer.append(vec![delta("x"), end()].into()).await.unwrap();
        assert_eq!(read(&bed.log, writer.stream(), Cursor::Start, 999).await.len(), 3);
        let hurried = begin("hurried").await;
        bed.log.flush();
        hurried.stream().first_durable().await.unwrap();
        let joined = begin("joined").await;
        assert!(matches!(bed.log.create(Arc::new(job("joined", 1))).await.unwrap(), Opened::Joined(_)));
        assert_eq!(joined.stream().tail().durable, 1, "what is joined is durable");
        let found = begin("found").await;
        let id = found.stream().head().id.clone();
        assert!(matches!(bed.log.find(&id).await.unwrap(), Found::Stream(stream) if stream.tail().durable == 1));
    });
}

#[test]
fn after_close_nothing_is_taken() {
    check(async |bed| {
        let mut writer = start(&bed.log, job("x", 1)).await;
        bed.log.close().await;
        assert_eq!(bed.log.open(Arc::new(job("y", 1))).await.err().map(|f| f.code), Some(Code::Overloaded));
        let refused = writer.append(vec![end()].into()).await;
        assert!(bed.name == "memory" || refused.is_err());
    });
}

#[test]
fn what_was_stored_of_a_damaged_record_is_an_error() {
    // The reader's side of damage: every entrance calls `record::decode`.
    assert_eq!(record::decode(0, b"").map_err(|f| f.code), Err(Code::Internal));
}
