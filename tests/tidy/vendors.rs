//! The rule that a vendor is one file, one line and one folder of fixtures.
//!
//! Owns the list of places that may name a vendor all the same. The ids are read from the vendors' own files.

use crate::source::{File, Tree, product_code};

const FOLDER: &str = "src/provider/vendor/";

/// Files that may name a vendor, and why: they speak of something else that has the same name.
const ALLOWED: &[(&str, &str)] = &[
    ("src/broker/models.rs", "a model of Workers AI names its provider by its beginning"),
    ("src/catalog/name.rs", "makers in the ids of Bedrock"),
    ("src/dialect/anthropic/mod.rs", "a field of inputs"),
    ("src/guide/mod.rs", "guides to the APIs of OpenAI and Anthropic"),
    ("src/http/cloudflare.rs", "Cloudflare's own models, at Cloudflare's addresses"),
    ("src/http/cloudflare_names.rs", "Cloudflare's names of providers"),
    ("src/http/openapi/", "examples"),
    ("src/http/routes/cloudflare_address.rs", "Cloudflare's own models, at Cloudflare's addresses"),
    ("src/job/id.rs", "a model of Workers AI names its provider by its beginning"),
    ("src/provider/chat/params.rs", "a field of inputs"),
];

pub(crate) fn a_vendor_is_named_in_its_own_file_only(tree: &Tree) -> Vec<String> {
    let ids = ids(tree);
    let allowed = |path: &str| ALLOWED.iter().any(|(place, _)| path.starts_with(place));
    let is_code = |file: &&File| file.is_product() && !file.path.ends_with("/tests.rs");
    let others = tree.files.iter().filter(is_code).filter(|file| !file.path.starts_with(FOLDER));
    others.filter(|file| !allowed(&file.path)).flat_map(|file| named(file, &ids)).collect()
}

/// Every vendor's id, as its card has it.
fn ids(tree: &Tree) -> Vec<&str> {
    let vendors = tree.files.iter().filter(|file| file.path.starts_with(FOLDER));
    let cards = vendors.flat_map(|file| file.text.split(" id: \"").skip(1));
    cards.filter_map(|rest| rest.split('"').next()).collect()
}

/// A complaint for each line of product code with a text that is a vendor's id.
fn named(file: &File, ids: &[&str]) -> Vec<String> {
    let code = product_code(&file.text);
    let lines = file.text.lines().zip(code.lines()).enumerate();
    // What is blanked as a whole is a comment or a test.
    let lines = lines.filter(|(_, (_, code))| !code.trim().is_empty());
    let complaints = lines.flat_map(|(number, (line, _))| {
        let found = ids.iter().filter(move |id| line.contains(&format!("\"{id}\"")));
        found.map(move |id| {
            format!("{}:{}: names the vendor `{id}`: make it a field of `Card` or `Rules`", file.path, number + 1)
        })
    });
    complaints.collect()
}
