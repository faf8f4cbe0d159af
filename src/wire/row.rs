//! Rows on disk: the MessagePack of plain data, fields by name so that a newer build reads an older row.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The MessagePack of a row.
pub fn encode(row: &impl Serialize) -> Vec<u8> {
    rmp_serde::to_vec_named(row).expect("rows are plain data, and a Vec takes every byte")
}

/// Reads a row; `None` when it is not one of `T`.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    rmp_serde::from_slice(bytes).ok()
}
