//! The calls of the last seconds: how many, and how many of them failed.

use crate::job::Timestamp;

/// Pieces that the time is cut into: what is forgotten at once.
const SLOTS: usize = 10;

/// Counts of recent calls and errors, by the second.
#[derive(Default, Debug)]
pub(super) struct Recent {
    slots: [Slot; SLOTS],
    /// The number of the newest piece.
    newest: u64,
}

#[derive(Clone, Copy, Default, Debug)]
struct Slot {
    calls: u32,
    errors: u32,
}

impl Recent {
    /// Counts a call that ended.
    pub(super) fn add(&mut self, is_error: bool, window_s: u64, now: Timestamp) {
        let slot = self.move_to(window_s, now);
        slot.calls = slot.calls.saturating_add(1);
        slot.errors = slot.errors.saturating_add(u32::from(is_error));
    }

    /// Returns the numbers of calls and of errors.
    pub(super) fn sums(&mut self, window_s: u64, now: Timestamp) -> (u32, u32) {
        self.move_to(window_s, now);
        let sum = |of: fn(&Slot) -> u32| self.slots.iter().map(of).fold(0, u32::saturating_add);
        (sum(|slot| slot.calls), sum(|slot| slot.errors))
    }

    fn move_to(&mut self, window_s: u64, now: Timestamp) -> &mut Slot {
        let slot_ms = (window_s * 1000 / SLOTS as u64).max(1);
        let number = now.0 / slot_ms;
        let index = |number: u64| (number % SLOTS as u64) as usize;
        match number.checked_sub(self.newest) {
            Some(passed) if passed < SLOTS as u64 => {
                for old in self.newest + 1..=number {
                    self.slots[index(old)] = Slot::default();
                }
            }
            // Long ago, or cut into other pieces than now: a reload changed the window.
            _ => self.slots = [Slot::default(); SLOTS],
        }
        self.newest = number;
        &mut self.slots[index(number)]
    }
}
