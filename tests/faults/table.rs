//! The scenarios: what providers do, and the outcome that is expected through every entrance.
//!
//! Providers: `a`, `b`, `c` speak the dialect; `p` takes the beginning of its own answer (vLLM), `m`
//! repeats it (Mistral); `off` refuses connections, `late` until its job waits; `tls` and
//! `dns` cannot be reached; `oa` and `ob` have OpenAI's models, whose windows the catalog knows.

use crate::act::Act::{self, After, Answer, Doubled, Gzip, Hangs, Html, HugeError, Late, NoPrefill, Status, Thinks};
use crate::act::Trouble::{BilledAndClosed, Closed, Error, Filtered, Malformed, NoEnd, NoUsage, Reset, Stall, Trickle};

/// One scenario of the table.
#[derive(Debug)]
pub(crate) struct Row {
    /// Part of ids and model names.
    pub(crate) name: &'static str,
    /// The model and its fallbacks.
    pub(crate) targets: &'static [Target],
    /// Options of the job over the test's usual ones.
    pub(crate) options: &'static str,
    pub(crate) ends: Ends,
    /// Events `attempt`, `lost`, `restarted` and `queued` that the stream must hold in this order, maybe
    /// with more between.
    pub(crate) events: &'static [&'static str],
}

/// A target, what it does call by call (the last repeats), and how often it may be called.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) provider: &'static str,
    /// Model at the provider; absent = a name of the row's own.
    pub(crate) model: Option<&'static str>,
    pub(crate) acts: &'static [Act],
    pub(crate) calls: (usize, usize),
}

/// The expected end of a job.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ends {
    /// With the answer of one perfect provider.
    Whole,
    /// With the first words and this finish reason.
    Cut(usize, &'static str),
    /// With a failure of this code that names the providers that were tried.
    Failed(&'static str, &'static [&'static str]),
}

const fn to(provider: &'static str, acts: &'static [Act], min: usize, max: usize) -> Target {
    Target { provider, model: None, acts, calls: (min, max) }
}

const fn of(provider: &'static str, model: &'static str, acts: &'static [Act], (min, max): (usize, usize)) -> Target {
    Target { provider, model: Some(model), acts, calls: (min, max) }
}

const fn row(
    name: &'static str,
    options: &'static str,
    targets: &'static [Target],
    ends: Ends,
    events: &'static [&'static str],
) -> Row {
    Row { name, targets, options, ends, events }
}

const GOOD: Target = to("b", &[Answer], 1, 1);
const UNASKED: Target = to("b", &[Answer], 0, 0);

const BUSY: Act = Status(429, "retry-after: 1\r\n", r#"{"error":{"message":"slow down","type":"rate_limit_error"}}"#);
const BUSY_LONG: Act = Status(429, "retry-after: 3\r\n", r#"{"error":{"message":"slow down"}}"#);
const BROKEN: Act = Status(500, "", r#"{"error":{"message":"oops","type":"server_error"}}"#);
const LOADED: Act = Status(529, "", r#"{"error":{"message":"overloaded","type":"overloaded_error"}}"#);
const NO_KEY: Act = Status(401, "", r#"{"error":{"message":"bad key","code":"invalid_api_key"}}"#);
const FORBIDDEN: Act = Status(403, "", r#"{"error":{"message":"not for you"}}"#);
const NO_MODEL: Act = Status(404, "", r#"{"error":{"message":"no such model","code":"model_not_found"}}"#);
const WRONG: Act = Status(400, "", r#"{"error":{"message":"temperature is too high","param":"temperature"}}"#);
const UNPROCESSABLE: Act = Status(422, "", r#"{"detail":[{"msg":"field required"}]}"#);
const FILTERED: Act = Status(400, "", r#"{"error":{"message":"blocked","code":"content_filter"}}"#);
const TOO_LONG: Act =
    Status(400, "", r#"{"error":{"message":"over the maximum context length","code":"context_length_exceeded"}}"#);
const REDIRECT: Act = Status(302, "location: /counter/v1/chat/completions\r\n", "");
const NOTHING: Act = Status(204, "", "");

const QUICK: &str = r#"{"timeouts":{"first_token_ms":2000}}"#;
const QUICK_ONCE: &str = r#"{"timeouts":{"first_token_ms":2000},"retry":{"max_attempts":1}}"#;
const BRISK: &str = r#"{"timeouts":{"idle_ms":2000}}"#;
const BRISK_ONCE: &str = r#"{"timeouts":{"idle_ms":2000},"retry":{"max_attempts":1}}"#;
const ONE_TRY: &str = r#"{"retry":{"max_attempts":1}}"#;
const THREE: &str = r#"{"retry":{"max_attempts":3}}"#;
const FAIL: &str = r#"{"on_stream_failure":"fail"}"#;
const RESTART: &str = r#"{"on_stream_failure":"restart"}"#;
const PATIENT: &str = r#"{"timeouts":{"queue_ms":60000,"total_ms":80000}}"#;
const IMPATIENT: &str = r#"{"timeouts":{"queue_ms":800}}"#;
const HEDGED: &str = r#"{"hedge_ms":200}"#;

const AGAIN: &[&str] = &["attempt a start", "lost", "attempt a start"];
const NEXT: &[&str] = &["attempt a start", "lost", "attempt b start"];
const GOES_ON: &[&str] = &["attempt a start", "lost", "continue"];
const GOES_ON_AT_B: &[&str] = &["attempt a start", "lost", "attempt b continue"];

use Ends::{Cut, Failed, Whole};

pub(crate) const ROWS: &[Row] = &[
    row("s01-busy", "{}", &[to("a", &[BUSY, Answer], 2, 2)], Whole, AGAIN),
    row("s01-busy-long", "{}", &[to("a", &[BUSY_LONG, Answer], 1, 2), GOOD], Whole, NEXT),
    row("s02-500-once", "{}", &[to("a", &[BROKEN, Answer], 2, 2), UNASKED], Whole, AGAIN),
    row("s02-529-once", "{}", &[to("a", &[LOADED, Answer], 2, 2)], Whole, AGAIN),
    row("s02-hung-up-twice", THREE, &[to("a", &[Hangs(true), Hangs(false), Answer], 3, 3)], Whole, AGAIN),
    row("s03-500-always", "{}", &[to("a", &[BROKEN], 1, 2), GOOD], Whole, NEXT),
    row(
        "s03-500-everywhere",
        "{}",
        &[to("a", &[BROKEN], 1, 2), to("b", &[BROKEN], 1, 2)],
        Failed("provider_unavailable", &["a", "b"]),
        NEXT,
    ),
    row("s04-refused", "{}", &[to("off", &[], 0, 0), GOOD], Whole, &["lost", "attempt b start"]),
    row("s04-refused-alone", IMPATIENT, &[to("off", &[], 0, 0)], Failed("provider_unavailable", &["off"]), &["lost"]),
    row("s05-401", "{}", &[to("a", &[NO_KEY], 1, 1), GOOD], Whole, NEXT),
    row("s05-403", "{}", &[to("a", &[FORBIDDEN], 1, 1), GOOD], Whole, NEXT),
    row("s05-404", "{}", &[to("a", &[NO_MODEL], 1, 1), GOOD], Whole, NEXT),
    row("s06-silent", QUICK_ONCE, &[to("a", &[After(0, Stall)], 1, 1), GOOD], Whole, NEXT),
    row("s06-silent-once", QUICK, &[to("a", &[After(0, Stall), Answer], 2, 2)], Whole, AGAIN),
    row("s07-late", QUICK_ONCE, &[to("a", &[Late(20_000)], 1, 1), GOOD], Whole, NEXT),
    row("s08-cut", "{}", &[to("a", &[After(40, Closed), Answer], 2, 2)], Whole, GOES_ON),
    row("s08-reset", "{}", &[to("a", &[After(40, Reset), Answer], 2, 2)], Whole, GOES_ON),
    row("s08-cut-once", ONE_TRY, &[to("a", &[After(40, Closed)], 1, 1), GOOD], Whole, GOES_ON_AT_B),
    row("s08-cut-thrice", THREE, &[to("a", &[After(15, Closed), After(30, Reset), Answer], 3, 3)], Whole, GOES_ON),
    row("s08-cut-at-the-end", "{}", &[to("a", &[After(60, Closed), Answer], 1, 2)], Whole, &["lost"]),
    row("s08-cut-in-thought", "{}", &[to("a", &[Thinks(0, Closed), Answer], 2, 2)], Whole, &["lost"]),
    row("s08-cut-after-thought", "{}", &[to("a", &[Thinks(40, Closed), Answer], 2, 2)], Whole, GOES_ON),
    row(
        "s08-prefill",
        ONE_TRY,
        &[to("a", &[After(40, Closed)], 1, 1), to("p", &[Answer], 1, 1)],
        Whole,
        &["lost", "attempt p continue"],
    ),
    row(
        "s08-prefill-said-again",
        ONE_TRY,
        &[to("a", &[After(40, Closed)], 1, 1), to("m", &[Answer], 1, 1)],
        Whole,
        &["lost", "attempt m continue"],
    ),
    row("s08-fail", FAIL, &[to("a", &[After(40, Closed)], 1, 1), UNASKED], Failed("provider_truncated", &["a"]), &[]),
    row(
        "s08-restart",
        RESTART,
        &[to("a", &[After(40, Closed), Answer], 2, 2)],
        Whole,
        &["attempt a start", "lost", "restarted", "attempt a restart"],
    ),
    row(
        "s08-cut-everywhere",
        "{}",
        &[to("a", &[After(40, Closed)], 1, 2), to("b", &[After(50, Closed)], 1, 2)],
        Failed("provider_truncated", &["a", "b"]),
        GOES_ON,
    ),
    row("s09-stall", BRISK, &[to("a", &[After(40, Stall), Answer], 2, 2)], Whole, GOES_ON),
    row("s09-stall-once", BRISK_ONCE, &[to("a", &[After(40, Stall)], 1, 1), GOOD], Whole, GOES_ON_AT_B),
    row("s10-error-before", "{}", &[to("a", &[After(0, Error), Answer], 2, 2)], Whole, AGAIN),
    row("s11-error-after", "{}", &[to("a", &[After(40, Error), Answer], 2, 2)], Whole, GOES_ON),
    row("s12-no-end", "{}", &[to("a", &[After(40, NoEnd), Answer], 2, 2)], Whole, GOES_ON),
    row("s12-no-end-before", "{}", &[to("a", &[After(0, NoEnd), Answer], 2, 2)], Whole, AGAIN),
    row("s12-no-usage", "{}", &[to("a", &[After(60, NoUsage)], 1, 1)], Whole, &["attempt a start"]),
    row("s13-malformed", "{}", &[to("a", &[After(40, Malformed), Answer], 2, 2)], Whole, GOES_ON),
    row("s13-malformed-first", "{}", &[to("a", &[After(0, Malformed), Answer], 2, 2)], Whole, AGAIN),
    row(
        "s14-no-prefill",
        ONE_TRY,
        &[to("a", &[After(40, Closed)], 1, 1), to("p", &[NoPrefill], 1, 2), to("b", &[Answer], 0, 1)],
        Whole,
        &["attempt a start", "lost", "attempt p continue"],
    ),
    row(
        "s15-too-long",
        "{}",
        &[of("oa", "gpt-4", &[TOO_LONG], (1, 1)), of("ob", "gpt-4.1", &[Answer], (1, 1))],
        Whole,
        &["lost", "attempt ob start"],
    ),
    row(
        "s15-too-long-everywhere",
        "{}",
        &[of("oa", "gpt-4.1", &[TOO_LONG], (1, 1)), of("ob", "gpt-4", &[Answer], (0, 0))],
        Failed("provider_rejected", &["oa"]),
        &[],
    ),
    row("s16-both-billed", ONE_TRY, &[to("a", &[After(40, BilledAndClosed)], 1, 1), GOOD], Whole, GOES_ON_AT_B),
    row("s17-400", "{}", &[to("a", &[WRONG], 1, 1), UNASKED], Failed("provider_rejected", &[]), &[]),
    row("s17-422", "{}", &[to("a", &[UNPROCESSABLE], 1, 1), UNASKED], Failed("provider_rejected", &[]), &[]),
    row("s18-filter", "{}", &[to("a", &[FILTERED], 1, 1), UNASKED], Failed("content_filtered", &[]), &[]),
    row("s18-filter-after", "{}", &[to("a", &[After(40, Filtered)], 1, 1), UNASKED], Cut(40, "content_filter"), &[]),
    row("s19-two-ends", "{}", &[to("a", &[Doubled], 1, 1), UNASKED], Whole, &["attempt a start"]),
    row("s20-trickle", BRISK_ONCE, &[to("a", &[After(40, Trickle)], 1, 1), GOOD], Whole, GOES_ON_AT_B),
    row("s20-trickle-first", QUICK_ONCE, &[to("a", &[After(0, Trickle)], 1, 1), GOOD], Whole, NEXT),
    row("s21-redirect", "{}", &[to("a", &[REDIRECT], 1, 1), GOOD], Whole, NEXT),
    row("s21-204", "{}", &[to("a", &[NOTHING], 1, 2), GOOD], Whole, NEXT),
    row("s21-page", "{}", &[to("a", &[Html(200)], 1, 2), GOOD], Whole, NEXT),
    row("s21-bad-gateway", "{}", &[to("a", &[Html(502), Answer], 2, 2), UNASKED], Whole, AGAIN),
    row("s21-gzip", "{}", &[to("a", &[Gzip], 1, 2), GOOD], Whole, NEXT),
    row("s21-huge-error", "{}", &[to("a", &[HugeError, Answer], 2, 2), UNASKED], Whole, AGAIN),
    row("s22-tls", "{}", &[to("tls", &[], 0, 0), GOOD], Whole, &["lost", "attempt b start"]),
    row("s22-dns", "{}", &[to("dns", &[], 0, 0), GOOD], Whole, &["lost", "attempt b start"]),
    row("s22-dns-alone", IMPATIENT, &[to("dns", &[], 0, 0)], Failed("provider_unavailable", &["dns"]), &["lost"]),
    row(
        "s23-one-recovers",
        PATIENT,
        &[to("off", &[], 0, 0), to("late", &[Answer], 1, 1)],
        Whole,
        &["queued", "attempt late start"],
    ),
    row(
        "s23-all-busy",
        PATIENT,
        &[to("a", &[BUSY_LONG, Answer], 1, 2), to("b", &[BUSY_LONG, Answer], 1, 2)],
        Whole,
        &["lost", "queued", "attempt"],
    ),
    row("s26-hedged", HEDGED, &[to("a", &[Late(4000)], 1, 2), GOOD], Whole, &["attempt a start", "attempt b"]),
];

/// Chooses the behavior towards a call in these scenarios.
pub(crate) fn plan(provider: &str, model: &str, before: usize) -> Act {
    let name = model.split('.').next().unwrap_or_default();
    let row = ROWS.iter().find(|row| row.name == name);
    let at = provider.trim_end_matches(|c: char| c.is_ascii_digit());
    let target = row.and_then(|row| row.targets.iter().find(|target| target.provider == at));
    let acts = target.map_or(&[][..], |target| target.acts);
    acts.get(before).or(acts.last()).copied().unwrap_or(BROKEN)
}
