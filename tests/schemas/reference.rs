//! The reference tables of two guides: of the configuration from its JSON Schema, of the metrics from their table.

use forebay::telemetry::{Kind, Metric};
use serde_json::{Map, Value};

const BEGIN: &str = "<!-- reference: made from the types; UPDATE=1 cargo test --test schemas writes it anew -->\n";
const END: &str = "<!-- end of the reference -->\n";

/// `guide` with `reference` between its two markers; `None` where it lacks one.
pub(crate) fn put_into(guide: &str, reference: &str) -> Option<String> {
    let (before, rest) = guide.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{reference}\n{END}{after}"))
}

/// One table for all metrics.
pub(crate) fn of_metrics(metrics: &[Metric]) -> String {
    let mut text = "| metric | type | labels | what it says |\n| --- | --- | --- | --- |\n".to_owned();
    for metric in metrics {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        text.push_str(&format!("| `{}` | {kind} | {} | {} |\n", metric.name, labels.join(", "), metric.help));
    }
    text
}

/// One heading and one table for each section of the configuration.
pub(crate) fn of_config(schema: &Value) -> String {
    let root = Schema { root: schema };
    let mut text = String::new();
    for (name, section) in fields(schema) {
        let shape = root.shape(section);
        let (title, inner) = match shape {
            Shape::Table(inner) => (format!("[{name}]"), inner),
            Shape::Named(inner) => (format!("[{name}.NAME]"), inner),
            Shape::List(inner) => (format!("[[{name}]]"), inner),
            Shape::Value => panic!("{name} is no section"),
        };
        let about = inner["description"].as_str().expect("a section says what it is");
        text.push_str(&format!("### `{title}`\n{}\n\n", one_line(about)));
        text.push_str("| key | type | default | what it means |\n| --- | --- | --- | --- |\n");
        root.rows("", inner, &mut text);
        text.push('\n');
    }
    text.trim_end().to_owned() + "\n"
}

/// What a key holds, as far as tables of TOML are concerned.
enum Shape<'a> {
    Table(&'a Value),
    /// A table of tables, whose names the operator chooses.
    Named(&'a Value),
    List(&'a Value),
    Value,
}

struct Schema<'a> {
    root: &'a Value,
}

impl<'a> Schema<'a> {
    /// A schema behind its reference, and behind the choice of leaving it out.
    fn resolve(&self, schema: &'a Value) -> &'a Value {
        if let Some(reference) = schema["$ref"].as_str() {
            return self.root.pointer(reference.trim_start_matches('#')).expect("references lead somewhere");
        }
        let choices = schema["anyOf"].as_array().map(Vec::as_slice).unwrap_or_default();
        match choices {
            [one, null] if null["type"] == "null" => self.resolve(one),
            _ => schema,
        }
    }

    fn shape(&self, schema: &'a Value) -> Shape<'a> {
        let schema = self.resolve(schema);
        let is_table = |schema: &Value| !fields(schema).is_empty();
        let of_each = self.resolve(&schema["additionalProperties"]);
        let of_item = self.resolve(&schema["items"]);
        match schema {
            _ if is_table(schema) => Shape::Table(schema),
            _ if is_table(of_each) => Shape::Named(of_each),
            _ if is_table(of_item) => Shape::List(of_item),
            _ => Shape::Value,
        }
    }

    fn rows_of(&self, prefix: &str, section: &'a Value) -> String {
        let mut rows = String::new();
        self.rows(prefix, section, &mut rows);
        rows
    }

    /// A row for each key of `section`, and for each key of the tables in it.
    fn rows(&self, prefix: &str, section: &'a Value, text: &mut String) {
        let needed = section["required"].as_array().cloned().unwrap_or_default();
        for (name, field) in fields(section) {
            let key = format!("{prefix}{name}");
            if let Shape::Table(inner) = self.shape(field) {
                let rows = self.rows_of(&format!("{key}."), inner);
                // A table that stands in several sections is told once.
                if text.contains(&rows) {
                    let about = one_line(field["description"].as_str().unwrap_or_default());
                    text.push_str(&format!(
                        "| `{key}` | table | none | {about} Its keys are those of `{key}` above. |\n"
                    ));
                } else {
                    text.push_str(&rows);
                }
                continue;
            }
            let default = match &field["default"] {
                _ if needed.contains(&Value::from(name.as_str())) => "must be there".to_owned(),
                Value::Null => "none".to_owned(),
                value => format!("`{value}`"),
            };
            let about = field["description"].as_str().unwrap_or_else(|| panic!("{key} says what it means"));
            let about = format!("{}{}", one_line(about), self.choices(field));
            text.push_str(&format!("| `{key}` | {} | {default} | {about} |\n", self.type_of(field)));
        }
    }

    /// What each of a few named values means.
    fn choices(&self, field: &'a Value) -> String {
        let choices = self.resolve(field)["oneOf"].as_array().map(Vec::as_slice).unwrap_or_default();
        let told = choices.iter().filter_map(|choice| {
            Some(format!(" `{}`: {}", choice["const"], one_line(choice["description"].as_str()?)))
        });
        told.collect()
    }

    fn type_of(&self, field: &'a Value) -> String {
        if let Shape::List(_) = self.shape(field) {
            return "list of tables".to_owned();
        }
        let schema = self.resolve(field);
        if schema["writeOnly"] == true {
            return "secret".to_owned();
        }
        let kinds: Vec<&str> = match &schema["type"] {
            Value::String(kind) => vec![kind],
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null").collect(),
            _ => Vec::new(),
        };
        match kinds[..] {
            ["array"] => format!("list of {}s", self.type_of(&schema["items"])),
            ["object"] => format!("table of {}s", self.type_of(&schema["additionalProperties"])),
            [kind] => kind.to_owned(),
            _ if schema["oneOf"].is_array() => "string".to_owned(),
            _ => {
                let choices = schema["anyOf"].as_array().map(Vec::as_slice).unwrap_or_default();
                let mut kinds: Vec<String> = choices.iter().map(|choice| self.type_of(choice)).collect();
                kinds.retain(|kind| kind != "null");
                assert!(!kinds.is_empty(), "no type: {field}");
                kinds.join(" or ")
            }
        }
    }
}

/// The keys of a table; none for anything else.
fn fields(schema: &Value) -> Vec<(&String, &Value)> {
    schema["properties"].as_object().map(Map::iter).into_iter().flatten().collect()
}

/// A description as a cell of a table.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

#[test]
fn a_reference_is_put_between_its_markers() {
    let guide = format!("a\n{BEGIN}old\n{END}b\n");
    assert_eq!(put_into(&guide, "new\n").as_deref(), Some(&*format!("a\n{BEGIN}\nnew\n\n{END}b\n")));
    assert_eq!(put_into("a\n", "new\n"), None);
}
