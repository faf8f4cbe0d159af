//! The builder of jobs that the unit tests use too.

use forebay::job::{Gateway, Job, Options, Tags, Task, Timestamp};

#[path = "../../src/job/for_tests.rs"]
mod for_tests;

pub(crate) use for_tests::job;
