//! Headers and events of the Durable Streams protocol.

use super::*;
use crate::job::Epoch;

#[test]
fn a_lifetime_is_said_once_and_plainly() {
    let at = "2026-11-21T10:00:00+01:00";
    for (ttl, expires_at, expected) in [
        (None, None, Some(Lifetime::Unlimited)),
        (Some("0"), None, Some(Lifetime::Idle(0))),
        (Some("3600"), None, Some(Lifetime::Idle(3600))),
        (None, Some(at), Timestamp::parse(at).map(Lifetime::Until)),
        (Some("1"), Some(at), None),
        (Some("01"), None, None),
        (Some("+1"), None, None),
        (Some("-1"), None, None),
        (Some("1.0"), None, None),
        (Some("1e3"), None, None),
        (Some(""), None, None),
        (Some("18446744073709551616"), None, None),
        (None, Some("tomorrow"), None),
    ] {
        assert_eq!(Lifetime::of(ttl, expires_at).ok(), expected, "{ttl:?} {expires_at:?}");
    }
    assert_eq!(Lifetime::Idle(u64::MAX).ends(Timestamp(5)), Some(Timestamp(u64::MAX)));
}

#[test]
fn a_producer_says_all_three_or_nothing() {
    let of = |id, epoch, seq| Producer::of(id, epoch, seq).map_err(|failure| failure.param.clone().unwrap_or_default());
    assert_eq!(of(None, None, None), Ok(None));
    assert_eq!(of(Some("p"), Some("0"), Some("7")), Ok(Some(Producer { id: "p".into(), epoch: 0, seq: 7 })));
    let long = "p".repeat(PRODUCER_BYTES_MAX + 1);
    for (id, epoch, seq, named) in [
        (Some("p"), Some("0"), None, "producer-id"),
        (None, None, Some("0"), "producer-id"),
        (Some(""), Some("0"), Some("0"), "producer-id"),
        (Some(long.as_str()), Some("0"), Some("0"), "producer-id"),
        (Some("p"), Some("1e3"), Some("0"), "producer-epoch"),
        (Some("p"), Some("-1"), Some("0"), "producer-epoch"),
        (Some("p"), Some("0"), Some("9007199254740992"), "producer-seq"),
        (Some("p"), Some("0"), Some("1abc"), "producer-seq"),
    ] {
        assert_eq!(of(id, epoch, seq), Err(named.into()), "{id:?} {epoch:?} {seq:?}");
    }
}

#[test]
fn a_content_type_is_its_essence() {
    for (content_type, form) in [
        ("application/json", Form::Json),
        ("Application/JSON; charset=utf-8", Form::Json),
        ("text/plain", Form::Text),
        ("TEXT/html;x", Form::Text),
        ("application/octet-stream", Form::Binary),
        ("application/x-ndjson", Form::Binary),
        ("text", Form::Binary),
        ("", Form::Binary),
    ] {
        assert_eq!(Form::of(content_type), form, "{content_type}");
    }
    assert!(same_type("text/plain", "Text/Plain ; charset=utf-8"));
    assert!(!same_type("text/plain", "text/html"));
}

#[test]
fn a_reader_that_is_not_behind_the_clock_is_moved_on() {
    let now = Timestamp(1000 * (CURSOR_EPOCH_S + 45));
    for chance in [0, 1, 3599, u64::MAX] {
        assert_eq!(stream_cursor(now, None, chance), 2);
        assert_eq!(stream_cursor(now, Some("1"), chance), 2);
        assert_eq!(stream_cursor(now, Some("nonsense"), chance), 2);
        for parsed in ["2", "1000"] {
            let given = stream_cursor(now, Some(parsed), chance);
            let parsed: u64 = parsed.parse().unwrap();
            assert!((parsed + 1..=parsed + 180).contains(&given), "{given}");
        }
    }
}

/// What a reader of server-sent events makes of a text.
fn events(text: &str) -> Vec<(String, String)> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let block = |block: &str| {
        let field = |name: &str| -> Vec<String> {
            let values = block.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            values.map(|value| value.strip_prefix(' ').unwrap_or(value).to_owned()).collect()
        };
        (field("event").concat(), field("data").join("\n"))
    };
    text.split_terminator("\n\n").map(block).collect()
}

#[test]
fn no_content_breaks_out_of_its_event() {
    for (form, content, read) in [
        (Form::Text, "plain", "plain"),
        (Form::Text, "", ""),
        (Form::Text, " one blank\n  two", " one blank\n  two"),
        (Form::Text, "a\r\n\r\nevent: control\rdata: {}\n\n", "a\n\nevent: control\ndata: {}\n\n"),
        (Form::Json, "1,\n\"x\"", "[1,\n\"x\"]"),
        (Form::Binary, "\n\n", "Cgo="),
    ] {
        let mut out = Vec::new();
        put_data(&mut out, form, content.as_bytes());
        let control =
            Control { next: Cursor::At { epoch: Epoch(1), seq: 5 }, cursor: 7, up_to_date: true, closed: false };
        put_control(&mut out, &control);
        let seen = events(std::str::from_utf8(&out).unwrap());
        let request = r#"{"streamNextOffset":"00000001_0000000005","streamCursor":"7","upToDate":true}"#;
        assert_eq!(seen, [("data".into(), read.into()), ("control".into(), request.into())], "{content:?}");
    }
    let mut out = Vec::new();
    put_control(&mut out, &Control { next: Cursor::Start, cursor: 7, up_to_date: true, closed: true });
    let request = r#"{"streamNextOffset":"-1","upToDate":true,"streamClosed":true}"#;
    assert_eq!(events(std::str::from_utf8(&out).unwrap()), [("control".into(), request.into())]);
}
