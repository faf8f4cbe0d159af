//! Following a job over WebSocket.

use super::CommandError;
use super::args::BrokerAddress;
use crate::job::{JobId, Record, State};
use crate::wire::Cursor;
use crate::wire::frame::Protocol;
use crate::ws::client::{Client, Follow, Over, follow as follow_through};

/// Passes each record of a job to `on_record` once, over restarts of the broker.
///
/// # Errors
/// Unreachable when no broker answers at first; the broker's failure about the job or the cursor.
pub(super) async fn follow(
    address: &BrokerAddress,
    id: &JobId,
    cursor: Cursor,
    on_record: impl FnMut(&Record),
) -> Result<State, CommandError> {
    let url = socket_url(&address.url)?;
    // The follower waits for a broker that restarts; one that never answered is reported at once.
    match Client::connect(&url, address.token.as_deref(), Protocol::Msgpack).await {
        Ok(_) => {}
        Err(Over::Refused(failure)) => return Err(failure.into()),
        Err(Over::Lost(_)) => {
            let message = format!("cannot reach a broker at {}; is `forebay serve` running?", address.url);
            return Err(CommandError::Unreachable(message));
        }
    }
    let what = Follow {
        url,
        token: address.token.clone(),
        protocol: Protocol::Msgpack,
        id: id.to_string(),
        cursor: cursor.to_string(),
    };
    Ok(follow_through(what, on_record).await?)
}

/// Returns the WebSocket URL for a broker's HTTP address.
fn socket_url(url: &str) -> Result<String, CommandError> {
    let base = url.trim_end_matches('/');
    let rest = base.strip_prefix("http").or_else(|| base.strip_prefix("ws"));
    match rest {
        Some(rest) if rest.starts_with("://") || rest.starts_with("s://") => Ok(format!("ws{rest}/v1/ws")),
        _ => Err(CommandError::Usage(format!("`{url}` is not an address like http://127.0.0.1:8087"))),
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
            assert_eq!(socket_url(url).ok().as_deref(), expected, "{url}");
        }
    }
}
