//! Adapters to those who serve models: pure functions, without sockets, clocks or async.
//!
//! `encode` turns a job into a request, a `Decoder` turns packets into events, `classify` turns an
//! error answer into a `Failure`. One driver (`run/relay.rs`) owns every policy:
//!
//! | what comes | what happens |
//! | --- | --- |
//! | a packet of a kind we do not know | counted, skipped |
//! | a malformed packet | the attempt is lost: `provider_truncated` |
//! | an error inside the stream | the attempt is lost with that error |
//! | the end without the provider's own terminal | `provider_truncated`, never an invented finish |
//! | anything after the terminal | ignored |

pub mod call;
pub mod chat;
pub mod credential;
pub mod framing;
pub mod limits;
pub mod passthrough;
pub mod prefill;
pub mod protocol;
pub mod registry;
pub mod script;
pub mod tap;
pub mod vendor;

use std::collections::BTreeMap;

use bytes::Bytes;

pub use crate::egress::Method;

pub use crate::job::Target;
use crate::job::{Bill, Event, Failure, Job, Usage};
pub use crate::provider::credential::Credential;
pub use crate::provider::prefill::Prefill;

/// Facts about a provider's kind that are known before a request is made.
#[derive(Debug)]
pub struct Card {
    /// The name in `provider/model`, or the `kind` in the configuration.
    pub id: &'static str,
    /// Address of its API, unless the configuration says otherwise; `{name}` stands for a setting. Empty =
    /// the configuration must say.
    pub base_url: &'static str,
    /// The well-known variables of the whole address, the first that is set wins.
    pub base_url_variables: &'static [&'static str],
    /// The well-known variables of its key, the first that is set wins. Empty = needs none.
    pub key_variables: &'static [&'static str],
    /// How the key travels in a request.
    pub auth: Auth,
    /// Other facts about an account that must be known.
    pub settings: &'static [Setting],
    /// Whether it plays scripts instead of calling a server.
    pub plays_scripts: bool,
    /// Address of the documentation of its format.
    pub docs: &'static str,
}

impl Card {
    /// Values that most cards leave as they are: for `..Card::PLAIN`.
    pub const PLAIN: Card = Card {
        id: "",
        base_url: "",
        base_url_variables: &[],
        key_variables: &[],
        auth: Auth::Bearer,
        settings: &[],
        plays_scripts: false,
        docs: "",
    };
}

/// Something about an account that is no secret: a region, an account's number.
#[derive(Debug)]
pub struct Setting {
    /// The key in `[providers.NAME]`, and its place in `base_url`.
    pub name: &'static str,
    /// Its well-known environment variables; the first that is set wins.
    pub variables: &'static [&'static str],
    /// Value that holds if neither the configuration nor a variable gives one. Empty = one of them must, if `base_url`
    /// needs it.
    pub default: &'static str,
}

/// How a provider's key travels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Auth {
    /// The provider takes no key.
    None,
    /// The key travels as `authorization: Bearer KEY`.
    Bearer,
    /// The key travels in a header of this (lower-case) name.
    Header(&'static str),
    /// Google Cloud's: an API key in a header, else a token that is fetched (`credential/google.rs`).
    Google,
    /// `authorization: Bearer KEY` if there is a key, else each request is signed with AWS credentials.
    Aws,
}

/// Response headers as far as adapters read them.
pub type Headers = crate::egress::HeaderMap;

/// How a reply's bytes are cut into packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// The whole body is one packet.
    Whole,
    /// The body is server-sent events. A body that is not `text/event-stream` is one `Packet::Whole`.
    Sse,
    /// One JSON value a line. A body that is `application/json` is one `Packet::Whole`.
    Lines,
    /// The body is AWS event-stream frames. A body of another content type is one `Packet::Whole`.
    AwsFrames,
}

/// A request to a provider, complete but for time-outs.
#[derive(Clone, Debug)]
pub struct Outbound {
    /// How the request travels.
    pub route: Route,
    /// Body of the request.
    pub body: Bytes,
    /// How the reply is cut into packets.
    pub framing: Framing,
    /// Fields of the input that were left out because the provider does not take them.
    pub dropped: Vec<Box<str>>,
}

impl Outbound {
    /// The request as attempt number `attempt` of its job (from 1) makes it: a script may hold a
    /// timeline per attempt; every other provider gets the same request again.
    #[must_use]
    pub fn for_attempt(mut self, attempt: u32) -> Outbound {
        if let Route::Script(script) = &mut self.route {
            script.choose(attempt);
        }
        self
    }
}

/// How a request travels.
#[derive(Clone)]
pub enum Route {
    /// The request travels over HTTP.
    Http {
        /// HTTP method: `POST`, or `GET` to listen again to work that goes on at the provider.
        method: Method,
        /// Address that the request goes to.
        url: Box<str>,
        /// Headers, perhaps a key among them: never print this.
        headers: Headers,
        /// Credential that is more than a header.
        credential: Credential,
    },
    /// The built-in player answers; nothing leaves the process.
    Script(script::Script),
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Route::Http { method, url, .. } => {
                f.debug_struct("Http").field("method", method).field("url", url).finish_non_exhaustive()
            }
            Route::Script(_) => f.write_str("Script"),
        }
    }
}

/// A piece of a reply, cut by framing.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Packet<'a> {
    /// A server-sent event: its `event` field (empty if none) and its `data` lines joined by LF.
    Sse {
        /// The `event` field of the packet.
        event: &'a str,
        /// The `data` lines of the packet.
        data: &'a [u8],
    },
    /// A line that is not blank, without its end.
    Line(&'a [u8]),
    /// An AWS event-stream frame.
    Frame {
        /// `:message-type`: `event`, `exception` or `error`.
        message: &'a str,
        /// `:event-type`, `:exception-type` or `:error-code`.
        event: &'a str,
        /// The payload; of an error without one its `:error-message`.
        data: &'a [u8],
    },
    /// A whole body in one packet.
    Whole(&'a [u8]),
}

/// Whether the decoder wants more.
#[derive(Clone, PartialEq, Debug)]
pub enum Step {
    /// The provider has not ended.
    More,
    /// The provider's own terminal came. What follows is not read.
    Done,
}

/// How an answer ended, as its provider tells it.
#[derive(Clone, PartialEq, Debug)]
pub struct Finish {
    /// `stop`, `length`, `tool_calls`, `content_filter`, … mapped to one vocabulary.
    pub reason: Box<str>,
    /// The provider's own word, where it is another.
    pub native: Option<Box<str>>,
    /// The provider's own numbers, if it gave any.
    pub usage: Option<Usage>,
}

/// Work that goes on at the provider without a reader, and that can be listened to again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Upstream {
    /// The provider's id of the work.
    pub id: Box<str>,
    /// The number of the last packet that became events. `None` = how far is not known any more:
    /// after a crash.
    pub sequence: Option<u64>,
}

/// A job and the target that it goes to: everything that an encoder and a decoder need.
#[derive(Clone, Copy)]
pub struct ModelCall<'a> {
    /// The job that is carried out.
    pub job: &'a Job,
    /// The provider's name in the configuration, and its own id of the model.
    pub target: &'a Target,
    /// Address and credential of the provider.
    pub endpoint: &'a Endpoint,
    /// Whether the last message of the job is the beginning of the answer, which the provider is to
    /// continue ([`Provider::prefill`] says who does).
    pub prefilled: bool,
}

/// A provider's kind: what is the same for every model it serves.
pub trait Provider: Send + Sync + 'static {
    /// Returns the facts that are known before a request is made.
    fn card(&self) -> &'static Card;

    /// Builds the request for this job.
    ///
    /// # Errors
    /// `unsupported` or `invalid`, naming the field of the input that this provider cannot take.
    fn encode(&self, model_call: ModelCall<'_>) -> Result<Outbound, Failure>;

    /// Whether files that the job names by their addresses must be inside it before it is encoded,
    /// because the provider fetches none.
    fn wants_files_inside(&self, _ask: ModelCall<'_>) -> bool {
        false
    }

    /// What becomes of a job whose last message is the beginning of the answer: what `prefill` in
    /// the configuration says, else what is known.
    fn prefill(&self, model_call: ModelCall<'_>) -> Prefill {
        let raw = model_call.endpoint.setting("prefill").and_then(Prefill::named);
        raw.unwrap_or_else(|| self.known_prefill(model_call))
    }

    /// Tells the same where the configuration is silent.
    fn known_prefill(&self, _ask: ModelCall<'_>) -> Prefill {
        Prefill::No
    }

    /// Returns a fresh decoder for one reply to that request.
    fn decoder(&self, model_call: ModelCall<'_>) -> Box<dyn Decoder>;

    /// The request that listens to `upstream` again: after the packet of its number, else from the
    /// start. In the first case the decoder that was cut off goes on with the reply; in the second a
    /// fresh one decodes everything again. `None` if this provider has no such thing.
    fn resume(&self, _ask: ModelCall<'_>, _upstream: &Upstream) -> Option<Outbound> {
        None
    }

    /// The request for all of `upstream` in one piece, as it stands: for when it cannot be listened
    /// to any more. For a fresh decoder, which says `provider_unavailable` while it is under way.
    fn fetch(&self, _ask: ModelCall<'_>, _upstream: &Upstream) -> Option<Outbound> {
        None
    }

    /// The request that ends `upstream`. Closing the socket does not.
    fn cancel(&self, _ask: ModelCall<'_>, _upstream: &Upstream) -> Option<Outbound> {
        None
    }

    /// What a request asks that its client wrote in this provider's own format, if the answer to it is
    /// one that a decoder of ours reads.
    fn reads(&self, _asked: &passthrough::PassthroughRequest<'_>) -> Option<passthrough::Reading> {
        None
    }

    /// Tells what an answer with an error status means. `body` is at most 64 KiB of it.
    fn classify(&self, status: u16, headers: &Headers, body: &[u8]) -> Failure;
}

/// Turns the packets of one reply into events.
pub trait Decoder: Send {
    /// The reply's headers, before its first packet: for what a provider says nowhere else.
    fn on_headers(&mut self, _headers: &Headers) {}

    /// Decodes one packet; its events go to `out`. Lifecycle packets make none.
    ///
    /// # Errors
    /// The provider's own error inside the reply, or `provider_truncated` for a malformed packet.
    fn on_packet(&mut self, packet: Packet<'_>, out: &mut Vec<Event>) -> Result<Step, Failure>;

    /// Ends the reply and returns its finish, if the provider had sent everything.
    ///
    /// # Errors
    /// `provider_truncated` when it had not.
    fn on_end(&mut self, out: &mut Vec<Event>) -> Result<Finish, Failure>;

    /// The usage as far as the provider has told it: for attempts that do not end well.
    fn usage_so_far(&self) -> Option<Usage>;

    /// What goes on at the provider if this reply is cut off, with the packet after which this decoder
    /// can go on; without one, if this was the whole of what is still under way. `None` where nothing
    /// goes on, and once the provider has ended it.
    fn upstream(&self) -> Option<Upstream> {
        None
    }

    /// Returns what else the price depends on, as far as the provider has told it.
    fn bill(&self) -> Bill {
        Bill::default()
    }
}

/// About how many tokens `bytes` of text are: four bytes a token, rounded up. For attempts whose
/// provider told no usage; what is made of it says `estimate`.
#[must_use]
pub fn estimate_tokens(bytes: u64) -> u64 {
    bytes.div_ceil(4)
}

/// One configured provider, resolved: where it is and how to get in.
#[derive(Clone)]
pub struct Endpoint {
    /// The provider's name in the configuration.
    pub name: Box<str>,
    /// Address of its API, without a trailing slash.
    pub base_url: Box<str>,
    /// Headers of every call, the credential among them. Not printable.
    pub headers: Headers,
    /// Credential that is more than a header.
    pub credential: Credential,
    /// What else is known of the account, by the names of the card's settings and those that the
    /// configuration gives.
    pub settings: BTreeMap<Box<str>, Box<str>>,
    /// `scripted` only: its timeline, if the configuration names a file.
    pub script: Option<script::Script>,
}

impl Endpoint {
    /// Returns a setting, if the configuration or the environment gave it.
    #[must_use]
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(|value| &**value)
    }

    /// An endpoint at `base_url` that needs nothing else: for tests.
    #[must_use]
    pub fn plain(name: &str, base_url: &str) -> Endpoint {
        Endpoint {
            name: name.into(),
            base_url: base_url.into(),
            headers: Headers::new(),
            credential: Credential::default(),
            settings: BTreeMap::new(),
            script: None,
        }
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("name", &self.name).field("base_url", &self.base_url).finish_non_exhaustive()
    }
}
