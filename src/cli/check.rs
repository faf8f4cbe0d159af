//! `forebay check`, and reading the configuration for `serve`.

use std::path::Path;

use super::{CommandError, show};
use crate::config::{self, Loaded};
use crate::snapshot::ConfigSnapshot;

/// Loads the configuration of this process.
///
/// # Errors
/// Usage, with one line per problem.
pub(super) fn load(path: Option<&Path>) -> Result<Loaded, CommandError> {
    config::load(path, config::environment()).map_err(|problems| {
        for problem in &problems {
            show::stderr_line(&problem.to_string());
        }
        counted(problems.len())
    })
}

fn counted(count: usize) -> CommandError {
    let plural = if count == 1 { "" } else { "s" };
    CommandError::Usage(format!("the configuration has {count} problem{plural}"))
}

/// Carries out `forebay check`.
pub(super) fn run(path: Option<&Path>) -> Result<(), CommandError> {
    let loaded = load(path)?;
    let place = loaded.path.display();
    // What only the providers know: their kinds, and what each of them needs.
    let built = ConfigSnapshot::build(loaded.config.clone(), &|name| loaded.env(name));
    built.map(drop).map_err(|problems| {
        for problem in &problems {
            show::stderr_line(&format!("{place}: {problem}"));
        }
        counted(problems.len())
    })?;
    let message =
        if loaded.path.exists() { format!("{place}: ok") } else { format!("no {place}: the defaults are ok") };
    show::stdout_line(&message).map_err(CommandError::from)
}
