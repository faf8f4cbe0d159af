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
fn bedrock_is_on_where_aws_credentials_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let credentials = file("credentials", "[default]\naws_access_key_id=A\naws_secret_access_key=cret\n");
    let config = file("config", "[default]\nregion=eu-central-1\n[profile blue]\nregion=eu-north-1\n");
    let (keys, region) = ([("AWS_ACCESS_KEY_ID", "A"), ("AWS_SECRET_ACCESS_KEY", "cret")], ("AWS_REGION", "us-east-1"));
    let files = [("AWS_SHARED_CREDENTIALS_FILE", &*credentials), ("AWS_CONFIG_FILE", &*config)];
    let both = [keys[0], keys[1], region];
    let at = |region: &str| Some(format!("https://bedrock-runtime.{region}.amazonaws.com"));
    let named = "[providers.aws-bedrock]\n";
    for (toml, variables, base_url, signs, problem) in [
        ("", &[][..], None, false, ""),
        ("", &keys[..], None, false, ""),
        ("", &both, at("us-east-1"), true, ""),
        ("", &files, at("eu-central-1"), true, ""),
        ("", &[("AWS_BEARER_TOKEN_BEDROCK", "k"), region], at("us-east-1"), false, ""),
        (named, &[region], at("us-east-1"), true, ""),
        (named, &[], None, false, "providers.aws-bedrock.region: must be given"),
        ("[providers.aws-bedrock]\nbase_url='http://127.0.0.1:1'", &[], None, false, "region: must be given"),
        ("[providers.aws-bedrock]\nregion='x y'", &[], None, false, "region: must consist of"),
        ("[providers.aws-bedrock]\nprofile='blue'", &files, at("eu-north-1"), true, ""),
        ("[providers.aws-bedrock]\napi_key='k'\nregion='eu-west-1'", &both, at("eu-west-1"), false, ""),
    ] {
        let (registry, problems) = build(toml, variables);
        let entry = registry.get("aws-bedrock");
        assert_eq!(entry.map(|entry| entry.endpoint.base_url.to_string()), base_url, "{toml} {variables:?}");
        let credential = entry.map(|entry| &entry.endpoint.credential);
        assert_eq!(matches!(credential, Some(Credential::Aws(_))), signs, "{toml} {variables:?}");
        assert_eq!(problems.is_empty(), problem.is_empty(), "{problems:?}");
        assert!(problems.iter().all(|message| message.contains(problem) && !message.contains("cret")), "{problems:?}");
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

#[test]
fn vertex_is_on_when_its_project_and_credentials_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, json: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, json).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let account = write("account.json", r#"{"type":"service_account","project_id":"of-the-file"}"#);
    write("home/.config/gcloud/application_default_credentials.json", r#"{"quota_project_id":"of-the-user"}"#);
    let home = folder.path().join("home").to_str().unwrap().to_owned();
    let base = |toml: &str, variables: &[(&str, &str)]| -> Option<String> {
        let (registry, _) = build(toml, variables);
        registry.get("google-vertex-ai").map(|entry| entry.endpoint.base_url.to_string())
    };
    let at = |region: &str, project: &str| {
        Some(format!("https://{region}-aiplatform.googleapis.com/v1/projects/{project}/locations/{region}"))
    };
    assert_eq!(base("", &[]), None);
    assert_eq!(base("", &[("GOOGLE_CLOUD_PROJECT", "p")]), None, "only asking would tell what the machine has");
    assert_eq!(
        base("[providers.google-vertex-ai]\nproject='p'", &[]),
        at("global", "p"),
        "so the configuration must say it"
    );
    let file = ("GOOGLE_APPLICATION_CREDENTIALS", account.as_str());
    assert_eq!(base("", &[file]), at("global", "of-the-file"));
    let place = [file, ("GOOGLE_CLOUD_PROJECT", "p"), ("GOOGLE_CLOUD_LOCATION", "europe-west1")];
    assert_eq!(base("", &place), at("europe-west1", "p"));
    assert_eq!(base("", &[("HOME", &home)]), at("global", "of-the-user"));
    let (_, problems) = build("[providers.google-vertex-ai]\napi_key='k'", &[]);
    assert_eq!(problems, ["providers.google-vertex-ai.project: must be given, or base_url"]);
}

#[test]
fn a_key_of_google_goes_where_its_kind_goes() {
    for (key, header, value) in [
        ("AIza1", "x-goog-api-key", "AIza1"),
        ("AQ.x", "x-goog-api-key", "AQ.x"),
        ("ya29.t", "authorization", "Bearer ya29.t"),
    ] {
        let toml = format!("[providers.google-vertex-ai]\nproject='p'\napi_key='{key}'");
        let (registry, problems) = build(&toml, &[]);
        assert!(problems.is_empty(), "{problems:?}");
        let endpoint = &registry.get("google-vertex-ai").unwrap().endpoint;
        assert_eq!(endpoint.headers[header], value);
        assert!(matches!(endpoint.credential, Credential::InHeaders), "nothing is fetched for {key}");
    }
}
