//! Providers that lie: whatever comes, a decoder ends, does not panic, and says nothing that is
//! larger than what it was told.

use forebay::provider::vendor;
use proptest::prelude::*;
use proptest::sample::Index;

use super::own::{Case, exchanges};
use super::replay::{Adapter, Outcome, Reply, replay};

/// What is done to a body.
#[derive(Clone, Debug)]
enum Harm {
    /// A byte becomes another.
    Flip(Index, u8),
    /// Something stands in between.
    Insert(Index, Vec<u8>),
    /// A stretch is gone.
    Cut(Index, usize),
    /// A stretch comes twice.
    Repeat(Index, usize),
    /// The body ends there.
    End(Index),
}

fn harm() -> impl Strategy<Value = Harm> {
    let words = prop_oneof![
        proptest::sample::select(vec![
            "null",
            "{}",
            "[]",
            "-1",
            "1e999",
            "\"\"",
            "18446744073709551616",
            "\u{0}",
            "data: ",
            "\n\n",
            "\r",
            "{",
            "}",
            "\\u0000",
            "\"index\":4294967295",
            "\"error\":{",
            "[DONE]",
            "true,",
            "\u{feff}",
            "\"usage\":7",
        ])
        .prop_map(|word| word.as_bytes().to_vec()),
        proptest::collection::vec(any::<u8>(), 1..9),
    ];
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Harm::Flip(at, byte)),
        (any::<Index>(), words).prop_map(|(at, word)| Harm::Insert(at, word)),
        (any::<Index>(), 1..200_usize).prop_map(|(at, bytes)| Harm::Cut(at, bytes)),
        (any::<Index>(), 1..400_usize).prop_map(|(at, bytes)| Harm::Repeat(at, bytes)),
        any::<Index>().prop_map(Harm::End),
    ]
}

fn inflict(body: &mut Vec<u8>, harm: &Harm) {
    if body.is_empty() {
        return;
    }
    let stretch = |body: &[u8], at: &Index, bytes: usize| {
        let at = at.index(body.len());
        at..(at + bytes).min(body.len())
    };
    match harm {
        Harm::Flip(at, byte) => {
            let at = at.index(body.len());
            body[at] = *byte;
        }
        Harm::Insert(at, word) => {
            let at = at.index(body.len());
            body.splice(at..at, word.iter().copied());
        }
        Harm::Cut(at, bytes) => drop(body.drain(stretch(body, at, *bytes))),
        Harm::Repeat(at, bytes) => {
            let range = stretch(body, at, *bytes);
            let again = body[range.clone()].to_vec();
            body.splice(range.end..range.end, again);
        }
        Harm::End(at) => body.truncate(at.index(body.len())),
    }
}

fn raw(outcome: &Outcome) -> usize {
    outcome.events.iter().map(|event| serde_json::to_string(event).expect("an event is JSON").len()).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn a_harmed_reply_ends_somehow_and_the_same_in_any_pieces(
        harms in proptest::collection::vec(harm(), 1..5),
        size in 1..300_usize,
        status in prop_oneof![4 => Just(None), 1 => proptest::sample::select(vec![200_u16, 400, 429, 503]).prop_map(Some)],
    ) {
        for provider in vendor::ALL {
            for (name, exchange) in exchanges(provider.card().id) {
                let mut reply = Reply::of(&exchange);
                reply.status = status.unwrap_or(reply.status);
                for harm in &harms {
                    inflict(&mut reply.body, harm);
                }
                let request = Case::of(&exchange);
                let adapter = &Adapter {
                    framing: request.framing(*provider),
                    decoder: &|| provider.decoder(request.model_call()),
                    classify: &|status, headers, body| provider.classify(status, headers, body),
                };
                let whole = replay(adapter, &reply, [&reply.body[..]]);
                let bound = reply.body.len() * 8 + 4096;
                prop_assert!(raw(&whole) <= bound, "{name}: {} bytes from {}", raw(&whole), reply.body.len());
                prop_assert_eq!(&replay(adapter, &reply, reply.body.chunks(size)), &whole, "{} in pieces of {}", name, size);
            }
        }
    }
}
