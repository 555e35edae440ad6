//! Moving rows between stages: the operators at both ends of an exchange and the store between them.

mod declared;
pub mod memory;
mod payload_sink;
mod read;
mod spread;
pub mod store;
mod write;

pub(crate) use declared::Declared;
pub(crate) use payload_sink::PayloadSink;
pub use read::ExchangeReadExec;
pub(crate) use read::ReadSource;
pub use spread::whole;
pub use write::{ExchangeWriteExec, WritePartitioning};
