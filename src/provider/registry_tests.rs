use super::*;

fn build(toml: &str, variables: &[(&str, &str)]) -> (Registry, Vec<String>) {
    let config: Config = toml::from_str(toml).unwrap();
    Registry::build(&config, &|name| {
        variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    })
}

#[test]
fn a_vendor_is_on_when_its_key_is_set() {
    let names = |variables: &[(&str, &str)]| -> Vec<String> {
        let (registry, problems) = build("", variables);
        assert!(problems.is_empty(), "{problems:?}");
        registry.names().map(str::to_owned).collect()
    };
    let always = names(&[]);
    assert!(always.contains(&"local".to_owned()) && always.contains(&"scripted".to_owned()), "{always:?}");
    for (variable, name) in [("OPENAI_API_KEY", "openai"), ("PPLX_API_KEY", "perplexity"), ("HF_TOKEN", "huggingface")]
    {
        assert_eq!(names(&[(variable, "")]), always);
        let mut with_it = always.clone();
        with_it.push(name.to_owned());
        with_it.sort();
        assert_eq!(names(&[(variable, "k")]), with_it);
    }
}

#[test]
fn the_configuration_adjusts_and_adds() {
    let toml = r#"
        [providers.openai]
        base_url = "https://eu.api.openai.com/v1/"
        [providers.mine]
        kind = "openai-compatible"
        base_url = "http://10.0.0.1:8000/v1"
        api_key = "env:MINE"
        headers = { "x-team" = "blue" }
    "#;
    let (registry, problems) = build(toml, &[("OPENAI_API_KEY", "sk-1"), ("MINE", "m")]);
    assert!(problems.is_empty(), "{problems:?}");
    let openai = registry.get("openai").unwrap();
    assert_eq!(&*openai.endpoint.base_url, "https://eu.api.openai.com/v1");
    assert_eq!(openai.endpoint.headers["authorization"], "Bearer sk-1");
    let mine = registry.get("mine").unwrap();
    assert_eq!(mine.provider.card().id, "openai-compatible");
    assert_eq!(mine.endpoint.headers["authorization"], "Bearer m");
    assert_eq!(mine.endpoint.headers["x-team"], "blue");
    assert_eq!(&*registry.get("local").unwrap().endpoint.base_url, "http://127.0.0.1:8080/v1");
    for secret in ["sk-1", "blue"] {
        let printed = format!("{:?} {:?}", openai.endpoint, mine.endpoint.headers);
        assert!(!printed.contains(secret), "{printed}");
    }
}

#[test]
fn what_is_wrong_is_named_and_left_out() {
    for (toml, expected) in [
        ("[providers.mine]\nbase_url='http://x/v1'", "providers.mine.kind: `mine` is none of"),
        ("[providers.mine]\nkind='nonsense'", "providers.mine.kind: `nonsense` is none of"),
        ("[providers.mine]\nkind='openai-compatible'", "providers.mine.base_url: must be given"),
        ("[providers.mine]\nkind='openai-compatible'\nbase_url='ftp://x'", "providers.mine.base_url: must be an http"),
        ("[providers.mine]\nkind='openai-compatible'\nbase_url='nonsense'", "providers.mine.base_url: relative URL"),
        ("[providers.mine]\nkind='openai-compatible'\nbase_url='http://u:p@x/v1'", "must not hold a password"),
        ("[providers.mine]\nkind='openai-compatible'\nbase_url='http://x/v1?a=b'", "without query"),
        ("[providers.openai]", "providers.openai.api_key: is missing; or set OPENAI_API_KEY"),
        ("[providers.openai]\napi_key='env:NOWHERE'", "providers.openai.api_key: the environment variable NOWHERE"),
        ("[providers.openai]\napi_key=\"se\\ncret\"", "providers.openai.api_key: cannot be sent in a header"),
        ("[providers.local]\nheaders={'a b'='secret'}", "providers.local.headers.a b: is not a header name"),
        ("[providers.local]\nscript='x.json'", "providers.local.script: only the kind `scripted`"),
        ("[providers.scripted]\nscript='/nowhere/x.json'", "providers.scripted.script: /nowhere/x.json"),
        ("[providers.'a/b']\nkind='local'", "must not be empty or hold a slash"),
    ] {
        let (registry, problems) = build(toml, &[]);
        assert_eq!(problems.len(), 1, "{toml}: {problems:?}");
        assert!(problems[0].contains(expected), "{toml}: {problems:?}");
        assert!(!problems[0].contains("cret"), "{problems:?}");
        let name = toml.split(['.', ']']).nth(1).unwrap();
        assert!(registry.get(name).is_none(), "{toml}");
    }
}

#[test]
fn every_kind_is_listed_once() {
    let mut ids: Vec<_> = vendor::ALL.iter().map(|provider| provider.card().id).collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count);
}

#[test]
fn a_script_may_come_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.json");
    for (script, problem) in
        [("[\"cut\"]", None), ("[\"cot\"]", Some("providers.slow.script[0]: unknown variant `cot`"))]
    {
        std::fs::write(&path, script).unwrap();
        let toml = format!("[providers.slow]\nkind='scripted'\nscript='{}'", path.display());
        let (registry, problems) = build(&toml, &[]);
        assert_eq!(
            problems.first().map(|p| p.starts_with(problem.unwrap_or("-"))),
            problem.map(|_| true),
            "{problems:?}"
        );
        assert_eq!(registry.get("slow").is_some(), problem.is_none());
    }
}

#[test]
fn an_address_may_come_from_its_own_variable() {
    for (variables, expected) in [
        (&[("AZURE_OPENAI_API_KEY", "k")][..], None),
        (&[("AZURE_OPENAI_API_KEY", "k"), ("AZURE_RESOURCE_NAME", "mine")], Some("https://mine.openai.azure.com")),
        (
            &[("AZURE_OPENAI_API_KEY", "k"), ("AZURE_OPENAI_ENDPOINT", "https://a.services.ai.azure.com/")],
            Some("https://a.services.ai.azure.com"),
        ),
    ] {
        let (registry, problems) = build("", variables);
        assert!(problems.is_empty(), "{problems:?}");
        let endpoint = registry.get("azure-openai").map(|entry| &entry.endpoint);
        assert_eq!(endpoint.map(|endpoint| &*endpoint.base_url), expected);
        assert!(endpoint.is_none_or(|endpoint| endpoint.headers["api-key"] == "k"));
    }
}
