//! `forebay costs`: what was spent, as a table.

use serde_json::{Map, Value, json};

use super::args::{BrokerAddress, CostsArguments};
use super::{CommandError, query, show};
use crate::meter::ledger::{CostRow, CostSums};
use crate::meter::{CostAnswer, CostQuery};

/// Carries out `forebay costs`.
pub(super) async fn run(address: &BrokerAddress, arguments: CostsArguments) -> Result<(), CommandError> {
    let query = query(&arguments);
    // Wrong arguments are reported without a request to the broker.
    CostQuery::from_json(&query)?;
    let answer = query::request(address, "costs", &query).await?;
    if arguments.json {
        return Ok(show::stdout_line(&answer.to_string())?);
    }
    let answer: CostAnswer = serde_json::from_value(answer)
        .map_err(|error| CommandError::Failed(Some(format!("the broker's answer is not one of costs: {error}"))))?;
    let (heads, rows) = cells(&answer);
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    Ok(show::table(&heads, &rows)?)
}

fn query(arguments: &CostsArguments) -> Value {
    let tags: Map<String, Value> =
        arguments.tags.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
    json!({"by": arguments.by, "since": arguments.since, "until": arguments.until, "bucket": arguments.bucket, "tag": tags})
}

fn cells(answer: &CostAnswer) -> (Vec<String>, Vec<Vec<String>>) {
    let has_bucket = answer.rows.iter().any(|row| row.bucket.is_some());
    let keys: Vec<String> = answer.rows.first().map(|row| row.key.keys().cloned().collect()).unwrap_or_default();
    let mut heads: Vec<String> = if has_bucket { vec!["from".into()] } else { Vec::new() };
    heads.extend(keys.iter().cloned());
    heads.extend(["usd", "jobs", "attempts", "in", "out", "unpriced"].map(String::from));
    let row = |row: &CostRow| {
        let bucket = has_bucket.then(|| row.bucket.clone().unwrap_or_default());
        let key = keys.iter().map(|key| match row.key.get(key) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => "-".to_owned(),
            Some(value) => value.to_string(),
        });
        bucket.into_iter().chain(key).chain(sums(&row.sums)).collect()
    };
    let mut rows: Vec<Vec<String>> = answer.rows.iter().map(row).collect();
    // The only row is its own total.
    if rows.len() != 1 {
        let label = std::iter::once("total".to_owned()).chain(std::iter::repeat(String::new()));
        let lead = heads.len() - 6;
        rows.push(label.take(lead).chain(sums(&answer.total)).collect());
    }
    (heads, rows)
}

fn sums(sums: &CostSums) -> Vec<String> {
    let count = |count: Option<u64>| count.map_or("-".to_owned(), |count| count.to_string());
    vec![
        sums.usd.to_string(),
        sums.jobs.to_string(),
        sums.attempts.to_string(),
        count(sums.usage.input_tokens),
        count(sums.usage.output_tokens),
        sums.unpriced_jobs.to_string(),
    ]
}
