//! What is tidy. One function per rule; each returns its complaints, empty when all is well.
//!
//! Lines of a function and its parameters are clippy's (`.clippy.toml`), so not here.

use crate::source::{File, Tree, code_of, product_code, tokens};

const FILE_LINES_MAX: usize = 400;
const MODULE_DOC_LINES_MAX: usize = 15;

/// Which modules a module may import. `lib.rs` describes the order; this table is the order, module by module.
const MODULES: &[(&str, &str)] = &[
    ("job", ""),
    ("guide", ""),
    ("clock", "job"),
    ("random", ""),
    ("config", "job"),
    ("telemetry", "job"),
    ("catalog", "job"),
    ("wire", "job"),
    ("dialect", "job wire"),
    ("policy", "job catalog config"),
    ("egress", "job config"),
    ("provider", "job catalog config telemetry egress"),
    ("snapshot", "job config telemetry catalog policy egress provider"),
    ("log", "job clock config telemetry wire"),
    ("streams", "job clock wire dialect log"),
    ("meter", "job clock config telemetry catalog wire log"),
    ("admission", "job clock config telemetry policy snapshot"),
    ("notify", "job clock random config telemetry wire egress snapshot log"),
    (
        "run",
        "job clock random config telemetry catalog wire policy egress provider snapshot log meter admission notify",
    ),
    (
        "broker",
        "job clock random config telemetry catalog wire policy provider snapshot log streams meter admission notify run",
    ),
    ("nats", "job clock config telemetry catalog wire policy snapshot log meter notify broker"),
    ("ws", "job clock config telemetry wire policy log broker"),
    ("http", "job clock config telemetry catalog wire dialect policy log streams meter broker ws"),
];
/// Modules on top, which may import every other module.
const TOP: &[&str] = &["app", "bench", "cli", "lib", "main"];

/// Where each library may be named. So each can be replaced by editing one place.
const LIBRARIES: &[(&str, &[&str])] = &[
    ("actix", &["/actor.rs", "src/app.rs", "src/app/"]),
    ("async_nats", &["src/nats/", "src/cli/nats.rs"]),
    ("sled", &["src/log/disk/store.rs"]),
    ("tokio_tungstenite", &["src/ws/socket.rs", "src/ws/client.rs"]),
    ("reqwest", &["src/egress/"]),
    ("aws_sigv4", &["src/provider/credential/aws"]),
    ("aws_credential_types", &["src/provider/credential/aws"]),
    ("aws_smithy_eventstream", &["src/provider/framing/aws"]),
    ("aws_smithy_types", &["src/provider/framing/aws"]),
    ("rmp_serde", &["src/wire/"]),
    ("serde_path_to_error", &["src/job/strict.rs"]),
    ("metrics", &["src/telemetry.rs"]),
    ("metrics_exporter_prometheus", &["src/telemetry.rs"]),
    ("hyper", &["src/http/", "src/bench/"]),
    ("hyper_util", &["src/http/", "src/bench/"]),
    ("http_body_util", &["src/http/", "src/bench/"]),
    ("tokio_rustls", &["src/http/connection.rs"]),
    ("socket2", &["src/http/"]),
    ("notify", &["src/config/watch.rs"]),
    ("clap", &["src/cli/", "src/main.rs", "src/bench/"]),
];

/// What may lie in the root.
const ENTRIES: &[&str] = &[
    ".ci",
    ".clippy.toml",
    ".gitignore",
    ".rustfmt.toml",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "Makefile",
    "README.md",
    "schemas",
    "scripts",
    "src",
    "tests",
];

pub(crate) fn a_file_is_short(file: &File) -> Vec<String> {
    let is_source = [".rs", ".py", ".sh"].iter().any(|end| file.path.ends_with(end));
    let lines = file.text.lines().count();
    let long = is_source && lines > FILE_LINES_MAX;
    long.then(|| format!("{}: {lines} lines; at most {FILE_LINES_MAX}", file.path)).into_iter().collect()
}

pub(crate) fn imports_point_downhill(file: &File) -> Vec<String> {
    if !file.is_product() || TOP.contains(&file.module()) {
        return Vec::new();
    }
    let Some((module, below)) = MODULES.iter().find(|(module, _)| *module == file.module()) else {
        return vec![format!("{}: the module `{}` is not in MODULES", file.path, file.module())];
    };
    let code = product_code(&file.text);
    let words = tokens(&code);
    let mut complaints = Vec::new();
    for window in words.windows(3) {
        let [(_, "crate"), (_, "::"), (line, target)] = window else { continue };
        if *target == "{" {
            complaints.push(format!("{}:{line}: name one module per `use crate::…`", file.path));
        } else if target != module && !below.split(' ').any(|name| name == *target) {
            complaints.push(format!("{}:{line}: `{module}` may not see `{target}`", file.path));
        }
    }
    complaints
}

pub(crate) fn each_library_has_one_place(file: &File) -> Vec<String> {
    if !file.is_product() {
        return Vec::new();
    }
    let code = product_code(&file.text);
    let words = tokens(&code);
    let mut complaints = Vec::new();
    for (library, places) in LIBRARIES {
        if places.iter().any(|place| file.path.starts_with(place) || file.path.ends_with(place)) {
            continue;
        }
        for (at, (line, word)) in words.iter().enumerate() {
            let before = at.checked_sub(1).map_or("", |before| words[before].1);
            let after = words.get(at + 1).map_or("", |after| after.1);
            if word == library && before != "::" && before != "." && (after == "::" || before == "use") {
                complaints.push(format!("{}:{line}: `{library}` only in {}", file.path, places.join(", ")));
            }
        }
    }
    complaints
}

pub(crate) fn a_module_says_what_it_is(file: &File) -> Vec<String> {
    if !file.is_product() {
        return Vec::new();
    }
    let doc: Vec<&str> = file.text.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim).collect();
    let first: String = doc.iter().take_while(|line| !line.is_empty()).copied().collect::<Vec<_>>().join(" ");
    // A sentence, not a word: it starts like one, ends like one, and says something.
    let is_sentence = first.starts_with(|c: char| !c.is_lowercase()) && first.ends_with(['.', ':']) && first.len() > 20;
    let mut complaints = Vec::new();
    if !is_sentence {
        complaints.push(format!("{}: begin with a sentence of `//!` that says what the module is for", file.path));
    }
    if doc.len() > MODULE_DOC_LINES_MAX {
        complaints.push(format!("{}: {} lines of module doc; at most {MODULE_DOC_LINES_MAX}", file.path, doc.len()));
    }
    complaints
}

pub(crate) fn an_ignored_test_says_why(file: &File) -> Vec<String> {
    let code = if file.is_rust() { code_of(&file.text) } else { return Vec::new() };
    let words = tokens(&code);
    let bare = |window: &&[(usize, &str)]| matches!(window, [(_, "["), (_, "ignore"), (_, "]")]);
    let complaint = |window: &[(usize, &str)]| format!("{}:{}: `#[ignore]` without a reason", file.path, window[0].0);
    words.windows(3).filter(bare).map(complaint).collect()
}

pub(crate) fn nothing_is_put_off(file: &File) -> Vec<String> {
    // In two halves, so that this file keeps its own rule.
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let is_text = [".rs", ".py", ".sh", ".md", ".toml", "Makefile", "run"].iter().any(|end| file.path.ends_with(end));
    let mut complaints = Vec::new();
    for (number, line) in file.text.lines().enumerate().filter(|_| is_text) {
        for word in line.split(|c: char| !c.is_alphanumeric() && c != '_') {
            if marks.contains(&word) {
                complaints.push(format!("{}:{}: `{word}`: do it, or open an issue", file.path, number + 1));
            }
        }
    }
    complaints
}

pub(crate) fn nothing_names_a_machine(file: &File) -> Vec<String> {
    if file.path == "Cargo.lock" {
        let usual = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
        let odd = file.text.lines().filter(|line| line.starts_with("source = ") && *line != usual);
        return odd.map(|line| format!("Cargo.lock: {line}")).collect();
    }
    let folders = ["root", "home", "Users", "work", "opt"].map(|folder| format!("/{folder}/"));
    let hosts = ["index-url", "find-links", "artifactory", "pythonhosted", "pypi."].map(String::from);
    let is_rule = file.path == "tests/tidy/rules.rs" || file.path == "tests/tidy.rs";
    let mut complaints = Vec::new();
    for (number, line) in file.text.lines().enumerate().filter(|_| !is_rule) {
        let named_folder = folders.iter().any(|folder| {
            line.match_indices(folder.as_str()).any(|(at, _)| {
                !line[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '}' | '/' | '~'))
            })
        });
        if named_folder || hosts.iter().any(|host| line.contains(host)) {
            complaints.push(format!("{}:{}: names a machine or its registry: {line}", file.path, number + 1));
        }
    }
    complaints
}

pub(crate) fn every_dependency_says_what_for(tree: &Tree) -> Vec<String> {
    let manifest = tree.file("Cargo.toml").map_or("", |file| file.text.as_str());
    let (mut in_dependencies, mut before, mut complaints) = (false, "", Vec::new());
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            in_dependencies = line.ends_with("dependencies]");
        } else if in_dependencies && line.contains('=') && !line.starts_with('#') && !before.starts_with('#') {
            complaints.push(format!("Cargo.toml: a comment above `{line}` says what it is for"));
        }
        before = line;
    }
    complaints
}

pub(crate) fn the_root_is_small(tree: &Tree) -> Vec<String> {
    let odd = tree.entries.iter().filter(|entry| !ENTRIES.contains(&entry.as_str()));
    odd.map(|entry| format!("{entry}: does not belong in the root (tests/tidy/rules.rs, ENTRIES)")).collect()
}

pub(crate) fn every_file_is_part_of_the_crate(tree: &Tree) -> Vec<String> {
    let rust: Vec<&File> = tree.files.iter().filter(|file| file.is_rust() && file.path.starts_with("src/")).collect();
    let mut declared = vec!["src/lib.rs".to_owned(), "src/main.rs".to_owned()];
    for file in &rust {
        let (folder, name) = file.path.rsplit_once('/').unwrap_or_default();
        let inner = match name {
            "mod.rs" | "lib.rs" | "main.rs" => folder.to_owned(),
            _ => format!("{folder}/{}", name.trim_end_matches(".rs")),
        };
        let code = code_of(&file.text);
        let words = tokens(&code);
        let mut declare = |child: &str| {
            declared.push(format!("{inner}/{child}.rs"));
            declared.push(format!("{inner}/{child}/mod.rs"));
        };
        for window in words.windows(3) {
            if let [(_, "mod"), (_, child), (_, ";")] = window {
                declare(child);
            }
        }
        // The list of vendors declares its modules by a macro.
        let has_list = words.windows(2).any(|window| matches!(window, [(_, "vendors"), (_, "!")]));
        for window in words.windows(4).filter(|_| has_list) {
            if let [(_, child), (_, "::"), _, (_, ",")] = window {
                declare(child);
            }
        }
        for attribute in file.text.split("#[path = \"").skip(1) {
            declared.push(format!("{folder}/{}", attribute.split('"').next().unwrap_or_default()));
        }
    }
    let dead = rust.iter().filter(|file| !declared.contains(&file.path));
    dead.map(|file| format!("{}: no `mod` declares it", file.path)).collect()
}
