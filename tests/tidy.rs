//! Rules of the project that a compiler does not know, as an ordinary test over the source tree.
//!
//! Owns the list of rules. Promises that each has an example it complains about, so that none is
//! there for show. Sizes of functions and lists of parameters are clippy's (`.clippy.toml`).

#[path = "tidy/docs.rs"]
mod docs;
#[path = "tidy/guides.rs"]
mod guides;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/vendors.rs"]
mod vendors;
#[path = "tidy/words.rs"]
mod words;

use std::collections::BTreeMap;
use std::path::Path;

use source::{File, Tree, code_of, product_code};

type FileRule = fn(&File) -> Vec<String>;
type TreeRule = fn(&Tree) -> Vec<String>;

const FILE_RULES: &[FileRule] = &[
    rules::a_file_is_short,
    rules::imports_point_downhill,
    rules::each_library_has_one_place,
    rules::a_module_says_what_it_is,
    rules::an_ignored_test_says_why,
    rules::nothing_is_put_off,
    rules::nothing_names_a_machine,
    guides::a_guide_is_short,
];

const TREE_RULES: &[TreeRule] = &[
    rules::every_dependency_says_what_for,
    rules::the_root_is_small,
    rules::every_file_is_part_of_the_crate,
    guides::links_lead_somewhere,
    docs::contributing_tells_each_target,
    docs::what_a_document_names_exists,
    docs::each_warning_is_explained,
    vendors::a_vendor_is_named_in_its_own_file_only,
    words::words_get_plainer,
];

#[test]
fn the_tree_is_tidy() {
    let tree = Tree::read(Path::new(env!("CARGO_MANIFEST_DIR")));
    assert!(tree.files.len() > 30, "only {} files: the walk is broken", tree.files.len());
    let of_files = FILE_RULES.iter().flat_map(|rule| tree.files.iter().flat_map(rule));
    let of_tree = TREE_RULES.iter().flat_map(|rule| rule(&tree));
    let complaints: Vec<String> = of_files.chain(of_tree).collect();
    assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
}

/// `rule` complains about `bad` at `path`, and not about `good`.
fn check(rule: FileRule, path: &str, bad: &str, good: &str) {
    assert_eq!(rule(&File::new(path, bad)).len(), 1, "one complaint about {path}: {bad}");
    assert_eq!(rule(&File::new(path, good)), Vec::<String>::new(), "{path}: {good}");
}

#[test]
fn every_rule_on_files_can_fail() {
    let short = rules::a_file_is_short;
    check(short, "src/a.rs", &"\n".repeat(401), &"\n".repeat(400));
    check(short, "scripts/a.py", &"\n".repeat(401), &"\n".repeat(400));

    let imports = rules::imports_point_downhill;
    check(imports, "src/job/a.rs", "use crate::wire::Cursor;", "// use crate::wire::Cursor;");
    check(imports, "src/log/a.rs", "fn f() { crate::run::g() }", "fn f() { crate::wire::g() }");
    check(imports, "src/wire/a.rs", "use crate::{job, log};", "use crate::job::{Job, Tags};");
    check(imports, "src/clock.rs", "use crate::config::Config;", "#[cfg(test)] mod t { use crate::app::x; }");
    assert_eq!(imports(&File::new("src/nook/a.rs", "")).len(), 1, "a module that is not in MODULES");

    let places = rules::each_library_has_one_place;
    check(places, "src/run/drive.rs", "use actix::Actor;", "let s = \"actix::Actor\";");
    check(
        places,
        "src/meter/ledger.rs",
        "fn f(db: &sled::Db) {}",
        "fn f() { self.metrics::<u8>(); crate::metrics::f() }",
    );
    check(places, "src/cli/run.rs", "use async_nats;", "use async_nats_like::x;");
    assert_eq!(places(&File::new("src/run/actor.rs", "use actix::Actor;")), Vec::<String>::new());

    let said = rules::a_module_says_what_it_is;
    check(said, "src/a.rs", "//! x\nfn f() {}", "//! Cuts replies into packets.\nfn f() {}");
    check(said, "src/a.rs", "fn f() {}", "//! Cuts replies\n//! into packets.\n//!\n//! More");
    let long = format!("//! Cuts replies into packets.\n{}", "//! x\n".repeat(15));
    check(said, "src/a.rs", &long.replacen("packets.", "packets.\n//!", 1), "//! Cuts replies into packets.");

    let ignored = rules::an_ignored_test_says_why;
    check(ignored, "tests/a.rs", "#[ignore]\nfn f() {}", "#[ignore = \"an hour\"]\nfn f() {}");
    check(rules::nothing_is_put_off, "src/a.rs", concat!("// TO", "DO: later"), "// TODOS are no mark");
    check(rules::nothing_is_put_off, "README.md", concat!("FIX", "ME"), "fixme is a word");
}

#[test]
fn a_named_machine_is_seen() {
    let rule = rules::nothing_names_a_machine;
    check(rule, "scripts/a.sh", "cp /home/me/x .", "cp \"$here/home/me\" ./work/x");
    check(rule, "README.md", "pip --index-url x", "pip install x");
    check(
        rule,
        "Cargo.lock",
        "source = \"registry+https://mirror.example/index\"",
        "source = \"registry+https://github.com/rust-lang/crates.io-index\"",
    );
}

/// `rule` complains about a tree with `bad` at `path`, and not about one with `good`.
fn check_tree(rule: TreeRule, path: &str, bad: &str, good: &str) {
    let tree = |text: &str| Tree {
        entries: vec![path.split('/').next().unwrap_or_default().into()],
        files: vec![
            File::new("Makefile", "help: ## list\nrun: ## runs\n"),
            File::new("src/lib.rs", "mod a;"),
            File::new("src/a.rs", "fn a_test() { tracing::warn!(x = \"y\", \"all {lines} went\") }"),
            File::new("src/guide/log-messages.md", "**WARN** `all … went`"),
            File::new(path, text),
        ],
    };
    assert_eq!(rule(&tree(bad)).len(), 1, "one complaint about {path}: {bad}");
    assert_eq!(rule(&tree(good)), Vec::<String>::new(), "{path}: {good}");
}

#[test]
fn every_rule_on_the_tree_can_fail() {
    let manifest = |line: &str| format!("[package]\nname = \"x\"\n[dev-dependencies]\n{line}\nserde = \"1\"\n");
    check_tree(rules::every_dependency_says_what_for, "Cargo.toml", &manifest(""), &manifest("# Shapes."));
    let contributing = "src/guide/contributing.md";
    check_tree(docs::contributing_tells_each_target, contributing, "make runs", "`make run`");
    let names = docs::what_a_document_names_exists;
    for document in ["README.md", contributing] {
        check_tree(names, document, "see `src/b.rs`", "see `src/a.rs` and `src`");
        check_tree(names, document, "see `src/a.rs::b_test`", "see `src/a.rs::a_test`");
    }
    let warns = docs::each_warning_is_explained;
    for (bad, good) in [
        (r#"tracing::warn!(%job, "gone")"#, r#"tracing::warn!("{note}")"#),
        (r#"tracing::error!(target: "forebay::log", "no {path}: {error}")"#, "tracing::debug!(\"gone\")"),
        (r#"tracing::error!(target: "forebay::log", why = "none")"#, "tracing::info!(\"gone\")"),
    ] {
        check_tree(warns, "src/b.rs", bad, good);
    }
    let odd = Tree { entries: vec!["notes.txt".into()], files: Vec::new() };
    assert_eq!(rules::the_root_is_small(&odd).len(), 1);
    check_tree(rules::every_file_is_part_of_the_crate, "src/b.rs", "", "#[path = \"b.rs\"] mod b;");
    check_tree(rules::every_file_is_part_of_the_crate, "src/a/c.rs", "", "#[path = \"c.rs\"] mod c;");
}

#[test]
fn every_rule_on_guides_can_fail() {
    let short = guides::a_guide_is_short;
    check(short, "README.md", &"\n".repeat(201), &"\n".repeat(200));
    check(short, "src/guide/a.md", &"\n".repeat(301), &"\n".repeat(300));
    check(short, "src/guide/a.md", &"\n".repeat(49), &"\n".repeat(50));

    let links = guides::links_lead_somewhere;
    check_tree(links, "src/guide/b.md", "a [b](c.md)", "a [b](b.md), [c](../a.rs), [d](..), [e](https://c.md)");
    check_tree(links, "src/guide/b.md", "[b](src/a.rs)", "```text\n[b](src/a.rs)\n```\n[b](../../Makefile)");
    check_tree(links, "README.md", "[b](#what-it-is)\n# What is it", "[b](#what-it-is), or\n## What, *it*: is");
    check_tree(links, "README.md", "[b](src/guide/b.md)", "[b](src/a.rs)");
}

#[test]
fn a_vendor_that_is_named_elsewhere_is_seen() {
    let rule = vendors::a_vendor_is_named_in_its_own_file_only;
    let check = |path: &str, text: &str, count: usize| {
        let vendor = File::new("src/provider/vendor/acme.rs", "static CARD: Card = Card { id: \"acme\" };");
        let tree = Tree { entries: Vec::new(), files: vec![vendor, File::new(path, text)] };
        assert_eq!(rule(&tree).len(), count, "{path}: {text}");
    };
    check("src/provider/protocol/rerank.rs", "const SERVED_BY: &[&str] = &[\"acme\"];", 1);
    check("src/meter/tariff.rs", "fn f(kind: &str) -> bool {\n    kind == \"acme\"\n}", 1);
    check(
        "src/meter/tariff.rs",
        "// As \"acme\" does.\nfn f() {}\n#[cfg(test)]\nmod t {\n    const A: &str = \"acme\";\n}",
        0,
    );
    check("src/provider/vendor/emca.rs", "const A: &str = \"acme\";", 0);
    check("src/http/openapi/table.rs", "const A: &str = \"acme\";", 0);
    check("tests/providers/cost.rs", "const A: &str = \"acme\";", 0);
}

#[test]
fn what_is_not_code_is_blanked_and_lines_stay() {
    for (source, code) in [
        ("a // b\nc", "a     \nc"),
        ("a /* b /* c */ d\n */ e", "a               \n    e"),
        (r#"a("b\"c", d)"#, r#"a(      , d)"#),
        (r##"a(r#"b"c"#, d)"##, r##"a(        , d)"##),
        (r#"a(b"x", for)"#, r#"a(b   , for)"#),
        (r"a('\'', b'\\', 'é', '\u{7f}', &'a str)", r"a(    , b    ,     ,         , &'a str)"),
        ("\"// no comment\" x", "                x"),
    ] {
        assert_eq!(code_of(source).trim_end(), code.trim_end(), "{source}");
    }
    assert_eq!(product_code("a\n#[cfg(test)]\nmod t { b { c } }\nd").split_whitespace().collect::<String>(), "ad");
    assert_eq!(product_code("#[cfg(test)]\nuse x;\nd").trim(), "d");
}

#[test]
fn a_doc_comment_that_is_no_sentence_is_seen() {
    for (bad, good) in [
        ("/// Whose.\npub id: u8,", "/// Id of the job.\npub id: u8,"),
        ("    /// The\n    /// job.\nx", "    /// The job\n    /// that failed.\nx"),
        ("/// How. It took four words.", "/// How the job ended. Yes."),
        ("/// `a. b` c", "/// Removes a file."),
        ("/// Its file.", "/// # Errors\n/// None."),
        ("/// Costs of models.", "//// Not a doc."),
    ] {
        check(words::a_doc_comment_is_a_sentence, "src/a.rs", bad, good);
    }
}

#[test]
fn a_word_that_is_not_plain_is_seen() {
    for (path, bad, good) in [
        ("src/a.rs", "// nobody reads it", "fn nobody() {}"),
        ("src/a.rs", "let s = \"asked by Somebody's key\";", "let s = \"somebody\";"),
        ("tests/a.rs", "/// As anybody can see.", "/// Any reader can see it."),
        ("src/guide/a.md", "Everybody may", "```\neverybody\n```\nand `everybody`"),
        ("README.md", "a key for whoever asks", "a key for each client"),
        ("Makefile", "# it is our own death", "run: our own death"),
        ("src/a.rs", "/* the NATS door */", "// indoor, a door-frame and the label `door`"),
        ("src/a.rs", "/// All\n/// doors are shut.", "/// All outdoors."),
        ("src/guide/a.md", "the house rules", "an in-house model"),
        ("src/a.rs", "// this room owns it", "// there is no room for one more"),
        ("src/a.rs", "// two rooms", "let rooms = 2;"),
        ("src/a.rs", "pub struct Said { x: u8 }", "pub struct SaidWord(Said);"),
        ("src/a.rs", "pub(crate) enum Door {}", "use submit::Door;"),
    ] {
        check(words::words_are_plain, path, bad, good);
    }
}

#[test]
fn a_module_may_not_have_more_complaints_than_before() {
    let found = BTreeMap::from([("run".to_owned(), [vec!["a".to_owned(), "b".to_owned()], vec!["c".to_owned()]])]);
    assert_eq!(words::over_allowance(&found, &[("run", 2, 1)]), Vec::<String>::new());
    assert_eq!(words::over_allowance(&found, &[("run", 1, 1)]).len(), 2, "both are shown");
    assert_eq!(words::over_allowance(&found, &[("run", 2, 2)]).len(), 1, "an allowance that is too high goes down");
    assert_eq!(words::over_allowance(&found, &[]).len(), 3, "a module that is not listed may have none");
}
