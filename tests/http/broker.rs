//! A broker in this process, with a log in memory and scripted providers, behind a real socket.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use forebay::broker::Broker;
use forebay::clock::Clock;
use forebay::http::{self, Limits};
use forebay::job::{Event, Job, JobId};
use forebay::log::memory::MemoryLog;
use forebay::log::{Batch, Log, Opened, Stream, StreamWriter, Streams};
use forebay::wire::submit::{self, Entrance};
use tokio::sync::oneshot;

#[path = "../support/harness.rs"]
mod harness;

pub(crate) use harness::{completed, delta as text};

/// A model that says its prompt back, or plays the script in its input.
const MODELS: &str = r#"
[nats]
enabled = false
[models.echo]
targets = ["scripted/echo"]
"#;

/// Stops, with everything it started, when dropped.
pub(crate) struct TestBroker {
    pub addr: SocketAddr,
    pub broker: Arc<Broker>,
    pub log: Arc<MemoryLog>,
    stop: Option<oneshot::Sender<()>>,
    system: actix::System,
    actors: Option<std::thread::JoinHandle<()>>,
    pub runtime: Option<tokio::runtime::Runtime>,
}

impl TestBroker {
    pub(crate) fn start(config: &str) -> TestBroker {
        TestBroker::with(config, Limits::default())
    }

    pub(crate) fn with(config: &str, limits: Limits) -> TestBroker {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (handle, system, actors) = actors();
        let log = MemoryLog::new(Clock::System);
        let shared: Arc<dyn Log> = Arc::<MemoryLog>::clone(&log);
        let builder = harness::broker(&format!("{MODELS}\n{config}")).log(shared).arbiter(handle).seed(1);
        let broker = builder.start(runtime.handle());
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        let (stop, stopped) = oneshot::channel();
        let served = http::serve(listener, Arc::clone(&broker), limits, async { drop(stopped.await) });
        runtime.spawn(served);
        TestBroker { addr, broker, log, stop: Some(stop), system, actors: Some(actors), runtime: Some(runtime) }
    }

    /// A stream of this job that the test writes itself.
    pub(crate) fn open(&self, job: &str) -> StreamWriter {
        match self.wait(self.log.open(Arc::new(job_of(job)))) {
            Ok(Opened::New(writer)) => writer,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn append(&self, stream: &Arc<Stream>, events: Vec<Event>) {
        self.log.append(stream, Batch::from(events)).expect("room");
    }

    pub(crate) fn stream(&self, id: &str) -> Arc<Stream> {
        let id: JobId = id.parse().expect("an id");
        self.wait(self.broker.stream(&id)).expect("a job")
    }

    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.as_ref().expect("it runs").block_on(future)
    }

    /// Takes no more connections; what is under way may finish.
    pub(crate) fn shut(&mut self) {
        self.stop.take();
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        self.system.stop();
        if let Some(actors) = self.actors.take() {
            drop(actors.join());
        }
    }
}

fn actors() -> (actix::ArbiterHandle, actix::System, std::thread::JoinHandle<()>) {
    let (give, take) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::spawn(move || {
        let runner = actix::System::new();
        let system = actix::System::current();
        runner.block_on(async move { give.send((system.arbiter().clone(), system)).expect("the test waits") });
        drop(runner.run());
    });
    let (handle, system) = take.recv().expect("actors start");
    (handle, system, thread)
}

fn job_of(job: &str) -> Job {
    let request = submit::from_json(job.as_bytes()).expect("a job");
    request.into_job(&Entrance::default(), Clock::System.now()).expect("a valid job")
}
