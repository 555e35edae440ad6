//! Signs of life of jobs in which nothing happens, such as one whose only task runs for an hour.
//!
//! Whoever reads the event log takes an unfinished job that is silent for minutes for one whose coordinator died.

use std::time::Duration;

use penstock_common::clock::Timestamp;
use penstock_protocol::ids::JobId;

use super::Coordinator;
use crate::{effect::Effect, outbox::Outbox};

/// How often an active job shows that it lives.
pub(super) const SIGN_OF_LIFE_EVERY: Duration = Duration::from_secs(30);

/// Signs per tick: a slow store is not flooded, and as many jobs as may be active by default still take turns within
/// the 300 s after which the history server gives a silent job up.
const SIGNS_PER_TICK_MAX: usize = 4;

impl Coordinator {
    /// The jobs that were silent for longest go first.
    pub(super) fn give_signs_of_life(&mut self, out: &mut Outbox) {
        let mut due: Vec<(Timestamp, JobId)> = self
            .active
            .iter()
            .map(|id| (self.jobs[id].sign_of_life_at, *id))
            .filter(|(at, _)| *at <= out.now)
            .collect();
        due.sort_unstable();
        for (_, id) in due.into_iter().take(SIGNS_PER_TICK_MAX) {
            let entry = self.jobs.get_mut(&id).expect("active jobs are known");
            entry.sign_of_life_at = out.now + SIGN_OF_LIFE_EVERY;
            out.push(Effect::SignOfLife { job: id, at: out.now });
        }
    }
}
