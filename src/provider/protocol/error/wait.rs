//! How long a provider asks us to wait.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::provider::Headers;

/// The longest wait that is believed: an hour.
const WAIT_MS_MAX: u64 = 3_600_000;

/// By `retry-after-ms`, else by `retry-after` in seconds or as a date.
pub(super) fn from_headers(headers: &Headers) -> Option<u64> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    if let Some(ms) = text("retry-after-ms").and_then(|ms| ms.parse::<f64>().ok()) {
        return capped(ms);
    }
    let after = text("retry-after")?;
    if let Ok(seconds) = after.parse::<f64>() {
        return capped(seconds * 1000.0);
    }
    let date = |text: &str| OffsetDateTime::parse(text, &Rfc2822).ok();
    let wait = date(after)? - date(text("date")?)?;
    capped(wait.as_seconds_f64() * 1000.0)
}

/// By "try again in 7.66s", "in 1m3.5s", "in 120ms", "after 5 seconds".
pub(super) fn from_words(message: &str) -> Option<u64> {
    let lower = message.to_ascii_lowercase();
    let at = ["try again in ", "retry in ", "retry after ", "try again after "]
        .iter()
        .find_map(|lead| lower.find(lead).map(|at| at + lead.len()))?;
    let mut rest = &lower[at..];
    let mut total = 0.0;
    let mut any = false;
    for _ in 0..4 {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let Ok(number) = rest[..digits].trim_end_matches('.').parse::<f64>() else { break };
        rest = rest[digits..].trim_start();
        let units: [(&str, f64); 7] = [
            ("ms", 1.0),
            ("milliseconds", 1.0),
            ("minute", 60_000.0),
            ("m", 60_000.0),
            ("seconds", 1000.0),
            ("s", 1000.0),
            ("h", 3_600_000.0),
        ];
        let Some((unit, ms)) = units.iter().find(|(unit, _)| rest.starts_with(unit)) else { break };
        total += number * ms;
        any = true;
        rest = &rest[unit.len()..];
    }
    if any { capped(total) } else { None }
}

pub(super) fn capped(ms: f64) -> Option<u64> {
    (ms.is_finite() && ms >= 0.0).then(|| (ms.ceil() as u64).min(WAIT_MS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_found_wherever_it_is_said() {
        let cases: &[(&[(&str, &str)], Option<u64>)] = &[
            (&[("retry-after", "2")], Some(2000)),
            (&[("retry-after", "0.5")], Some(500)),
            (&[("retry-after", "2"), ("retry-after-ms", "120")], Some(120)),
            (&[("retry-after", "86400")], Some(WAIT_MS_MAX)),
            (&[("retry-after", "-1")], None),
            (&[("retry-after", "soon")], None),
            (
                &[("retry-after", "Sat, 21 Nov 2026 09:00:30 GMT"), ("date", "Sat, 21 Nov 2026 09:00:00 GMT")],
                Some(30_000),
            ),
            (&[("retry-after", "Sat, 21 Nov 2026 09:00:30 GMT")], None),
            (&[], None),
        ];
        for (headers, expected) in cases {
            let mut map = Headers::new();
            for (name, value) in *headers {
                map.insert(*name, value.parse().unwrap());
            }
            assert_eq!(from_headers(&map), *expected, "{headers:?}");
        }
        for (words, expected) in [
            ("Please try again in 7.66s. Visit", Some(7660)),
            ("try again in 1m3.5s.", Some(63_500)),
            ("try again in 120ms", Some(120)),
            ("Please retry after 5 seconds", Some(5000)),
            ("try again in 2 minutes", Some(120_000)),
            ("try again in a while", None),
            ("slow down", None),
        ] {
            assert_eq!(from_words(words), expected, "{words}");
        }
    }
}
