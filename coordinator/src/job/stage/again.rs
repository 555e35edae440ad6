//! How a stage stops, waits and starts over.

use penstock_common::clock::Timestamp;
use penstock_protocol::ids::{AttemptNumber, ShuffleId, TaskIndex};

use super::{Phase, Stage};
use crate::job::{attempt::Host, task::Task};

/// Attempts that do not count any more and have to be told.
pub type Stopped = Vec<(TaskIndex, AttemptNumber, Host)>;

impl Stage {
    /// The job ends: nothing of this stage runs on.
    pub fn stop(&mut self, now: Timestamp) -> Stopped {
        if self.is_done() {
            return Vec::new();
        }
        self.phase = Phase::Stopped;
        self.finished_at = self.started_at.map(|_| now);
        self.stop_tasks()
    }

    /// An input is gone for now: what runs is stopped, what is won stays. The shuffle, if there is one to give back, is of
    /// a reservation whose outcome nobody awaits any more.
    pub fn hold(&mut self) -> (Stopped, Option<ShuffleId>) {
        let phase = std::mem::replace(&mut self.phase, Phase::Waiting { target: None });
        match phase {
            Phase::Running { target } => {
                self.phase = Phase::Waiting { target: Some(target) };
                (self.stop_tasks(), None)
            }
            Phase::Reserving(_) => {
                let refused = self.shuffle();
                self.run += 1;
                (Vec::new(), Some(refused))
            }
            other => {
                self.phase = other;
                (Vec::new(), None)
            }
        }
    }

    /// What it wrote is gone, or counts no longer: it starts over as the next run, from its first task. The shuffle is the
    /// former run's.
    pub fn start_over(&mut self) -> (Stopped, Option<ShuffleId>) {
        let former = self.room();
        let stopped = self.stop_tasks();
        self.tasks.iter_mut().for_each(Task::start_over);
        self.phase = Phase::Waiting { target: None };
        self.run += 1;
        self.is_reserved = false;
        // Who waits for new epochs of it was stopped above.
        self.growth = None;
        self.won = 0;
        self.trouble = None;
        self.finished_at = None;
        (self.rows_out, self.output_bytes) = (0, 0);
        (stopped, former)
    }

    /// Gives how often that was by now.
    pub fn count_loss(&mut self) -> u32 {
        self.losses += 1;
        self.losses
    }

    fn stop_tasks(&mut self) -> Stopped {
        self.ready.clear();
        self.avoid.clear();
        self.delayed.clear();
        self.running = 0;
        let mut stopped = Vec::new();
        for (index, task) in (0..).map(TaskIndex).zip(&mut self.tasks) {
            stopped.extend(task.stop().map(|(number, host)| (index, number, host)));
        }
        stopped
    }
}
