//! x
use super::*;
pub struct Framer;
impl Framer {
    pub fn new(_f: Framing, _h: &Headers) -> Framer {
        Framer
    }
    pub fn feed(&mut self, _b: Bytes) {}
    pub fn next(&mut self) -> Result<Option<Packet<'_>>, Failure> {
        Ok(None)
    }
    pub fn finish(&mut self) -> Result<Option<Packet<'_>>, Failure> {
        Ok(None)
    }
}
