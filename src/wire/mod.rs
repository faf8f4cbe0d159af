//! Bytes that outsiders and the disk see.
//!
//! Owns every format: the submitted job, stored rows and records, WebSocket messages, NATS
//! subjects, cursors, errors. Promises that bad input becomes a `Failure` that names the field.
//! Does not know sockets.

pub mod collect;
pub mod cursor;
pub(crate) mod extra;
pub mod frame;
pub mod header_options;
pub mod record;
pub mod row;
pub mod subject;
pub mod submit;

pub use cursor::Cursor;
