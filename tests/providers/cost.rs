//! What every recorded exchange costs that has usage and a price in the catalog.
//!
//! Asserts that cached tokens are never paid at the full rate and reasoning never twice, and adds the
//! sum up again in plain integers from the source of the catalog, where that is present. Where a
//! provider says itself what it took, the difference is printed.

use std::collections::BTreeMap;
use std::path::Path;

use forebay::catalog;
use forebay::job::{Bill, Job, Task, Timestamp, Usage, Usd};
use forebay::meter::{PriceBook, Sale};
use serde_json::Value;

use super::dialect::{self, Dialect};
use super::recorded::{folder, load};
use super::replay::{Adapter, Reply, bill_of, job, replay, target};

/// A folder of recordings, the kind of its provider, and how the source of the catalog prefixes it.
const KINDS: &[(&str, &str, &[&str])] = &[
    ("alibaba", "alibaba", &["dashscope/"]),
    ("anthropic", "anthropic", &[""]),
    ("azure", "azure-openai", &["azure/", "azure_ai/"]),
    ("bedrock", "aws-bedrock", &["", "bedrock/"]),
    ("cerebras", "cerebras", &["cerebras/"]),
    ("cohere", "cohere", &["", "cohere/"]),
    ("deepseek", "deepseek", &["deepseek/", ""]),
    ("fireworks", "fireworks", &["fireworks_ai/"]),
    ("gemini", "google-ai-studio", &["gemini/"]),
    ("groq", "groq", &["groq/"]),
    ("minimax", "minimax", &["minimax/"]),
    ("mistral", "mistral", &["mistral/"]),
    ("ollama", "ollama", &["ollama/"]),
    ("openai", "openai", &[""]),
    ("openrouter", "openrouter", &["openrouter/"]),
    ("perplexity", "perplexity", &["perplexity/"]),
    ("together", "together", &["together_ai/"]),
    ("vertex", "google-vertex-ai", &["vertex_ai/", ""]),
    ("xai", "xai", &["xai/"]),
    ("zai", "zai", &["zai/"]),
];

/// Cohere says how many tokens it charges, which are fewer than it read and have no cached part.
const CHARGES_ITS_OWN_COUNT: &str = "cohere";

/// One exchange with usage.
struct Sold {
    file: String,
    kind: &'static str,
    prefixes: &'static [&'static str],
    model: String,
    job: Job,
    usage: Usage,
    bill: Bill,
}

impl Sold {
    fn of(entry: &Value, exchange: &Value, dialect: &Dialect) -> Option<Sold> {
        let (provider, api) = (entry["provider"].as_str()?, entry["api"].as_str()?);
        let (_, kind, prefixes) = KINDS.iter().find(|(folder, ..)| *folder == provider)?;
        let reply = Reply::of(exchange);
        let decoder = || (dialect.decoder)(exchange);
        let adapter = &Adapter { framing: dialect.framing, decoder: &decoder, classify: &dialect.classify };
        let outcome = replay(adapter, &reply, [&reply.body[..]]);
        let usage = outcome.end.ok()?.usage?;
        let mut job = job(&exchange["request"]["body"]
            .as_object()
            .map_or("{}".into(), |body| Value::Object(body.clone()).to_string()));
        job.task = match api {
            "embeddings" => Task::Embedding,
            "rerank" => Task::Rerank,
            _ => Task::Chat,
        };
        let (file, model) = (entry["file"].as_str()?.to_owned(), model_of(exchange)?);
        Some(Sold { file, kind, prefixes, model, job, usage, bill: bill_of(adapter, &reply) })
    }

    fn cost(&self, change: impl FnOnce(&mut Usage)) -> forebay::job::Cost {
        let mut usage = self.usage.clone();
        change(&mut usage);
        let bill = Bill { provider_usd: None, ..self.bill.clone() };
        let target = target(&self.model);
        // A day of the week with one price: Monday, two in the morning, is in no vendor's quiet hours.
        let at = Timestamp(98 * 3_600_000);
        let (job, kind) = (&self.job, self.kind);
        PriceBook::default().cost(&Sale { job, target: &target, kind, region: None, usage: &usage, bill: &bill, at })
    }

    /// In pico-dollars, from the source: only where nothing but tokens at standard rates is in play.
    fn again(&self, source: &Value) -> Option<i128> {
        if self.kind == CHARGES_ITS_OWN_COUNT {
            return None;
        }
        let id = catalog::find(self.kind, &self.model)?.id;
        let facts = self.prefixes.iter().find_map(|prefix| source.get(format!("{prefix}{id}")))?;
        let is_plain = self
            .bill
            .service_tier
            .as_deref()
            .is_none_or(|tier| matches!(tier, "default" | "standard" | "STANDARD" | "on_demand"));
        let raw = &self.job.input.get();
        if !is_plain || raw.contains("\"service_tier\"") || self.bill.searches.unwrap_or(0) > 0 {
            return None;
        }
        let all = self.usage.input_tokens?;
        let step = [100_u64, 128, 200, 256, 272, 512]
            .into_iter()
            .rfind(|step| step * 1000 < all && !facts[format!("input_cost_per_token_above_{step}k_tokens")].is_null());
        let end = step.map_or(String::new(), |step| format!("_above_{step}k_tokens"));
        let price = |key: &str| -> Option<i128> {
            let value = facts.get(format!("{key}{end}"))?.to_string();
            // The shortest decimal form of a number is what its author wrote.
            value.parse::<Usd>().ok().map(Usd::pico)
        };
        let count = |count: Option<u64>| i128::from(count.unwrap_or(0));
        let (cached, written) = (count(self.usage.cached_input_tokens), count(self.usage.cache_write_tokens));
        let hour = count(self.bill.cache_write_1h_tokens);
        if count(self.usage.audio_input_tokens)
            + count(self.usage.audio_output_tokens)
            + count(self.bill.image_input_tokens)
            > 0
        {
            return None;
        }
        let input = price("input_cost_per_token")?;
        let mut sum = (i128::from(all) - cached - written) * input;
        if cached > 0 {
            sum += cached * price("cache_read_input_token_cost")?;
        }
        if written > 0 {
            sum += (written - hour) * price("cache_creation_input_token_cost").unwrap_or(input);
        }
        if hour > 0 {
            sum += hour * price("cache_creation_input_token_cost_above_1hr")?;
        }
        let (output, reasoning) = (count(self.usage.output_tokens), count(self.usage.reasoning_tokens));
        if output > 0 {
            let apart = price("output_cost_per_reasoning_token").map(|price| (price, reasoning)).unwrap_or((0, 0));
            sum += (output - apart.1) * price("output_cost_per_token")? + apart.1 * apart.0;
        }
        Some(sum)
    }
}

/// The model that was asked: of the body, else of the address.
fn model_of(exchange: &Value) -> Option<String> {
    let request = &exchange["request"];
    if let Some(model) = request["body"]["model"].as_str() {
        return Some(model.to_owned());
    }
    let url = request["url"].as_str()?;
    let rest =
        ["/models/", "/model/", "/deployments/"].iter().find_map(|part| url.split_once(part)).map(|(_, rest)| rest)?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let id = rest[..end].replace("%3A", ":").replace("%2F", "/");
    // Google writes the verb behind a colon.
    let id = id
        .rsplit_once(':')
        .filter(|(_, verb)| verb.starts_with(|c: char| c.is_alphabetic()))
        .map_or(&*id, |(id, _)| id);
    Some(id.to_owned())
}

#[test]
fn every_recorded_exchange_costs_what_the_source_says() {
    let Some(folder) = folder() else {
        println!("RECORDED TRAFFIC IS ABSENT: no costs to compare.");
        return;
    };
    let source = folder.join("../../catalog/prices_source.json");
    let source = if source.is_file() { load(Path::new(&source)) } else { Value::Null };
    let (mut counts, mut wrong): (BTreeMap<&str, usize>, Vec<String>) = (BTreeMap::new(), Vec::new());
    let mut count = |what| *counts.entry(what).or_default() += 1;
    for entry in load(&folder.join("index.json")).as_array().expect("a list") {
        let text = |field: &str| entry[field].as_str().expect("a text");
        let spoken = dialect::of(text("provider"), text("api"));
        let Some(dialect) = spoken else { continue };
        let Some(sold) = Sold::of(entry, &load(&folder.join(text("file"))), dialect) else { continue };
        count("with usage");
        let cost = sold.cost(|_| {});
        if catalog::find(sold.kind, &sold.model).is_none_or(|entry| entry.prices.is_empty()) {
            count("without a price in the catalog");
        } else {
            count(if cost.priced { "priced" } else { "priced in part" });
            check(&sold, &mut wrong);
            match sold.again(&source) {
                Some(again) if cost.priced && again != cost.usd.pico() => {
                    wrong.push(format!("{}: {} and again {}", sold.file, cost.usd, Usd::from_pico(again)));
                }
                Some(_) if cost.priced => count("the same when added up again"),
                _ => {}
            }
            println!("{:58} {:44} {}{}", sold.file, sold.model, cost.usd, if cost.priced { "" } else { " (not all)" });
        }
        if let Some(own) = sold.bill.provider_usd {
            count("with the provider's own word");
            println!(
                "{:58} says {own}, the catalog {}, difference {}",
                sold.file,
                cost.usd,
                Usd::from_pico(own.pico() - cost.usd.pico())
            );
        }
    }
    println!("{counts:?}");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(counts.get("priced").is_some_and(|count| *count > 0), "no exchange has a price");
}

/// The laws, whatever the prices are.
fn check(sold: &Sold, wrong: &mut Vec<String>) {
    let cost = sold.cost(|_| {});
    let entry = catalog::find(sold.kind, &sold.model).expect("it was found");
    let price = |name: &str| entry.prices.texts().find(|(text, _)| *text == name).map(|(_, usd)| usd.to_owned());
    let has_cached =
        sold.kind != CHARGES_ITS_OWN_COUNT && sold.usage.cached_input_tokens.is_some_and(|count| count > 0);
    let at_full_rate = sold.cost(|usage| usage.cached_input_tokens = None);
    if has_cached && price("in") != price("cached") && cost.usd >= at_full_rate.usd {
        wrong.push(format!("{}: cached tokens at the full rate: {}", sold.file, cost.usd));
    }
    if has_cached && price("cached").is_none() && cost.priced {
        wrong.push(format!("{}: cached tokens have no price, and yet it is known", sold.file));
    }
    let without_reasoning = sold.cost(|usage| usage.reasoning_tokens = None);
    let is_apart = price("reasoning").is_some_and(|reasoning| Some(reasoning) != price("out"));
    if !is_apart && cost.usd != without_reasoning.usd {
        wrong.push(format!("{}: reasoning is paid beside the output: {}", sold.file, cost.usd));
    }
}
