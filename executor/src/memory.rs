//! How the process divides its memory.
//!
//! The limit is about the resident memory of the whole process, its code included. One pool for all attempts, so that a
//! single large one may use it all; operators that can spill share it fairly. The windows of the shuffle client get a fixed
//! part, the idle process with its mapped code another one, and what operators do not count (pages that are read and
//! decoded, batches on their way, freed memory that the allocator has not given back) gets a reserve in proportion.
//! Peaks may pass the limit for a moment, by no more than a quarter: leave as much room in a container.

use std::sync::Arc;

use datafusion::{error::DataFusionError, execution::runtime_env::RuntimeEnv};
use penstock_common::{bytes::ByteSize, machine};
use penstock_engine::session;
use penstock_shuffle_client::ClientOptions;

use crate::scratch::Scratch;

/// Share of the machine or container that an executor takes unless told otherwise.
const MACHINE_PERCENT: u64 = 60;
/// Where nothing tells what there is.
const UNKNOWN: ByteSize = ByteSize::gib(4);
/// The idle process and the pages of its code that stay mapped.
const BASE_BYTES: u64 = 64 << 20;
/// A small limit gives up no more than one part in so many to it.
const BASE_PART_MIN: u64 = 5;
/// Of what the base and the shuffle windows leave, operators may reserve this much.
const OPERATORS_PERCENT: u64 = 65;
/// One part in so many of all memory is the window of each direction, within bounds.
const WINDOW_PART: u64 = 16;
const WINDOW_BYTES_MIN: u64 = 4 << 20;
const WINDOW_BYTES_MAX: u64 = 64 << 20;

/// Bytes of each use; together less than the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    pub limit: u64,
    /// What operators may reserve.
    pub operators: u64,
    /// Pushed and not acknowledged.
    pub push: u64,
    /// Fetched and not consumed.
    pub fetch: u64,
}

impl Budget {
    /// Divides `memory`; 0 is a share of what the machine or container has.
    pub fn of(memory: ByteSize) -> Self {
        let limit = match memory.as_u64() {
            0 => machine::memory().unwrap_or(UNKNOWN).as_u64() / 100 * MACHINE_PERCENT,
            bytes => bytes,
        };
        let window = (limit / WINDOW_PART).clamp(WINDOW_BYTES_MIN, WINDOW_BYTES_MAX);
        let base = BASE_BYTES.min(limit / BASE_PART_MIN);
        let operators = limit.saturating_sub(base + 2 * window) / 100 * OPERATORS_PERCENT;
        Self { limit, operators, push: window, fetch: window }
    }

    /// Memory pool, spill space and object stores of the process.
    pub fn runtime_env(&self, scratch: &Scratch) -> Result<Arc<RuntimeEnv>, DataFusionError> {
        session::runtime_env(Some(self.operators), Some(scratch.dir()), scratch.quota_bytes())
    }

    pub fn client_options(&self) -> ClientOptions {
        let defaults = ClientOptions::default();
        let (push, fetch) = (bytes(self.push), bytes(self.fetch));
        ClientOptions {
            push_bytes_total: push,
            push_window_bytes: defaults.push_window_bytes.min(push / 2),
            fetch_bytes_total: fetch,
            fetch_stream_bytes_max: defaults.fetch_stream_bytes_max.min(fetch / 2),
            ..defaults
        }
    }
}

fn bytes(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_stay_below_the_limit_and_leave_a_reserve() {
        for memory in [ByteSize::mib(64), ByteSize::mib(512), ByteSize::gib(8), ByteSize::gib(512)] {
            let budget = Budget::of(memory);
            assert_eq!(budget.limit, memory.as_u64());
            let used = budget.operators + budget.push + budget.fetch;
            assert!(used <= budget.limit / 4 * 3, "{budget:?}");
            assert!(budget.operators > budget.limit / 5 * 2, "{budget:?}");
        }
    }
}
