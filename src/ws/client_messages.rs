//! Handles the messages of a client.
//!
//! Owns what a client may do over a WebSocket. An error of a stream or a request is an `error` message; only
//! what breaks the protocol itself closes the socket. A job of another gateway is `not_found`.

use std::sync::Arc;

use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncWrite};

use super::actor::Command;
use super::connection::Connection;
use super::subscription::Subscription;
use crate::config::Scope;
use crate::job::{Code, Failure, Job, JobId};
use crate::log::{Follower, Found, Stream};
use crate::policy::access::{Access, authenticate};
use crate::telemetry;
use crate::wire::frame::{self, ClientMessage, Close, Label, Protocol};
use crate::wire::{Cursor, submit};

/// Bytes of `events` messages that a subscription gets if it names no credit.
const CREDIT_BYTES_DEFAULT: u64 = 262_144;

impl<IO: AsyncRead + AsyncWrite + Unpin> Connection<IO> {
    /// Prepares the connection before the first message of the client.
    pub(super) async fn open(&mut self) -> Result<(), Close> {
        if self.access.is_none() {
            self.access = authenticate(&self.broker.snapshot.load().config, None).ok();
        }
        match self.access {
            Some(_) => self.enter().await,
            None => Ok(()),
        }
    }

    /// Welcomes an authenticated client.
    async fn enter(&mut self) -> Result<(), Close> {
        let access = self.access()?;
        if !access.has(Scope::Read) && !access.has(Scope::Run) {
            self.refuse(None, None, Failure::new(Code::Forbidden, "this key may neither run nor read"));
            return Err(Close::Forbidden);
        }
        self.send_welcome();
        if let Some((id, cursor)) = self.implicit.take() {
            self.close_when_idle = Some(Close::Normal);
            self.subscribe(Label::Text(id.clone()), &id, cursor.as_deref(), None).await?;
        }
        Ok(())
    }

    /// Handles the bytes of one message.
    pub(super) async fn on_bytes(&mut self, protocol: Protocol, bytes: &[u8]) -> Result<(), Close> {
        self.rate.count()?;
        if protocol != self.protocol {
            return Err(Close::Subprotocol);
        }
        match frame::decode(protocol, bytes) {
            Ok(message) => self.on_message(message).await,
            Err(failure) => {
                self.refuse(None, None, failure);
                Err(Close::BadMessage)
            }
        }
    }

    async fn on_message(&mut self, message: ClientMessage) -> Result<(), Close> {
        if !matches!(message, ClientMessage::Hello { .. }) {
            self.access()?;
        }
        match message {
            ClientMessage::Hello { token, client } => self.hello(token.as_deref(), client.as_deref()).await,
            ClientMessage::Run { reference, job } => {
                let given =
                    self.job(&job).and_then(|job| self.control.give(Command::Run(reference.clone(), Box::new(job))));
                if let Err(failure) = given {
                    self.refuse(None, Some(reference), failure);
                }
                Ok(())
            }
            ClientMessage::Subscribe { sub, id, cursor, credit } => {
                let credit = credit.unwrap_or(CREDIT_BYTES_DEFAULT);
                self.subscribe(sub, &id, cursor.as_deref(), Some(credit)).await
            }
            ClientMessage::Credit { sub, add } => {
                // A credit that crosses the stream's end on its way is no mistake of the client.
                let slot = self.slot_of(&sub);
                if let Some(slot) = slot
                    && self.subs.get_mut(&slot).is_some_and(|sub| sub.add_credit(add))
                {
                    self.runnable.push_back(slot);
                }
                Ok(())
            }
            ClientMessage::Unsubscribe { sub } => {
                if let Some(slot) = self.slot_of(&sub) {
                    self.remove(slot);
                }
                Ok(())
            }
            ClientMessage::Cancel { id } => {
                if let Err(failure) = self.cancel(&id).await {
                    self.refuse(None, None, failure);
                }
                Ok(())
            }
            ClientMessage::Ping { n } => {
                self.replies.push_back(frame::ServerMessage::Pong { n });
                Ok(())
            }
        }
    }

    async fn hello(&mut self, token: Option<&str>, client: Option<&str>) -> Result<(), Close> {
        if token.is_some() || self.access.is_none() {
            match authenticate(&self.broker.snapshot.load().config, token) {
                Ok(access) => self.access = Some(access),
                Err(failure) => {
                    self.refuse(None, None, failure);
                    return Err(Close::Unauthenticated);
                }
            }
        }
        tracing::debug!(client, "hello");
        self.enter().await
    }

    /// Reads a job and checks that this client may run it.
    fn job(&self, raw: &RawValue) -> Result<Job, Failure> {
        let bytes_max = self.broker.snapshot.load().config.server.body_bytes_max;
        if raw.get().len() > bytes_max {
            return Err(Failure::new(Code::TooLarge, format!("a job may have {bytes_max} bytes")));
        }
        let job = self.broker.job(submit::from_json(raw.get().as_bytes())?, submit::Entrance::default())?;
        match self.access.as_ref().is_some_and(|access| access.may(Scope::Run, &job.gateway)) {
            true => Ok(job),
            false => Err(Failure::new(Code::Forbidden, "this key may not run jobs in that gateway")),
        }
    }

    async fn subscribe(
        &mut self,
        name: Label,
        id: &str,
        cursor: Option<&str>,
        credit: Option<u64>,
    ) -> Result<(), Close> {
        match self.follower(&name, id, cursor).await {
            Ok(follower) => self.add(Subscription::new(name, follower, credit)),
            Err(failure) => {
                self.refuse(Some(name), None, failure);
                Ok(())
            }
        }
    }

    async fn follower(&mut self, name: &Label, id: &str, cursor: Option<&str>) -> Result<Follower, Failure> {
        if self.slot_of(name).is_some() {
            return Err(Failure::new(Code::DuplicateSub, "this socket has a subscription of that name"));
        }
        let cursor: Cursor = cursor.unwrap_or("-1").parse()?;
        let (_, stream) = self.find(id, Scope::Read).await?;
        if matches!(cursor, Cursor::At { .. }) {
            telemetry::resumed("ws");
        }
        Follower::new(self.broker.log.clone(), stream, cursor)
    }

    async fn cancel(&mut self, id: &str) -> Result<(), Failure> {
        let (id, _) = self.find(id, Scope::Run).await?;
        self.control.give(Command::Cancel(id))
    }

    /// Finds a job that this client may see.
    async fn find(&mut self, id: &str, scope: Scope) -> Result<(JobId, Arc<Stream>), Failure> {
        let nothing = || Failure::new(Code::NotFound, "no such job").with_param("id");
        let access = self.access.as_ref().ok_or_else(nothing)?;
        if !access.has(scope) {
            return Err(Failure::new(Code::Forbidden, "this key may not do that"));
        }
        let id: JobId = id.parse().map_err(|_| nothing())?;
        let sees = |access: &Access, gateway| access.sees(gateway);
        match self.broker.log.find(&id).await? {
            Found::Stream(stream) if sees(access, &stream.head().gateway) => Ok((id, stream)),
            Found::Expired(was) if sees(access, &was.gateway) => {
                Err(Failure::new(Code::Expired, "the job was removed after its retention").with_param("id"))
            }
            _ => Err(nothing()),
        }
    }
}
