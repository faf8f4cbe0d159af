//! Exact dollars: whole pico-dollars inside, decimals at the edges.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};
use std::str::FromStr;

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An amount of US dollars, exact to 10⁻¹² (a token at one cent a million tokens is 10⁻⁸).
/// Kept as whole pico-dollars, so sums are exact and associative.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Usd(i128);

const PICO: i128 = 1_000_000_000_000;

impl Usd {
    /// An amount of nothing.
    pub const ZERO: Usd = Usd(0);

    /// Makes an amount from whole pico-dollars.
    #[must_use]
    pub const fn from_pico(pico: i128) -> Usd {
        Usd(pico)
    }

    /// Returns the amount in whole pico-dollars.
    #[must_use]
    pub const fn pico(self) -> i128 {
        self.0
    }

    /// Multiplies a price by a count, for example pico-dollars per token times tokens. Saturates.
    #[must_use]
    pub const fn times(self, count: u64) -> Usd {
        Usd(self.0.saturating_mul(count as i128))
    }

    /// Converts the amount for a metric only; money that is added up stays decimal.
    #[must_use]
    pub fn to_f64_for_metrics(self) -> f64 {
        self.0 as f64 / PICO as f64
    }

    /// Makes an amount from a decimal number of dollars; digits below 10⁻¹² are rounded half up. `None` when the
    /// number is out of range.
    #[must_use]
    pub fn from_decimal(dollars: Decimal) -> Option<Usd> {
        let scaled = dollars.round_dp_with_strategy(12, rust_decimal::RoundingStrategy::MidpointAwayFromZero);
        let scale = scaled.scale();
        scaled.mantissa().checked_mul(10_i128.checked_pow(12_u32.checked_sub(scale)?)?).map(Usd)
    }
}

impl fmt::Display for Usd {
    /// Writes the dollars like `0.004213`: no exponent, no trailing zeros.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, rest) = (self.0.unsigned_abs() / PICO.unsigned_abs(), self.0.unsigned_abs() % PICO.unsigned_abs());
        if rest == 0 {
            return write!(f, "{sign}{whole}");
        }
        let digits = format!("{rest:012}");
        write!(f, "{sign}{whole}.{}", digits.trim_end_matches('0'))
    }
}

impl FromStr for Usd {
    type Err = String;
    /// # Errors
    /// When the text is not a decimal number of dollars in range.
    fn from_str(text: &str) -> Result<Usd, String> {
        let decimal = Decimal::from_str_exact(text)
            .or_else(|_| Decimal::from_scientific(text))
            .map_err(|_| format!("`{text}` is not a decimal number"))?;
        Usd::from_decimal(decimal).ok_or_else(|| format!("`{text}` is out of range"))
    }
}

impl Add for Usd {
    type Output = Usd;
    fn add(self, other: Usd) -> Usd {
        Usd(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Usd {
    fn add_assign(&mut self, other: Usd) {
        *self = *self + other;
    }
}

impl Sum for Usd {
    fn sum<I: Iterator<Item = Usd>>(amounts: I) -> Usd {
        amounts.fold(Usd::ZERO, Add::add)
    }
}

impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for Usd {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Usd".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$", "description": "US dollars, decimal."})
    }
}

/// The cost of an attempt or a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Cost {
    /// Amount in US dollars; only the known part of it when `priced` is false.
    pub usd: Usd,
    /// Whether every part had a known price. Never a silent 0.
    pub priced: bool,
}

impl Cost {
    /// The known cost of what is free: replays, joins, jobs that were never sent.
    pub const FREE: Cost = Cost { usd: Usd::ZERO, priced: true };

    /// Adds two costs; the sum is priced only if both are.
    #[must_use]
    pub fn plus(self, other: Cost) -> Cost {
        Cost { usd: self.usd + other.usd, priced: self.priced && other.priced }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_reads_and_writes_exactly() {
        for text in ["0", "1", "0.004213", "12345.678901234567", "-0.000000000001"] {
            assert_eq!(text.parse::<Usd>().map(|usd| usd.to_string()).as_deref(), Ok(text));
        }
        assert_eq!("1e-6".parse::<Usd>(), Ok(Usd::from_pico(1_000_000)));
        assert_eq!("1.50".parse::<Usd>().map(|usd| usd.to_string()).as_deref(), Ok("1.5"));
        assert!("a lot".parse::<Usd>().is_err());
    }

    #[test]
    fn a_sum_of_a_million_tokens_is_exact() {
        let per_token: Usd = "0.00000015".parse().expect("a price");
        assert_eq!((0..1_000_000).map(|_| per_token).sum::<Usd>().to_string(), "0.15");
        assert_eq!(per_token.times(1_000_000).to_string(), "0.15");
    }
}
