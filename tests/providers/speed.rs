//! What an event costs, protocol by protocol: allocations (checked), and time (printed). For the time
//! run it with `--release -- --ignored --nocapture`; `make bench` does.

use std::time::Instant;

use allocation_counter::measure;
use bytes::Bytes;
use forebay::job::{Event, Part};
use forebay::provider::framing::Framer;
use forebay::provider::{Decoder, Endpoint, Framing, Headers, ModelCall};

use super::dialect::vendor_of;
use super::replay::{job, target};

/// Text deltas of one reply.
const EVENTS: usize = 1000;

/// How a protocol writes one word, in a stream as its vendor sends it.
struct Family {
    vendor: &'static str,
    framing: Framing,
    content_type: &'static str,
    /// What comes before the first word.
    before: &'static [&'static str],
    /// Three words in turn: no model repeats itself to the byte.
    words: [&'static str; 3],
    /// Allocations that a word may need: its text, and what this format cannot do without.
    allocations_max: f64,
}

const SSE: &str = "text/event-stream";

const FAMILIES: &[Family] = &[
    Family {
        vendor: "openai",
        framing: Framing::Sse,
        content_type: SSE,
        before: &[],
        words: [
            "data: {\"id\":\"chatcmpl-9x1\",\"object\":\"chat.completion.chunk\",\"created\":1790000000,\"model\":\"gpt-5-mini-2025-08-07\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_0123456789\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" word\"},\"logprobs\":null,\"finish_reason\":null}],\"usage\":null,\"obfuscation\":\"aBcDeFgH\"}\n\n",
            "data: {\"id\":\"chatcmpl-9x1\",\"object\":\"chat.completion.chunk\",\"created\":1790000000,\"model\":\"gpt-5-mini-2025-08-07\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_0123456789\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" another\"},\"logprobs\":null,\"finish_reason\":null}],\"usage\":null,\"obfuscation\":\"aBc\"}\n\n",
            "data: {\"id\":\"chatcmpl-9x1\",\"object\":\"chat.completion.chunk\",\"created\":1790000000,\"model\":\"gpt-5-mini-2025-08-07\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_0123456789\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\",\"},\"logprobs\":null,\"finish_reason\":null}],\"usage\":null,\"obfuscation\":\"aBcDeFgHiJk\"}\n\n",
        ],
        allocations_max: 3.0,
    },
    Family {
        vendor: "anthropic",
        framing: Framing::Sse,
        content_type: SSE,
        before: &[
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":[],\"stop_reason\":null,\"usage\":{\"input_tokens\":9,\"output_tokens\":1}}}\n\n",
            "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
        ],
        words: [
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" word\"}}\n\n",
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" another\"}         }\n\n",
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\",\"}     }\n\n",
        ],
        allocations_max: 1.0,
    },
    Family {
        vendor: "google-ai-studio",
        framing: Framing::Sse,
        content_type: SSE,
        before: &[],
        words: [
            "data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \" word\"}],\"role\": \"model\"},\"index\": 0}],\"usageMetadata\": {\"promptTokenCount\": 9,\"candidatesTokenCount\": 3,\"totalTokenCount\": 12,\"promptTokensDetails\": [{\"modality\": \"TEXT\",\"tokenCount\": 9}]},\"modelVersion\": \"gemini-2.5-flash\",\"responseId\": \"r1\"}\r\n\r\n",
            "data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \" another\"}],\"role\": \"model\"},\"index\": 0}],\"usageMetadata\": {\"promptTokenCount\": 9,\"candidatesTokenCount\": 4,\"totalTokenCount\": 13,\"promptTokensDetails\": [{\"modality\": \"TEXT\",\"tokenCount\": 9}]},\"modelVersion\": \"gemini-2.5-flash\",\"responseId\": \"r1\"}\r\n\r\n",
            "data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \",\"}],\"role\": \"model\"},\"index\": 0}],\"usageMetadata\": {\"promptTokenCount\": 9,\"candidatesTokenCount\": 5,\"totalTokenCount\": 14,\"promptTokensDetails\": [{\"modality\": \"TEXT\",\"tokenCount\": 9}]},\"modelVersion\": \"gemini-2.5-flash\",\"responseId\": \"r1\"}\r\n\r\n",
        ],
        allocations_max: 4.0,
    },
    Family {
        vendor: "cohere",
        framing: Framing::Sse,
        content_type: SSE,
        before: &[
            "event: message-start\ndata: {\"id\":\"1\",\"type\":\"message-start\",\"delta\":{\"message\":{\"role\":\"assistant\",\"content\":[],\"tool_plan\":\"\",\"tool_calls\":[],\"citations\":[]}}}\n\n",
            "event: content-start\ndata: {\"type\":\"content-start\",\"index\":0,\"delta\":{\"message\":{\"content\":{\"type\":\"text\",\"text\":\"\"}}}}\n\n",
        ],
        words: [
            "event: content-delta\ndata: {\"type\":\"content-delta\",\"index\":0,\"delta\":{\"message\":{\"content\":{\"text\":\" word\"}}}}\n\n",
            "event: content-delta\ndata: {\"type\":\"content-delta\",\"index\":0,\"delta\":{\"message\":{\"content\":{\"text\":\" another\"}}}}\n\n",
            "event: content-delta\ndata: {\"type\":\"content-delta\",\"index\":0,\"delta\":{\"message\":{\"content\":{\"text\":\",\"}}}}\n\n",
        ],
        allocations_max: 1.0,
    },
    Family {
        vendor: "ollama",
        framing: Framing::Lines,
        content_type: "application/x-ndjson",
        before: &[],
        words: [
            "{\"model\":\"m\",\"created_at\":\"2026-11-21T09:00:00.123456Z\",\"message\":{\"role\":\"assistant\",\"content\":\" word\"},\"done\":false}\n",
            "{\"model\":\"m\",\"created_at\":\"2026-11-21T09:00:00.223456Z\",\"message\":{\"role\":\"assistant\",\"content\":\" another\"},\"done\":false}\n",
            "{\"model\":\"m\",\"created_at\":\"2026-11-21T09:00:00.323456Z\",\"message\":{\"role\":\"assistant\",\"content\":\",\"},\"done\":false}\n",
        ],
        allocations_max: 1.0,
    },
];

/// A stream of the protocol: how it is cut on the socket, one word a piece.
struct Stream {
    name: &'static str,
    framing: Framing,
    headers: Headers,
    pieces: Vec<Bytes>,
    bytes: usize,
    allocations_max: f64,
    decoder: Box<dyn Fn() -> Box<dyn Decoder>>,
}

fn headers(content_type: &str) -> Headers {
    let mut headers = Headers::new();
    headers.insert("content-type", content_type.parse().expect("a header"));
    headers
}

fn stream(family: &'static Family) -> Stream {
    let words = family.words.iter().cycle().take(EVENTS);
    let pieces: Vec<Bytes> =
        family.before.iter().chain(words).map(|piece| Bytes::from_static(piece.as_bytes())).collect();
    Stream {
        name: family.vendor,
        framing: family.framing,
        headers: headers(family.content_type),
        bytes: pieces.iter().map(Bytes::len).sum(),
        pieces,
        allocations_max: family.allocations_max,
        decoder: Box::new(|| decoder(family.vendor, r#"{"messages":[{"role":"user","content":"Hi"}]}"#, "m")),
    }
}

fn decoder(vendor: &str, input: &str, model: &str) -> Box<dyn Decoder> {
    let (job, target, endpoint) = (job(input), target(model), Endpoint::plain("p", "http://h"));
    vendor_of(vendor).decoder(ModelCall { job: &job, target: &target, endpoint: &endpoint, prefilled: false })
}

/// OpenAI's Responses, which a native input asks for.
fn responses() -> Stream {
    let word = |text: &str, number: usize| {
        Bytes::from(format!(
            "event: response.output_text.delta\ndata: {{\"type\":\"response.output_text.delta\",\"sequence_number\":{number},\
             \"item_id\":\"msg_1\",\"output_index\":0,\"content_index\":0,\"delta\":\"{text}\",\"logprobs\":[],\"obfuscation\":\"aBcDe\"}}\n\n"
        ))
    };
    let pieces: Vec<Bytes> =
        (0..EVENTS).map(|number| word([" word", " another", ","][number % 3], number + 4)).collect();
    Stream {
        name: "openai (responses)",
        framing: Framing::Sse,
        headers: headers(SSE),
        bytes: pieces.iter().map(Bytes::len).sum(),
        pieces,
        allocations_max: 1.0,
        decoder: Box::new(|| decoder("openai", r#"{"input":[{"role":"user","content":"Hi"}]}"#, "m")),
    }
}

/// A stream of Bedrock's frames.
fn converse() -> Stream {
    let frame = |event: &str, payload: &str| {
        let mut head = Vec::new();
        for (name, value) in [(":event-type", event), (":content-type", "application/json"), (":message-type", "event")]
        {
            head.push(u8::try_from(name.len()).expect("short"));
            head.extend_from_slice(name.as_bytes());
            head.push(7);
            head.extend_from_slice(&u16::try_from(value.len()).expect("short").to_be_bytes());
            head.extend_from_slice(value.as_bytes());
        }
        let length = |bytes: usize| u32::try_from(bytes).expect("short").to_be_bytes();
        let mut frame = [length(16 + head.len() + payload.len()), length(head.len())].concat();
        frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
        frame.extend_from_slice(&head);
        frame.extend_from_slice(payload.as_bytes());
        frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
        Bytes::from(frame)
    };
    let word = |text: &str| {
        frame(
            "contentBlockDelta",
            &format!("{{\"contentBlockIndex\":0,\"delta\":{{\"text\":\"{text}\"}},\"p\":\"abcdefghij\"}}"),
        )
    };
    let mut pieces = vec![frame("messageStart", "{\"p\":\"abc\",\"role\":\"assistant\"}")];
    pieces.extend((0..EVENTS).map(|number| word([" word", " another", ","][number % 3])));
    Stream {
        name: "aws-bedrock",
        framing: Framing::AwsFrames,
        headers: headers("application/vnd.amazon.eventstream"),
        bytes: pieces.iter().map(Bytes::len).sum(),
        pieces,
        allocations_max: 1.0,
        decoder: Box::new(|| {
            decoder("aws-bedrock", r#"{"messages":[{"role":"user","content":"Hi"}]}"#, "amazon.nova-lite-v1:0")
        }),
    }
}

fn streams() -> Vec<Stream> {
    FAMILIES.iter().map(stream).chain([responses(), converse()]).collect()
}

/// Decodes a stream; events go to `events`.
fn decode(stream: &Stream, pieces: Vec<Bytes>, events: &mut Vec<Event>) {
    let mut decoder = (stream.decoder)();
    let mut framer = Framer::new(stream.framing, &stream.headers);
    for piece in pieces {
        framer.feed(piece);
        while let Some(packet) = framer.next().expect("well framed") {
            decoder.on_packet(packet, events).expect("well formed");
        }
    }
}

#[test]
fn a_word_costs_few_allocations_in_every_family() {
    for stream in streams() {
        // What is read once for all streams is not this one's.
        decode(&stream, stream.pieces.clone(), &mut Vec::new());
        let (pieces, mut events) = (stream.pieces.clone(), Vec::with_capacity(2 * EVENTS));
        let counted = measure(|| decode(&stream, pieces, &mut events));
        let words =
            events.iter().filter(|event| matches!(event, Event::Delta(delta) if delta.part == Part::Text)).count();
        assert_eq!(words, EVENTS, "{}", stream.name);
        // What is set up once is not the word's.
        let each = (counted.count_total as f64 - 40.0).max(0.0) / EVENTS as f64;
        println!("{:20} {each:.2} allocations an event", stream.name);
        assert!(each <= stream.allocations_max, "{}: {each} allocations an event", stream.name);
    }
}

#[test]
#[ignore = "measures; asserts nothing but that it works"]
fn nanoseconds_per_event() {
    println!("{:20} {:>9} {:>12} {:>7}", "decoder", "ns/event", "packets/s", "MB/s");
    for stream in streams() {
        let mut best = f64::INFINITY;
        for _ in 0..50 {
            let (pieces, mut events) = (stream.pieces.clone(), Vec::with_capacity(2 * EVENTS));
            let started = Instant::now();
            decode(&stream, pieces, &mut events);
            best = best.min(started.elapsed().as_secs_f64());
            assert_eq!(events.len(), EVENTS, "{}", stream.name);
        }
        let each = best / EVENTS as f64;
        println!(
            "{:20} {:>9.0} {:>12.0} {:>7.0}",
            stream.name,
            each * 1e9,
            each.recip(),
            stream.bytes as f64 / best / 1e6
        );
    }
}
