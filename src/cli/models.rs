//! `forebay models`: what can be asked for, as a table.

use serde_json::{Value, json};

use super::args::{ModelsArguments, Reach};
use super::{Trouble, ask, show};

const HEADS: &[&str] = &["model", "task", "input", "output", "$ in", "$ cached", "$ out", "can"];
/// What people look for in a list; everything is in `--json`.
const SHOWN: &[&str] = &["tools", "vision", "reasoning", "structured_output", "prefill"];

/// `forebay models [FILTER]`.
pub(super) async fn run(reach: &Reach, said: ModelsArguments) -> Result<(), Trouble> {
    let query = json!({"q": said.filter, "provider": said.provider, "task": said.task, "all": said.all});
    let listed = ask::ask(reach, "models", &query).await?;
    if said.json {
        return Ok(show::line(&listed.to_string())?);
    }
    let rows: Vec<Vec<String>> = listed["data"].as_array().into_iter().flatten().map(cells).collect();
    if rows.is_empty() {
        show::complain(if said.all {
            "no such model"
        } else {
            "no such model whose provider is on; --all lists the rest"
        });
    }
    show::table(HEADS, &rows)?;
    if let Some(left_out) = listed["cut"]["left_out"].as_u64() {
        show::complain(&format!("{left_out} more: narrow it by a name, --provider or --task"));
    }
    if !rows.is_empty() {
        let date = listed["prices_date"].as_str().unwrap_or("?");
        show::complain(&format!("US dollars per million tokens, as of {date}; other prices are in --json"));
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
