//! Tokens over real sockets: a service account whose `token_uri` is ours.
