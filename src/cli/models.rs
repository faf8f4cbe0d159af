//! `forebay models`: the models that jobs can use, as a table.

use serde_json::{Value, json};

use super::args::{BrokerAddress, ModelsArguments};
use super::{CommandError, query, show};

const HEADS: &[&str] = &["model", "task", "input", "output", "$ in", "$ cached", "$ out", "can"];
/// Columns that people look for in a list; `--json` prints every field.
const SHOWN: &[&str] = &["tools", "vision", "reasoning", "structured_output", "prefill"];

/// Carries out `forebay models [FILTER]`.
pub(super) async fn run(address: &BrokerAddress, arguments: ModelsArguments) -> Result<(), CommandError> {
    let query =
        json!({"q": arguments.filter, "provider": arguments.provider, "task": arguments.task, "all": arguments.all});
    let listed = query::request(address, "models", &query).await?;
    if arguments.json {
        return Ok(show::stdout_line(&listed.to_string())?);
    }
    let rows: Vec<Vec<String>> = listed["data"].as_array().into_iter().flatten().map(cells).collect();
    if rows.is_empty() {
        show::stderr_line(if arguments.all {
            "no such model"
        } else {
            "no such model whose provider is on; --all lists the rest"
        });
    }
    show::table(HEADS, &rows)?;
    if let Some(left_out) = listed["cut"]["left_out"].as_u64() {
        show::stderr_line(&format!("{left_out} more: narrow it by a name, --provider or --task"));
    }
    if !rows.is_empty() {
        let date = listed["prices_date"].as_str().unwrap_or("?");
        show::stderr_line(&format!("US dollars per million tokens, as of {date}; other prices are in --json"));
    }
    Ok(())
}

fn cells(model: &Value) -> Vec<String> {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let can = model["abilities"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let can: Vec<&str> = can.filter(|ability| SHOWN.contains(ability)).collect();
    let mut cells: Vec<String> =
        ["id", "task", "input_tokens_max", "output_tokens_max"].iter().map(|field| text(&model[field])).collect();
    cells.extend(["in", "cached", "out"].iter().map(|price| text(&model["prices"][price])));
    cells.push(can.join(" "));
    cells
}
