//! stub
use super::course::Course;
use crate::job::{Failure, Job};
pub(super) struct SoFar {}
pub(super) struct Trim;
pub(super) async fn so_far(_course: &Course) -> Result<SoFar, Failure> {
    Ok(SoFar {})
}
impl SoFar {
    pub(super) fn can_continue(&self, _job: &Job) -> bool {
        false
    }
}
pub(super) fn refuses_prefill(_f: &Failure) -> bool {
    false
}
