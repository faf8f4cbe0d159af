use std::sync::Mutex as StdMutex;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::provider::Headers;
use crate::provider::Method;
use crate::provider::call::ProviderClient;

/// 2015-08-30T12:36:00Z, the moment of AWS's own examples.
const THEN: Timestamp = Timestamp(1_440_938_160_000);

fn example_keys(session_token: Option<&str>) -> Keys {
    Keys {
        access_key_id: "AKIDEXAMPLE".into(),
        secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
        session_token: session_token.map(str::to_owned),
        expires: None,
    }
}

/// The first expected signature is AWS's published one (its test `post-vanilla`); the others come
/// from another implementation that gives the same for that.
#[test]
fn a_request_is_signed_as_aws_wants_it() {
    for (scope, url, kind, token, body, signed, signature) in [
        (
            ("service", "us-east-1"),
            "https://example.amazonaws.com/",
            None,
            None,
            "",
            "host;x-amz-date",
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
        ),
        (
            ("bedrock", "us-east-1"),
            "https://bedrock-runtime.us-east-1.amazonaws.com/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse-stream",
            Some("application/json"),
            Some("the/token="),
            r#"{"messages":[]}"#,
            "content-type;host;x-amz-date;x-amz-security-token",
            "998738f3f16286d3d1a382d3a8d0f85107c079b8ddfb6c3ef050bf6ead5f0eca",
        ),
        (
            ("bedrock", "eu-west-1"),
            "http://127.0.0.1:8080/model/x/invoke",
            Some("application/json"),
            None,
            "{}",
            "content-type;host;x-amz-date",
            "22322ee13c7f5894f5fa4a83bf960cf35495e8c4d53a411ef3a6a06d58fed260",
        ),
    ] {
        let mut headers = Headers::new();
        if let Some(kind) = kind {
            headers.insert("content-type", kind.parse().unwrap());
        }
        headers.insert("accept", "text/plain".parse().unwrap());
        let (parsed, body) = (url.parse().unwrap(), Bytes::from_static(body.as_bytes()));
        let request = Request { method: &Method::POST, url: &parsed, headers: &mut headers, body: &body, now: THEN };
        sign::sign(&example_keys(token), scope, request).unwrap();
        let (service, region) = scope;
        let expected = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/{region}/{service}/aws4_request, \
             SignedHeaders={signed}, Signature={signature}"
        );
        assert_eq!(headers["authorization"], expected.as_str(), "{url}");
        assert_eq!(headers["x-amz-date"], "20150830T123600Z");
        assert_eq!(headers.get("x-amz-security-token").map(|value| value.to_str().unwrap()), token);
        let printed = format!("{headers:?}");
        assert!(!printed.contains("AKID") && !printed.contains("the/token"), "{printed}");
    }
}

/// Answers each request by its first line and says what came; an answer of `None` hangs.
async fn server(answer: fn(&str, usize) -> Option<(u16, String)>) -> (String, Arc<StdMutex<Vec<String>>>) {
    drop(ProviderClient::new().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(StdMutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let _server = tokio::runtime::Handle::current().spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                if socket.read_buf(&mut request).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            let request = String::from_utf8(request).unwrap();
            let count = {
                let mut seen = log.lock().unwrap();
                seen.push(request.clone());
                seen.len()
            };
            let Some((status, body)) = answer(request.lines().next().unwrap_or(""), count) else {
                tokio::time::sleep(Duration::from_secs(60)).await;
                continue;
            };
            let length = body.len();
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
            socket.write_all(head.as_bytes()).await.unwrap();
        }
    });
    (base, seen)
}

fn given(id: usize, expires: &str) -> Option<(u16, String)> {
    let body = format!(
        r#"{{"Code":"Success","AccessKeyId":"AK{id}","SecretAccessKey":"secret","Token":"tok","Expiration":"{expires}"}}"#
    );
    Some((200, body))
}

fn env_of(pairs: &[(&'static str, String)]) -> impl Fn(&str) -> Option<String> + use<> {
    let pairs = pairs.to_vec();
    move |name| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
}

async fn id(signer: &Signer, now: Timestamp) -> Result<String, String> {
    signer.keys(now).await.map(|keys| keys.access_key_id.clone())
}

#[tokio::test]
async fn a_machine_gives_its_keys_to_who_opens_a_session() {
    let (base, seen) = server(|line, _| match line {
        "PUT /latest/api/token HTTP/1.1" => Some((200, "session".into())),
        "GET /latest/meta-data/iam/security-credentials/ HTTP/1.1" => Some((200, "role\n".into())),
        "GET /latest/meta-data/iam/security-credentials/role HTTP/1.1" => given(1, "2015-08-30T18:00:00Z"),
        _ => Some((404, String::new())),
    })
    .await;
    let env = env_of(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", base)]);
    let source = Source::choose(None, &env).unwrap();
    assert!(!source.is_sure());
    let keys = source.fetch(THEN).await.unwrap();
    assert_eq!((keys.access_key_id.as_str(), keys.session_token.as_deref()), ("AK1", Some("tok")));
    assert_eq!(keys.expires, Timestamp::parse("2015-08-30T18:00:00Z"));
    let seen = seen.lock().unwrap();
    assert!(seen[0].contains("x-aws-ec2-metadata-token-ttl-seconds: 60"));
    assert!(seen[1..].iter().all(|request| request.contains("x-aws-ec2-metadata-token: session")));
    assert!(!format!("{keys:?} {source:?}").contains("secret"));
}

#[tokio::test]
async fn a_container_gives_its_keys_to_who_shows_its_token() {
    let (base, seen) = server(|_, _| given(7, "2015-08-30T18:00:00Z")).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "from a file\n").unwrap();
    let url = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{base}/v1/credentials"));
    for (token, expected) in [
        (("AWS_CONTAINER_AUTHORIZATION_TOKEN", "plain".to_owned()), "authorization: plain"),
        (("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file.display().to_string()), "authorization: from a file"),
    ] {
        let source = Source::choose(None, &env_of(&[url.clone(), token])).unwrap();
        assert!(source.is_sure());
        assert_eq!(source.fetch(THEN).await.unwrap().access_key_id, "AK7");
        let request = seen.lock().unwrap().pop().unwrap();
        assert!(request.starts_with("GET /v1/credentials HTTP/1.1") && request.contains(expected), "{request}");
    }
    let far = env_of(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://example.com/keys".to_owned())]);
    assert!(Source::choose(None, &far).unwrap_err().contains("must be https"));
}

#[tokio::test]
async fn a_signed_request_goes_over_the_wire_as_it_was_signed() {
    let (base, seen) = server(|_, _| Some((200, String::new()))).await;
    let keys = example_keys(Some("tok"));
    let signer = Signer::new(Source::Here(keys.clone()), "bedrock", "eu-west-1");
    let url = format!("{base}/model/a.b-v1%3A0/converse-stream");
    let mut headers = Headers::new();
    headers.insert("content-type", "application/json".parse().unwrap());
    let outbound = crate::provider::Outbound {
        route: crate::provider::Route::Http {
            method: Method::POST,
            url: url.as_str().into(),
            headers: headers.clone(),
            credential: crate::provider::Credential::Aws(Arc::new(signer)),
        },
        // No body: the server stops reading at the end of the head.
        body: Bytes::new(),
        framing: crate::provider::Framing::AwsFrames,
        dropped: Vec::new(),
    };
    let reply = ProviderClient::new().unwrap().send(outbound, Duration::from_secs(5), THEN).await.unwrap();
    assert_eq!(reply.status, 200);
    let request = seen.lock().unwrap().pop().unwrap();
    let body = Bytes::new();
    let again =
        Request { method: &Method::POST, url: &url.parse().unwrap(), headers: &mut headers, body: &body, now: THEN };
    sign::sign(&keys, ("bedrock", "eu-west-1"), again).unwrap();
    let authorization = headers["authorization"].to_str().unwrap();
    assert!(request.starts_with("POST /model/a.b-v1%3A0/converse-stream HTTP/1.1"), "{request}");
    for line in
        [&format!("authorization: {authorization}"), "x-amz-date: 20150830T123600Z", "x-amz-security-token: tok"]
    {
        assert!(request.contains(line), "{request}");
    }
    let host = base.strip_prefix("http://").unwrap();
    assert!(request.contains(&format!("host: {host}")), "{request}");
}

#[tokio::test]
async fn keys_are_kept_and_fetched_again_shortly_before_they_run_out() {
    let (base, seen) = server(|_, count| match count {
        1 => given(1, "2015-08-30T13:36:00Z"),
        2 => Some((500, String::new())),
        _ => given(count, "2015-08-30T14:36:00Z"),
    })
    .await;
    let env = env_of(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", base)]);
    let signer = Signer::new(Source::choose(None, &env).unwrap(), "bedrock", "us-east-1");
    let minute = |count: u64| THEN.plus_ms(count * 60_000);
    for (now, expected, fetches) in [
        (minute(0), "AK1", 1),
        (minute(54), "AK1", 1),
        // The fetch fails: the old ones are still valid, and the endpoint is left alone for a while.
        (minute(56), "AK1", 2),
        (minute(56), "AK1", 2),
        (minute(57), "AK3", 3),
        (minute(90), "AK3", 3),
    ] {
        assert_eq!(id(&signer, now).await.unwrap(), expected, "{now}");
        assert_eq!(seen.lock().unwrap().len(), fetches, "{now}");
    }
}

#[tokio::test]
async fn many_requests_make_one_fetch() {
    let (base, seen) = server(|_, count| given(count, "2015-08-30T18:00:00Z")).await;
    let env = env_of(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", base)]);
    let signer = Signer::new(Source::choose(None, &env).unwrap(), "bedrock", "us-east-1");
    let all = futures_util::future::join_all((0..20).map(|_| id(&signer, THEN))).await;
    assert!(all.iter().all(|id| id.as_deref() == Ok("AK1")), "{all:?}");
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_dropped_fetch_does_not_keep_others_out() {
    let (base, _seen) = server(|_, count| if count == 1 { None } else { given(count, "2015-08-30T18:00:00Z") }).await;
    let env = env_of(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", base)]);
    let signer = Signer::new(Source::choose(None, &env).unwrap(), "bedrock", "us-east-1");
    let hung = tokio::time::timeout(Duration::from_millis(50), id(&signer, THEN)).await;
    assert!(hung.is_err());
    assert!(signer.fetching.try_lock().is_ok(), "no task holds it");
}

#[tokio::test]
async fn who_has_no_keys_is_told_what_to_set() {
    let (base, _seen) = server(|_, _| Some((404, String::new()))).await;
    for (pairs, expected) in [
        (vec![("AWS_EC2_METADATA_DISABLED", "true".to_owned())], "there are none here; set AWS_ACCESS_KEY_ID"),
        (vec![("AWS_EC2_METADATA_SERVICE_ENDPOINT", base)], "the machine's endpoint answers HTTP 404; set"),
        (vec![("AWS_PROFILE", "blue".to_owned())], "the profile blue has no keys"),
    ] {
        let signer = Signer::new(Source::choose(None, &env_of(&pairs)).unwrap(), "bedrock", "us-east-1");
        let (url, body) = ("http://h/".parse().unwrap(), Bytes::new());
        let request =
            Request { method: &Method::POST, url: &url, headers: &mut Headers::new(), body: &body, now: THEN };
        let failure = signer.authorize(request).await.unwrap_err();
        assert_eq!((failure.code, failure.belongs_to_target), (Code::ProviderAuth, true));
        assert!(failure.message.contains(expected), "{failure}");
    }
}

#[test]
fn the_nearest_keys_count() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let credentials =
        write("credentials", "[default]\naws_access_key_id=D\naws_secret_access_key=s\n[half]\naws_access_key_id=H\n");
    let config = write(
        "config",
        "[default]\nregion=eu-west-1\n[profile blue]\nregion=eu-north-1\naws_access_key_id=B\naws_secret_access_key=s\n\
         aws_session_token=t\n[profile role]\nrole_arn=arn:x\n",
    );
    let files = [("AWS_SHARED_CREDENTIALS_FILE", credentials), ("AWS_CONFIG_FILE", config)];
    let with = |more: &[(&'static str, &str)]| {
        let mut pairs = files.to_vec();
        pairs.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        env_of(&pairs)
    };
    let keys = |profile: Option<&str>, more: &[(&'static str, &str)]| -> Result<String, String> {
        match Source::choose(profile, &with(more))? {
            Source::Here(keys) => Ok(keys.access_key_id),
            Source::Profile(files) => Ok(files.read()?.keys.map_or("none".into(), |keys| keys.access_key_id)),
            other => panic!("{other:?}"),
        }
    };
    let here = [("AWS_ACCESS_KEY_ID", "E"), ("AWS_SECRET_ACCESS_KEY", "s")];
    assert_eq!(keys(None, &[]), Ok("D".to_owned()));
    assert_eq!(keys(None, &here), Ok("E".to_owned()));
    assert_eq!(keys(None, &[("AWS_PROFILE", "blue")]), Ok("B".to_owned()));
    assert_eq!(keys(Some("blue"), &here), Ok("B".to_owned()));
    assert_eq!(keys(Some("nobody"), &here), Ok("none".to_owned()));
    assert!(keys(Some("half"), &[]).unwrap_err().contains("only one half"));
    assert!(keys(Some("role"), &[]).unwrap_err().contains("role_arn, which is not supported"));
    let region = |profile| Files::of(profile, &with(&[])).read().unwrap().region;
    assert_eq!((region(None).as_deref(), region(Some("blue")).as_deref()), (Some("eu-west-1"), Some("eu-north-1")));
}
