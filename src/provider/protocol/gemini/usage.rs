//! What Google says about usage, in our terms.

use std::borrow::Cow;

use serde::Deserialize;

use crate::job::{Bill, Usage, UsageSource};

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawUsage<'a> {
    prompt_token_count: Option<u64>,
    cached_content_token_count: Option<u64>,
    candidates_token_count: Option<u64>,
    /// What embeddings and some compatible servers call it.
    response_token_count: Option<u64>,
    thoughts_token_count: Option<u64>,
    tool_use_prompt_token_count: Option<u64>,
    total_token_count: Option<u64>,
    prompt_tokens_details: Option<Vec<Modality>>,
    tool_use_prompt_tokens_details: Option<Vec<Modality>>,
    candidates_tokens_details: Option<Vec<Modality>>,
    #[serde(borrow)]
    service_tier: Option<Cow<'a, str>>,
    /// Vertex: how the traffic is paid for.
    #[serde(borrow)]
    traffic_type: Option<Cow<'a, str>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Modality {
    modality: String,
    token_count: u64,
}

/// The usage, and what its price depends on. Cached tokens are inside the prompt; thoughts and what
/// tools read are beside it and added. Where the total is more than its parts, thoughts were not told
/// yet. `None` when it says no count.
pub(super) fn read(json: &str) -> Option<(Usage, Bill)> {
    let raw: RawUsage<'_> = serde_json::from_str(json).ok()?;
    let answer = raw.candidates_token_count.or(raw.response_token_count);
    raw.prompt_token_count.or(answer).or(raw.thoughts_token_count)?;
    let add = |count: Option<u64>, more: Option<u64>| match (count, more) {
        (None, None) => None,
        (count, more) => Some(count.unwrap_or(0).saturating_add(more.unwrap_or(0))),
    };
    let input = add(raw.prompt_token_count, raw.tool_use_prompt_token_count);
    let output = add(answer, raw.thoughts_token_count);
    let parts = add(input, output).unwrap_or(0);
    let uncounted = match (raw.prompt_token_count, raw.total_token_count) {
        (Some(_), Some(total)) => total.checked_sub(parts).filter(|rest| *rest > 0),
        _ => None,
    };
    let prompt = [&raw.prompt_tokens_details, &raw.tool_use_prompt_tokens_details];
    let usage = Usage {
        input_tokens: input,
        output_tokens: add(output, uncounted),
        cached_input_tokens: raw.cached_content_token_count,
        reasoning_tokens: add(raw.thoughts_token_count, uncounted),
        audio_input_tokens: of("AUDIO", &prompt),
        audio_output_tokens: of("AUDIO", &[&raw.candidates_tokens_details]),
        source: UsageSource::Provider,
        ..Usage::default()
    };
    let bill = Bill {
        service_tier: tier(raw.service_tier.as_deref(), raw.traffic_type.as_deref()),
        image_input_tokens: of("IMAGE", &prompt),
        image_output_tokens: of("IMAGE", &[&raw.candidates_tokens_details]),
        ..Bill::default()
    };
    Some((usage, bill))
}

/// The tokens of one kind, if any are told.
fn of(kind: &str, lists: &[&Option<Vec<Modality>>]) -> Option<u64> {
    let all = lists.iter().filter_map(|list| list.as_ref()).flatten();
    let counts: Vec<u64> = all.filter(|entry| entry.modality == kind).map(|entry| entry.token_count).collect();
    (!counts.is_empty()).then(|| counts.into_iter().fold(0, u64::saturating_add))
}

fn tier(tier: Option<&str>, traffic: Option<&str>) -> Option<Box<str>> {
    match (tier, traffic) {
        (Some(tier), _) => Some(tier.to_ascii_lowercase().into()),
        (None, Some("ON_DEMAND_PRIORITY")) => Some("priority".into()),
        (None, Some("ON_DEMAND_FLEX")) => Some("flex".into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_beside_the_prompt_and_the_answer_is_added() {
        type Counts = (Option<u64>, Option<u64>, Option<u64>, Option<u64>, Option<u64>);
        let cases: &[(&str, Counts)] = &[
            (
                r#"{"promptTokenCount":9,"candidatesTokenCount":2,"totalTokenCount":11}"#,
                (Some(9), Some(2), None, None, None),
            ),
            (
                r#"{"promptTokenCount":9,"candidatesTokenCount":2,"thoughtsTokenCount":5,"totalTokenCount":16,"cachedContentTokenCount":4}"#,
                (Some(9), Some(7), Some(5), Some(4), None),
            ),
            (
                r#"{"promptTokenCount":9,"toolUsePromptTokenCount":30,"thoughtsTokenCount":5,"candidatesTokenCount":1,"totalTokenCount":45}"#,
                (Some(39), Some(6), Some(5), None, None),
            ),
            // Nothing of the answer is counted yet; thinking ate it all; thoughts that only the total tells.
            (r#"{"promptTokenCount":9,"totalTokenCount":9}"#, (Some(9), None, None, None, None)),
            (
                r#"{"promptTokenCount":9,"thoughtsTokenCount":5,"totalTokenCount":14}"#,
                (Some(9), Some(5), Some(5), None, None),
            ),
            (
                r#"{"promptTokenCount":9,"candidatesTokenCount":2,"totalTokenCount":20}"#,
                (Some(9), Some(11), Some(9), None, None),
            ),
            (r#"{"candidatesTokenCount":18,"thoughtsTokenCount":58}"#, (None, Some(76), Some(58), None, None)),
            (
                r#"{"promptTokenCount":9,"promptTokensDetails":[{"modality":"TEXT","tokenCount":4},{"modality":"AUDIO","tokenCount":5}]}"#,
                (Some(9), None, None, None, Some(5)),
            ),
        ];
        for (raw, expected) in cases {
            let (usage, _) = read(raw).expect("it says counts");
            let got = (
                usage.input_tokens,
                usage.output_tokens,
                usage.reasoning_tokens,
                usage.cached_input_tokens,
                usage.audio_input_tokens,
            );
            assert_eq!(got, *expected, "{raw}");
        }
        for nothing in ["{}", "[]", r#"{"trafficType":"ON_DEMAND"}"#] {
            assert!(read(nothing).is_none(), "{nothing}");
        }
    }

    #[test]
    fn the_price_knows_the_tier_and_the_images() {
        for (raw, tier, images) in [
            (r#"{"promptTokenCount":1,"serviceTier":"priority"}"#, Some("priority"), None),
            (r#"{"promptTokenCount":1,"trafficType":"ON_DEMAND_FLEX"}"#, Some("flex"), None),
            (r#"{"promptTokenCount":1,"trafficType":"ON_DEMAND"}"#, None, None),
            (
                r#"{"promptTokenCount":1,"candidatesTokensDetails":[{"modality":"IMAGE","tokenCount":1290}]}"#,
                None,
                Some(1290),
            ),
        ] {
            let (_, bill) = read(raw).unwrap();
            assert_eq!((bill.service_tier.as_deref(), bill.image_output_tokens), (tier, images), "{raw}");
        }
    }
}
