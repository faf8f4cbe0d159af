//! Options of a job that come in headers beside its body.
//!
//! Owns `Forebay-Metadata`, `Forebay-Options` and the `cf-aig-*` aliases. Promises that a header and
//! the body which disagree are an error that names the field; nothing is overridden silently. Does
//! not know HTTP: it takes names and values.
//!
//! What the aliases mean is Cloudflare's documentation of its AI Gateway
//! (developers.cloudflare.com/ai-gateway/), as of October 2026.

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::submit::JobRequest;
use crate::job::strict;
use crate::job::{Backoff, CostOverride, Failure, ModelName, Options, Tags};

/// Applies one header to a job request. Unknown names are left alone.
///
/// # Errors
/// `invalid` or `unsupported`, naming the header.
pub fn apply(request: &mut JobRequest, name: &str, value: &str) -> Result<(), Failure> {
    let options = &mut request.options;
    match name {
        "forebay-metadata" | "cf-aig-metadata" => {
            let tags: Tags = json(name, value)?;
            let before = std::mem::replace(&mut request.metadata, tags.clone());
            agree(name, before.is_empty() || before == tags)
        }
        "forebay-options" => {
            let given: Options = json(name, value)?;
            let before = std::mem::replace(options, given.clone());
            agree(name, before == Options::default() || before == given)
        }
        // Until the first part of the answer; after that they set no limit.
        "cf-aig-request-timeout" => set(name, &mut options.timeouts.first_token_ms, number(name, value)?),
        "cf-aig-max-attempts" => set(name, &mut options.retry.max_attempts, number(name, value)?),
        "cf-aig-retry-delay" => set(name, &mut options.retry.delay_ms, number(name, value)?),
        "cf-aig-backoff" => {
            let backoff: Backoff = serde_json::from_value(value.into())
                .map_err(|_| Failure::invalid(name, "must be constant, linear or exponential"))?;
            set(name, &mut options.retry.backoff, backoff)
        }
        "cf-aig-collect-log" | "cf-aig-collect-log-payload" => {
            options.log_payload &= boolean(name, value)?;
            Ok(())
        }
        "cf-aig-custom-cost" => set(name, &mut options.cost, json::<CostOverride>(name, value)?),
        // They say how old an answer may be, not that there is one: a cache that always misses does
        // what they ask, and the answer says `miss`.
        "cf-aig-skip-cache" => boolean(name, value).map(drop),
        "cf-aig-cache-ttl" => number::<u64>(name, value).map(drop),
        "cf-aig-cache-key" => Ok(()),
        // A client that sends one of these relies on it.
        "cf-aig-zdr" if boolean(name, value)? => {
            Err(Failure::unsupported(name, "what a provider keeps is between it and the owner of the key"))
        }
        "cf-aig-byok-alias" => Err(Failure::unsupported(name, "a provider has one key; name another provider")),
        _ => Ok(()),
    }
}

fn set<T: PartialEq + Copy>(name: &str, field: &mut Option<T>, value: T) -> Result<(), Failure> {
    let before = field.replace(value);
    agree(name, before.is_none_or(|before| before == value))
}

fn agree(name: &str, agreed: bool) -> Result<(), Failure> {
    if agreed {
        return Ok(());
    }
    Err(Failure::invalid(name, "the body or another header says something else"))
}

fn json<T: DeserializeOwned>(name: &str, value: &str) -> Result<T, Failure> {
    strict::json(serde_json::Deserializer::from_str(value)).map_err(|error| match error.is_trailing() {
        true => Failure::invalid(name, error),
        false => Failure::invalid(name, format!("{}: {error}", error.path())),
    })
}

fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, Failure> {
    value.parse().map_err(|_| Failure::invalid(name, "must be a whole number"))
}

fn boolean(name: &str, value: &str) -> Result<bool, Failure> {
    value.parse().map_err(|_| Failure::invalid(name, "must be true or false"))
}

/// The job of a body that is only the input: the model stands in the address. A `stream` beside
/// the input's own fields is taken out of it, the rest stays byte for byte.
///
/// # Errors
/// `invalid`, naming the field.
pub fn of_input(model: ModelName, body: &[u8]) -> Result<JobRequest, Failure> {
    let text = std::str::from_utf8(body).map_err(|_| Failure::invalid("input", "the body is not UTF-8"))?;
    let input: Box<RawValue> = serde_json::from_str(text).map_err(|error| Failure::invalid("input", error))?;
    let (input, stream) = without_stream(input)?;
    Ok(JobRequest::new(model, input, stream))
}

fn without_stream(input: Box<RawValue>) -> Result<(Box<RawValue>, Option<bool>), Failure> {
    let text = input.get();
    if !text.starts_with('{') || memchr::memmem::find(text.as_bytes(), br#""stream""#).is_none() {
        return Ok((input, None));
    }
    let mut fields: std::collections::BTreeMap<String, &RawValue> =
        serde_json::from_str(text).map_err(|error| Failure::invalid("input", error))?;
    let Some(stream) = fields.remove("stream") else {
        return Ok((input, None));
    };
    let stream = serde_json::from_str(stream.get()).map_err(|_| Failure::invalid("stream", "must be true or false"))?;
    let rest = serde_json::value::to_raw_value(&fields).map_err(|error| Failure::invalid("input", error))?;
    Ok((rest, Some(stream)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_headers(body: &str, headers: &[(&str, &str)]) -> Result<JobRequest, Failure> {
        let mut request = crate::wire::submit::from_json(body.as_bytes())?;
        for (name, value) in headers {
            apply(&mut request, name, value)?;
        }
        Ok(request)
    }

    #[test]
    fn every_alias_means_an_option() {
        let headers = [
            ("cf-aig-metadata", r#"{"teamId":"AI"}"#),
            ("forebay-metadata", r#"{"teamId":"AI"}"#),
            ("cf-aig-request-timeout", "5000"),
            ("cf-aig-max-attempts", "4"),
            ("cf-aig-retry-delay", "10"),
            ("cf-aig-backoff", "linear"),
            ("cf-aig-collect-log", "true"),
            ("cf-aig-collect-log-payload", "false"),
            (
                "cf-aig-custom-cost",
                r#"{"per_token_in":0.000001,"per_token_out":0.000002,"per_cache_read_token":"0.0000001"}"#,
            ),
            ("cf-aig-skip-cache", "true"),
            ("cf-aig-cache-ttl", "3600"),
            ("cf-aig-cache-key", "mine"),
            ("cf-aig-zdr", "false"),
            ("cf-aig-event-id", "whatever"),
        ];
        let request = with_headers(r#"{"model":"m","input":"x"}"#, &headers).unwrap();
        assert_eq!((request.options.timeouts.first_token_ms, request.options.timeouts.total_ms), (Some(5000), None));
        assert_eq!(request.options.retry.max_attempts, Some(4));
        assert_eq!(request.options.retry.delay_ms, Some(10));
        assert_eq!(request.options.retry.backoff, Some(Backoff::Linear));
        assert!(!request.options.log_payload);
        let cost = request.options.cost.unwrap();
        assert_eq!(cost.per_token_out.to_string(), "0.000002");
        assert_eq!(cost.per_cache_read_token.map(|usd| usd.to_string()).as_deref(), Some("0.0000001"));
        assert_eq!(cost.per_cache_write_token, None);
        assert!(request.metadata.get("teamId").is_some());
    }

    #[test]
    fn a_wrong_or_contradicting_header_is_named() {
        let body = r#"{"model":"m","input":"x","metadata":{"a":1},"options":{"retry":{"max_attempts":2}}}"#;
        for (name, value) in [
            ("forebay-metadata", r#"{"a":2}"#),
            ("forebay-metadata", "nonsense"),
            ("forebay-metadata", r#"{"a":1} x"#),
            ("forebay-options", r#"{"priority":1}"#),
            ("forebay-options", r#"{"nope":1}"#),
            ("cf-aig-max-attempts", "3"),
            ("cf-aig-max-attempts", "-1"),
            ("cf-aig-backoff", "sometimes"),
            ("cf-aig-collect-log", "maybe"),
            ("cf-aig-custom-cost", "{}"),
            ("cf-aig-custom-cost", r#"{"total_cost":1}"#),
            ("cf-aig-cache-ttl", "soon"),
            ("cf-aig-skip-cache", "perhaps"),
            ("cf-aig-zdr", "true"),
            ("cf-aig-byok-alias", "other"),
        ] {
            let failure = with_headers(body, &[(name, value)]).expect_err(name);
            assert_eq!(failure.param.as_deref(), Some(name), "{failure}");
        }
        assert!(with_headers(body, &[("forebay-metadata", r#"{"a":1}"#), ("cf-aig-max-attempts", "2")]).is_ok());
    }

    #[test]
    fn an_input_alone_keeps_its_bytes_and_gives_up_its_stream() {
        let model = || "m".parse().unwrap();
        let kept = r#"{ "messages": [], "x": 1.50 }"#;
        assert_eq!(of_input(model(), kept.as_bytes()).unwrap().input.get(), kept);
        let request = of_input(model(), br#"{"x":1.50,"stream":true,"messages":[]}"#).unwrap();
        assert_eq!((request.input.get(), request.stream), (r#"{"messages":[],"x":1.50}"#, Some(true)));
        for (bad, param) in [(&b"\xff"[..], "input"), (b"{", "input"), (b"", "input"), (br#"{"stream":1}"#, "stream")] {
            assert_eq!(of_input(model(), bad).unwrap_err().param.as_deref(), Some(param));
        }
    }
}
