//! The HTTP client: one pool, one TLS provider.
