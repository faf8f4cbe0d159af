use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::provider::Framing;
use crate::provider::Headers;
use crate::provider::framing::Framer;

/// What was cut: kind, name, data; or how it failed.
type Seen = Result<(String, String, Vec<u8>), Code>;

fn frame(headers: &[(&'static str, &str)], payload: &[u8]) -> Vec<u8> {
    let mut message = Message::new(payload.to_vec());
    for (name, value) in headers {
        message = message.add_header(Header::new(*name, HeaderValue::String((*value).to_owned().into())));
    }
    let mut bytes = Vec::new();
    write_message_to(&message, &mut bytes).unwrap();
    bytes
}

fn event(name: &str, payload: &str) -> Vec<u8> {
    let headers = [(":event-type", name), (":content-type", "application/json"), (":message-type", "event")];
    frame(&headers, payload.as_bytes())
}

fn cut<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Seen> {
    let mut headers = Headers::new();
    headers.insert("content-type", "application/vnd.amazon.eventstream".parse().unwrap());
    let mut framer = Framer::new(Framing::AwsFrames, &headers);
    let note = |packet: Packet<'_>| match packet {
        Packet::Frame { message, event, data } => (message.to_owned(), event.to_owned(), data.to_vec()),
        other => panic!("{other:?} is no frame"),
    };
    let mut seen = Vec::new();
    for piece in pieces {
        framer.feed(Bytes::copy_from_slice(piece));
        loop {
            match framer.next() {
                Ok(Some(packet)) => seen.push(Ok(note(packet))),
                Ok(None) => break,
                Err(failure) => {
                    assert!(failure.belongs_to_target);
                    seen.push(Err(failure.code));
                    return seen;
                }
            }
        }
    }
    assert!(framer.finish().unwrap().is_none());
    seen
}

fn seen(kind: &str, name: &str, data: &str) -> Seen {
    Ok((kind.to_owned(), name.to_owned(), data.as_bytes().to_vec()))
}

#[test]
fn a_frame_says_its_kind_its_name_and_its_data() {
    let mut body = event("messageStart", r#"{"role":"assistant"}"#);
    body.extend(frame(&[(":message-type", "exception"), (":exception-type", "throttlingException")], b"{}"));
    let error = [(":message-type", "error"), (":error-code", "InternalError"), (":error-message", "oh")];
    body.extend(frame(&error, b""));
    body.extend(frame(&[(":message-type", "event")], b""));
    let expected = [
        seen("event", "messageStart", r#"{"role":"assistant"}"#),
        seen("exception", "throttlingException", "{}"),
        seen("error", "InternalError", "oh"),
        seen("event", "", ""),
    ];
    assert_eq!(cut([&body[..]]), expected);
    for size in [1, 2, 3, 11, 12, 13, 64] {
        assert_eq!(cut(body.chunks(size)), expected, "in pieces of {size}");
    }
}

#[test]
fn a_whole_frame_is_a_sign_of_life_and_a_byte_of_one_is_not() {
    let mut framer = Framer::new(Framing::AwsFrames, &Headers::new());
    let bytes = event("chunk", "{}");
    for (at, byte) in bytes.iter().enumerate() {
        assert_eq!(framer.signs_of_life(), 0, "before byte {at}");
        framer.feed(Bytes::copy_from_slice(&[*byte]));
        assert!(framer.next().is_ok(), "byte {at}");
    }
    assert_eq!(framer.signs_of_life(), 1);
}

#[test]
fn a_frame_that_the_end_cuts_off_is_none() {
    let (first, second) = (event("a", "1"), event("b", "2"));
    let body = [first.clone(), second].concat();
    for at in 0..body.len() {
        let expected = if at < first.len() { vec![] } else { vec![seen("event", "a", "1")] };
        assert_eq!(cut([&body[..at]]), expected, "cut at {at}");
        assert_eq!(cut(body[..at].chunks(1)), expected, "byte by byte to {at}");
    }
}

#[test]
fn a_flipped_bit_is_never_given_out() {
    let good = event("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"Hi"},"p":"abc"}"#);
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            assert_eq!(cut([&bad[..]]), [Err(Code::ProviderTruncated)], "bit {bit} of byte {at}");
            let after_a_good_one = [good.clone(), bad].concat();
            let seen = cut([&after_a_good_one[..]]);
            assert!(matches!(&seen[..], [Ok(_), Err(Code::ProviderTruncated)]), "bit {bit} of byte {at}: {seen:?}");
        }
    }
}

#[test]
fn lengths_that_cannot_be_are_refused_before_the_bytes_come() {
    let too_long = u32::try_from(PACKET_BYTES_MAX + 1).unwrap();
    for (length, headers) in [(0, 0), (15, 0), (16, 1), (100, 85), (too_long, 0), (u32::MAX, 4), (64, u32::MAX)] {
        let mut prelude = [length.to_be_bytes(), headers.to_be_bytes()].concat();
        prelude.extend(crc32fast::hash(&prelude).to_be_bytes());
        assert_eq!(cut([&prelude[..]]), [Err(Code::ProviderTruncated)], "{length} {headers}");
        assert_eq!(cut(prelude.chunks(1)), [Err(Code::ProviderTruncated)], "{length} {headers}");
    }
}

#[test]
fn a_body_of_another_type_is_whole() {
    let mut headers = Headers::new();
    headers.insert("content-type", "application/json".parse().unwrap());
    let mut framer = Framer::new(Framing::AwsFrames, &headers);
    framer.feed(Bytes::from_static(b"{}"));
    assert!(framer.next().unwrap().is_none());
    assert_eq!(framer.finish().unwrap(), Some(Packet::Whole(b"{}")));
}

proptest! {
    #[test]
    fn any_cut_gives_the_same_frames(
        payloads in prop::collection::vec("[a-z{}\":]{0,60}", 0..8),
        sizes in prop::collection::vec(1usize..90, 1..60),
        garbage in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut body: Vec<u8> = payloads.iter().flat_map(|payload| event("e", payload)).collect();
        body.extend(garbage);
        let whole = cut([&body[..]]);
        let mut rest = &body[..];
        let mut pieces = Vec::new();
        for size in sizes.into_iter().cycle() {
            if rest.is_empty() { break; }
            let (piece, more) = rest.split_at(size.min(rest.len()));
            pieces.push(piece);
            rest = more;
        }
        prop_assert_eq!(cut(pieces), whole.clone());
        prop_assert!(whole.len() >= payloads.len());
    }

    #[test]
    fn any_headers_with_right_checksums_do_not_panic(headers in prop::collection::vec(any::<u8>(), 0..80)) {
        let length = u32::try_from(headers.len() + FRAME_BYTES_MIN).unwrap();
        let mut body = [length.to_be_bytes(), u32::try_from(headers.len()).unwrap().to_be_bytes()].concat();
        body.extend(crc32fast::hash(&body).to_be_bytes());
        body.extend(&headers);
        body.extend(crc32fast::hash(&body).to_be_bytes());
        prop_assert_eq!(cut([&body[..]]).len(), 1);
    }
}
