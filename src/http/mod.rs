//! The HTTP entrance: one port for jobs, records, costs, metrics and the WebSocket upgrade.
//!
//! Owns connections and their limits. Promises that whatever comes in gets an answer that names
//! what is wrong and leaves the connection usable where HTTP allows it; that a slow reader holds one
//! frame; that a reader which leaves cancels nothing. Does not know providers.

mod anthropic;
mod auth;
mod body;
mod cloudflare;
mod cloudflare_headers;
mod cloudflare_names;
mod connection;
mod context;
mod cors;
mod dispatch;
mod durable_streams;
mod entrance;
mod errors;
mod jobs;
mod openai;
mod openapi;
mod operations;
mod outputs;
mod passthrough;
mod query;
mod rendered;
mod response;
mod responses;
mod routes;
mod run;
mod server;
mod sse;
mod submit;
mod upgrade;
mod websocket;

pub use context::Limits;
pub use server::serve;
