//! One small file per vendor.
