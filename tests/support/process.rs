//! The program itself, on a port and a directory of its own.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use forebay::job::{Code, Failure, Record, State};
use forebay::wire::frame::Protocol;
use forebay::ws::client::{Follow, follow};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::free_port;

/// No wait in these tests is longer on any machine; it is a way to fail, not a way to synchronise.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
/// Time between two checks of something that a test waits for.
const LOOK: Duration = Duration::from_millis(10);

/// Resolves within [`PATIENCE`] or fails the test, saying what it waited for.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// Waits until `look` finds something.
pub(crate) async fn found<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let finding = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    soon(what, finding).await
}

/// A broker process that is killed when this is dropped.
pub(crate) struct Broker {
    dir: TempDir,
    port: u16,
    child: Option<Child>,
    http: reqwest::Client,
    envs: Vec<(String, String)>,
}

impl Broker {
    /// Makes a broker that is not started yet. `config` is added to what tests need.
    pub(crate) fn new(nats: Option<&str>, config: &str) -> Broker {
        // Sets the process's TLS library, without which no client can be built.
        drop(forebay::provider::call::ProviderClient::new().unwrap());
        let broker = Broker {
            dir: tempfile::tempdir().unwrap(),
            port: free_port(),
            child: None,
            http: reqwest::Client::builder().build().unwrap(),
            envs: Vec::new(),
        };
        let nats = nats.map_or("enabled = false".to_owned(), |url| format!("url = \"{url}\""));
        broker.configure(&format!("[nats]\n{nats}\n{config}"));
        broker
    }

    /// Makes a broker and starts it.
    pub(crate) async fn start(nats: Option<&str>, config: &str) -> Broker {
        let mut broker = Broker::new(nats, config);
        broker.up().await;
        broker
    }

    /// Sets an environment variable of the next process.
    pub(crate) fn env(&mut self, name: &str, value: &str) {
        self.envs.push((name.into(), value.into()));
    }

    /// Replaces the configuration file.
    pub(crate) fn configure(&self, config: &str) {
        let listen = format!("127.0.0.1:{}", self.port);
        let log = self.dir.path().join("data");
        let file = format!("server.listen = {listen:?}\nlog.path = {log:?}\n{config}");
        std::fs::write(self.config_path(), file).unwrap();
    }

    fn config_path(&self) -> PathBuf {
        self.dir.path().join("forebay.toml")
    }

    /// Returns what all processes wrote to stderr so far.
    pub(crate) fn stderr(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("stderr")).unwrap_or_default()
    }

    /// Starts the process and waits until it answers.
    pub(crate) async fn up(&mut self) {
        let began = Instant::now();
        self.spawn();
        while self.get("/healthz").await.is_none() {
            let exited = self.child.as_mut().and_then(|child| child.try_wait().unwrap());
            assert!(exited.is_none(), "the broker ended: {exited:?}\n{}", self.stderr());
            assert!(began.elapsed() < PATIENCE, "the broker does not come up\n{}", self.stderr());
            tokio::time::sleep(LOOK).await;
        }
    }

    fn spawn(&mut self) {
        let stderr = File::options().create(true).append(true).open(self.dir.path().join("stderr")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FOREBAY")) {
            command.env_remove(name);
        }
        command.envs(self.envs.iter().cloned()).args(["serve", "--config"]).arg(self.config_path());
        let child = command.current_dir(self.dir.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        self.child = Some(child.spawn().unwrap());
    }

    /// Kills the process with `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Returns the id of the process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Sends SIGTERM to the process and returns at once.
    pub(crate) fn terminate(&self) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args(["-s", "TERM", &pid]).status().unwrap().success());
    }

    /// Waits for the process to end and returns its exit status.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        found("the broker's end", || std::future::ready(child.try_wait().unwrap())).await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Returns the host and port of HTTP.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn ws(&self) -> String {
        format!("ws://127.0.0.1:{}/v1/ws", self.port)
    }

    /// Sends a GET and returns status and body; `None` when the broker does not answer.
    pub(crate) async fn get(&self, path: &str) -> Option<(u16, String)> {
        answer(self.http.get(self.url(path))).await
    }

    /// Returns the JSON of a successful answer.
    pub(crate) async fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path).await.unwrap_or_else(|| panic!("{path}\n{}", self.stderr()));
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Adds the sums of the ledger up again.
    pub(crate) async fn rebuild_costs(&self) -> Value {
        let (status, body) = answer(self.http.post(self.url("/v1/costs/rebuild"))).await.unwrap();
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Returns a client that posts and follows jobs and does not borrow the broker.
    pub(crate) fn client(&self) -> BrokerClient {
        BrokerClient { http: self.http.clone(), run: self.url("/v1/run"), ws: self.ws() }
    }

    /// Returns all records of a job, and how it ended.
    pub(crate) async fn records(&self, id: &str) -> (Vec<Record>, State) {
        self.client().records(id).await.unwrap_or_else(|failure| panic!("{id}: {failure}\n{}", self.stderr()))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("the stderr of the broker:\n{}", self.stderr());
        }
    }
}

/// Posts and follows jobs at a broker's addresses.
#[derive(Clone)]
pub(crate) struct BrokerClient {
    pub(crate) http: reqwest::Client,
    pub(crate) run: String,
    pub(crate) ws: String,
}

impl BrokerClient {
    /// Posts a job until the broker accepts it.
    pub(crate) async fn submit(&self, job: &Value) -> String {
        let mut job = job.clone();
        job["options"]["background"] = json!(true);
        let accepted = found("a job to be accepted", || async {
            match post(&self.http, &self.run, &job).await {
                Some((200 | 202, answer)) => Some(answer),
                Some((503 | 429, _)) | None => None,
                Some(other) => panic!("{other:?}"),
            }
        });
        accepted.await["id"].as_str().unwrap().to_owned()
    }

    /// Follows a job, which may not exist yet, to its end, over every restart.
    pub(crate) async fn records(&self, id: &str) -> Result<(Vec<Record>, State), Failure> {
        let mut records = Vec::new();
        let (url, id) = (self.ws.clone(), id.to_owned());
        let what = Follow { url, token: None, protocol: Protocol::Msgpack, id, cursor: "-1".into() };
        let following = async {
            loop {
                match follow(what.clone(), |record| records.push(record.clone())).await {
                    Err(failure) if failure.code == Code::NotFound && records.is_empty() => {
                        tokio::time::sleep(LOOK).await;
                    }
                    ended => return ended,
                }
            }
        };
        let state = soon("the end of a job", following).await?;
        Ok((records, state))
    }
}

async fn post(http: &reqwest::Client, url: &str, job: &Value) -> Option<(u16, Value)> {
    let (status, body) = answer(http.post(url).body(job.to_string())).await?;
    Some((status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {status} {body}"))))
}

async fn answer(request: reqwest::RequestBuilder) -> Option<(u16, String)> {
    let response = request.send().await.ok()?;
    let status = response.status().as_u16();
    Some((status, response.text().await.ok()?))
}

/// Makes a job that the built-in provider answers with `script`.
pub(crate) fn job(id: &str, script: &Value, options: &Value) -> Value {
    json!({"id": id, "model": "scripted/any", "input": {"messages": [], "script": script}, "options": options})
}

/// Makes a job whose answer is `count` numbers, `interval_ms` apart.
pub(crate) fn long_job(id: &str, count: u64, interval_ms: u64, options: &Value) -> Value {
    job(id, &json!([{"repeat": {"text": "{n} ", "count": count, "interval_ms": interval_ms}}]), options)
}
