//! x
#[derive(Clone, Debug)]
pub struct Script;
