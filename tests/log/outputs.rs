//! Outputs: written and read chunk by chunk, whole or not there.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use forebay::job::Code;
use forebay::log::{Found, Log, OutputReader};
use sha2::{Digest, Sha256};

use crate::support::*;

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes in which no two chunks are the same.
fn content(len: usize) -> Bytes {
    (0..len).map(|at| (at / 251 + at % 251) as u8).collect::<Vec<u8>>().into()
}

async fn rest(mut reader: OutputReader) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(chunk) = reader.chunk().await.unwrap() {
        assert!(chunk.len() <= 256 * 1024, "it is never whole in memory");
        all.extend_from_slice(&chunk);
    }
    assert_eq!(reader.remaining(), 0);
    all
}

#[test]
fn what_was_written_in_chunks_is_read_whole_and_in_ranges() {
    check(async |bed| {
        let writer = start(&bed.log, job("o", 1)).await;
        let stream = writer.stream();
        let bytes = content(1_000_003);
        let mut output = bed.log.begin_output(stream).unwrap();
        for chunk in bytes.chunks(99_991) {
            output.write(Bytes::copy_from_slice(chunk)).await.unwrap();
        }
        let stored = output.finish().await.unwrap();
        assert_eq!((stored.sha256.as_str(), stored.bytes), (digest(&bytes).as_str(), 1_000_003));
        let get = async || bed.log.get_output(stream, &stored.sha256).await.unwrap();
        assert_eq!(get().await.len(), 1_000_003);
        assert_eq!(rest(get().await).await, bytes);
        for range in [0..1, 999_999..1_000_003, 262_143..262_145, 5..5, 0..1_000_003] {
            let slice = range.start as usize..range.end as usize;
            assert_eq!(rest(get().await.range(range.clone())).await, bytes[slice], "{range:?}");
        }
        assert_eq!(rest(get().await.range(1_000_000..9_000_000)).await, bytes[1_000_000..], "it has an end");
        assert_eq!(rest(get().await.range(2_000_000..9_000_000)).await, b"");
        assert_eq!(bed.log.read_output(stream, &stored.sha256, 1_000_003).await.unwrap(), bytes);
        let refused = bed.log.read_output(stream, &stored.sha256, 1_000_002).await.unwrap_err();
        assert_eq!(refused.code, Code::TooLarge);
        let mut source = &bytes[..];
        assert_eq!(bed.log.put_output(stream, &mut source).await.unwrap(), stored, "the same bytes have one name");
        let empty = bed.log.put_output_bytes(stream, Bytes::new()).await.unwrap();
        assert_eq!(empty.sha256, digest(b""));
        assert!(bed.log.get_output(stream, &empty.sha256).await.unwrap().is_empty());
    });
}

#[test]
fn a_reader_reads_to_the_end_after_its_job_was_removed() {
    check(async |bed| {
        let mut writer = start(&bed.log, job("o", 1)).await;
        let stream = Arc::clone(writer.stream());
        let bytes = content(700_000);
        let name = bed.log.put_output_bytes(&stream, bytes.clone()).await.unwrap().sha256;
        let mut reader = bed.log.get_output(&stream, &name).await.unwrap();
        let first = reader.chunk().await.unwrap().unwrap();
        writer.append(vec![end()].into()).await.unwrap();
        drop(writer);
        bed.log.forget(&id("o")).await.unwrap();
        bed.settle();
        assert_eq!([&first[..], &rest(reader).await].concat(), bytes);
        let gone = bed.log.get_output(&stream, &name).await;
        assert_eq!(gone.unwrap_err().code, Code::NotFound);
    });
}

fn files(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).map(|dir| dir.map(|entry| entry.unwrap().file_name()));
    names.map_or(Vec::new(), |names| names.map(|name| name.to_string_lossy().into_owned()).collect())
}

#[test]
fn an_output_that_is_given_up_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let outputs = config.path.join("outputs");
    runtime().block_on(async {
        let log: Arc<dyn Log> = open(&config);
        let writer = start(&log, job("o", 1)).await;
        let mut output = log.begin_output(writer.stream()).unwrap();
        output.write(content(1000)).await.unwrap();
        assert_eq!(files(&outputs.join("parts")).len(), 1, "it is under way");
        drop(output);
        assert_eq!(files(&outputs), ["parts"]);
        assert_eq!(files(&outputs.join("parts")), Vec::<String>::new());
    });
}

/// Dropping a log is as good as `kill -9`: nothing is written after that.
#[test]
fn a_crash_between_an_output_and_its_record_leaves_a_log_that_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let outputs = config.path.join("outputs");
    let bytes = content(600_000);
    runtime().block_on(async {
        let log: Arc<dyn Log> = open(&config);
        // A job that is durable; its output is stored, and the record that names it is never written.
        let durable = start(&log, job("durable", 1)).await;
        log.put_output_bytes(durable.stream(), bytes.clone()).await.unwrap();
        // A job that never became durable.
        let Ok(forebay::log::Opened::New(unknown)) = log.create(Arc::new(job("unknown", 1))).await else {
            panic!("a new job")
        };
        log.put_output_bytes(unknown.stream(), bytes.clone()).await.unwrap();
        assert_eq!(files(&outputs).len(), 3, "two streams and the parts");
    });
    // A file that a crash cut in the middle.
    std::fs::write(outputs.join("parts").join("7"), b"half").unwrap();
    runtime().block_on(async {
        let disk = open(&config);
        let log: Arc<dyn Log> = disk.clone();
        assert_eq!(log.health().notes, Vec::<String>::new());
        assert_eq!(files(&outputs.join("parts")), Vec::<String>::new());
        assert!(matches!(log.find(&id("unknown")).await.unwrap(), Found::Nothing));
        assert_eq!(files(&outputs).len(), 2, "what belongs to no job is removed");
        let mut writer = log.unfinished().remove(0).writer;
        let stream = Arc::clone(writer.stream());
        let again = log.put_output_bytes(&stream, bytes.clone()).await.unwrap();
        assert_eq!(log.read_output(&stream, &again.sha256, u64::MAX).await.unwrap(), bytes);
        writer.append(vec![end()].into()).await.unwrap();
        drop(writer);
        log.forget(&id("durable")).await.unwrap();
        disk.settle();
        assert_eq!(files(&outputs), ["parts"]);
    });
}
