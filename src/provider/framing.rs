//! Cuts a reply's bytes into packets.
