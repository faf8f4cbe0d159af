//! Which provider stands behind a name.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Endpoint, Provider};

/// A provider that can be called.
#[derive(Clone)]
pub struct Entry {
    /// Its kind.
    pub provider: &'static dyn Provider,
    /// Where it is.
    pub endpoint: Arc<Endpoint>,
}

/// All providers that are on.
#[derive(Clone, Default)]
pub struct Registry {
    entries: BTreeMap<Box<str>, Entry>,
}
impl Registry {
    pub fn build(_c: &crate::config::Config, _e: &dyn Fn(&str) -> Option<String>) -> (Registry, Vec<String>) {
        (Registry::default(), vec![])
    }
    pub fn get(&self, n: &str) -> Option<&Entry> {
        self.entries.get(n)
    }
}
