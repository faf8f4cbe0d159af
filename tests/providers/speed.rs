//! How long a chunk takes. Run with `--ignored --nocapture`, best in release.

use bytes::Bytes;
use forebay::provider::framing::Framer;
use forebay::provider::{Ask, Endpoint, Framing, Headers, vendor};

use super::replay::{job, target};

#[test]
#[ignore = "measures; asserts nothing but that it works"]
fn nanoseconds_per_chunk() {
    const CHUNKS: u32 = 1000;
    let chunk = concat!(
        r#"data: {"id":"chatcmpl-9x1","object":"chat.completion.chunk","created":1790000000,"model":"gpt-5-mini-2025-08-07","#,
        r#""service_tier":"default","system_fingerprint":"fp_0123456789","choices":[{"index":0,"delta":{"content":" word"},"#,
        r#""logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"aBcDeFgH"}"#,
        "\n\n"
    );
    let body = Bytes::from(chunk.repeat(CHUNKS as usize));
    let mut headers = Headers::new();
    headers.insert("content-type", "text/event-stream".parse().expect("a header"));
    let (job, target, endpoint) = (job("{}"), target("m"), Endpoint::plain("p", "http://h"));
    let ask = Ask { job: &job, target: &target, endpoint: &endpoint };
    let mut best = f64::INFINITY;
    for _ in 0..50 {
        let mut decoder = vendor::ALL[0].decoder(ask);
        let mut framer = Framer::new(Framing::Sse, &headers);
        let mut events = Vec::with_capacity(CHUNKS as usize);
        let started = std::time::Instant::now();
        let mut rest = body.clone();
        while !rest.is_empty() {
            framer.feed(rest.split_to(chunk.len()));
            while let Some(packet) = framer.next().expect("well framed") {
                decoder.on_packet(packet, &mut events).expect("well formed");
            }
        }
        best = best.min(started.elapsed().as_secs_f64() * 1e9 / f64::from(CHUNKS));
        assert_eq!(events.len(), CHUNKS as usize);
    }
    println!("{best:.0} ns per chunk of {} bytes, framing and decoding", chunk.len());
}
