//! From HTTP to WebSocket: the handshake. What is said afterwards is the session's.

use std::sync::Arc;

use hyper::http::request::Parts;

use super::connection::Connection;
use super::reply::Reply;
use super::route::Route;
use crate::job::Failure;
use crate::request::Services;

/// A connection that becomes a WebSocket when its answer is on its way.
pub(super) struct Upgrade {}

impl Upgrade {
    pub(super) async fn serve(self, _svc: &Arc<Services>) {}
}

/// `GET /v1/ws` and `GET /v1/jobs/{id}/ws`.
pub(super) fn upgrade(
    connection: &Arc<Connection>,
    _parts: &mut Parts,
    _gateway: Option<&str>,
    _route: Route<'_>,
) -> Result<Reply, Failure> {
    // SEAM: session::socket::serve
    *connection.upgrade.lock().expect("nothing panics while it holds this lock") = Some(Upgrade {});
    Err(Failure::unsupported("upgrade", "not wired yet"))
}
