//! What an attempt used whose provider told nothing: counted by a tokenizer, and marked so.
//!
//! The answer's text is not kept while it streams; here, at the end and in this rare case only, it is
//! read back from the job's own log, and counted on a thread that may block.

use super::course::{Course, each_record};
use crate::job::{AttemptOutcome, Event, Failure, Task, Usage, UsageSource};
use crate::meter::tokens;
use crate::provider;
use crate::wire::record::BodyRef;

/// Bytes of answers that are read back for a count; what is longer is counted by its length.
const TEXT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Fills in the usage of attempts that lack it. Attempts that have it cost a look at them.
pub(super) async fn fill(course: &mut Course) {
    let lacks: Vec<usize> = (0..course.attempts.len()).filter(|at| lacks_usage(course, *at)).collect();
    if lacks.is_empty() {
        return;
    }
    let texts = match answers(course).await {
        Ok(texts) => texts,
        Err(failure) => {
            tracing::warn!(job = %course.job.id, %failure, "an answer cannot be read back; its length is counted");
            Vec::new()
        }
    };
    let job = std::sync::Arc::clone(&course.job);
    let asked: Vec<(usize, Box<str>, Option<String>)> =
        lacks.iter().map(|at| (*at, course.attempts[*at].target.model.clone(), texts.get(*at).cloned())).collect();
    let counted = tokio::task::spawn_blocking(move || {
        let count = |(at, model, text): (usize, Box<str>, Option<String>)| {
            (at, tokens::of_input(&model, &job), text.map(|text| tokens::count(&model, &text)))
        };
        asked.into_iter().map(count).collect::<Vec<_>>()
    });
    for (at, input, output) in counted.await.unwrap_or_default() {
        let spent = &mut course.attempts[at];
        let output = output.unwrap_or_else(|| provider::estimate_tokens(spent.emitted_bytes));
        let usage = spent.usage.get_or_insert_with(Usage::default);
        usage.input_tokens.get_or_insert(input);
        if makes_text(course.job.task) {
            usage.output_tokens.get_or_insert(output);
        }
        usage.source = UsageSource::Estimate;
    }
}

fn lacks_usage(course: &Course, at: usize) -> bool {
    let spent = &course.attempts[at];
    let gave = spent.outcome == Some(AttemptOutcome::Completed) || spent.emitted_bytes > 0;
    let is_known = spent
        .usage
        .as_ref()
        .is_some_and(|usage| usage.output_tokens.is_some() || spent.emitted_bytes == 0 || !makes_text(course.job.task));
    gave && !is_known && (makes_text(course.job.task) || reads_text(course.job.task))
}

fn makes_text(task: Task) -> bool {
    matches!(task, Task::Chat | Task::Prediction)
}

fn reads_text(task: Task) -> bool {
    matches!(task, Task::Embedding | Task::Rerank | Task::Moderation)
}

/// What each attempt answered, as text.
async fn answers(course: &Course) -> Result<Vec<String>, Failure> {
    let mut texts: Vec<String> = Vec::with_capacity(course.attempts.len());
    let mut left = TEXT_BYTES_MAX;
    let mut add = |texts: &mut Vec<String>, piece: &str| {
        if let Some(text) = texts.last_mut().filter(|_| piece.len() <= left) {
            left -= piece.len();
            text.push_str(piece);
        }
    };
    let visit = |texts: &mut Vec<String>, event: &Event, add: &mut dyn FnMut(&mut Vec<String>, &str)| match event {
        Event::Attempt(_) => texts.push(String::new()),
        Event::Delta(delta) => add(texts, &delta.text),
        Event::ToolCall(call) => {
            add(texts, call.name.as_deref().unwrap_or(""));
            add(texts, &call.arguments);
        }
        _ => {}
    };
    each_record(course.writer.stream(), course.writer.log(), |body| match body {
        BodyRef::Delta { text, .. } => add(&mut texts, &text),
        BodyRef::Event(event) => visit(&mut texts, &event, &mut add),
    })
    .await?;
    for event in &course.pending {
        visit(&mut texts, event, &mut add);
    }
    Ok(texts)
}
