//! x
use super::*;
pub struct Caller;
pub struct Reply {
    pub status: u16,
    pub headers: Headers,
}
impl Caller {
    pub async fn send(&self, _o: Outbound, _c: std::time::Duration) -> Result<Reply, Failure> {
        Err(Failure::internal(""))
    }
}
impl Reply {
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        Ok(None)
    }
    pub async fn error_body(&mut self) -> Vec<u8> {
        vec![]
    }
}
