//! How much may be on its way to one worker: as much as it takes without strain.
//!
//! The window starts small, grows by what is acknowledged while all goes well, by a little per window later on, and is
//! halved when the worker says that it is congested: slow start and additive increase, multiplicative decrease, as TCP has
//! them (RFC 5681, section 3.1). Pure but for [`Window`], in which writers wait.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, Semaphore};

const START_BYTES: usize = 1 << 20;
const SIZE_BYTES_MIN: usize = 256 << 10;
/// Once out of slow start a full window of acknowledgements adds so much.
const STEP_BYTES: usize = 64 << 10;

#[derive(Debug)]
pub(crate) struct Window {
    flow: Mutex<Flow>,
    /// Writers wait one behind the other.
    turn: Semaphore,
    ended: Notify,
}

/// Bytes on their way; they leave the window when this goes.
#[derive(Debug)]
pub(crate) struct Flight {
    window: Arc<Window>,
    bytes: usize,
    ended: Ended,
}

/// What became of bytes on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Taken,
    /// Taken, and the worker asks for less.
    Congested,
    /// Nobody knows, or not taken.
    Otherwise,
}

#[derive(Debug)]
struct Flow {
    size: usize,
    size_max: usize,
    /// From this size on the window grows slowly.
    slow_from: usize,
    in_flight: usize,
    /// Of what was on its way when the window was last halved: it says nothing of the new size.
    stale: usize,
}

impl Window {
    pub fn new(size_bytes_max: usize) -> Self {
        let flow = Flow::new(size_bytes_max);
        Self { flow: Mutex::new(flow), turn: Semaphore::new(1), ended: Notify::new() }
    }

    /// Waits until so many bytes may be sent. A frame that is larger than the whole window gets through alone.
    pub async fn room(self: &Arc<Self>, bytes: usize) -> Flight {
        // The semaphore is never closed.
        let _turn = self.turn.acquire().await;
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if self.flow().admits(bytes) {
                return Flight { window: Arc::clone(self), bytes, ended: Ended::Otherwise };
            }
            ended.await;
        }
    }

    fn flow(&self) -> MutexGuard<'_, Flow> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    pub fn taken(&mut self) {
        self.ended = Ended::Taken;
    }

    pub fn congested(&mut self) {
        self.ended = Ended::Congested;
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.window.flow().end(self.bytes, self.ended);
        self.window.ended.notify_waiters();
    }
}

impl Flow {
    fn new(size_max: usize) -> Self {
        Self { size: START_BYTES.min(size_max), size_max, slow_from: size_max, in_flight: 0, stale: 0 }
    }

    fn admits(&mut self, bytes: usize) -> bool {
        let fits = self.in_flight == 0 || self.in_flight + bytes <= self.size;
        if fits {
            self.in_flight += bytes;
        }
        fits
    }

    fn end(&mut self, bytes: usize, ended: Ended) {
        // A window that nobody fills says nothing of what the worker could take.
        let was_used = 2 * self.in_flight >= self.size;
        self.in_flight -= bytes;
        let is_stale = self.stale > 0;
        self.stale = self.stale.saturating_sub(bytes);
        match ended {
            Ended::Taken if was_used && !is_stale => {
                let grows_by =
                    if self.size < self.slow_from { bytes } else { STEP_BYTES * bytes / self.size };
                self.size = self.size.saturating_add(grows_by).min(self.size_max);
            }
            Ended::Congested if !is_stale => {
                self.size = (self.size / 2).max(SIZE_BYTES_MIN).min(self.size_max);
                self.slow_from = self.size;
                self.stale = self.in_flight;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 8 << 20;
    const FRAME: usize = 64 << 10;

    /// Sends frames as fast as the window lets them, for so many round trips.
    fn round_trips(flow: &mut Flow, trips: usize, ended: Ended) {
        for _ in 0..trips {
            let mut sent = 0;
            while flow.admits(FRAME) {
                sent += 1;
            }
            (0..sent).for_each(|_| flow.end(FRAME, ended));
        }
    }

    #[test]
    fn a_window_grows_with_each_round_trip_and_ends_at_its_limit() {
        let mut flow = Flow::new(MAX);
        round_trips(&mut flow, 1, Ended::Taken);
        assert!((START_BYTES / 4 * 5..=START_BYTES * 2).contains(&flow.size), "{}", flow.size);
        round_trips(&mut flow, 10, Ended::Taken);
        assert_eq!(flow.size, MAX);
    }

    #[test]
    fn congestion_halves_it_once_per_window_and_it_grows_slowly_from_there() {
        let mut flow = Flow::new(MAX);
        round_trips(&mut flow, 10, Ended::Taken);
        round_trips(&mut flow, 1, Ended::Congested);
        assert_eq!(flow.size, MAX / 2, "all of one window say the same thing once");
        round_trips(&mut flow, 1, Ended::Taken);
        assert!(flow.size > MAX / 2 && flow.size <= MAX / 2 + STEP_BYTES, "{}", flow.size);
        round_trips(&mut flow, 100, Ended::Congested);
        assert_eq!(flow.size, SIZE_BYTES_MIN);
    }

    #[test]
    fn a_window_that_is_not_filled_does_not_grow() {
        let mut flow = Flow::new(MAX);
        for _ in 0..1_000 {
            assert!(flow.admits(FRAME));
            flow.end(FRAME, Ended::Taken);
        }
        assert_eq!(flow.size, START_BYTES);
    }

    #[test]
    fn what_failed_is_no_reason_to_grow() {
        let mut flow = Flow::new(MAX);
        round_trips(&mut flow, 10, Ended::Otherwise);
        assert_eq!((flow.size, flow.in_flight), (START_BYTES, 0));
    }

    #[tokio::test]
    async fn a_frame_that_is_larger_than_the_window_gets_through_alone() {
        let window = Arc::new(Window::new(MAX));
        let large = window.room(2 * MAX).await;
        let waiting = window.room(FRAME);
        tokio::pin!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(large);
        waiting.await;
    }

    #[tokio::test]
    async fn writers_are_served_in_their_order() {
        let window = Arc::new(Window::new(MAX));
        let all = window.room(START_BYTES).await;
        let (large, small) = (window.room(START_BYTES), window.room(1));
        tokio::pin!(large, small);
        assert!(futures::poll!(&mut large).is_pending());
        assert!(futures::poll!(&mut small).is_pending());
        drop(all);
        let large = large.await;
        assert!(futures::poll!(&mut small).is_pending(), "the large one came first");
        drop(large);
        small.await;
    }
}
