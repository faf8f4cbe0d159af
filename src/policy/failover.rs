//! Which targets of a job's plan may still be asked, and in which order.
//!
//! Owns the memory of what became of each. Promises that a target which cannot help is never asked
//! again, and that none is asked more often than the job's tries allow: what is left when all have
//! had theirs is a wait for one that could not be reached at all, for nothing was asked of it.
//! Does not know whether a target is free.

use super::retry::Next;
use crate::job::{Failure, Target};

/// The targets of a job, in order, and what each is still good for.
#[derive(Clone, Debug)]
pub struct FailoverPlan {
    places: Vec<PlannedTarget>,
    /// The target to ask first, if it may be asked.
    preferred: Option<usize>,
}

#[derive(Clone, Debug)]
struct PlannedTarget {
    target: Target,
    tries: u32,
    standing: TargetState,
}

/// What a target is still good for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum TargetState {
    /// The target may be called.
    Open,
    /// It has had its tries, the last of which did not reach it.
    Unreached,
    /// The target cannot help this job any more.
    Out,
}

/// A target that may be asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// The target that may be called.
    pub target: Target,
    /// Whether this job has asked it before: retries have a budget.
    pub is_retry: bool,
}

impl FailoverPlan {
    /// A plan that has not begun.
    #[must_use]
    pub fn new(plan: Vec<Target>) -> FailoverPlan {
        let place = |target| PlannedTarget { target, tries: 0, standing: TargetState::Open };
        FailoverPlan { places: plan.into_iter().map(place).collect(), preferred: None }
    }

    /// Returns the targets that may be called, in order. Empty when none is left.
    #[must_use]
    pub fn candidates(&self) -> Vec<Candidate> {
        let all = |wanted: TargetState| -> Vec<Candidate> {
            let rest = (0..self.places.len()).filter(|at| Some(*at) != self.preferred);
            let order = self.preferred.into_iter().chain(rest);
            let places = order.map(|at| &self.places[at]).filter(|place| place.standing == wanted);
            places.map(|place| Candidate { target: place.target.clone(), is_retry: place.tries > 0 }).collect()
        };
        let open = all(TargetState::Open);
        if open.is_empty() { all(TargetState::Unreached) } else { open }
    }

    /// Attempts at `target` so far.
    #[must_use]
    pub fn tries(&self, target: &Target) -> u32 {
        self.place(target).map_or(0, |at| self.places[at].tries)
    }

    /// An attempt at `target` begins.
    pub fn mark_tried(&mut self, target: &Target) {
        if let Some(at) = self.place(target) {
            self.places[at].tries = self.places[at].tries.saturating_add(1);
        }
    }

    /// Asks `target` before all others, if it may be asked. Whether it may.
    #[must_use]
    pub fn prefer(&mut self, target: &Target) -> bool {
        let place = self.place(target).filter(|at| self.places[*at].standing == TargetState::Open);
        self.preferred = place.or(self.preferred);
        place.is_some()
    }

    /// The attempt that began last at `target` did not count: it showed only how to ask.
    pub fn not_counted(&mut self, target: &Target) {
        self.preferred = self.place(target);
        if let Some(at) = self.preferred {
            self.places[at].tries = self.places[at].tries.saturating_sub(1);
        }
    }

    /// An attempt at `target` was lost.
    pub fn lost(&mut self, target: &Target, lost: &Loss<'_>) {
        self.preferred = None;
        let Some(at) = self.place(target) else { return };
        match lost.next {
            Next::Again { .. } => self.preferred = Some(at),
            Next::WhenFree | Next::GiveUp => {}
            Next::NextTarget if lost.failure.never_sent && lost.wants_retries => {
                self.places[at].standing = TargetState::Unreached;
            }
            Next::NextTarget | Next::Elsewhere => self.places[at].standing = TargetState::Out,
            Next::LargerWindow => {
                for place in &mut self.places {
                    if !(lost.is_larger)(&place.target) {
                        place.standing = TargetState::Out;
                    }
                }
                self.places[at].standing = TargetState::Out;
            }
        }
    }

    fn place(&self, target: &Target) -> Option<usize> {
        self.places.iter().position(|place| place.target == *target)
    }
}

/// Facts about a lost attempt.
pub struct Loss<'a> {
    /// Failure by which the attempt was lost.
    pub failure: &'a Failure,
    /// What the retry policy decided.
    pub next: Next,
    /// Whether the job allows more than one try.
    pub wants_retries: bool,
    /// Whether a target takes longer prompts than this one.
    pub is_larger: &'a dyn Fn(&Target) -> bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Code;

    fn target(name: &str) -> Target {
        Target { provider: name.into(), model: "m".into() }
    }

    fn names(plan: &FailoverPlan) -> String {
        let name = |candidate: &Candidate| format!("{}{}", candidate.target.provider, u8::from(candidate.is_retry));
        plan.candidates().iter().map(name).collect::<Vec<_>>().join(" ")
    }

    /// Walks a, b, c through these losses; after each the candidates, `1` marking those asked before.
    fn check(steps: &[(&str, Next, bool, &str)]) {
        let mut plan = FailoverPlan::new(vec![target("a"), target("b"), target("c")]);
        assert_eq!(names(&plan), "a0 b0 c0");
        for (name, next, never_sent, expected) in steps {
            let mut failure = Failure::new(Code::ProviderUnavailable, "down");
            failure.never_sent = *never_sent;
            plan.mark_tried(&target(name));
            let is_larger = |of: &Target| *of.provider == *"c";
            plan.lost(
                &target(name),
                &Loss { failure: &failure, next: *next, wants_retries: true, is_larger: &is_larger },
            );
            assert_eq!(names(&plan), *expected, "after {name} {next:?} of {steps:?}");
        }
    }

    #[test]
    fn a_plan_goes_from_target_to_target_and_never_back_to_one_that_cannot_help() {
        let again = Next::Again { after_ms: 0 };
        check(&[
            ("a", again, false, "a1 b0 c0"),
            ("a", Next::NextTarget, false, "b0 c0"),
            ("b", again, false, "b1 c0"),
            ("b", Next::Elsewhere, false, "c0"),
            ("c", Next::NextTarget, false, ""),
        ]);
        check(&[("a", Next::WhenFree, false, "a1 b0 c0"), ("b", again, false, "b1 a1 c0")]);
        check(&[("a", Next::LargerWindow, false, "c0")]);
    }

    #[test]
    fn what_could_not_be_reached_is_waited_for_when_nothing_else_is_left() {
        check(&[
            ("a", Next::NextTarget, true, "b0 c0"),
            ("b", Next::Elsewhere, false, "c0"),
            ("c", Next::NextTarget, true, "a1 c1"),
            ("a", Next::NextTarget, true, "a1 c1"),
            ("c", Next::NextTarget, false, "a1"),
        ]);
    }

    #[test]
    fn a_try_that_showed_only_how_to_ask_does_not_count() {
        let mut plan = FailoverPlan::new(vec![target("a"), target("b")]);
        plan.mark_tried(&target("b"));
        plan.not_counted(&target("b"));
        assert_eq!((names(&plan).as_str(), plan.tries(&target("b"))), ("b0 a0", 0));
    }
}
