//! x
#[derive(Clone, Debug)]
pub struct Script;
impl Script {
    pub fn begin_attempt(&mut self, _n: u32) {}
}
