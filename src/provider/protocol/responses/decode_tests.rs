//! What a price depends on beside the usage.

use serde_json::json;

use super::*;
use crate::provider::protocol::openai_chat::Money;

fn bill(cost_rules: &'static ReplyRules, response: Value) -> Bill {
    let mut decoder = ResponsesDecoder::new(&Rules::PLAIN, cost_rules);
    let body = response.to_string();
    decoder.on_packet(Packet::Whole(body.as_bytes()), &mut Vec::new()).expect("an answer");
    decoder.bill()
}

#[test]
fn a_bill_says_tier_searches_and_money() {
    static TICKS: ReplyRules = ReplyRules { money: Money::Ticks, ..ReplyRules::PLAIN };
    let search = |kind: &str| json!({"type": "web_search_call", "action": {"type": kind}});
    let output = json!([search("search"), search("open_page"), search("search")]);
    let usage = json!({"input_tokens": 1, "output_tokens": 1, "cost_in_usd_ticks": 20_000_000_000_u64});
    let answer = |tier: &str| json!({"status": "completed", "output": output, "usage": usage, "service_tier": tier});
    let flex = bill(&ReplyRules::PLAIN, answer("flex"));
    assert_eq!((flex.service_tier.as_deref(), flex.searches, flex.provider_usd), (Some("flex"), Some(2), None));
    let auto = bill(&TICKS, answer("auto"));
    assert_eq!((auto.service_tier, auto.provider_usd.map(|usd| usd.to_string()).as_deref()), (None, Some("2")));
    let mut counted = answer("default");
    counted["tool_usage"] = json!({"web_search": {"num_requests": 5}});
    assert_eq!(bill(&ReplyRules::PLAIN, counted).searches, Some(5));
}
