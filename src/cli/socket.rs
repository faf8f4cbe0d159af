//! Following a job over WebSocket.

use super::Trouble;
use super::args::Reach;
use crate::job::{JobId, Record, State};
use crate::wire::Cursor;
use crate::wire::frame::Protocol;
use crate::ws::client::{Client, Follow, Over, follow as follow_through};

/// Gives each record of a job once, over restarts of the broker.
///
/// # Errors
/// Unreachable when nobody answers at first; what the broker says about the job or the cursor.
pub(super) async fn follow(
    reach: &Reach,
    id: &JobId,
    cursor: Cursor,
    on_record: impl FnMut(&Record),
) -> Result<State, Trouble> {
    let url = address(&reach.url)?;
    // The follower is patient with a broker that restarts; one that was never there is said at once.
    match Client::connect(&url, reach.token.as_deref(), Protocol::Msgpack).await {
        Ok(_) => {}
        Err(Over::Refused(failure)) => return Err(failure.into()),
        Err(Over::Lost(_)) => {
            let message = format!("cannot reach a broker at {}; is `forebay serve` running?", reach.url);
            return Err(Trouble::Unreachable(message));
        }
    }
    let what = Follow {
        url,
        token: reach.token.clone(),
        protocol: Protocol::Msgpack,
        id: id.to_string(),
        cursor: cursor.to_string(),
    };
    Ok(follow_through(what, on_record).await?)
}

/// The socket's address at a broker's HTTP address.
fn address(url: &str) -> Result<String, Trouble> {
    let base = url.trim_end_matches('/');
    let rest = base.strip_prefix("http").or_else(|| base.strip_prefix("ws"));
    match rest {
        Some(rest) if rest.starts_with("://") || rest.starts_with("s://") => Ok(format!("ws{rest}/v1/ws")),
        _ => Err(Trouble::Usage(format!("`{url}` is not an address like http://127.0.0.1:8087"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_where_the_broker_is() {
        for (url, expected) in [
            ("http://127.0.0.1:8087", Some("ws://127.0.0.1:8087/v1/ws")),
            ("https://forebay.example/", Some("wss://forebay.example/v1/ws")),
            ("wss://forebay.example", Some("wss://forebay.example/v1/ws")),
            ("127.0.0.1:8087", None),
            ("httpx://a", None),
        ] {
            assert_eq!(address(url).ok().as_deref(), expected, "{url}");
        }
    }
}
