//! `kill -9` under users' own streams: what was acknowledged or read is there, once.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;

use crate::broker::{Broker, PATIENCE, found, soon};

const PRODUCERS: usize = 6;
const APPENDS: usize = 120;
const ROUNDS: usize = 8;

/// Appends each number again and again until it is acknowledged, as a producer with a name may.
async fn produce(http: reqwest::Client, url: String, producer: usize) {
    for seq in 0..APPENDS {
        // Some appends are many rows.
        let filler = "x".repeat([10, 1000, 100_000][seq % 3]);
        let body = serde_json::json!([[producer, seq, filler]]).to_string();
        found("an append to be acknowledged", || async {
            let post = http.post(&url).header("content-type", "application/json").body(body.clone());
            let post = post.header("producer-id", producer).header("producer-epoch", 0).header("producer-seq", seq);
            match post.send().await.ok()?.status().as_u16() {
                200 | 204 => Some(()),
                503 => None,
                other => panic!("{producer} {seq}: {other}"),
            }
        })
        .await;
    }
}

/// Reads to the end, through everything; a page that was not whole is requested again.
async fn read(http: reqwest::Client, url: String) -> Vec<(usize, usize)> {
    let (mut seen, mut offset) = (Vec::new(), "-1".to_owned());
    loop {
        let page = found("a page", || async {
            let page = http.get(format!("{url}?offset={offset}&live=long-poll")).timeout(PATIENCE).send().await.ok()?;
            assert!([200, 204].contains(&page.status().as_u16()), "{offset}: {}", page.status());
            let header = |name: &str| page.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
            let (next, closed) = (header("stream-next-offset").unwrap(), header("stream-closed").is_some());
            Some((next, closed, page.bytes().await.ok()?))
        });
        let (next, closed, body) = page.await;
        assert!(next >= offset || offset == "-1", "{offset}, then {next}");
        if !body.is_empty() {
            let messages: Vec<Value> = serde_json::from_slice(&body).unwrap();
            let number = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
            seen.extend(messages.iter().map(|message| (number(&message[0]), number(&message[1]))));
        }
        offset = next;
        if closed {
            return seen;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_users_stream_survives_kills_with_each_append_once_and_in_order() {
    let mut broker = Broker::new(None, "");
    broker.env("FOREBAY__SERVER__LONG_POLL_MS", "300");
    broker.up().await;
    let http = broker.client().http;
    let url = broker.url("/v1/stream/agents/a");
    let json = ("content-type", "application/json");
    assert_eq!(http.put(&url).header(json.0, json.1).send().await.unwrap().status(), 201);
    let gone = broker.url("/v1/stream/gone");
    let large = vec![b'x'; 4_000_000];
    assert_eq!(http.put(&gone).body(large).send().await.unwrap().status(), 201);

    let readers = [0; 4].map(|_| tokio::spawn(read(http.clone(), url.clone())));
    let producers = (0..PRODUCERS).map(|producer| tokio::spawn(produce(http.clone(), url.clone(), producer)));
    let producing = tokio::spawn(join_all(producers));
    let mut random = fastrand::Rng::with_seed(3);
    for round in 0..ROUNDS {
        // The moment of death is what is random here; nothing waits for this.
        tokio::time::sleep(Duration::from_millis(random.u64(100..700))).await;
        if round == 0 {
            // Its rows are removed in the background, and that is what is killed.
            assert_eq!(http.delete(&gone).send().await.unwrap().status(), 204);
        }
        broker.kill();
        broker.up().await;
        assert_eq!(http.get(&gone).send().await.unwrap().status(), 404, "what is deleted stays deleted");
    }
    for done in soon("the producers", producing).await.unwrap() {
        done.unwrap();
    }
    assert_eq!(http.post(&url).header("stream-closed", "true").send().await.unwrap().status(), 204);
    let all = read(http.clone(), url.clone()).await;
    for reader in readers {
        assert_eq!(soon("a reader", reader).await.unwrap(), all, "what was read is what is there");
    }
    for producer in 0..PRODUCERS {
        let seen = all.iter().filter(|(by, _)| *by == producer).map(|(_, seq)| *seq);
        assert!(seen.eq(0..APPENDS), "{producer}");
    }
    assert_eq!(all.len(), PRODUCERS * APPENDS);
}
