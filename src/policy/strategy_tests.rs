use super::*;
use crate::job::Timestamp;
use crate::wire::submit::{Entrance, from_json};

fn job(gateway: &str, metadata: &str) -> Job {
    let json = format!(r#"{{"model":"m","input":"x","gateway":"{gateway}","metadata":{metadata}}}"#);
    from_json(json.as_bytes()).unwrap().into_job(&Entrance::default(), Timestamp(0)).unwrap()
}

fn model(rest: &str) -> ModelConfig {
    toml::from_str(&format!("targets = []\n{rest}")).unwrap()
}

/// Targets by one letter each, all of one provider.
fn candidates(letters: &str, weights: &[f64]) -> Vec<Candidate> {
    let weights = weights.iter().copied().chain(std::iter::repeat(1.0));
    let target = |letter: char| Target { provider: "p".into(), model: letter.to_string().into() };
    letters.chars().zip(weights).map(|(letter, weight)| Candidate { target: target(letter), weight }).collect()
}

fn ordered(mut candidates: Vec<Candidate>, model: &ModelConfig, job: &Job, random: &mut dyn FnMut() -> f64) -> String {
    let first_token = |target: &Target| match &*target.model {
        "a" => Some(Duration::from_millis(900)),
        "b" => Some(Duration::from_millis(80)),
        "c" => Some(Duration::from_millis(300)),
        _ => None,
    };
    let price = |target: &Target| match &*target.model {
        "a" => Some(Usd::from_pico(3)),
        "b" | "c" => Some(Usd::from_pico(1)),
        "f" => Some(Usd::ZERO),
        _ => None,
    };
    order(&mut candidates, model, job, &mut Measures { random, first_token: &first_token, price: &price });
    candidates.iter().map(|candidate| &*candidate.target.model).collect()
}

#[test]
fn each_strategy_has_its_order() {
    for (strategy, given, expected) in [
        ("failover", "cab", "cab"),
        ("fastest", "abc", "bca"),
        // A target that was never measured must be, and none loses its place by being like another.
        ("fastest", "axcby", "xybca"),
        ("cheapest", "abc", "bca"),
        ("cheapest", "xacyb", "cbaxy"),
        ("cheapest", "af", "fa"),
        ("cheapest", "x", "x"),
    ] {
        let model = model(&format!("strategy = \"{strategy}\""));
        let never = &mut || panic!("chance has no part in it");
        assert_eq!(
            ordered(candidates(given, &[]), &model, &job("default", "{}"), never),
            expected,
            "{strategy} of {given}"
        );
    }
}

#[test]
fn chance_follows_the_weights_in_every_place() {
    const TRIES: usize = 20_000;
    let mut rng = fastrand::Rng::with_seed(4);
    let (model, job) = (model("strategy = \"weighted\""), job("default", "{}"));
    let mut orders = std::collections::BTreeMap::<String, usize>::new();
    for _ in 0..TRIES {
        let order = ordered(candidates("abc", &[6.0, 3.0, 1.0]), &model, &job, &mut || rng.f64());
        *orders.entry(order).or_default() += 1;
    }
    // A second choice is one among the rest, by the same weights.
    for (order, expected) in [
        ("abc", 0.6 * 3.0 / 4.0),
        ("acb", 0.6 * 1.0 / 4.0),
        ("bac", 0.3 * 6.0 / 7.0),
        ("bca", 0.3 * 1.0 / 7.0),
        ("cab", 0.1 * 6.0 / 9.0),
        ("cba", 0.1 * 3.0 / 9.0),
    ] {
        let share = orders[order] as f64 / TRIES as f64;
        assert!((share - expected).abs() < 0.01, "{order}: {share}, not {expected}");
    }
}

#[test]
fn any_number_that_chance_gives_is_an_order() {
    let (model, job) = (model("strategy = \"weighted\""), job("default", "{}"));
    for number in [0.0, f64::MIN_POSITIVE, 0.5, 1.0] {
        assert_eq!(ordered(candidates("ab", &[1e6, 1e-9]), &model, &job, &mut || number).len(), 2);
    }
    // The luckiest number wins against any weight, the unluckiest loses.
    let mut numbers = [0.0, 1.0].into_iter();
    assert_eq!(ordered(candidates("ab", &[1e6, 1e-9]), &model, &job, &mut || numbers.next().unwrap()), "ba");
}

/// For each of many users, their target among `letters`.
fn homes(letters: &str, weights: &[f64], rest: &str) -> Vec<String> {
    let model = model(&format!("sticky = \"metadata.userId\"\n{rest}"));
    let home = |user: usize| {
        let job = job("default", &format!(r#"{{"userId":{user}}}"#));
        ordered(candidates(letters, weights), &model, &job, &mut || panic!("no chance in it"))
    };
    (0..4000).map(home).collect()
}

#[test]
fn a_value_stays_with_its_target_whoever_comes_and_goes() {
    for rest in ["", "strategy = \"fastest\"", "strategy = \"weighted\""] {
        let four = homes("abcd", &[], rest);
        assert_eq!(four, homes("abcd", &[], rest), "always the same");
        for letter in ["a", "b", "c", "d"] {
            let share = four.iter().filter(|order| order.starts_with(letter)).count();
            assert!((900..=1100).contains(&share), "{letter} has {share} of 4000 {rest}");
            // Whose second choice is this one, when the first is gone: spread as well.
            let second = four.iter().filter(|order| order.starts_with('a') && order[1..].starts_with(letter)).count();
            assert!(letter == "a" || (250..=420).contains(&second), "{letter} is second for {second} {rest}");
        }
        // Listed in another order, and with one less or one more: only its own values move.
        assert_eq!(four, homes("dbca", &[], rest));
        let three = homes("acd", &[], rest);
        for (before, after) in four.iter().zip(&three) {
            assert_eq!(before.replace('b', ""), *after);
        }
    }
}

#[test]
fn a_sticky_order_honours_weights() {
    let homes = homes("abc", &[6.0, 3.0, 1.0], "strategy = \"weighted\"");
    for (letter, expected) in [("a", 2400), ("b", 1200), ("c", 400)] {
        let share = homes.iter().filter(|order| order.starts_with(letter)).count();
        assert!(share.abs_diff(expected) < 120, "{letter}: {share}, not {expected}");
    }
}

#[test]
fn what_sticks_is_a_gateways_tag() {
    let model = model("sticky = \"metadata.userId\"\nstrategy = \"cheapest\"");
    let never = &mut || panic!("chance has no part in it");
    let mut order =
        |gateway: &str, metadata: &str| ordered(candidates("abcdefgh", &[]), &model, &job(gateway, metadata), never);
    // Written down, so that a change of the hash is seen: it would move every user's home.
    assert_eq!(order("default", r#"{"userId":"u-1"}"#), "gdecabfh");
    assert_eq!(order("default", r#"{"userId":"7","n":1}"#), order("default", r#"{"userId":7}"#));
    assert_ne!(order("default", r#"{"userId":"u-1"}"#), order("other", r#"{"userId":"u-1"}"#));
    assert_eq!(order("default", r#"{"teamId":"u-1"}"#), "fbcadegh", "without the tag: the strategy");
}
