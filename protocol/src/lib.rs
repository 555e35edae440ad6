//! What Penstock's processes say to each other.
//!
//! Plain types (`ids`, `task`, `shuffle`, `event`) are what the rest of the code uses; `pb` holds the generated wire
//! types, which appear nowhere but here and in the files that serve or call gRPC. Not here: transport, DataFusion,
//! anything that acts.

pub mod arc;
pub mod build;
pub mod commit;
pub mod credentials;
pub mod decode;
pub mod effort;
pub mod event;
pub mod frame;
pub mod ids;
pub mod pb;
pub mod shuffle;
pub mod status;
pub mod task;
pub mod token;
pub mod wire;

pub use build::build;
