//! The jobs that wait until a target can be asked, in the order in which they may go.
//!
//! Owns that order: by priority, 0 first; within a priority the values of a tag take turns, so that
//! one with a thousand jobs does not hold up another's one; within a value the oldest first. Does
//! not know what they wait for: the owner walks the queue and takes the jobs that it can use. The owner bounds it.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::job::{StreamId, Timestamp};

/// Place of a job in the queue, by which it can leave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    priority: u8,
    share: Option<Box<str>>,
    age: Age,
}

/// Order by age: older first; among equals, the one that joined the queue first.
type Age = (Timestamp, StreamId, u64);

/// A job that joins the queue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Priority of the job; 0 goes first.
    pub priority: u8,
    /// The value of the tag that takes turns.
    pub share: Option<Box<str>>,
    /// Time at which the job was submitted.
    pub since: Timestamp,
    /// Stream of the job.
    pub stream: StreamId,
}

/// A queue in which the values of a tag share the turns fairly.
pub struct FairQueue<T> {
    lanes: BTreeMap<u8, Lane<T>>,
    len: usize,
    /// Number of the next entry or turn; each number is used once.
    next: u64,
}

/// The jobs of one priority.
struct Lane<T> {
    shares: HashMap<Option<Box<str>>, Share<T>>,
}

/// The jobs of one value, oldest first.
struct Share<T> {
    /// Number of its last turn; the value that was served last has the highest.
    turn: u64,
    jobs: VecDeque<Waiting<T>>,
}

struct Waiting<T> {
    place: Place,
    what: T,
}

impl<T> Default for FairQueue<T> {
    fn default() -> FairQueue<T> {
        FairQueue { lanes: BTreeMap::new(), len: 0, next: 0 }
    }
}

impl<T> FairQueue<T> {
    /// Returns the number of jobs in the queue.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no job waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a job. A value that had no job in the queue gets the last turn.
    pub fn join(&mut self, comer: Entry, what: T) -> Place {
        let Entry { priority, share, since, stream } = comer;
        let number = self.number();
        let place = Place { priority, share: share.clone(), age: (since, stream, number) };
        let lane = self.lanes.entry(priority).or_insert_with(|| Lane { shares: HashMap::new() });
        let share = lane.shares.entry(share).or_insert_with(|| Share { turn: number, jobs: VecDeque::new() });
        let at = share.jobs.partition_point(|waiting| waiting.place.age < place.age);
        share.jobs.insert(at, Waiting { place: place.clone(), what });
        self.len += 1;
        place
    }

    /// Gives a place up without having been served.
    pub fn leave(&mut self, place: &Place) -> Option<T> {
        self.remove(place, None)
    }

    /// Takes a job out because it goes: its value has had its turn.
    pub fn serve(&mut self, place: &Place) -> Option<T> {
        let turn = self.number();
        self.remove(place, Some(turn))
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn remove(&mut self, place: &Place, turn: Option<u64>) -> Option<T> {
        let lane = self.lanes.get_mut(&place.priority)?;
        let share = lane.shares.get_mut(&place.share)?;
        let waiting = share.jobs.remove(share.index(place)?)?;
        share.turn = turn.unwrap_or(share.turn);
        if share.jobs.is_empty() {
            lane.shares.remove(&place.share);
        }
        if lane.shares.is_empty() {
            self.lanes.remove(&place.priority);
        }
        self.len -= 1;
        Some(waiting.what)
    }

    /// Returns what waits at that place.
    #[must_use]
    pub fn get(&self, place: &Place) -> Option<&T> {
        let share = self.lanes.get(&place.priority)?.shares.get(&place.share)?;
        Some(&share.jobs.get(share.index(place)?)?.what)
    }

    /// Counts the jobs before this place. Takes time by the number of values in the queue, not of jobs.
    #[must_use]
    pub fn position(&self, place: &Place) -> Option<usize> {
        let lane = self.lanes.get(&place.priority)?;
        let mine = lane.shares.get(&place.share)?;
        let round = mine.index(place)?;
        let earlier: usize = self.lanes.range(..place.priority).map(|(_, lane)| lane.len()).sum();
        let before = |share: &Share<T>| {
            let in_this_round = share.jobs.len() > round && share.turn < mine.turn;
            share.jobs.len().min(round) + usize::from(in_this_round)
        };
        Some(earlier + lane.shares.values().map(before).sum::<usize>())
    }

    /// Iterates over all jobs, in the order in which they may go.
    pub fn in_order(&self) -> impl Iterator<Item = (&Place, &T)> {
        self.lanes.values().flat_map(Lane::in_order)
    }
}

impl<T> Lane<T> {
    fn len(&self) -> usize {
        self.shares.values().map(|share| share.jobs.len()).sum()
    }

    /// The first of each value by turn, then the second of each that has one, and so on.
    fn in_order(&self) -> impl Iterator<Item = (&Place, &T)> {
        let mut left: Vec<&Share<T>> = self.shares.values().collect();
        left.sort_unstable_by_key(|share| share.turn);
        let (mut round, mut at) = (0, 0);
        std::iter::from_fn(move || {
            if at == left.len() {
                (round, at) = (round + 1, 0);
                left.retain(|share| share.jobs.len() > round);
            }
            let waiting = left.get(at)?.jobs.get(round)?;
            at += 1;
            Some((&waiting.place, &waiting.what))
        })
    }
}

impl<T> Share<T> {
    fn index(&self, place: &Place) -> Option<usize> {
        self.jobs.binary_search_by(|waiting| waiting.place.age.cmp(&place.age)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `<priority><share><age>`: `0a7` is a job of priority 0, of a, that came at 7.
    fn line(names: &[&'static str]) -> (FairQueue<&'static str>, HashMap<&'static str, Place>) {
        let mut line = FairQueue::default();
        let mut places = HashMap::new();
        for name in names {
            places.insert(*name, line.join(comer(name), *name));
        }
        (line, places)
    }

    fn comer(name: &str) -> Entry {
        let share = Some(&name[1..2]).filter(|share| *share != "-").map(Box::from);
        let number = |range| name[range..].chars().take_while(char::is_ascii_digit).collect::<String>();
        Entry {
            priority: name[..1].parse().unwrap(),
            share,
            since: Timestamp(number(2).parse().unwrap()),
            stream: StreamId([0; 16]),
        }
    }

    fn check_order(line: &FairQueue<&'static str>, places: &HashMap<&'static str, Place>, expected: &[&str]) {
        let order: Vec<&str> = line.in_order().map(|(_, name)| *name).collect();
        assert_eq!(order, expected);
        for (position, name) in expected.iter().enumerate() {
            assert_eq!(line.position(&places[name]), Some(position), "{name} of {expected:?}");
            assert_eq!(line.get(&places[name]), Some(name));
        }
        assert_eq!((line.len(), line.is_empty()), (expected.len(), expected.is_empty()));
    }

    #[test]
    fn the_order_is_priority_then_turns_then_age() {
        for (names, expected) in [
            (&[][..], &[][..]),
            (&["5-2", "0-3", "5-1"], &["0-3", "5-1", "5-2"]),
            (&["1a1", "1a2", "1a3", "1b9"], &["1a1", "1b9", "1a2", "1a3"]),
            (&["1a9", "1a8", "1b2", "1b1", "1-5"], &["1a8", "1b1", "1-5", "1a9", "1b2"]),
            (&["1a1", "0b7", "1b2", "0b8", "0a9"], &["0b7", "0a9", "0b8", "1a1", "1b2"]),
        ] {
            let (line, places) = line(names);
            check_order(&line, &places, expected);
        }
    }

    #[test]
    fn who_was_served_has_the_last_turn_and_who_left_has_not_been_served() {
        let (mut line, places) = line(&["1a1", "1a2", "1a3", "1b4", "1b5", "1c6"]);
        check_order(&line, &places, &["1a1", "1b4", "1c6", "1a2", "1b5", "1a3"]);
        assert_eq!(line.serve(&places["1a1"]), Some("1a1"));
        check_order(&line, &places, &["1b4", "1c6", "1a2", "1b5", "1a3"]);
        assert_eq!(line.leave(&places["1b4"]), Some("1b4"));
        check_order(&line, &places, &["1b5", "1c6", "1a2", "1a3"]);
        // Out of turn, because its target was free: that was its turn.
        assert_eq!(line.serve(&places["1b5"]), Some("1b5"));
        assert_eq!(line.serve(&places["1a3"]), Some("1a3"));
        check_order(&line, &places, &["1c6", "1a2"]);
        assert_eq!((line.leave(&places["1a3"]), line.position(&places["1a3"])), (None, None));
    }

    #[test]
    fn one_value_with_a_thousand_jobs_does_not_hold_up_another() {
        let mut line = FairQueue::default();
        for at in 0..1000 {
            line.join(comer(&format!("1a{at}")), "a");
        }
        let first = line.in_order().next().unwrap().0.clone();
        line.serve(&first);
        let late = line.join(comer("1b2000"), "b");
        assert_eq!(line.position(&late), Some(1));
        let urgent = line.join(comer("0a3000"), "a");
        assert_eq!((line.position(&urgent), line.position(&late)), (Some(0), Some(2)));
        for left in (0..=1000).rev() {
            let next = line.in_order().next().expect("a value is left").0.clone();
            line.serve(&next);
            assert_eq!(line.len(), left);
        }
        assert!(line.is_empty() && line.lanes.is_empty());
    }
}
