//! The connection to NATS, and its state, which the rest of this entrance reads.
//!
//! Owns credentials and client events. Promises that no secret is printed: user, password and token
//! are taken out of the address before the client, which logs addresses, sees it. The client
//! reconnects by itself and for ever; tasks that must act on a change watch [`Link`].

use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event};
use tokio::sync::watch;

use super::limits;
use crate::config;
use crate::job::Failure;
use crate::telemetry;

/// State of the connection to NATS.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct LinkState {
    /// Whether the client is connected.
    pub(super) connected: bool,
    /// Number of connections made so far: messages of an earlier one may not have arrived.
    pub(super) generation: u64,
    /// Whether the server knows our subscriptions. It stays so: a new connection begins with them.
    pub(super) listening: bool,
}

impl LinkState {
    /// Returns whether a request that is sent now reaches this broker.
    pub(super) fn is_up(self) -> bool {
        self.connected && self.listening
    }
}

/// The state of the connection, shared by all tasks of the entrance.
#[derive(Clone, Debug, Default)]
pub(super) struct Link(watch::Sender<LinkState>);

impl Link {
    /// Returns the present state.
    pub(super) fn state(&self) -> LinkState {
        *self.0.borrow()
    }

    /// Returns a receiver of every change of the state.
    pub(super) fn watch(&self) -> watch::Receiver<LinkState> {
        self.0.subscribe()
    }

    /// Resolves once the client is connected. Cancel-safe.
    pub(super) async fn connected(&self) -> LinkState {
        let mut watch = self.0.subscribe();
        match watch.wait_for(|state| state.connected).await {
            Ok(state) => *state,
            Err(_) => unreachable!("`self` holds a sender"),
        }
    }

    /// Resolves once the connection `generation` is over. Cancel-safe.
    pub(super) async fn lost(&self, generation: u64) {
        let mut watch = self.0.subscribe();
        let over = watch.wait_for(|state| !state.connected || state.generation != generation).await;
        drop(over);
    }

    /// Records that the server has taken our subscriptions.
    pub(super) fn listens(&self) {
        self.0.send_if_modified(|state| !std::mem::replace(&mut state.listening, true));
    }

    fn set(&self, connected: bool) {
        self.0.send_if_modified(|state| {
            let changed = state.connected != connected;
            state.connected = connected;
            state.generation += u64::from(changed && connected);
            changed
        });
    }

    fn on_event(&self, event: &Event) {
        match event {
            Event::Connected => self.set(true),
            Event::Disconnected | Event::Closed => self.set(false),
            Event::SlowConsumer(_) => {
                telemetry::nats_slow_consumer();
                tracing::error!("the NATS client dropped a message: requests come faster than they are taken");
            }
            Event::ServerError(error) => tracing::warn!(%error, "NATS server"),
            Event::LameDuckMode => tracing::warn!("the NATS server is shutting down"),
            // Every failed try to reconnect is one: the loss itself was logged already.
            Event::ClientError(error) => tracing::debug!(%error, "NATS client"),
            Event::Draining => {}
        }
    }
}

/// Addresses and credentials to connect with, secrets resolved.
#[derive(Clone)]
pub(super) struct Target {
    addresses: Vec<String>,
    login: Login,
    credentials: Option<String>,
}

#[derive(Clone, PartialEq, Eq)]
enum Login {
    Anonymous,
    Token(String),
    User { name: String, password: String },
}

impl Target {
    /// Reads the configuration, secrets included.
    ///
    /// # Errors
    /// `invalid`, naming the key, never a content.
    pub(super) fn new(config: &config::Nats) -> Result<Target, Failure> {
        let url = config.url.resolve().map_err(|error| Failure::invalid("nats.url", error))?;
        let credentials = config.credentials.as_ref().map(config::Secret::resolve).transpose();
        let credentials = credentials.map_err(|error| Failure::invalid("nats.credentials", error))?;
        let (mut addresses, mut login) = (Vec::new(), Login::Anonymous);
        for part in url.split(',') {
            let (address, own_login) = split_login(part.trim());
            if !is_address(&address) {
                return Err(Failure::invalid("nats.url", "must be nats://[user:password@]host[:port], or tls://…"));
            }
            addresses.push(address);
            login = if own_login == Login::Anonymous { login } else { own_login };
        }
        Ok(Target { addresses, login, credentials })
    }

    /// Returns the addresses without secrets.
    pub(super) fn name(&self) -> String {
        self.addresses.join(",")
    }

    /// Makes one try to connect.
    ///
    /// # Errors
    /// The client's error text; it holds no secret.
    pub(super) async fn connect(&self, link: &Link) -> Result<Client, String> {
        let events = link.clone();
        let options = ConnectOptions::new()
            .name(concat!("forebay/", env!("CARGO_PKG_VERSION")))
            .ping_interval(limits::PING_INTERVAL)
            .connection_timeout(limits::CONNECT_TIMEOUT)
            .subscription_capacity(limits::SUBSCRIPTION_MESSAGES_MAX)
            .client_capacity(limits::PUBLISH_QUEUE)
            .max_reconnects(None)
            .reconnect_delay_callback(|tries| backoff(u32::try_from(tries).unwrap_or(u32::MAX)))
            .event_callback(move |event| {
                events.on_event(&event);
                std::future::ready(())
            });
        let options = match &self.login {
            Login::Anonymous => options,
            Login::Token(token) => options.token(token.clone()),
            Login::User { name, password } => options.user_and_password(name.clone(), password.clone()),
        };
        let options = match &self.credentials {
            Some(credentials) => {
                options.credentials(credentials).map_err(|_| "nats.credentials is not a credentials file".to_owned())?
            }
            None => options,
        };
        options.connect(&self.addresses).await.map_err(|error| error.to_string())
    }
}

/// Returns the wait before try number `tries` (from 1): it doubles, and is bounded.
pub(super) fn backoff(tries: u32) -> Duration {
    let (first, longest) = limits::BACKOFF;
    (first * 2_u32.pow(tries.saturating_sub(1).min(10))).min(longest)
}

/// Returns whether `address` is a server address. The client library would accept a path, or an address
/// without a host, and connect to something else.
fn is_address(address: &str) -> bool {
    let path = address.split_once("://").and_then(|(_, host)| host.split_once('/')).map_or("", |(_, path)| path);
    path.is_empty() && address.parse::<async_nats::ServerAddr>().is_ok_and(|address| !address.host().is_empty())
}

/// Takes `user:password@` or `token@` out of an address.
fn split_login(address: &str) -> (String, Login) {
    let (scheme, rest) = address.split_once("://").unwrap_or(("nats", address));
    let Some((login, host)) = rest.rsplit_once('@') else { return (format!("{scheme}://{rest}"), Login::Anonymous) };
    let login = match login.split_once(':') {
        Some((name, password)) => Login::User { name: unescape(name), password: unescape(password) },
        None => Login::Token(unescape(login)),
    };
    (format!("{scheme}://{host}"), login)
}

/// Decodes percent escapes such as `%41`; any other text stays.
fn unescape(text: &str) -> String {
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((&byte, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|two| two.iter().all(u8::is_ascii_hexdigit));
        let hex = hex.and_then(|two| std::str::from_utf8(two).ok());
        match hex.filter(|_| byte == b'%').and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(decoded) => {
                out.push(decoded);
                rest = &after[2..];
            }
            None => {
                out.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn target(url: &str) -> Result<Target, Failure> {
        Target::new(&config::Nats { url: Secret(url.into()), ..config::Nats::default() })
    }

    #[test]
    fn a_login_is_taken_out_of_the_address() {
        let user = |name: &str, password: &str| Login::User { name: name.into(), password: password.into() };
        for (url, name, login) in [
            ("nats://127.0.0.1:4222", "nats://127.0.0.1:4222", Login::Anonymous),
            ("127.0.0.1", "nats://127.0.0.1", Login::Anonymous),
            ("tls://me:p%40ss%zz@h:1", "tls://h:1", user("me", "p@ss%zz")),
            ("nats://t0k@h", "nats://h", Login::Token("t0k".into())),
            ("nats://a:b@h:1, nats://[::1]:2", "nats://h:1,nats://[::1]:2", user("a", "b")),
        ] {
            let target = target(url).map_err(|failure| failure.to_string()).unwrap();
            assert_eq!(target.name(), name);
            assert!(target.login == login, "{url}");
        }
    }

    #[test]
    fn an_address_that_is_none_is_refused_without_repeating_it() {
        for url in ["", "http//", "nats://me:secret@", "nats://me:secret@h:port"] {
            let failure = target(url).err().expect(url);
            assert_eq!(failure.param.as_deref(), Some("nats.url"));
            assert!(!failure.message.contains("secret"), "{failure}");
        }
    }

    #[test]
    fn waits_grow_and_are_bounded() {
        assert_eq!([1, 2, 3, 60, u32::MAX].map(|n| backoff(n).as_millis()), [100, 200, 400, 5000, 5000]);
        assert_eq!(backoff(0).as_millis(), 100);
    }
}
