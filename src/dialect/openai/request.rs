//! A request's body as a job: the entrance's fields are taken out, the rest is the input to the byte.

use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::job::{Code, Failure, Fields, ModelName};
use crate::wire::submit::JobRequest;

/// A request to `/v1/chat/completions`.
#[derive(Debug)]
pub struct Chat {
    /// The job; its `stream` is how the answer is read.
    pub request: JobRequest,
    /// Whether the stream ends with the usage.
    pub include_usage: bool,
}

/// Reads the body of `/v1/chat/completions`.
///
/// # Errors
/// `invalid`, naming the field.
pub fn chat(body: &[u8]) -> Result<Chat, Failure> {
    let (rest, [model, stream, options, messages]) = take_out(body, ["model", "stream", "stream_options"], "messages")?;
    match messages {
        Some(messages) if messages.get().starts_with('[') => {}
        Some(_) => return Err(Failure::invalid("messages", "must be an array")),
        None => return Err(Failure::invalid("messages", "is missing")),
    }
    let (stream, include_usage) = streaming(stream, options)?;
    Ok(Chat { request: job_request(model, rest, Some(stream))?, include_usage })
}

/// Reads the body of `/v1/completions`: a chat of one message.
///
/// # Errors
/// `invalid`, naming the field; `unsupported` for what a chat cannot do.
pub fn completion(body: &[u8]) -> Result<Chat, Failure> {
    let names = ["model", "stream", "stream_options", "prompt", "suffix", "echo", "best_of", "logprobs"];
    let (rest, [model, stream, options, prompt, suffix, echo, best_of, logprobs, messages]) =
        take_out(body, names, "messages")?;
    if messages.is_some() {
        return Err(Failure::invalid("messages", "belongs to /v1/chat/completions"));
    }
    for (name, value, nothing) in [
        ("suffix", suffix, "\"\""),
        ("echo", echo, "false"),
        ("best_of", best_of, "1"),
        ("logprobs", logprobs, "false"),
    ] {
        if value.is_some_and(|value| ![nothing, "null"].contains(&value.get())) {
            return Err(Failure::unsupported(name, "the prompt is put as a chat, which cannot do that"));
        }
    }
    let prompt =
        prompt.filter(|prompt| prompt.get() != "null").ok_or_else(|| Failure::invalid("prompt", "is missing"))?;
    let several = || Failure::unsupported("prompt", "must be one text: ask for each by itself");
    let prompt: &RawValue = match prompt.get().as_bytes().first() {
        Some(b'[') => match field::<Vec<&RawValue>>("prompt", Some(prompt), "must be a text")?.as_deref() {
            Some([only]) => only,
            _ => return Err(several()),
        },
        _ => prompt,
    };
    if !prompt.get().starts_with('"') {
        return Err(several());
    }
    let comma = if rest[1..].trim_ascii_start().starts_with('}') { "" } else { "," };
    let messages = format!(r#"{{"messages":[{{"role":"user","content":{prompt}}}]{comma}"#);
    let (stream, include_usage) = streaming(stream, options)?;
    Ok(Chat { request: job_request(model, messages + &rest[1..], Some(stream))?, include_usage })
}

/// Whether there is to be a stream, and whether it ends with the usage.
fn streaming(stream: Option<&RawValue>, options: Option<&RawValue>) -> Result<(bool, bool), Failure> {
    #[derive(Deserialize, Default)]
    struct StreamOptions {
        #[serde(default)]
        include_usage: Option<bool>,
    }
    let stream: Option<bool> = field("stream", stream, "must be true or false")?;
    let options: Option<StreamOptions> =
        field("stream_options", options, "must be an object, with include_usage true or false")?;
    if options.is_some() && stream != Some(true) {
        return Err(Failure::invalid("stream_options", "is only for a stream"));
    }
    Ok((stream.unwrap_or(false), options.and_then(|options| options.include_usage).unwrap_or(false)))
}

/// Reads the body of `/v1/embeddings`.
///
/// # Errors
/// `invalid`, naming the field.
pub fn embedding(body: &[u8]) -> Result<JobRequest, Failure> {
    let (rest, [model, input]) = take_out(body, ["model"], "input")?;
    if input.is_none_or(|input| input.get() == "null") {
        return Err(Failure::invalid("input", "is missing"));
    }
    job_request(model, rest, Some(false))
}

fn job_request(model: Option<&RawValue>, rest: String, stream: Option<bool>) -> Result<JobRequest, Failure> {
    let model: Option<String> = field("model", model, "must be a string")?;
    let model: ModelName = model.ok_or_else(|| Failure::invalid("model", "is missing"))?.parse()?;
    let input = RawValue::from_string(rest).map_err(|error| Failure::new(Code::Invalid, error.to_string()))?;
    Ok(JobRequest::new(model, input, stream))
}

fn field<'a, T: Deserialize<'a>>(name: &str, value: Option<&'a RawValue>, wanted: &str) -> Result<Option<T>, Failure> {
    let Some(value) = value else { return Ok(None) };
    serde_json::from_str(value.get()).map_err(|_| Failure::invalid(name, wanted))
}

/// What is left without the fields `names`, every byte of it as it came; then the values of `names`
/// and of `seen`, which stays.
fn take_out<'a, const N: usize, const M: usize>(
    body: &'a [u8],
    names: [&str; N],
    seen: &str,
) -> Result<(String, [Option<&'a RawValue>; M]), Failure> {
    const { assert!(M == N + 1, "a value for each name") };
    let wrong = |error: &dyn fmt::Display| Failure::new(Code::Invalid, format!("the body is not JSON: {error}"));
    let text = std::str::from_utf8(body).map_err(|error| wrong(&error))?.trim_ascii();
    if !text.starts_with('{') {
        return Err(Failure::new(Code::Invalid, "the body must be a JSON object"));
    }
    let Fields(fields) = serde_json::from_str(text).map_err(|error| wrong(&error))?;
    let mut values = [None; M];
    let mut rest = String::with_capacity(text.len());
    rest.push('{');
    let mut from = 1;
    for (name, value) in fields {
        let end = value.get().as_ptr().addr() - text.as_ptr().addr() + value.get().len();
        let field = &text[from..end];
        from = end;
        let taken = names.iter().position(|known| *known == name);
        if let Some(at) = taken.or_else(|| (name == seen).then_some(N))
            && values[at].replace(value).is_some()
        {
            return Err(Failure::invalid(&name, "is given twice"));
        }
        if taken.is_none() {
            let first = (rest.len() == 1).then(|| field.trim_ascii_start().strip_prefix(',')).flatten();
            rest.push_str(first.map_or(field, str::trim_ascii_start));
        }
    }
    rest.push_str(&text[from..]);
    Ok((rest, values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_the_doors_stays_to_the_byte() {
        for (body, input, stream, include_usage) in [
            (r#"{"model":"m","messages":[]}"#, r#"{"messages":[]}"#, false, false),
            // The blank before a field's comma goes with it.
            (r#" { "messages" : [ ] , "model":"m" } "#, r#"{ "messages" : [ ] }"#, false, false),
            (
                "{\"model\":\"m\" ,\n \"messages\":[],\"temperature\" : 1.50,\t\"x\\u0079\":{\"model\":1} }",
                "{\"messages\":[],\"temperature\" : 1.50,\t\"x\\u0079\":{\"model\":1} }",
                false,
                false,
            ),
            (
                r#"{"stream":true,"a":1,"m\u006fdel":"m","metadata":{"k":"v"},"stream_options":{"include_usage":true,"x":1},"messages":[],"z":1e400}"#,
                r#"{"a":1,"metadata":{"k":"v"},"messages":[],"z":1e400}"#,
                true,
                true,
            ),
            (
                r#"{"stream":null,"stream_options":null,"model":"m","messages":[{"content":null}]}"#,
                r#"{"messages":[{"content":null}]}"#,
                false,
                false,
            ),
        ] {
            let parsed = chat(body.as_bytes()).unwrap_or_else(|failure| panic!("{body}: {failure}"));
            assert_eq!(parsed.request.input.get(), input);
            assert_eq!((parsed.request.stream, parsed.include_usage), (Some(stream), include_usage), "{body}");
            assert_eq!(parsed.request.model.as_str(), "m");
        }
        let request = embedding(br#"{"input": ["a"], "model": "m", "dimensions": 3}"#).unwrap();
        assert_eq!(request.input.get(), r#"{"input": ["a"], "dimensions": 3}"#);
    }

    #[test]
    fn a_prompt_is_a_chat_of_one_message() {
        for (body, input) in [
            (r#"{"model":"m","prompt":"Hi"}"#, r#"{"messages":[{"role":"user","content":"Hi"}]}"#),
            (
                r#"{"prompt":["Hi"],"max_tokens":5, "echo":false,"model":"m","suffix":null,"n":2}"#,
                r#"{"messages":[{"role":"user","content":"Hi"}],"max_tokens":5,"n":2}"#,
            ),
        ] {
            let parsed = completion(body.as_bytes()).unwrap_or_else(|failure| panic!("{body}: {failure}"));
            assert_eq!(parsed.request.input.get(), input);
        }
        for (body, code, param) in [
            (r#"{"model":"m"}"#, Code::Invalid, "prompt"),
            (r#"{"model":"m","prompt":["a","b"]}"#, Code::Unsupported, "prompt"),
            (r#"{"model":"m","prompt":[1,2]}"#, Code::Unsupported, "prompt"),
            (r#"{"model":"m","prompt":[[1]]}"#, Code::Unsupported, "prompt"),
            (r#"{"model":"m","prompt":7}"#, Code::Unsupported, "prompt"),
            (r#"{"model":"m","prompt":"a","suffix":"b"}"#, Code::Unsupported, "suffix"),
            (r#"{"model":"m","prompt":"a","echo":true}"#, Code::Unsupported, "echo"),
            (r#"{"model":"m","prompt":"a","logprobs":1}"#, Code::Unsupported, "logprobs"),
            (r#"{"model":"m","prompt":"a","best_of":3}"#, Code::Unsupported, "best_of"),
            (r#"{"model":"m","prompt":"a","messages":[]}"#, Code::Invalid, "messages"),
            (r#"{"prompt":"a"}"#, Code::Invalid, "model"),
        ] {
            let failure = completion(body.as_bytes()).expect_err(body);
            assert_eq!((failure.code, failure.param.as_deref()), (code, Some(param)), "{failure}");
        }
    }

    #[test]
    fn bad_input_is_named() {
        for (body, param) in [
            (&b"\xff"[..], None),
            (b"", None),
            (b"[]", None),
            (b"{", None),
            (b"{}", Some("messages")),
            (br#"{"messages":[]}"#, Some("model")),
            (br#"{"messages":[],"model":null}"#, Some("model")),
            (br#"{"messages":[],"model":7}"#, Some("model")),
            (br#"{"messages":[],"model":" "}"#, Some("model")),
            (br#"{"messages":[],"model":"m","model":"m"}"#, Some("model")),
            (br#"{"messages":"Hi","model":"m"}"#, Some("messages")),
            (br#"{"messages":[],"model":"m","stream":"yes"}"#, Some("stream")),
            (br#"{"messages":[],"model":"m","stream":true,"stream_options":1}"#, Some("stream_options")),
            (br#"{"messages":[],"model":"m","stream_options":{}}"#, Some("stream_options")),
        ] {
            let failure = chat(body).expect_err(&String::from_utf8_lossy(body));
            assert_eq!((failure.code, failure.param.as_deref()), (Code::Invalid, param), "{failure}");
        }
        assert_eq!(embedding(br#"{"model":"m"}"#).unwrap_err().param.as_deref(), Some("input"));
    }
}
