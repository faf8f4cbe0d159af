//! Reads the embedded file: a line a model, its fields apart by tabs, in the order of the third line.
//!
//! The file is ours and tested: a line that cannot be read is a bug, and it is left out.

use super::ability::Abilities;
use super::name::Name;
use super::{Entry, Prices};
use crate::job::Task;

/// The date of the prices, and every model.
pub(super) fn all(text: &'static str) -> (&'static str, Vec<Entry>) {
    let date = text.lines().find_map(|line| line.strip_prefix("# date ")).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    (date, lines.filter_map(entry).collect())
}

pub(super) fn entry(line: &'static str) -> Option<Entry> {
    let mut fields = line.split('\t');
    let mut next = || fields.next();
    let some = |text: &'static str| (!text.is_empty()).then_some(text);
    let number = |text: &str| text.parse::<u64>().ok();
    let (provider, id, region) = (next()?, next()?, some(next()?));
    Some(Entry {
        provider,
        id,
        region,
        task: task(next()?)?,
        input_tokens_max: number(next()?),
        output_tokens_max: number(next()?),
        dimensions: number(next()?),
        deprecated: some(next()?),
        abilities: next()?
            .split(' ')
            .filter(|name| !name.is_empty())
            .try_fold(Abilities::default(), Abilities::with)?,
        prices: Prices(next()?),
        name: Name::of(provider, id),
    })
}

fn task(name: &str) -> Option<Task> {
    let all = [
        Task::Chat,
        Task::Embedding,
        Task::Image,
        Task::Speech,
        Task::Transcription,
        Task::Video,
        Task::Music,
        Task::Rerank,
        Task::Moderation,
        Task::Prediction,
    ];
    all.into_iter().find(|task| task.as_str() == name)
}
