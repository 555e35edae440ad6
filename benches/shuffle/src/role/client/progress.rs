//! How work goes on: the pauses in it, and work that lasts as long as its trouble.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinHandle;

use crate::role::{next, say};

/// The times between two signs of progress.
pub struct Pauses {
    last: Instant,
    pub all: Vec<Duration>,
}

impl Pauses {
    pub fn new() -> Self {
        Self { last: Instant::now(), all: Vec::new() }
    }

    pub fn went_on(&mut self) {
        let now = Instant::now();
        self.all.push(now - self.last);
        self.last = now;
    }

    pub fn longest(&self) -> Duration {
        self.all.iter().copied().max().unwrap_or_default()
    }
}

/// Work of so many pieces that says when it has done half of them, and goes on until it is told that all is over.
pub struct Through {
    pieces: u64,
    told: Option<JoinHandle<anyhow::Result<bool>>>,
}

impl Through {
    pub fn new(pieces: u64) -> Self {
        Self { pieces, told: None }
    }

    /// Whether the piece of this number is to be done.
    pub fn goes_on(&mut self, piece: u64) -> anyhow::Result<bool> {
        if piece == self.pieces / 2 {
            say(&json!({ "half": true }))?;
            self.told = Some(tokio::task::spawn_blocking(next));
        }
        Ok(piece < self.pieces || !self.told.as_ref().is_some_and(JoinHandle::is_finished))
    }
}

pub fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort();
    times[(times.len() - 1) * percent / 100]
}

pub fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
