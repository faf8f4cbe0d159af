//! Ledger and sums.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay::job::{Timestamp, Usd};
use forebay::log::Log;

use crate::support::*;

#[test]
fn the_ledger_is_what_the_logs_say_and_sums_are_what_the_ledger_says() {
    check(async |bed| {
        let mut expected: BTreeMap<u64, i128> = BTreeMap::new();
        for i in 0..60_u64 {
            let job = job(&format!("m-{i}"), 1);
            let hour = 500_000 + i % 3;
            let mut writer = start(&bed.log, job.clone()).await;
            writer.append(paid_end(&job, i128::from(i), Timestamp(hour * 3_600_000 + i))).await.unwrap();
            *expected.entry(hour).or_default() += i128::from(i) * 1_000_000;
        }
        let sums = async || -> BTreeMap<u64, i128> {
            let rows = bed.log.rollups(0, u32::MAX).await.unwrap();
            assert_eq!(rows.iter().map(|(_, sums)| sums.jobs).sum::<u64>(), 60);
            assert_eq!(rows.iter().filter_map(|(_, sums)| sums.usage.output_tokens).sum::<u64>(), 420);
            rows.iter().map(|(key, sums)| (u64::from(key.hour), sums.usd.pico())).collect()
        };
        assert_eq!(sums().await, expected);
        assert_eq!(sums().await, expected, "asking does not add");
        assert_eq!(bed.log.rebuild_rollups().await.unwrap(), 60);
        assert_eq!(sums().await, expected);
        let one = bed.log.rollups(500_001, 500_002).await.unwrap();
        assert_eq!(one.len(), 1);
    });
}

#[test]
fn the_ledger_has_a_numbered_line_for_each_charge() {
    let dir = tempfile::tempdir().unwrap();
    let disk = open(&config(dir.path()));
    let log: Arc<dyn Log> = disk.clone();
    runtime().block_on(async {
        for i in 0..60 {
            let job = job(&format!("m-{i}"), 1);
            start(&log, job.clone()).await.append(paid_end(&job, i, Timestamp(1))).await.unwrap();
        }
    });
    let lines = disk.charges(0, 1000).unwrap();
    assert!(lines.iter().map(|(line, _)| *line).eq(1..=60));
    let total: Usd = lines.iter().map(|(_, charge)| charge.cost.usd).sum();
    assert_eq!(total.pico(), (0..60).sum::<i128>() * 1_000_000);
    let page = disk.charges(10, 5).unwrap();
    assert!(page.iter().map(|(line, _)| *line).eq(11..=15));
}
