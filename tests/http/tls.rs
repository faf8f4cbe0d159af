//! The port under TLS: the same answers, streams and sockets, and a certificate that can be changed.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay::http::Limits;
use forebay::snapshot::ConfigSnapshot;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::broker::{TestBroker, completed, text};
use crate::client::{Client, request};
use crate::{JOB, events};

/// What a certificate is for.
const NAME: &str = "localhost";

/// Writes a new certificate and its key into `folder`, and gives what trusts it.
fn certify(folder: &Path) -> Arc<ClientConfig> {
    let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()]).unwrap();
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(made.cert.pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

fn config(folder: &Path) -> String {
    let at = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    format!("[server]\nheartbeat_ms = 50\n[server.tls]\ncert = {:?}\nkey = {:?}\n", at("cert.pem"), at("key.pem"))
}

fn connect(addr: SocketAddr, trusted: &Arc<ClientConfig>) -> Client {
    let session = ClientConnection::new(Arc::clone(trusted), ServerName::try_from(NAME).unwrap()).unwrap();
    Client::through(addr, |stream| StreamOwned::new(session, stream))
}

#[test]
fn answers_streams_and_sockets_are_the_same_under_tls() {
    let folder = tempfile::tempdir().unwrap();
    let trusted = certify(folder.path());
    let broker = TestBroker::start(&config(folder.path()));
    let mut client = connect(broker.addr, &trusted);
    assert_eq!(client.get("/healthz").status, 200);
    let answer = client.post("/v1/run", JOB);
    assert_eq!((answer.status, &answer.json()["state"]), (200, &"completed".into()));
    let large = format!(r#"{{"model":"echo","input":{:?}}}"#, "word ".repeat(100_000));
    assert_eq!(client.post("/v1/run", &large).status, 200);

    let writer = broker.open(r#"{"model":"echo","input":"x","id":"j"}"#);
    client.send(request("GET", "/v1/jobs/j/events", &[], b""));
    assert_eq!(client.head().unwrap().0, 200);
    assert_eq!(events(&client.chunks(1).0).len(), 1);
    assert_eq!(client.chunks(1).0, b":\n\n", "a sign of life is not held back");
    broker.append(writer.stream(), vec![text("a"), completed()]);
    let (rest, whole) = client.chunks(usize::MAX);
    assert_eq!((events(&rest).len(), whole), (2, true));

    let handshake = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-version", "13"),
    ];
    client.send(request("GET", "/v1/jobs/j/ws", &handshake, b""));
    assert_eq!(client.head().unwrap().0, 101);
    let mut answered = String::new();
    while !answered.contains(r#""type":"end""#) {
        let frame = client.frame().expect("the socket says the end");
        answered += &String::from_utf8(frame).unwrap();
    }
    assert!(answered.contains(r#""text":"a""#), "{answered}");
}

#[test]
fn a_job_is_followed_under_tls_by_who_trusts_the_certificate() {
    let folder = tempfile::tempdir().unwrap();
    drop(certify(folder.path()));
    let broker = TestBroker::start(&config(folder.path()));
    let writer = broker.open(r#"{"model":"echo","input":"x","id":"j"}"#);
    broker.append(writer.stream(), vec![text("a word"), completed()]);
    let url = format!("https://{NAME}:{}", broker.addr.port());
    for (trusts, wanted) in [(true, Some(0)), (false, Some(3))] {
        let mut follow = Command::new(env!("CARGO_BIN_EXE_forebay"));
        follow.args(["follow", "j", "--url", &url]).env_remove("SSL_CERT_DIR");
        follow.env("SSL_CERT_FILE", folder.path().join(if trusts { "cert.pem" } else { "key.pem" }));
        let answered = follow.output().unwrap();
        assert_eq!(answered.status.code(), wanted, "{}", String::from_utf8_lossy(&answered.stderr));
        assert_eq!(String::from_utf8_lossy(&answered.stdout).contains("a word"), trusts);
    }
}

#[test]
fn the_protocol_agreed_on_is_http_1_1() {
    let folder = tempfile::tempdir().unwrap();
    let trusted = certify(folder.path());
    let broker = TestBroker::start(&config(folder.path()));
    let mut session = ClientConnection::new(trusted, ServerName::try_from(NAME).unwrap()).unwrap();
    let mut stream = TcpStream::connect(broker.addr).unwrap();
    while session.is_handshaking() {
        session.complete_io(&mut stream).unwrap();
    }
    assert_eq!(session.alpn_protocol(), Some(&b"http/1.1"[..]));
}

#[test]
fn who_does_not_shake_hands_is_let_go_and_counted_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let trusted = certify(folder.path());
    let limits = Limits { head: Duration::from_millis(300), ..Limits::default() };
    let config = config(folder.path()).replace("[server]", "[server]\nconnections_max = 2");
    let broker = TestBroker::with(&config, limits);
    for nonsense in [&b""[..], b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"\x16\x03\x01\x00"] {
        let mut stream = TcpStream::connect(broker.addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(nonsense).unwrap();
        let mut answered = Vec::new();
        // Closed in time; by an alert of TLS, if by anything.
        drop(stream.read_to_end(&mut answered));
        assert!(!answered.starts_with(b"HTTP"), "{answered:?}");
    }
    let _silent: Vec<TcpStream> = (0..2).map(|_| TcpStream::connect(broker.addr).unwrap()).collect();
    let mut full = TcpStream::connect(broker.addr).unwrap();
    full.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(matches!(full.read(&mut [0; 1]), Ok(0) | Err(_)), "a server without free connections sends nothing");
    let soon = Instant::now() + Duration::from_secs(20);
    let served = std::iter::repeat(()).take_while(|()| Instant::now() < soon).any(|()| {
        let mut client = connect(broker.addr, &trusted);
        client.send(request("GET", "/healthz", &[], b""));
        client.response(false).is_some_and(|response| response.status == 200)
    });
    assert!(served, "places are given back");
}

#[test]
fn a_renewed_certificate_is_taken_at_a_reload_and_connections_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let first = certify(folder.path());
    let broker = TestBroker::start(&config(folder.path()));
    let mut old = connect(broker.addr, &first);
    assert_eq!(old.get("/healthz").status, 200);
    let second = certify(folder.path());
    let config = broker.broker.snapshot.load().config.clone();
    let build = || ConfigSnapshot::build(config.clone(), &|_| None);
    broker.broker.snapshot.store(Arc::new(build().unwrap_or_else(|problems| panic!("{problems:?}"))));
    assert_eq!(old.get("/healthz").status, 200);
    assert_eq!(connect(broker.addr, &second).get("/healthz").status, 200);
    std::fs::write(folder.path().join("key.pem"), "gone").unwrap();
    let problems = build().err().unwrap();
    assert!(problems[0].starts_with("server.tls.key: holds no private key"), "{problems:?}");
}
