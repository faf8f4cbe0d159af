//! Reads the configuration again when its file changes or SIGHUP comes.
//!
//! Promises all or nothing: a configuration with a problem is logged, once, and the last good one
//! stays. What cannot change while we run keeps its old value and is named. It is the directory that
//! is watched, since editors and orchestrators replace files.

use std::path::Path;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::{Config, Loaded};

/// How long a file must be left alone before it is read: editors write in several steps.
const QUIET: Duration = Duration::from_millis(200);

/// A new configuration, taken whole.
#[derive(Debug)]
pub struct Reloaded {
    /// The configuration to run with from now on.
    pub config: Config,
    /// Keys whose change needs a restart; they have their old values in `config`.
    pub needs_restart: Vec<&'static str>,
}

/// Waits for the next configuration. Dropped, nothing is watched any more.
pub struct Watcher {
    loaded: Loaded,
    /// What was in the file when it was last read.
    seen: Option<Vec<u8>>,
    changes: mpsc::Receiver<()>,
    hangups: Option<Signal>,
    /// Watches as long as it lives.
    _files: Option<RecommendedWatcher>,
}

impl Watcher {
    /// Watches the file of `loaded`. What cannot be watched is logged; SIGHUP works all the same.
    /// Must be called inside a tokio runtime.
    #[must_use]
    pub fn new(loaded: Loaded) -> Watcher {
        // One waiting change says as much as many.
        let (sender, changes) = mpsc::channel(1);
        let files = watch_directory(&loaded.path, sender)
            .inspect_err(|error| tracing::warn!(%error, "the configuration file cannot be watched; SIGHUP reloads it"));
        let hangups = signal(SignalKind::hangup())
            .inspect_err(|error| tracing::warn!(%error, "SIGHUP cannot be caught; it does not reload"));
        let seen = std::fs::read(&loaded.path).ok();
        Watcher { loaded, seen, changes, hangups: hangups.ok(), _files: files.ok() }
    }

    /// The next good configuration. Cancel-safe: a change that was seen and not yet read is read by
    /// the next call after another change or SIGHUP.
    pub async fn changed(&mut self) -> Reloaded {
        loop {
            let is_asked = self.wait().await;
            let now_there = std::fs::read(&self.loaded.path).ok();
            if !is_asked && now_there == self.seen {
                continue;
            }
            self.seen = now_there;
            match self.loaded.again() {
                Ok(mut next) => {
                    let needs_restart = keep_fixed(&self.loaded.config, &mut next.config);
                    for key in &needs_restart {
                        tracing::warn!(key, "changed, and needs a restart to take effect");
                    }
                    self.loaded.config = next.config.clone();
                    return Reloaded { config: next.config, needs_restart };
                }
                Err(problems) => {
                    for problem in problems {
                        tracing::error!("{problem}");
                    }
                    tracing::error!("the configuration was not taken; the one before stays in force");
                }
            }
        }
    }

    /// Whether the reload was requested by SIGHUP, and not caused by a settled change in the directory.
    async fn wait(&mut self) -> bool {
        let hangups = &mut self.hangups;
        let hangup = async {
            let came = match hangups {
                Some(hangups) => hangups.recv().await,
                None => None,
            };
            if came.is_none() {
                std::future::pending::<()>().await;
            }
        };
        let changes = &mut self.changes;
        let quiet = async {
            if changes.recv().await.is_none() {
                std::future::pending::<()>().await;
            }
            while let Ok(Some(())) = tokio::time::timeout(QUIET, changes.recv()).await {}
        };
        tokio::select! {
            () = hangup => true,
            () = quiet => false,
        }
    }
}

fn watch_directory(file: &Path, changes: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let directory = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !event.kind.is_access()) {
            // Full means that a change is waiting already.
            let _ = changes.try_send(());
        }
    })?;
    watcher.watch(directory, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

/// Puts back what cannot change while we run, and names what would have.
fn keep_fixed(old: &Config, new: &mut Config) -> Vec<&'static str> {
    let mut changed = Vec::new();
    let mut keep = |key: &'static str, is_same: bool| {
        if !is_same {
            changed.push(key);
        }
    };
    keep("server.listen", old.server.listen == new.server.listen);
    keep("server.arbiters", old.server.arbiters == new.server.arbiters);
    keep("log.path", old.log.path == new.log.path);
    keep("log.durability", old.log.durability == new.log.durability);
    keep("log.journal_bytes_max", old.log.journal_bytes_max == new.log.journal_bytes_max);
    keep("nats.enabled", old.nats.enabled == new.nats.enabled);
    keep("nats.url", old.nats.url == new.nats.url);
    keep("nats.prefix", old.nats.prefix == new.nats.prefix);
    keep("nats.credentials", old.nats.credentials == new.nats.credentials);
    new.server.listen.clone_from(&old.server.listen);
    new.server.arbiters = old.server.arbiters;
    new.log.path.clone_from(&old.log.path);
    new.log.durability = old.log.durability;
    new.log.journal_bytes_max = old.log.journal_bytes_max;
    new.nats = old.nats.clone();
    changed
}
