//! The configuration in force and what was built from it.

use crate::config::Config;
use crate::provider::registry::Registry;

/// One generation of configuration. Swapped as a whole.
pub struct Live {
    /// What the operator said.
    pub config: Config,
    /// The providers that are on.
    pub registry: Registry,
}
