//! What recorded answers say is left of limits.

use std::collections::BTreeMap;

use forebay::job::caps::DURATION_MS_MAX;
use forebay::job::{Limits, Timestamp, Window};
use forebay::provider::limits;

use super::recorded::{folder, load};
use super::replay::Reply;

/// What the headers of an answer say is left of requests and of tokens, read without the rules of who
/// says it how: numbers that are not negative, beside the word `remaining`.
fn left(reply: &Reply) -> [Vec<u64>; 2] {
    let mut left = [Vec::new(), Vec::new()];
    for (name, value) in &reply.headers {
        let name = name.as_str();
        let is_of_us = !["image", "audio", "month"].iter().any(|other| name.contains(other));
        if name.contains("ratelimit") && name.contains("remaining") && is_of_us {
            let number = value.to_str().ok().and_then(|text| text.parse::<u64>().ok());
            left[usize::from(name.contains("token"))].extend(number);
        }
    }
    left
}

#[test]
fn what_recorded_answers_say_is_left_is_understood() {
    let Some(folder) = folder() else {
        println!("RECORDED TRAFFIC IS ABSENT: set FOREBAY_FIXTURES.");
        return;
    };
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for entry in load(&folder.join("index.json")).as_array().expect("a list") {
        let text = |field: &str| entry[field].as_str().expect("a text");
        let reply = Reply::of(&load(&folder.join(text("file"))));
        let read = limits::read(&reply.headers, Timestamp(0)).unwrap_or_default();
        let Limits { requests, tokens } = read;
        let is_one = |window: Option<Window>, raw: &[u64]| match window {
            None => raw.is_empty(),
            // The answers' own dates are what resets count from, not our clock, which says 1970 here.
            Some(window) => raw.iter().min() == Some(&window.remaining) && window.reset_ms < DURATION_MS_MAX,
        };
        let [said_requests, said_tokens] = left(&reply);
        if !is_one(requests, &said_requests) || !is_one(tokens, &said_tokens) {
            wrong.push(format!("{}: {read:?} of {:?}", text("file"), reply.headers));
        }
        if read != Limits::default() {
            *counts.entry(text("provider").to_owned()).or_default() += 1;
        }
    }
    println!("limits understood: {counts:?}");
    assert!(counts.len() > 5, "too few providers said anything: {counts:?}");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
