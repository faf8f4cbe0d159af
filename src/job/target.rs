//! Where a model is served: a provider and its own name for the model.

/// One (provider, provider's model id) that a model may be served by.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Target {
    /// The provider's name in the configuration.
    pub provider: Box<str>,
    /// The provider's own id of the model.
    pub model: Box<str>,
}
