//! What is there after a restart that did not go well: said, served as far as it goes, never a
//! broker that cannot start.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use forebay::config::LogConfig;
use forebay::job::Epoch;
use forebay::log::Log;
use forebay::wire::Cursor;

use crate::support::*;

/// What happens to the journal.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Nothing,
    /// The file ends here.
    Truncate,
    /// One bit is another.
    Flip,
    /// 512 bytes are zero.
    Zero,
    /// The file is gone.
    Remove,
    /// The mark is gone: nothing is known of what was acknowledged.
    NoMark,
}

fn journals(config: &LogConfig) -> Vec<PathBuf> {
    let mut paths: Vec<_> =
        fs::read_dir(config.path.join("journal")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Bytes of the file up to its last byte that is not zero.
fn used(path: &Path) -> usize {
    fs::read(path).unwrap().iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

fn damage(config: &LogConfig, what: Damage, random: &mut fastrand::Rng) -> bool {
    let with_ticks: Vec<_> = journals(config).into_iter().filter(|path| used(path) > 0).collect();
    let path = with_ticks[random.usize(..with_ticks.len())].clone();
    let at = random.usize(..used(&path));
    let mut bytes = fs::read(&path).unwrap();
    match what {
        Damage::Nothing => return false,
        Damage::Truncate => bytes.truncate(at),
        Damage::Flip => bytes[at] ^= 1 << random.u8(..8),
        Damage::Zero => {
            let end = (at + 512).min(bytes.len());
            if bytes[at..end].iter().all(|byte| *byte == 0) {
                return false;
            }
            bytes[at..end].fill(0);
        }
        Damage::Remove => {
            fs::remove_file(&path).unwrap();
            return true;
        }
        Damage::NoMark => {
            fs::remove_file(config.path.join("mark")).unwrap();
            return false;
        }
    }
    fs::write(&path, bytes).unwrap();
    true
}

const STREAMS: usize = 8;

/// Streams whose records are all in the journal; returns their epochs.
fn write(config: &LogConfig, random: &mut fastrand::Rng) -> Vec<(Epoch, u64)> {
    runtime().block_on(async {
        let log: Arc<dyn Log> = open(config);
        let mut writers = Vec::new();
        for i in 0..STREAMS {
            writers.push(start(&log, job(&format!("s-{i}"), 1)).await);
        }
        for piece in 0..60 {
            for writer in &mut writers {
                writer.append(vec![delta(text(piece, random.usize(10..120)))].into()).await.unwrap();
            }
        }
        let last = writers.len() - 1;
        writers[last].append(vec![end()].into()).await.unwrap();
        writers.iter().map(|writer| (writer.stream().epoch(), writer.stream().tail().durable)).collect()
    })
}

/// Checks every stream after the damage; returns its epochs and tails.
fn inspect(config: &LogConfig, before: &[(Epoch, u64)], noted: bool) -> Vec<(Epoch, u64)> {
    runtime().block_on(async {
        let log: Arc<dyn Log> = open(config);
        assert_eq!(!log.health().notes.is_empty(), noted, "{:?}", log.health().notes);
        let mut after = Vec::new();
        for (i, (epoch, tail)) in before.iter().enumerate() {
            let Some(stream) = found(&log, &format!("s-{i}")).await else {
                after.push((Epoch(0), 0));
                continue;
            };
            let all = read(&log, &stream, Cursor::Start, 4096).await;
            let seen = stream.tail().durable;
            assert_eq!(all.len() as u64, seen, "the prefix is served whole");
            for (piece, text) in texts(&all).iter().enumerate() {
                assert_eq!(&text[..8], format!("{piece:08}"), "and in order");
            }
            assert!(seen <= *tail);
            if seen < *tail {
                assert_ne!(stream.epoch(), *epoch, "visible records fell");
            }
            after.push((stream.epoch(), seen));
        }
        after
    })
}

#[test]
fn damage_is_said_its_prefix_served_and_the_next_start_is_clean() {
    let kinds = [
        Damage::Nothing,
        Damage::Truncate,
        Damage::Flip,
        Damage::Zero,
        Damage::Remove,
        Damage::NoMark,
        Damage::Flip,
        Damage::Truncate,
        Damage::Zero,
    ];
    let mut lost_in_all = 0;
    for seed in 0..36 {
        let mut random = fastrand::Rng::with_seed(seed);
        let what = kinds[seed as usize % kinds.len()];
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let before = write(&config, &mut random);
        let harmed = damage(&config, what, &mut random);
        println!("seed {seed}: {what:?}, harmed: {harmed}");
        let after = inspect(&config, &before, harmed);
        if !harmed {
            assert_eq!(after, before);
        }
        let lost = before.iter().zip(&after).filter(|(before, after)| after.1 < before.1).count();
        let renewed = before.iter().zip(&after).filter(|(before, after)| after.1 > 0 && after.0 != before.0).count();
        assert!(lost == 0 || harmed);
        lost_in_all += lost;
        assert!(renewed >= before.iter().zip(&after).filter(|(b, a)| a.1 > 0 && a.1 < b.1).count());
        for _ in 0..2 {
            assert_eq!(inspect(&config, &after, false), after, "reopened: the same, and nothing left to say");
        }
    }
    assert!(lost_in_all > 30, "the damage did damage: {lost_in_all}");
}

#[test]
fn one_lost_record_costs_only_the_streams_that_may_have_had_it() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let log_of = |records: &[(usize, &str)]| {
        runtime().block_on(async {
            let log: Arc<dyn Log> = open(&config);
            let mut writers = [start(&log, job("s-0", 1)).await, start(&log, job("s-1", 1)).await];
            for (stream, text) in records {
                writers[*stream].append(vec![delta(*text)].into()).await.unwrap();
            }
            writers.iter().map(|writer| (writer.stream().epoch(), writer.stream().tail().durable)).collect::<Vec<_>>()
        })
    };
    let victim = "00000001 the record that is lost";
    let before = log_of(&[
        (0, "00000000 a"),
        (1, "00000000 b"),
        (1, victim),
        (0, "00000001 c"),
        (1, "00000002 d"),
        (0, "00000002 e"),
    ]);
    let path = journals(&config).into_iter().find(|path| used(path) > 0).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(victim.len()).position(|window| window == victim.as_bytes()).unwrap();
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    let after = inspect(&config, &before, true);
    assert_eq!(after[0], before[0], "its next record shows that nothing of it was lost");
    assert_eq!(after[1].1, 2, "cut before the lost record");
    assert_ne!(after[1].0, before[1].0);
    assert_eq!(inspect(&config, &after, false), after);
}

#[test]
fn a_torn_snapshot_of_sled_is_removed_before_it_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let before = write(&config, &mut fastrand::Rng::with_seed(1));
    fs::write(config.path.join("sled/snap.0000000000FF.generating"), b"torn").unwrap();
    assert_eq!(inspect(&config, &before, false), before);
}

#[test]
fn a_database_that_cannot_be_opened_is_moved_aside_and_the_journal_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let before = write(&config, &mut fastrand::Rng::with_seed(1));
    fs::write(config.path.join("sled/conf"), b"segment_size: 7\nuse_compression: maybe\nversion: 9.9\n\x01").unwrap();
    let after = inspect(&config, &before, true);
    assert_eq!(after, before, "all of it was still in the journal");
    let names: Vec<_> = fs::read_dir(&config.path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().any(|name| name.to_string_lossy().starts_with("sled.broken-")), "{names:?}");
}
