//! The metering actor: the state of money that changes while the broker runs.
//!
//! Owns cost queries and cost metrics; there is one per broker. Promises that a query never holds an arbiter: sums come
//! from the log's own threads and are added up on a blocking one, at most [`COST_QUERIES_MAX`] queries at a time. Prices
//! are read without a message to the actor.

use std::sync::Arc;

use actix::prelude::SendError;
use actix::{Actor, Addr, ArbiterHandle, Context, Handler, MailboxError, Message, MessageResult, ResponseFuture};
use arc_swap::ArcSwap;
use tokio::sync::Semaphore;

use super::labels::Labelling;
use super::ledger::{CostAnswer, CostQuery, answer};
use super::price::PriceBook;
use crate::config::Config;
use crate::job::caps::{COST_QUERIES_MAX, METER_MAILBOX};
use crate::job::{Charge, Code, Failure};
use crate::log::Ledger;
use crate::telemetry;

/// The handle to the metering actor.
#[derive(Clone)]
pub struct Meter {
    addr: Addr<Metering>,
    book: Arc<ArcSwap<PriceBook>>,
}

impl Meter {
    /// Starts the actor on an arbiter; callable from any thread.
    #[must_use]
    pub fn start_in_arbiter(arbiter: &ArbiterHandle, log: Arc<dyn Ledger>, config: &Config) -> Meter {
        let labelling = Labelling::from_config(config, Labelling::default());
        let book = Arc::new(ArcSwap::from_pointee(PriceBook::from_config(config)));
        let addr = Metering::start_in_arbiter(arbiter, move |context| {
            context.set_mailbox_capacity(METER_MAILBOX);
            Metering { log, labelling, queries: Arc::new(Semaphore::new(COST_QUERIES_MAX)) }
        });
        Meter { addr, book }
    }

    /// Returns the prices in force. Lock-free; a job keeps the book that it began an attempt with.
    #[must_use]
    pub fn book(&self) -> Arc<PriceBook> {
        self.book.load_full()
    }

    /// Takes the prices and metric labels of another configuration.
    pub async fn reload(&self, config: Arc<Config>) {
        self.book.store(Arc::new(PriceBook::from_config(&config)));
        self.gone(self.addr.send(Reload(config)).await);
    }

    /// Answers a question about costs. Cancel-safe.
    ///
    /// # Errors
    /// `too_large`; `overloaded` when the meter is gone; `internal` when the log is damaged.
    pub async fn query(&self, query: CostQuery) -> Result<CostAnswer, Failure> {
        self.addr.send(Query(query)).await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Counts charges that became durable in the metrics; waits only while the mailbox is full. Not cancel-safe:
    /// dropped, they may not be counted.
    pub async fn settled(&self, charges: Vec<Charge>) {
        let sent = match self.addr.try_send(Settled(charges)) {
            Err(SendError::Full(settled)) => self.addr.send(settled).await,
            sent => sent.map_err(|_| MailboxError::Closed),
        };
        self.gone(sent);
    }

    /// Removes the sums and adds them up again from the ledger. Returns its lines. Once begun it runs to its end, even if the
    /// caller is dropped.
    ///
    /// # Errors
    /// `overloaded` when the meter is gone; `internal` when the log is damaged.
    pub async fn rebuild(&self) -> Result<u64, Failure> {
        self.addr.send(Rebuild).await.unwrap_or_else(|_| Err(stopped()))
    }

    fn gone(&self, sent: Result<(), MailboxError>) {
        if sent.is_err() {
            tracing::debug!("the meter has stopped; charges are in the ledger and not in the metrics");
        }
    }
}

fn stopped() -> Failure {
    Failure::new(Code::Overloaded, "the meter has stopped")
}

struct Metering {
    log: Arc<dyn Ledger>,
    labelling: Labelling,
    queries: Arc<Semaphore>,
}

impl Actor for Metering {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "Result<CostAnswer, Failure>")]
struct Query(CostQuery);

impl Handler<Query> for Metering {
    type Result = ResponseFuture<Result<CostAnswer, Failure>>;

    fn handle(&mut self, Query(query): Query, _: &mut Context<Self>) -> Self::Result {
        let (log, queries) = (Arc::clone(&self.log), Arc::clone(&self.queries));
        Box::pin(async move {
            let _place = queries.acquire_owned().await.map_err(|_| stopped())?;
            let (since, until) = query.hours();
            let sums = log.rollups(since, until).await?;
            let added_up = tokio::task::spawn_blocking(move || answer(&query, sums)).await;
            added_up.unwrap_or_else(|_| Err(Failure::internal("the costs could not be added up")))
        })
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Settled(Vec<Charge>);

impl Handler<Settled> for Metering {
    type Result = ();

    fn handle(&mut self, Settled(charges): Settled, _: &mut Context<Self>) {
        for charge in &charges {
            telemetry::charged(charge, &self.labelling.labels(charge), &self.labelling.tags(charge));
        }
    }
}

#[derive(Message)]
#[rtype(result = "Result<u64, Failure>")]
struct Rebuild;

impl Handler<Rebuild> for Metering {
    type Result = ResponseFuture<Result<u64, Failure>>;

    fn handle(&mut self, _: Rebuild, _: &mut Context<Self>) -> Self::Result {
        let log = Arc::clone(&self.log);
        Box::pin(async move { log.rebuild_rollups().await })
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Reload(Arc<Config>);

impl Handler<Reload> for Metering {
    type Result = MessageResult<Reload>;

    fn handle(&mut self, Reload(config): Reload, _: &mut Context<Self>) -> Self::Result {
        self.labelling = Labelling::from_config(&config, std::mem::take(&mut self.labelling));
        MessageResult(())
    }
}
