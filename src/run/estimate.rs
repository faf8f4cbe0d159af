//! Estimates the usage of attempts whose provider reported none: counted by a tokenizer, and marked so.
//!
//! The text of an answer is not kept in memory while it streams; here, at the end and in this rare case
//! only, it is read back from the job's own log, and counted on a thread that may block.

use super::job_run::{JobRun, each_record};
use crate::job::{Event, Failure, Task, Usage, UsageSource};
use crate::meter::tokens;
use crate::provider;
use crate::wire::record::BodyRef;

/// Number of bytes of answers that are read back for a count; what is longer is counted by its length.
const TEXT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Fills in the usage of ended attempts that lack it. Attempts that have it cost one comparison.
pub(crate) async fn fill(run: &mut JobRun) {
    let lacks: Vec<usize> = (0..run.attempts.len()).filter(|at| lacks_usage(run, *at)).collect();
    if lacks.is_empty() {
        return;
    }
    let texts = match answers(run).await {
        Ok(texts) => texts,
        Err(failure) => {
            tracing::warn!(job = %run.job.id, %failure, "an answer cannot be read back; its length is counted");
            Vec::new()
        }
    };
    let job = std::sync::Arc::clone(&run.job);
    let to_count: Vec<(usize, Box<str>, Option<String>)> =
        lacks.iter().map(|at| (*at, run.attempts[*at].target.model.clone(), answer(run, &texts, *at))).collect();
    let counted = tokio::task::spawn_blocking(move || {
        let count = |(at, model, text): (usize, Box<str>, Option<String>)| {
            (at, tokens::of_input(&model, &job), text.map(|text| tokens::count(&model, &text)))
        };
        to_count.into_iter().map(count).collect::<Vec<_>>()
    });
    for (at, input, output) in counted.await.unwrap_or_default() {
        let record = &mut run.attempts[at];
        let output = output.unwrap_or_else(|| provider::estimate_tokens(record.emitted_bytes));
        let usage = record.usage.get_or_insert_with(Usage::default);
        usage.input_tokens.get_or_insert(input);
        if makes_text(run.job.task) {
            usage.output_tokens.get_or_insert(output);
        }
        usage.source = UsageSource::Estimate;
    }
}

/// Returns the answer that an attempt received the end of, from its beginning.
fn answer(run: &JobRun, texts: &[String], at: usize) -> Option<String> {
    let mut pieces = vec![texts.get(at)?.as_str()];
    let mut earlier = run.attempts[at].continues;
    while let Some(at) = earlier {
        pieces.push(texts.get(at)?);
        earlier = run.attempts[at].continues;
    }
    pieces.reverse();
    Some(pieces.concat())
}

fn lacks_usage(run: &JobRun, at: usize) -> bool {
    let record = &run.attempts[at];
    let is_known = record
        .usage
        .as_ref()
        .is_some_and(|usage| usage.output_tokens.is_some() || record.emitted_bytes == 0 || !makes_text(run.job.task));
    record.is_billable() && !is_known && (makes_text(run.job.task) || reads_text(run.job.task))
}

fn makes_text(task: Task) -> bool {
    matches!(task, Task::Chat | Task::Prediction)
}

fn reads_text(task: Task) -> bool {
    matches!(task, Task::Embedding | Task::Rerank | Task::Moderation)
}

/// Reads the answer of each attempt as text.
async fn answers(run: &JobRun) -> Result<Vec<String>, Failure> {
    let mut answers = Answers { texts: Vec::with_capacity(run.attempts.len()), left: TEXT_BYTES_MAX };
    each_record(run.writer.stream(), run.writer.log(), |_, body| match body {
        BodyRef::Delta { text, .. } => answers.add(&text),
        BodyRef::Event(event) => answers.visit(&event),
    })
    .await?;
    for event in &run.readers.pending {
        answers.visit(event);
    }
    Ok(answers.texts.into_iter().map(|(text, _)| text).collect())
}

/// The text of every attempt, and whether it was lost: where two race, readers get the answer of the one
/// that was not lost.
struct Answers {
    texts: Vec<(String, bool)>,
    /// Number of bytes that may still be kept.
    left: usize,
}

impl Answers {
    fn visit(&mut self, event: &Event) {
        match event {
            Event::Attempt(_) => self.texts.push((String::new(), false)),
            Event::Lost(lost) => {
                let place = usize::try_from(lost.attempt).unwrap_or(usize::MAX).saturating_sub(1);
                if let Some((_, is_lost)) = self.texts.get_mut(place) {
                    *is_lost = true;
                }
            }
            Event::Delta(delta) => self.add(&delta.text),
            Event::ToolCall(call) => {
                self.add(call.name.as_deref().unwrap_or(""));
                self.add(&call.arguments);
            }
            _ => {}
        }
    }

    fn add(&mut self, piece: &str) {
        let speaking = self.texts.iter_mut().rev().find(|(_, is_lost)| !is_lost);
        if let Some((text, _)) = speaking.filter(|_| piece.len() <= self.left) {
            self.left -= piece.len();
            text.push_str(piece);
        }
    }
}
