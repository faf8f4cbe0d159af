//! Reads `forebay.toml` and the environment's overrides into a checked [`Config`].
//!
//! `FOREBAY__SECTION__KEY` overrides `section.key`. Its text is read as TOML where that fits the key
//! (numbers, booleans, arrays, inline tables) and as plain text otherwise; a name in the file is met
//! without regard to case, `-` and `_`. All problems are found at once, as far as they can be.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use toml::de::DeTable;
use toml::{Table, Value};

use super::problem::{Path, Places, Problem, line, without_value};
use super::{Config, check};
use crate::job::strict;

/// What is read when no file is named, if it is there.
const FILE: &str = "forebay.toml";
const PREFIX: &str = "FOREBAY__";
/// Problems that are shown at once: more do not help.
const PROBLEMS_MAX: usize = 50;
/// Levels of a key that a variable may name.
const LEVELS_MAX: usize = 8;

/// A checked configuration and where it came from.
#[derive(Clone)]
pub struct Loaded {
    /// Settings that the operator made.
    pub config: Config,
    /// The file, which need not exist.
    pub path: PathBuf,
    /// Whether the operator named the file, so that it must exist.
    pub(super) is_named: bool,
    pub(super) env: Arc<BTreeMap<String, String>>,
}

impl Loaded {
    /// An environment variable as it was at the start.
    #[must_use]
    pub fn env(&self, name: &str) -> Option<String> {
        self.env.get(name).cloned()
    }

    /// Reads the same file again under the same environment.
    ///
    /// # Errors
    /// Every problem.
    pub fn again(&self) -> Result<Loaded, Vec<Problem>> {
        read(self.path.clone(), self.is_named, Arc::clone(&self.env))
    }
}

impl fmt::Debug for Loaded {
    /// Without the environment: it holds secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded").field("path", &self.path).field("config", &self.config).finish_non_exhaustive()
    }
}

/// Returns the variables of the process's environment that are UTF-8; others cannot be meant for Forebay.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Reads the file at `path`, which must exist, or else `forebay.toml` in the working directory, which
/// need not; then what `env` overrides; then checks the whole.
///
/// # Errors
/// Every problem, in the order of the file.
pub fn load(path: Option<&FilePath>, env: impl Iterator<Item = (String, String)>) -> Result<Loaded, Vec<Problem>> {
    read(path.unwrap_or(FilePath::new(FILE)).to_owned(), path.is_some(), Arc::new(env.collect()))
}

fn read(path: PathBuf, is_named: bool, env: Arc<BTreeMap<String, String>>) -> Result<Loaded, Vec<Problem>> {
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !is_named => String::new(),
        Err(error) => {
            let place = path.display().to_string();
            return Err(vec![Problem { place, key: String::new(), message: format!("cannot be read: {error}") }]);
        }
    };
    let config = parse(&path.display().to_string(), &text, &env)?;
    Ok(Loaded { config, path, is_named, env })
}

/// Reads `text` as the content of `file`.
pub(super) fn parse(file: &str, text: &str, env: &BTreeMap<String, String>) -> Result<Config, Vec<Problem>> {
    let syntax = |error: toml::de::Error| {
        let place = error.span().map_or(file.to_owned(), |span| line(file, text, span.start));
        vec![Problem { place, key: String::new(), message: error.message().to_owned() }]
    };
    let spanned = DeTable::parse(text).map_err(syntax)?;
    let mut places = Places::of_file(file, text, spanned.get_ref());
    let mut table: Table = toml::from_str(text).map_err(syntax)?;
    let mut problems = apply_overrides(&mut table, &mut places, env);
    let config = decode(table, &places, &mut problems);
    if let Some(config) = &config {
        let lookup = |name: &str| env.get(name).cloned();
        problems
            .extend(check::check(config, &lookup).into_iter().map(|(path, message)| places.problem(&path, message)));
    }
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        _ => {
            problems.truncate(PROBLEMS_MAX);
            Err(problems)
        }
    }
}

/// The configuration that `table` says. What does not fit is a problem, and is left out to find the
/// next; `None` if there was any.
fn decode(mut table: Table, places: &Places, problems: &mut Vec<Problem>) -> Option<Config> {
    let before = problems.len();
    let mut reported: Vec<Path> = Vec::new();
    while reported.len() < PROBLEMS_MAX {
        match try_decode(&table) {
            Ok(config) => return (problems.len() == before).then_some(config),
            Err((path, message)) => {
                // A field that is missing because it was left out above was reported already.
                let is_known =
                    message.starts_with("missing field") && reported.iter().any(|known| known.starts_with(&path));
                if !is_known {
                    problems.push(places.problem(&path, message));
                }
                reported.push(path.clone());
                if !remove(&mut table, &path) {
                    return None;
                }
            }
        }
    }
    None
}

fn try_decode(table: &Table) -> Result<Config, (Path, String)> {
    strict::read(Value::Table(table.clone())).map_err(|error| {
        let path: Path = error.segments().collect();
        let message = without_value(error.inner().message());
        // An unknown key is named by the path already.
        let message = match (message.strip_prefix("unknown field `"), path.last()) {
            (Some(rest), Some(last)) if rest.starts_with(last.as_str()) => {
                rest.replacen(&format!("{last}`"), "unknown key", 1)
            }
            _ => message,
        };
        (path, message)
    })
}

/// Removes what is at `path`, or the array that it is in; whether anything was there.
fn remove(table: &mut Table, path: &[String]) -> bool {
    match path {
        [] => false,
        [last] => table.remove(last).is_some(),
        [first, rest @ ..] => match table.get_mut(first) {
            Some(Value::Table(below)) => remove(below, rest),
            Some(_) => table.remove(first).is_some(),
            None => false,
        },
    }
}

fn apply_overrides(table: &mut Table, places: &mut Places, env: &BTreeMap<String, String>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, text) in env.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
        let path: Path = name[PREFIX.len()..].split("__").map(str::to_ascii_lowercase).collect();
        if path.iter().any(String::is_empty) || path.len() > LEVELS_MAX {
            let message = "must be FOREBAY__SECTION__KEY".to_owned();
            problems.push(Problem { place: name.clone(), key: String::new(), message });
            continue;
        }
        let path = as_spelled(table, path);
        places.override_with(&path, name);
        if !insert(table, &path, typed(&path, text)) {
            problems.push(places.problem(&path, "is below a key that is not a section"));
        }
    }
    problems
}

/// `path` with each name spelled as the file spells it, if the file has it.
fn as_spelled(table: &Table, path: Path) -> Path {
    let same = |a: &str, b: &str| {
        let plain = |c: char| if c == '-' { '_' } else { c.to_ascii_lowercase() };
        a.chars().map(plain).eq(b.chars().map(plain))
    };
    let mut here = Some(table);
    let spelled = path.into_iter().map(|wanted| {
        let key = here.and_then(|table| table.keys().find(|key| same(key, &wanted)).cloned()).unwrap_or(wanted);
        here = here.and_then(|table| table.get(&key)?.as_table());
        key
    });
    spelled.collect()
}

fn insert(table: &mut Table, path: &[String], value: Value) -> bool {
    let Some((last, parents)) = path.split_last() else { return false };
    let mut here = table;
    for key in parents {
        match here.entry(key.as_str()).or_insert_with(|| Value::Table(Table::new())) {
            Value::Table(table) => here = table,
            _ => return false,
        }
    }
    here.insert(last.clone(), value);
    true
}

/// The meaning of an override's text: TOML if the key takes that, else plain text.
fn typed(path: &Path, text: &str) -> Value {
    let plain = Value::String(text.to_owned());
    let Ok(value) = text.parse::<Value>() else { return plain };
    let fits = |value: &Value| {
        let mut alone = Table::new();
        insert(&mut alone, path, value.clone());
        match try_decode(&alone) {
            Ok(_) => true,
            // What is missing beside it comes from the file.
            Err((_, message)) => message.starts_with("missing field"),
        }
    };
    if fits(&value) || !fits(&plain) { value } else { plain }
}
