//! Text completions, the form before chats. Their answers are read, since servers of the chat dialect
//! still send them; no job becomes such a request, so nothing is rebuilt.

use forebay::provider::Framing;
use forebay::provider::protocol::{error, openai_chat};
use serde_json::{Value, json};

use super::{Dialect, sse_data};
use crate::replay::{Gist, Reply};

pub(crate) const DIALECT: Dialect = Dialect {
    name: "completions",
    speaks: |_, api| api == "completions",
    framing: Framing::Sse,
    decoder: |_| Box::<openai_chat::ChatDecoder>::default(),
    classify: error::classify,
    oracle: read,
    rebuild: |_| None,
};

fn read(reply: &Reply) -> Option<Gist> {
    let text = std::str::from_utf8(&reply.body).expect("recorded bodies are text");
    let chunks = if text.trim_start().starts_with('{') { vec![text.trim().to_owned()] } else { sse_data(text) };
    let mut gist = Gist::default();
    for chunk in chunks.iter().take_while(|data| *data != "[DONE]") {
        let chunk: Value = serde_json::from_str(chunk).expect("recorded packets are JSON");
        for choice in chunk["choices"].as_array()? {
            let index = usize::try_from(choice["index"].as_u64()?).expect("small");
            gist.choice(index)[0].push_str(choice["text"].as_str()?);
            if let Some(reason) = choice["finish_reason"].as_str().filter(|_| index == 0) {
                gist.finish = reason.to_owned();
            }
        }
        if let Some(input) = chunk["usage"]["prompt_tokens"].as_u64() {
            gist.usage = json!({"input_tokens": input, "output_tokens": chunk["usage"]["completion_tokens"]});
        }
    }
    (!gist.finish.is_empty()).then_some(gist)
}
