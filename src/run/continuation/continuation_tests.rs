use proptest::prelude::*;

use super::*;
use crate::job::{Delta, Progress, ProgressState, Restarted, Timestamp, ToolCall};
use crate::wire::submit::{Entrance, from_json};

const EXACT: ContinueBy = ContinueBy::Prefill(Prefill::Exact);
const REPEATS: ContinueBy = ContinueBy::Prefill(Prefill::Repeats);

fn delta(part: Part, text: &str) -> Event {
    Event::Delta(Delta { part, text: text.into(), ..Delta::default() })
}

fn text(text: &str) -> Event {
    delta(Part::Text, text)
}

fn told(text: &str) -> PartialAnswer {
    PartialAnswer { text: text.into(), ..PartialAnswer::default() }
}

/// What a reader has in the end who had `before`, when the next answer comes in these pieces.
fn joined(before: &str, way: ContinueBy, pieces: &[&str]) -> String {
    let mut trim = OverlapTrimmer::new(&told(before), way);
    let mut all = Vec::new();
    for piece in pieces {
        let mut events = vec![text(piece)];
        trim.push(&mut events);
        all.append(&mut events);
    }
    trim.end(&mut all);
    let said = all.iter().map(|event| match event {
        Event::Delta(delta) => &*delta.text,
        other => panic!("{}", other.kind()),
    });
    std::iter::once(before).chain(said).collect()
}

/// However the answer is cut.
fn check(before: &str, way: ContinueBy, answer: &str, expected: &str) {
    assert_eq!(joined(before, way, &[answer]), expected, "{before:?} + {answer:?} at once");
    let characters: Vec<&str> = answer.split("").filter(|piece| !piece.is_empty()).collect();
    assert_eq!(joined(before, way, &characters), expected, "{before:?} + {answer:?} by characters");
}

#[test]
fn a_rest_is_taken_as_it_comes_unless_it_is_everything_again() {
    for (before, answer, expected) in [
        ("The river", " runs.", "The river runs."),
        ("The ri", "ver runs.", "The river runs."),
        ("The river runs", "The river runs far.", "The river runs far."),
        ("The river runs", " \nThe river runs far.", "The river runs far."),
        ("The river runs", "The river is far.", "The river runsThe river is far."),
        ("The river runs", "", "The river runs"),
        ("ha", "ha", "haha"),
        // The blanks at the end were not sent.
        ("The river ", " runs", "The river runs"),
        ("The river ", "runs", "The river runs"),
        ("One.\n\n", "\n\nTwo.", "One.\n\nTwo."),
        ("One.\n\n", "\n- two", "One.\n\n- two"),
        ("One.\n", "\n\n- two", "One.\n\n- two"),
        ("  \n", "  \nHi", "  \nHi"),
        ("", "The river", "The river"),
        // All that was left was the blank that the reader has.
        ("One two three ", " ", "One two three "),
    ] {
        check(before, EXACT, answer, expected);
    }
}

#[test]
fn a_repeated_beginning_is_removed_and_another_one_let_through() {
    for (before, answer, expected) in [
        ("The river", "The river runs.", "The river runs."),
        ("ha", "haha", "haha"),
        (" The river ", "The river runs.", " The river runs."),
        ("The river", " runs.", "The river runs."),
        ("The river", "The rain", "The riverThe rain"),
        // It ended while it repeated.
        ("The river", "The ri", "The river"),
    ] {
        check(before, REPEATS, answer, expected);
    }
}

#[test]
fn a_turn_goes_on_after_the_words_that_it_repeats() {
    const LONG: &str = "Rivers carry water. They begin in the mountains, run through the valleys and";
    for (before, answer, expected) in [
        (LONG, "mountains, run through the valleys and end", &*format!("{LONG} end")),
        (LONG, "in the mountains, run through the valleys and end", &format!("{LONG} end")),
        (LONG, "…in the mountains, run through the valleys and end", &format!("{LONG} end")),
        (LONG, "«in the mountains, run through the valleys and» end", &format!("{LONG} end")),
        (LONG, "\"... in the mountains,\nrun through the valleys and\" end", &format!("{LONG} end")),
        // More than it was asked to, and less.
        (LONG, "They begin in the mountains, run through the valleys and end", &format!("{LONG} end")),
        (LONG, "valleys and end", &format!("{LONG} end")),
        (LONG, &format!("{LONG} end"), &format!("{LONG} end")),
        (LONG, "end in the sea", &format!("{LONG} end in the sea")),
        (LONG, " end in the sea", &format!("{LONG} end in the sea")),
        (LONG, ", at last,", &format!("{LONG}, at last,")),
        (LONG, "in the mountains, run through the valleys and", LONG),
        (LONG, "", LONG),
        // Cut inside a word.
        ("It is wonder", "It is wonderful", "It is wonderful"),
        ("It is wonder", "wonderful", "It is wonderful"),
        ("It is a", "a day", "It is a day"),
        ("It is a", "another day", "It is a another day"),
        ("It is a", "a", "It is a"),
        // A quote of its own.
        ("He said \"Yes", "\"Yes\" and left", "He said \"Yes\" and left"),
        ("It’s what they", "It's what they do", "It’s what they do"),
        // The blanks at its end are there already.
        ("One two three.\n\n", "One two three.\n\nFour", "One two three.\n\nFour"),
        ("One two three.\n\n", "two three. Four", "One two three.\n\n Four"),
        ("One two three ", "four", "One two three four"),
        // Scripts that part no words.
        ("河流从山上流下来，穿过山谷", "流下来，穿过山谷，流入大海", "河流从山上流下来，穿过山谷，流入大海"),
        ("河流从山上流下来，穿过山谷", "，流入大海", "河流从山上流下来，穿过山谷，流入大海"),
        ("ha ha ha", "ha ha ha ha", "ha ha ha ha"),
    ] {
        check(before, ContinueBy::Turn, answer, expected);
    }
}

#[test]
fn what_is_no_text_passes_in_order_and_reasoning_is_not_repeated() {
    let progress =
        || Event::Progress(Progress { state: ProgressState::Running, fraction: None, note: None, upstream: None });
    let call = || Event::ToolCall(ToolCall { arguments: "{}".into(), ..ToolCall::default() });
    let mut aside = Delta { text: "The river".into(), ..Delta::default() };
    aside.extra = Some(Box::new(serde_json::json!({"chunk": {"id": 1}})));
    let came =
        || vec![delta(Part::Reasoning, "Hm"), Event::Delta(aside.clone()), progress(), text(" ru"), call(), text("ns")];
    let check = |before: &str, expected: Vec<Event>| {
        let mut events = came();
        let mut trim = OverlapTrimmer::new(&told(before), REPEATS);
        trim.push(&mut events);
        trim.end(&mut events);
        assert_eq!(events, expected, "after {before:?}");
    };
    let kept = Event::Delta(Delta { text: String::new(), ..aside.clone() });
    check("The river", vec![kept.clone(), progress(), text(" ru"), call(), text("ns")]);
    check("", came());
    let held = Event::Delta(Delta { text: String::new(), ..aside.clone() });
    // Cut off while it repeated, a call is the end of its text.
    check("The river runs far", vec![held, progress(), call(), text("ns")]);
}

#[test]
fn what_is_held_back_is_bounded_and_fits_an_event() {
    let before = "word ".repeat(9000) + "end";
    let mut trim = OverlapTrimmer::new(&told(&before), EXACT);
    let mut events = vec![text(&before[..40_000])];
    trim.push(&mut events);
    assert!(events.is_empty(), "it may be everything again");
    events.push(text("!"));
    trim.push(&mut events);
    let pieces: Vec<&Delta> =
        events.iter().map(|event| if let Event::Delta(delta) = event { delta } else { panic!() }).collect();
    assert!(pieces.iter().all(|delta| delta.text.len() <= crate::job::caps::EVENT_TEXT_BYTES_MAX));
    assert_eq!(pieces.iter().map(|delta| delta.text.len()).sum::<usize>(), 40_001);
    // Blanks without end are no repetition.
    let mut trim = OverlapTrimmer::new(&told("a b"), ContinueBy::Turn);
    let mut came = 0;
    for _ in 0..100 {
        let mut events = vec![text(&" ".repeat(1000))];
        trim.push(&mut events);
        came += events.len();
    }
    assert!(came > 90, "{came}");
}

#[test]
fn what_stands_is_the_text_since_readers_were_told_to_discard() {
    let call = || Event::ToolCall(ToolCall::default());
    let restarted = || Event::Restarted(Restarted { attempt: 2 });
    let other = || Event::Delta(Delta { index: 1, text: "x".into(), ..Delta::default() });
    for (events, expected) in [
        (vec![], Some("")),
        (vec![text("The "), delta(Part::Reasoning, "hm"), text("river")], Some("The river")),
        (vec![text("A"), restarted(), text("B")], Some("B")),
        (vec![call(), restarted(), text("B")], Some("B")),
        (vec![text("A"), call()], None),
        (vec![text("A"), other()], None),
        (vec![delta(Part::Refusal, "no")], None),
        (vec![delta(Part::AudioTranscript, "a")], None),
        (vec![delta(Part::Reasoning, "hm")], Some("")),
    ] {
        let mut partial = PartialAnswer::default();
        events.iter().for_each(|event| partial.add_event(event));
        let got = (!partial.is_more).then_some(&*partial.text);
        assert_eq!(got, expected, "{events:?}");
    }
}

#[test]
fn only_a_free_text_of_a_chat_can_go_on() {
    let hard = r#"{"messages":[{"role":"user","content":"Hi"}],"response_format":{"type":"json_object"}}"#;
    let free = r#"{"messages":[{"role":"user","content":"Hi"}]}"#;
    for (task, input, partial, expected) in [
        ("chat", free, told("A"), true),
        ("chat", hard, told("A"), false),
        ("chat", hard, told(""), true),
        ("prediction", r#"{"prompt":"Hi"}"#, told("A"), false),
        ("chat", free, PartialAnswer { is_more: true, ..told("A") }, false),
    ] {
        let json = format!(r#"{{"model":"p/m","task":"{task}","input":{input}}}"#);
        let job = from_json(json.as_bytes()).unwrap().into_job(&Entrance::default(), Timestamp(0)).unwrap();
        assert_eq!(partial.can_continue(&job), expected, "{task} {input} {partial:?}");
    }
}

#[test]
fn any_word_against_the_request_refuses_what_was_begun() {
    let rejected = |status| Failure::new(Code::ProviderRejected, "no").with_status(status);
    for (failure, expected) in [
        (rejected(400), true),
        (rejected(422), true),
        (rejected(404), false),
        (Failure::unsupported("input.messages[1]", "no"), true),
        (Failure::unsupported("input.tools", "no"), false),
        (Failure::new(Code::ProviderUnavailable, "no").with_status(500), false),
    ] {
        assert_eq!(refuses_prefill(&failure), expected, "{failure}");
    }
}

/// A text without a word twice, so that every overlap is the only one.
fn story() -> impl Strategy<Value = String> {
    let word = (0..4_usize, "[a-zäß]{1,7}", prop_oneof![Just(" "), Just(", "), Just("\n\n"), Just(". ")]);
    proptest::collection::vec(word, 2..40).prop_map(|words| {
        let said = words.iter().enumerate().map(|(at, (_, word, end))| format!("{word}{at}z{end}"));
        said.collect::<String>().trim_end().to_owned()
    })
}

proptest! {
    #[test]
    fn wherever_a_text_is_cut_and_however_much_is_said_again_it_reads_on(
        story in story(),
        at in any::<proptest::sample::Index>(),
        back in any::<proptest::sample::Index>(),
        size in 1..9_usize,
    ) {
        let cuts: Vec<usize> = story.char_indices().map(|(at, _)| at).collect();
        let cut = cuts[at.index(cuts.len())];
        let before = &story[..cut];
        let sent = before.trim_end();
        // What a model makes of the text that was sent.
        let rest = &story[sent.len()..];
        let cut_up = |answer: &str| -> Vec<String> {
            answer.chars().collect::<Vec<_>>().chunks(size).map(|piece| piece.iter().collect()).collect()
        };
        let join = |way, answer: &str| {
            let pieces = cut_up(answer);
            joined(before, way, &pieces.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let is_told_apart = !rest.starts_with(sent) && !sent.starts_with(rest);
        if is_told_apart {
            prop_assert_eq!(join(EXACT, rest), &*story);
            prop_assert_eq!(join(REPEATS, rest), &*story);
        }
        prop_assert_eq!(join(REPEATS, &story), &*story);
        if sent.len() >= 8 {
            prop_assert_eq!(join(EXACT, &story), &*story);
        }
        // The words that a turn asks for, and from any other word on that is more than a letter or two.
        let anchor = overlap::anchor(sent);
        if !sent.is_empty() && anchor.chars().count() >= 3 {
            prop_assert_eq!(join(ContinueBy::Turn, &format!("{anchor}{rest}")), &*story);
            prop_assert_eq!(join(ContinueBy::Turn, &format!("«{anchor}»{rest}")), &*story);
        }
        let begins = |at: usize| {
            sent[at..].starts_with(char::is_alphanumeric) && !sent[..at].ends_with(char::is_alphanumeric)
        };
        let starts: Vec<usize> = sent.char_indices().map(|(at, _)| at).filter(|at| begins(*at)).collect();
        if !starts.is_empty() {
            let start = starts[back.index(starts.len())];
            if sent[start..].chars().filter(|c| c.is_alphanumeric()).count() >= 3 {
                prop_assert_eq!(join(ContinueBy::Turn, &story[start..]), &*story);
            }
        }

    }
}
