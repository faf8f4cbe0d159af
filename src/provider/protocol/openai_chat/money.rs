//! What a vendor says an attempt cost.

use serde_json::value::RawValue;

use super::rules::Money;
use crate::job::Fields;
use crate::job::{Usd, usd_of_number};

/// Pico-dollars in a tick: recorded answers of xAI, priced by the list, agree with ten thousand
/// million ticks a dollar to the last digit.
const TICK_PICO: i128 = 100;

/// The cost in a usage object, if this vendor tells it.
pub(super) fn read(money: Money, usage: &RawValue) -> Option<Usd> {
    if money == Money::Untold {
        return None;
    }
    let fields: Fields<'_> = serde_json::from_str(usage.get()).ok()?;
    match money {
        Money::Untold => None,
        Money::Ticks => {
            let ticks: u64 = serde_json::from_str(find(&fields, "cost_in_usd_ticks")?.get()).ok()?;
            Some(Usd::from_pico(i128::from(ticks) * TICK_PICO))
        }
        Money::Dollars(field) => {
            let cost = find(&fields, field)?;
            let Ok(parts) = serde_json::from_str::<Fields<'_>>(cost.get()) else {
                return Some(usd_of_number(cost).ok()? + own_key(&fields));
            };
            usd_of_number(find(&parts, "total_cost")?).ok()
        }
    }
}

/// With the caller's own key at the upstream, OpenRouter's `cost` is only its fee: the upstream
/// charges the key's owner for the rest.
fn own_key(fields: &Fields<'_>) -> Usd {
    let upstream = || {
        find(fields, "is_byok").filter(|own| own.get() == "true")?;
        let details: Fields<'_> = serde_json::from_str(find(fields, "cost_details")?.get()).ok()?;
        usd_of_number(find(&details, "upstream_inference_cost")?).ok()
    };
    upstream().unwrap_or(Usd::ZERO)
}

fn find<'a>(fields: &Fields<'a>, name: &str) -> Option<&'a RawValue> {
    fields.0.iter().find(|(known, value)| known == name && value.get() != "null").map(|(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_read_to_the_last_digit() {
        let dollars = Money::Dollars("cost");
        for (money, usage, expected) in [
            (dollars, r#"{"cost":0.0001925,"is_byok":false}"#, Some("0.0001925")),
            (dollars, r#"{"cost":3.2e-6}"#, Some("0.0000032")),
            (dollars, r#"{"cost":0}"#, Some("0")),
            (
                dollars,
                r#"{"cost":0.001,"is_byok":true,"cost_details":{"upstream_inference_cost":0.02}}"#,
                Some("0.021"),
            ),
            (
                dollars,
                r#"{"cost":0.001,"is_byok":true,"cost_details":{"upstream_inference_cost":null}}"#,
                Some("0.001"),
            ),
            (dollars, r#"{"cost":{"request_cost":0.005,"total_cost":0.00501}}"#, Some("0.00501")),
            (dollars, r#"{"cost":null}"#, None),
            (dollars, r#"{"cost":-1}"#, None),
            (Money::Ticks, r#"{"cost_in_usd_ticks":5583500}"#, Some("0.00055835")),
            (Money::Ticks, r#"{"cost":1}"#, None),
            (Money::Untold, r#"{"cost":1,"cost_in_usd_ticks":5}"#, None),
        ] {
            let raw = RawValue::from_string(usage.to_owned()).unwrap();
            assert_eq!(read(money, &raw).map(|usd| usd.to_string()).as_deref(), expected, "{usage}");
        }
    }
}
