//! When a JSON object that comes in pieces is whole.

/// Reads JSON as it comes, to see when an object is whole.
#[derive(PartialEq, Debug, Default)]
pub(super) struct Scan {
    depth: usize,
    has_begun: bool,
    in_string: bool,
    escaped: bool,
}

impl Scan {
    pub(super) fn read(&mut self, json: &str) {
        for byte in json.bytes() {
            match (self.in_string, byte) {
                (true, _) if self.escaped => self.escaped = false,
                (true, b'\\') => self.escaped = true,
                (_, b'"') => self.in_string = !self.in_string,
                (false, b'{' | b'[') => {
                    self.depth += 1;
                    self.has_begun = true;
                }
                (false, b'}' | b']') => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }

    pub(super) fn is_whole(&self) -> bool {
        self.has_begun && self.depth == 0
    }
}
