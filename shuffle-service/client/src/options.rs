//! Limits of a client. One set for a process.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How much a client keeps in flight and how long it waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientOptions {
    /// Batches of one writer for one worker are merged into frames of about this many bytes.
    pub frame_bytes: usize,
    /// Bytes that were pushed to one worker and are not acknowledged yet, at most: fewer at first, and after the worker said
    /// that it is congested.
    pub push_window_bytes: usize,
    /// Frames that were pushed to one worker and are not acknowledged yet.
    pub push_window_requests: usize,
    /// Unacknowledged bytes to all workers together.
    pub push_bytes_total: usize,
    /// Fetched bytes on their way or waiting for their reader, all streams together. Each stream may always have
    /// [`Self::fetch_stream_bytes_min`], since a merge of many streams needs all of them to move: small enough for a
    /// thousand of them.
    pub fetch_bytes_total: usize,
    pub fetch_stream_bytes_min: usize,
    pub fetch_stream_bytes_max: usize,
    /// A worker that says nothing for this long, although it owes an answer, counts as cut off.
    pub answer_timeout_ms: u64,
    /// As `answer_timeout_ms` where there is a second copy to turn to. Workers show four times a second that they are alive.
    pub silence_ms: u64,
    /// Tries to reach a worker in a row before the operation fails.
    pub connect_tries: u32,
    /// Workers that cannot be reached may be starting again, with all that they have committed: what can be read nowhere else
    /// is asked for again, beyond `connect_tries`, until nothing was read of either copy for so long.
    pub absence_ms: u64,
    /// What lies in an object store that does not answer, and can be read nowhere else, is asked for again, beyond
    /// `connect_tries`, until so much has passed.
    pub outage_ms: u64,
    /// Tries in a row before pushes go to a new epoch and fetches to the other copy, if there is one.
    pub revive_after_tries: u32,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            frame_bytes: 256 << 10,
            push_window_bytes: 8 << 20,
            push_window_requests: 256,
            push_bytes_total: 64 << 20,
            fetch_bytes_total: 64 << 20,
            fetch_stream_bytes_min: 16 << 10,
            fetch_stream_bytes_max: 4 << 20,
            answer_timeout_ms: 20_000,
            silence_ms: 1_000,
            connect_tries: 6,
            absence_ms: 10_000,
            outage_ms: 120_000,
            revive_after_tries: 2,
        }
    }
}

impl ClientOptions {
    pub(crate) fn answer_timeout(&self) -> Duration {
        Duration::from_millis(self.answer_timeout_ms)
    }

    pub(crate) fn absence(&self) -> Duration {
        Duration::from_millis(self.absence_ms)
    }

    pub(crate) fn outage(&self) -> Duration {
        Duration::from_millis(self.outage_ms)
    }

    /// The silence after which the other copy is turned to. It is longer for whoever did so before: if several workers fall
    /// silent one after the other, then the machines are slow.
    pub(crate) fn silence(&self, times_before: u32) -> Duration {
        let first = Duration::from_millis(self.silence_ms);
        first.saturating_mul(2u32.saturating_pow(times_before)).min(self.answer_timeout())
    }
}
