use proptest::prelude::*;

use super::*;

#[derive(PartialEq, Debug, Clone)]
enum Seen {
    Sse(String, Vec<u8>),
    Line(Vec<u8>),
    Whole(Vec<u8>),
    Failed(Code),
}

fn note(packet: Packet<'_>) -> Seen {
    match packet {
        Packet::Sse { event, data } => Seen::Sse(event.to_owned(), data.to_vec()),
        Packet::Line(line) => Seen::Line(line.to_vec()),
        Packet::Whole(body) => Seen::Whole(body.to_vec()),
        Packet::Frame { .. } => panic!("not in these framings"),
    }
}

fn cut<'a>(content_type: Option<&str>, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Seen> {
    cut_as(Framing::Sse, content_type, pieces)
}

fn cut_as<'a>(framing: Framing, content_type: Option<&str>, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Seen> {
    let mut headers = Headers::new();
    if let Some(kind) = content_type {
        headers.insert("content-type", kind.parse().unwrap());
    }
    let mut framer = Framer::new(framing, &headers);
    let mut seen = Vec::new();
    for piece in pieces {
        framer.feed(Bytes::copy_from_slice(piece));
        loop {
            match framer.next() {
                Ok(Some(packet)) => seen.push(note(packet)),
                Ok(None) => break,
                Err(failure) => {
                    seen.push(Seen::Failed(failure.code));
                    return seen;
                }
            }
        }
    }
    match framer.finish() {
        Ok(last) => seen.extend(last.map(note)),
        Err(failure) => seen.push(Seen::Failed(failure.code)),
    }
    seen
}

fn sse(data: &str) -> Seen {
    Seen::Sse(String::new(), data.into())
}

fn named(event: &str, data: &str) -> Seen {
    Seen::Sse(event.into(), data.into())
}

#[test]
fn events_are_cut_as_the_standard_says() {
    let check = |body: &str, expected: &[Seen]| {
        assert_eq!(cut(Some("text/event-stream"), [body.as_bytes()]), expected, "{body:?}");
        assert_eq!(cut(Some("text/event-stream"), body.as_bytes().chunks(1)), expected, "bytewise {body:?}");
    };
    check("data: a\n\ndata:b\n\n", &[sse("a"), sse("b")]);
    check("data: a\r\n\r\ndata: b\r\n\r\n", &[sse("a"), sse("b")]);
    check("data: a\r\rdata: b\r\r", &[sse("a"), sse("b")]);
    check("data: a\r\n\rdata: b\n\r", &[sse("a"), sse("b")]);
    check("\u{feff}data: a\n\n", &[sse("a")]);
    check("\n\r\n\ndata: a\n\n", &[sse("a")]);
    check("data: one\ndata:\ndata: three\n\n", &[sse("one\n\nthree")]);
    check("data:  two blanks\n\n", &[sse(" two blanks")]);
    check("data\n\n", &[sse("")]);
    check("data:\n\n", &[sse("")]);
    check(": PROCESSING\n\n: again\n\ndata: a\n\n", &[sse("a")]);
    check("event: error\nid: 7\nretry: 10\ndata: a\n\ndata: b\n\n", &[named("error", "a"), sse("b")]);
    check("data: a\nevent: late\n\n", &[named("late", "a")]);
    check("event: only\n\ndata: a\n\n", &[sse("a")]);
    check("database: no\n data: no\ndata: a\n\n", &[sse("a")]);
    check("data: unterminated", &[sse("unterminated")]);
    check("data: unterminated\n", &[sse("unterminated")]);
    check("event: e\ndata: a\ndata: b", &[named("e", "a\nb")]);
    check("data: ä😀\n\n", &[sse("ä😀")]);
    check(": nothing\n\n", &[]);
    check("", &[]);
    check("\r\n", &[]);
}

#[test]
fn a_body_that_is_no_event_stream_is_one_packet() {
    let whole = |body: &str| vec![Seen::Whole(body.into())];
    for kind in [Some("application/json"), Some("text/html; charset=utf-8"), Some("")] {
        assert_eq!(cut(kind, [&b"{\"a\""[..], b":1}"]), whole("{\"a\":1}"), "{kind:?}");
        assert_eq!(cut(kind, []), whole(""), "{kind:?}");
    }
    for kind in [Some("text/event-stream"), Some("TEXT/Event-Stream;charset=utf-8"), None] {
        assert_eq!(cut(kind, [&b"\n\n{\"a\""[..], b":1}"]), whole("{\"a\":1}"), "{kind:?}");
        assert_eq!(cut(kind, [&b"data: a\n\n"[..]]), [sse("a")], "{kind:?}");
    }
}

#[test]
fn an_endless_packet_is_refused_in_bounded_memory() {
    let piece = vec![b'x'; 1 << 20];
    let too_much = PACKET_BYTES_MAX / piece.len() + 2;
    for (kind, start, most) in [
        ("text/event-stream", "data: ", PACKET_BYTES_MAX),
        ("text/event-stream", ": ", PACKET_BYTES_MAX),
        ("application/json", "{", ANSWER_BYTES_MAX),
    ] {
        let pieces = std::iter::repeat_n(&piece[..], most / piece.len() + 2);
        let seen = cut(Some(kind), std::iter::once(start.as_bytes()).chain(pieces));
        assert!(matches!(seen[..], [Seen::Failed(Code::ProviderTruncated)]), "{kind} {start}");
    }
    let line = [b"data: ", &piece[..], b"\n"].concat();
    let lines = std::iter::repeat_n(&line[..], too_much);
    assert_eq!(cut(Some("text/event-stream"), lines), [Seen::Failed(Code::ProviderTruncated)]);
    let body = [b"data: ".as_slice(), &vec![b'x'; PACKET_BYTES_MAX + 1], b"\n\n"].concat();
    assert_eq!(cut(Some("text/event-stream"), [&body[..]]), [Seen::Failed(Code::ProviderTruncated)]);
}

#[test]
fn lines_are_cut_at_their_ends() {
    let lines = |kind: &str, body: &str, size: usize| {
        cut_as(Framing::Lines, Some(kind), body.as_bytes().chunks(size).collect::<Vec<_>>())
    };
    let line = |text: &str| Seen::Line(text.into());
    for size in [1, 2, 3, 100] {
        let seen = lines("application/x-ndjson", "{\"a\":1}\n\n{\"b\":\"ä\"}\r\n  \n{\"c\"", size);
        assert_eq!(seen, [line("{\"a\":1}"), line("{\"b\":\"ä\"}"), line("{\"c\"")], "in pieces of {size}");
        assert_eq!(lines("application/json", "{\n}", size), [Seen::Whole(b"{\n}".to_vec())]);
    }
}

#[test]
fn an_event_in_one_piece_is_not_copied() {
    let mut headers = Headers::new();
    headers.insert("content-type", "text/event-stream".parse().unwrap());
    let mut framer = Framer::new(Framing::Sse, &headers);
    let body = Bytes::from_static(b"data: {\"a\":1}\n\n");
    let place = body.as_ptr() as usize + 6;
    framer.feed(body);
    let Ok(Some(Packet::Sse { data, .. })) = framer.next() else { panic!("an event") };
    assert_eq!(data.as_ptr() as usize, place);
}

#[test]
fn a_long_line_byte_by_byte_takes_linear_time() {
    let feed = |bytes: usize| {
        let body = [b"data: ".as_slice(), &vec![b'x'; bytes], b"\n\n"].concat();
        let started = std::time::Instant::now();
        assert_eq!(cut(Some("text/event-stream"), body.chunks(1)).len(), 1);
        started.elapsed()
    };
    // The fastest of several rounds: other work on the machine makes some of them slower, none faster.
    let fastest = |bytes: usize| (0..5).map(|_| feed(bytes)).min().expect("there are rounds");
    let (short, long) = (fastest(100_000), fastest(800_000));
    // Eight times the bytes; a quadratic parser would need sixty-four times the time.
    assert!(long < short * 32, "{short:?} for 100 kB, {long:?} for 800 kB");
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"data: {\"a\":\"\xc3\xa4\"}".to_vec()),
        Just(b"data:".to_vec()),
        Just(b"event: error".to_vec()),
        Just(b": keep-alive".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"\r".to_vec()),
        Just(b"\n\n".to_vec()),
        Just(b"{".to_vec()),
        Just(b"\xef\xbb\xbf".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..12),
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_cut_of_any_stream_gives_the_same_packets(
        body in stream(),
        cuts in proptest::collection::vec(0_usize..400, 0..8),
        kind in prop_oneof![Just(Some("text/event-stream")), Just(None), Just(Some("application/json"))],
    ) {
        let expected = cut(kind, [&body[..]]);
        prop_assert_eq!(&cut(kind, body.chunks(1)), &expected);
        let mut places: Vec<_> = cuts.into_iter().map(|at| at.min(body.len())).collect();
        places.extend([0, body.len()]);
        places.sort_unstable();
        let pieces = places.windows(2).map(|pair| &body[pair[0]..pair[1]]);
        prop_assert_eq!(&cut(kind, pieces), &expected);
    }

    #[test]
    fn feeding_before_taking_loses_nothing(body in stream(), at in 0_usize..400) {
        let at = at.min(body.len());
        let expected = cut(Some("text/event-stream"), [&body[..]]);
        let mut framer = Framer::new(Framing::Sse, &Headers::new());
        framer.feed(Bytes::copy_from_slice(&body[..at]));
        let mut seen = Vec::new();
        if let Ok(first) = framer.next() {
            seen.extend(first.map(note));
        }
        framer.feed(Bytes::copy_from_slice(&body[at..]));
        while let Ok(Some(packet)) = framer.next() {
            seen.push(note(packet));
        }
        seen.extend(framer.finish().ok().flatten().map(note));
        prop_assert_eq!(seen, expected);
    }
}

/// The signs of life after each piece.
fn signs(framing: Framing, pieces: &[&[u8]]) -> Vec<u64> {
    let mut framer = Framer::new(framing, &Headers::new());
    let after = |piece: &&[u8]| {
        framer.feed(Bytes::copy_from_slice(piece));
        while framer.next().expect("well-formed").is_some() {}
        framer.signs_of_life()
    };
    pieces.iter().map(after).collect()
}

#[test]
fn a_whole_packet_or_comment_is_a_sign_of_life_and_a_piece_of_one_is_not() {
    let check = |framing: Framing, pieces: &[&str], expected: &[u64]| {
        let bytes: Vec<&[u8]> = pieces.iter().map(|piece| piece.as_bytes()).collect();
        assert_eq!(signs(framing, &bytes), expected, "{pieces:?}");
    };
    check(Framing::Sse, &["data: a\n\n", "data: b\n\ndata: c\n\n"], &[1, 3]);
    check(Framing::Sse, &["d", "a", "t", "a", ":", "x", "\n", "\n"], &[0, 0, 0, 0, 0, 0, 0, 1]);
    check(Framing::Sse, &["data: a\n", "data: b\n", "event: x\n", "id: 4\n"], &[0, 0, 0, 0]);
    check(Framing::Sse, &[": keep-alive\n\n", ":", "\n", "\n", "\n"], &[1, 1, 2, 2, 2]);
    check(Framing::Sse, &["data: a\n", ": within\n", "\n"], &[0, 1, 2]);
    check(Framing::Sse, &["event: ping\n", "\n", "\n"], &[0, 1, 1]);
    check(Framing::Lines, &["{", "}", "\n", "\n", "{}\n{}\n"], &[0, 0, 1, 2, 4]);
    check(Framing::Sse, &["{", "}"], &[0, 0]);
}

#[test]
fn much_of_a_large_packet_is_a_sign_of_life() {
    let quarter = vec![b'x'; SIGN_OF_LIFE_BYTES / 4];
    let quarters: Vec<&[u8]> = vec![&quarter; 8];
    let expected = [0, 0, 0, 1, 1, 1, 1, 2];
    assert_eq!(signs(Framing::Sse, &quarters), expected);
    assert_eq!(signs(Framing::Whole, &quarters), expected);
}
