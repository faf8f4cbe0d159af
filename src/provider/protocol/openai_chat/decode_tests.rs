//! What a reply leaves beside its events.

use super::*;
use crate::job::for_tests;
use crate::provider::protocol::openai_chat::{Money, ReplyRules};

static DOLLARS: Rules =
    Rules { reply: ReplyRules { money: Money::Dollars("cost"), ..ReplyRules::PLAIN }, ..Rules::PLAIN };

fn job(input: &str) -> Job {
    for_tests::job("p/m").input(input).build()
}

/// The bill after these packets to this job: tier, dollars.
fn check(input: &str, packets: &[&str], tier: Option<&str>, usd: Option<&str>) {
    let mut decoder = ChatDecoder::by(&DOLLARS).for_job(&job(input));
    let mut out = Vec::new();
    for data in packets {
        let packet = Packet::Sse { event: "", data: data.as_bytes() };
        decoder.on_packet(packet, &mut out).unwrap();
    }
    let bill = decoder.bill();
    assert_eq!(bill.service_tier.as_deref(), tier, "{input} {packets:?}");
    assert_eq!(bill.provider_usd.map(|usd| usd.to_string()).as_deref(), usd, "{input} {packets:?}");
}

#[test]
fn the_bill_is_what_the_provider_says_else_what_was_asked() {
    let flex = r#"{"messages":[],"service_tier":"flex"}"#;
    let raw = r#"{"choices":[],"service_tier":"default","usage":{"prompt_tokens":1,"completion_tokens":1,"cost":0.5}}"#;
    let failed = r#"{"error":{"code":502,"message":"x"},"choices":[{"index":0,"delta":{}}]}"#;
    check("{}", &[], None, None);
    check(flex, &[], Some("flex"), None);
    check(r#"{"service_tier":null}"#, &[], None, None);
    check(flex, &[r#"{"choices":[],"service_tier":null}"#], Some("flex"), None);
    check(flex, &[raw], Some("default"), Some("0.5"));
    check("{}", &[failed, raw], None, Some("0.5"));
}
