//! Wire formats that many vendors share.
