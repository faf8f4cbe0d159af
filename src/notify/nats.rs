//! Jobs whose records are to be published on a NATS subject (`options.deliver`).
//!
//! Owns the way from the broker to the NATS entrance, which publishes. Promises that no announcement is
//! lost while that entrance runs: one that does not fit waits.

use std::sync::{Arc, Mutex};

use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, error::TrySendError};

use crate::job::Job;
use crate::log::Stream;

/// A job whose records are to be published as they become durable.
#[derive(Debug)]
pub struct Delivery {
    /// The stream whose records are published.
    pub stream: Arc<Stream>,
    /// The subject on which they are published.
    pub subject: Box<str>,
}

/// The queue of deliveries. It leads nowhere until the NATS entrance has called [`Deliveries::connect`].
pub struct Deliveries {
    sender: Mutex<Option<mpsc::Sender<Delivery>>>,
    runtime: Handle,
}

impl Deliveries {
    /// A queue that has no receiver yet; announcements that must wait do so on `runtime`.
    pub(crate) fn new(runtime: Handle) -> Deliveries {
        Deliveries { sender: Mutex::new(None), runtime }
    }

    /// Sends all later announcements to `sender`.
    pub fn connect(&self, sender: mpsc::Sender<Delivery>) {
        *self.sender.lock().expect("nothing panics while it holds this lock") = Some(sender);
    }

    /// Announces a job whose options name a subject; does nothing for any other job.
    pub(crate) fn announce(&self, job: &Job, stream: &Arc<Stream>) {
        let Some(deliver) = &job.options.deliver else { return };
        let delivery = Delivery { stream: Arc::clone(stream), subject: deliver.subject.clone() };
        let sender = self.sender.lock().expect("nothing panics while it holds this lock").clone();
        match sender.map(|sender| (sender.try_send(delivery), sender)) {
            Some((Ok(()), _)) => {}
            // At most one waiting task per running job.
            Some((Err(TrySendError::Full(delivery)), sender)) => {
                self.runtime.spawn(async move { sender.send(delivery).await });
            }
            _ => tracing::warn!("records that a job wants delivered stay in the log: there is no NATS entrance"),
        }
    }
}
