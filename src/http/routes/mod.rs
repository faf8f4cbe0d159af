//! The one table of the port's routes, and the route that a path names.
//!
//! Owns every path and method: dispatch, `Allow`, `/openapi.json` and the landing page are made of this
//! table. Cloudflare's addresses lead to its rows, too.

mod cloudflare;
mod cloudflare_address;
mod dialects;
mod jobs;
mod operations;
mod pattern;
mod responses;
mod spec;
mod streams;

pub(super) use spec::{Handler, JSON, Matched, Operation, Parameter, Routes, Shape, of};

use super::cloudflare_names::Via;

/// The whole table of routes. The first that matches a path wins.
pub(super) static ROUTES: Routes = &[
    jobs::JOBS,
    dialects::DIALECTS,
    responses::RESPONSES,
    streams::STREAMS,
    operations::OPERATIONS,
    cloudflare::CLOUDFLARE,
];
/// Those that have paths of our own, which may stand below `/g/{gateway}`.
static OWN: Routes = ROUTES.split_at(ROUTES.len() - 1).0;

/// The route that `path` names. Our own paths win over Cloudflare's.
pub(super) fn find(path: &str) -> Option<Matched<'_>> {
    own(path).or_else(|| cloudflare_address::find(path, OWN))
}

fn own(path: &str) -> Option<Matched<'_>> {
    let (gateway, path) = match path.strip_prefix("/g/") {
        Some(rest) => {
            let (gateway, _) = rest.split_once('/')?;
            (Some(gateway), &rest[gateway.len()..])
        }
        None => (None, path),
    };
    let (prefix, rest) = match path.strip_prefix("/v1/") {
        Some(rest) => ("/v1/", rest),
        None if gateway.is_some() => return None,
        None => ("/", path.strip_prefix('/')?),
    };
    let (route, params) = spec::find(OWN, prefix, rest)?;
    Some(Matched { route, params, gateway, via: Via::Own })
}

#[cfg(test)]
mod tests;
