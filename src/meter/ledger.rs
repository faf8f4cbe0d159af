//! Cost queries, and their answers from sums per hour.
//!
//! Owns the query's grammar (`GET /v1/costs`, `forebay.costs`, `forebay costs`) and the answer's shape. Promises that a
//! wrong field is named, that rows come in a stable order (bucket, then key) and that the total is that of the rows. Sums
//! are kept per hour, so `since` and `until` must be whole hours: an answer about money is exact or it is an error.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::job::caps::{COST_KEYS_MAX, COST_ROWS_MAX, TAG_KEY_BYTES_MAX, TAGS_MAX};
use crate::job::{Code, Failure, Gateway, RollupKey, Sums, TagValue, Timestamp, Usage, Usd};

const HOUR_MS: u64 = 3_600_000;
const HOURS_PER_DAY: u32 = 24;

/// A column by which costs are broken down.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum By {
    /// By the gateway of the job.
    Gateway,
    /// The model as the client named it.
    Model,
    /// By the provider that answered.
    Provider,
    /// One key of the metadata.
    Tag(Box<str>),
}

/// The time that one row covers. Calendar hours and days are UTC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bucket {
    /// One row for each hour.
    Hour,
    /// One row for each day.
    Day,
}

/// A query for costs.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct CostQuery {
    /// The columns of a row's key, in this order. None = one row.
    pub by: Vec<By>,
    /// Charges from here on; a whole hour.
    pub since: Option<Timestamp>,
    /// Charges before this; a whole hour.
    pub until: Option<Timestamp>,
    /// One row per so much time. None = all in one.
    pub bucket: Option<Bucket>,
    /// Only jobs with these tags, compared as text.
    pub tags: Vec<(String, String)>,
    /// Only these gateways: what the asker may see. None = all.
    pub gateways: Option<Vec<Gateway>>,
}

impl CostQuery {
    /// Reads the pairs of a URL's query: `by=metadata.teamId&by=model&since=…&until=…&bucket=day&tag.plan=free`.
    /// An empty `since`, `until` or `bucket` is as good as none.
    ///
    /// # Errors
    /// `invalid`, naming the field.
    pub fn parse<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Result<CostQuery, Failure> {
        let mut query = CostQuery::default();
        for (name, value) in pairs {
            query.set(name, value)?;
        }
        query.checked()
    }

    /// Reads the JSON object of a NATS request: the same fields, `by` as a string or an array of
    /// them, tags as `"tag": {"plan": "free"}` or `"tag.plan": "free"`. `null` is as good as none.
    ///
    /// # Errors
    /// `invalid`, naming the field.
    pub fn from_json(query: &Value) -> Result<CostQuery, Failure> {
        let Value::Object(fields) = query else {
            return Err(Failure::new(Code::Invalid, "the query must be a JSON object"));
        };
        let mut read = CostQuery::default();
        for (name, value) in fields {
            match (name.as_str(), value) {
                (_, Value::Null) => read.set(name, "")?,
                ("by", Value::Array(all)) => {
                    for by in all {
                        read.set("by", text("by", by)?)?;
                    }
                }
                ("tag", Value::Object(tags)) => {
                    for (key, value) in tags {
                        read.set_tag(key, &tag_text(key, value)?)?;
                    }
                }
                ("tag", _) => return Err(Failure::invalid("tag", "must be an object of tags and their values")),
                (tag, value) if tag.starts_with("tag.") => read.set(tag, &tag_text(tag, value)?)?,
                (name, value) => read.set(name, text(name, value)?)?,
            }
        }
        read.checked()
    }

    /// Returns the hours whose sums the query needs, the second one excluded.
    #[must_use]
    pub fn hours(&self) -> (u32, u32) {
        let hour = |at: Timestamp| u32::try_from(at.0 / HOUR_MS).unwrap_or(u32::MAX);
        (self.since.map_or(0, hour), self.until.map_or(u32::MAX, hour))
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), Failure> {
        let once = |is_set: bool| match is_set {
            true => Err(Failure::invalid(name, "is given twice")),
            false => Ok(()),
        };
        match (name, value) {
            ("since" | "until" | "bucket" | "by" | "tag", "") => {}
            ("by", value) => self.by.push(by(value)?),
            ("since", value) => {
                once(self.since.is_some())?;
                self.since = Some(whole_hour(name, value)?);
            }
            ("until", value) => {
                once(self.until.is_some())?;
                self.until = Some(whole_hour(name, value)?);
            }
            ("bucket", value) => {
                once(self.bucket.is_some())?;
                self.bucket = Some(match value {
                    "hour" => Bucket::Hour,
                    "day" => Bucket::Day,
                    _ => return Err(Failure::invalid("bucket", "must be `hour` or `day`")),
                });
            }
            _ => match name.strip_prefix("tag.") {
                Some(key) => self.set_tag(key, value)?,
                None => return Err(Failure::invalid(name, "must be by, since, until, bucket or tag.KEY")),
            },
        }
        Ok(())
    }

    fn set_tag(&mut self, key: &str, value: &str) -> Result<(), Failure> {
        let param = format!("tag.{key}");
        tag_key(&param, key)?;
        if self.tags.iter().any(|(known, _)| known == key) {
            return Err(Failure::invalid(&param, "is given twice"));
        }
        self.tags.push((key.to_owned(), value.to_owned()));
        Ok(())
    }

    fn checked(self) -> Result<CostQuery, Failure> {
        if self.by.len() > COST_KEYS_MAX {
            return Err(Failure::invalid("by", format!("at most {COST_KEYS_MAX} keys")));
        }
        if self.tags.len() > TAGS_MAX {
            return Err(Failure::invalid("tag", format!("at most {TAGS_MAX} tags")));
        }
        if (1..self.by.len()).any(|index| self.by[..index].contains(&self.by[index])) {
            return Err(Failure::invalid("by", "the same key is given twice"));
        }
        match (self.since, self.until) {
            (Some(since), Some(until)) if since >= until => Err(Failure::invalid("until", "must be after since")),
            _ => Ok(self),
        }
    }

    fn admits(&self, key: &RollupKey) -> bool {
        let (since, until) = self.hours();
        let tag = |name: &str| key.metadata.get(name).map(TagValue::to_string);
        (since..until).contains(&key.hour)
            && self.gateways.as_ref().is_none_or(|allowed| allowed.contains(&key.gateway))
            && self.tags.iter().all(|(name, value)| tag(name).as_deref() == Some(value))
    }

    fn bucket_start(&self, hour: u32) -> Option<Timestamp> {
        let start = match self.bucket? {
            Bucket::Hour => hour,
            Bucket::Day => hour - hour % HOURS_PER_DAY,
        };
        Some(Timestamp(u64::from(start) * HOUR_MS))
    }
}

fn text<'a>(name: &str, value: &'a Value) -> Result<&'a str, Failure> {
    value.as_str().ok_or_else(|| Failure::invalid(name, "must be a string"))
}

fn tag_text(name: &str, value: &Value) -> Result<String, Failure> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(value) => Ok(value.to_string()),
        _ => Err(Failure::invalid(name, "must be a string, a number or a boolean")),
    }
}

fn by(name: &str) -> Result<By, Failure> {
    match name {
        "gateway" => Ok(By::Gateway),
        "model" => Ok(By::Model),
        "provider" => Ok(By::Provider),
        "task" | "hour" | "day" | "bucket" | "metadata" => {
            let hint = "must be gateway, model, provider or metadata.KEY; time is asked for by `bucket`";
            Err(Failure::invalid("by", format!("`{name}`: {hint}")))
        }
        _ => {
            let key = name.strip_prefix("metadata.").unwrap_or(name);
            tag_key("by", key)?;
            Ok(By::Tag(key.into()))
        }
    }
}

fn tag_key(param: &str, key: &str) -> Result<(), Failure> {
    if key.is_empty() || key.len() > TAG_KEY_BYTES_MAX {
        return Err(Failure::invalid(param, format!("a metadata key is 1 to {TAG_KEY_BYTES_MAX} bytes")));
    }
    Ok(())
}

/// Reads an RFC 3339 time or a UTC date, which must be a whole hour.
fn whole_hour(name: &str, text: &str) -> Result<Timestamp, Failure> {
    let midnight = || Timestamp::parse(&format!("{text}T00:00:00Z")).filter(|_| text.len() == 10);
    let at = Timestamp::parse(text).or_else(midnight).ok_or_else(|| {
        Failure::invalid(name, "must be a time like 2026-11-01T00:00:00Z or a date like 2026-11-01, from 1970 on")
    })?;
    let before = Timestamp(at.0 - at.0 % HOUR_MS);
    if before != at {
        let after = before.plus_ms(HOUR_MS);
        return Err(Failure::invalid(name, format!("costs are summed per hour: use {before} or {after}")));
    }
    Ok(at)
}

/// Sums as an answer shows them. A count that no attempt reported is absent.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct CostSums {
    /// What is known to have been spent.
    pub usd: Usd,
    /// Jobs of which some attempt had no known price: `usd` is too low by them.
    pub unpriced_jobs: u64,
    /// Number of jobs that ended.
    pub jobs: u64,
    /// Attempts that they took.
    pub attempts: u64,
    /// Usage of all attempts together.
    #[serde(flatten)]
    pub usage: Usage,
}

impl From<Sums> for CostSums {
    fn from(sums: Sums) -> CostSums {
        let Sums { usd, jobs, unpriced_jobs, attempts, usage } = sums;
        CostSums { usd, unpriced_jobs, jobs, attempts, usage }
    }
}

/// One line of an answer.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct CostRow {
    /// What was asked for by `by`; `null` where a job has no such tag.
    pub key: Map<String, Value>,
    /// When the row's hour or day begins, if buckets were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// The sums of this row.
    #[serde(flatten)]
    pub sums: CostSums,
}

/// The answer to a query for costs.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct CostAnswer {
    /// By bucket, then by key.
    pub rows: Vec<CostRow>,
    /// The sums over all rows.
    pub total: CostSums,
}

/// Answers `query` from sums per hour, which may hold more than was asked for.
///
/// # Errors
/// `too_large` when there would be more than [`COST_ROWS_MAX`] rows.
pub fn answer(query: &CostQuery, sums: Vec<(RollupKey, Sums)>) -> Result<CostAnswer, Failure> {
    let mut groups: BTreeMap<(Option<Timestamp>, Vec<String>), (Map<String, Value>, Sums)> = BTreeMap::new();
    let mut total = Sums::default();
    for (key, sums) in sums.into_iter().filter(|(key, _)| query.admits(key)) {
        total.add(&sums);
        let columns: Vec<(&By, Value)> = query.by.iter().map(|by| (by, column(by, &key))).collect();
        let order = columns.iter().map(|(_, value)| value.to_string()).collect();
        let named = || columns.into_iter().map(|(by, value)| (heading(by), value)).collect();
        let group = groups.entry((query.bucket_start(key.hour), order)).or_insert_with(|| (named(), Sums::default()));
        group.1.add(&sums);
        if groups.len() > COST_ROWS_MAX {
            let message = format!(
                "the answer has more than {COST_ROWS_MAX} rows: ask by fewer keys, for a shorter time, a longer bucket, or one tag"
            );
            return Err(Failure::new(Code::TooLarge, message).with_param("by"));
        }
    }
    let row = |((bucket, _), (key, sums)): ((Option<Timestamp>, Vec<String>), (Map<String, Value>, Sums))| CostRow {
        key,
        bucket: bucket.map(|at| at.to_string()),
        sums: sums.into(),
    };
    Ok(CostAnswer { rows: groups.into_iter().map(row).collect(), total: total.into() })
}

fn column(by: &By, key: &RollupKey) -> Value {
    match by {
        By::Gateway => key.gateway.as_str().into(),
        By::Model => key.model.as_str().into(),
        By::Provider => (*key.provider).into(),
        By::Tag(name) => serde_json::to_value(key.metadata.get(name)).unwrap_or_default(),
    }
}

/// Returns the name under which an answer shows a column: a tag's key, except where that is the name of another column.
fn heading(by: &By) -> String {
    match by {
        By::Gateway => "gateway".into(),
        By::Model => "model".into(),
        By::Provider => "provider".into(),
        By::Tag(name) if matches!(&**name, "gateway" | "model" | "provider") => format!("metadata.{name}"),
        By::Tag(name) => name.to_string(),
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
