//! x
use crate::job::*;
#[derive(Clone)]
pub struct Meter;
pub struct PriceBook;
impl PriceBook {
    pub fn cost(&self, _: &Job, _: &Target, _: &Usage) -> Cost {
        Cost::FREE
    }
}
impl Meter {
    pub fn book(&self) -> std::sync::Arc<PriceBook> {
        std::sync::Arc::new(PriceBook)
    }
    pub async fn settled(&self, _c: Vec<Charge>) {}
}
