//! Between generated and plain types: `TryFrom` for what arrives, `From` for what leaves. One file per proto file.

pub mod common;
pub mod executor;
pub mod shuffle;
