//! Who is asked to push less at a time while memory is short: users that push more than their part.
//!
//! Judged once in a while by what each user pushed lately, so that a user of a small job is not slowed down by the large
//! one that fills the memory. Everything is accepted all the same (invariant 6): the windows of clients shrink.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use penstock_protocol::ids::JobId;
use tokio::time::Instant;

const PERIOD: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(super) struct Congestion {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    judged_at: Instant,
    /// Bytes since then, half of those of the period before, and so on: who pauses for a moment leaves nobody else alone
    /// with the blame.
    pushed: BTreeMap<JobId, u64>,
    /// Jobs of users that had more than their part.
    greedy: BTreeSet<JobId>,
}

impl Congestion {
    pub fn new() -> Self {
        let state = State { judged_at: Instant::now(), pushed: BTreeMap::new(), greedy: BTreeSet::new() };
        Self { state: Mutex::new(state) }
    }

    /// Counts a frame; whether its sender should push less at a time.
    pub fn pushed(
        &self,
        now: Instant,
        memory_is_short: bool,
        job: JobId,
        bytes: u64,
        user: impl Fn(JobId) -> String,
    ) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state.pushed.entry(job).or_default() += bytes;
        if now.saturating_duration_since(state.judged_at) >= PERIOD {
            state.greedy = if memory_is_short { greedy(&state.pushed, user) } else { BTreeSet::new() };
            state.pushed.retain(|_, bytes| {
                *bytes /= 2;
                *bytes > 0
            });
            state.judged_at = now;
        }
        state.greedy.contains(&job)
    }
}

/// The jobs of users that pushed at least as much as an equal part of everything.
fn greedy(pushed: &BTreeMap<JobId, u64>, user: impl Fn(JobId) -> String) -> BTreeSet<JobId> {
    let mut users = BTreeMap::<String, (u64, Vec<JobId>)>::new();
    for (job, bytes) in pushed {
        let (sum, jobs) = users.entry(user(*job)).or_default();
        *sum += bytes;
        jobs.push(*job);
    }
    let part = pushed.values().sum::<u64>() / users.len().max(1) as u64;
    users.into_values().filter(|(sum, _)| *sum >= part).flat_map(|(_, jobs)| jobs).collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const SMALL: JobId = JobId(Uuid::from_u128(1));
    const LARGE: JobId = JobId(Uuid::from_u128(2));
    const OTHER_LARGE: JobId = JobId(Uuid::from_u128(3));

    /// The two large jobs are one user's.
    fn user(job: JobId) -> String {
        if job == SMALL { "small".to_owned() } else { "large".to_owned() }
    }

    /// Whether each is asked to slow down after a period in which it pushed so much.
    fn asked(memory_is_short: bool, pushed: &[(JobId, u64)]) -> Vec<bool> {
        let congestion = Congestion::new();
        let start = Instant::now();
        let say = |now, (job, bytes): (JobId, u64)| congestion.pushed(now, memory_is_short, job, bytes, user);
        let early: Vec<_> = pushed.iter().map(|frame| say(start, *frame)).collect();
        assert!(!early.contains(&true), "nothing is known yet");
        pushed.iter().map(|(job, _)| say(start + PERIOD, (*job, 0))).collect()
    }

    #[test]
    fn the_user_who_fills_the_memory_is_slowed_down_and_the_other_is_not() {
        let pushed = [(SMALL, 10), (LARGE, 60), (OTHER_LARGE, 30)];
        assert_eq!(asked(true, &pushed), [false, true, true]);
    }

    #[test]
    fn a_small_frame_is_not_much_because_the_large_ones_are_late() {
        let (congestion, start) = (Congestion::new(), Instant::now());
        let frames =
            [(1, LARGE, 90, true), (2, SMALL, 10, false), (3, SMALL, 10, false), (4, LARGE, 90, true)];
        for (periods, job, bytes, is_slowed_down) in frames {
            let slowed_down = congestion.pushed(start + periods * PERIOD, true, job, bytes, user);
            assert_eq!(slowed_down, is_slowed_down, "{periods}");
        }
    }

    #[test]
    fn nobody_is_slowed_down_while_there_is_room() {
        assert_eq!(asked(false, &[(SMALL, 10), (LARGE, 90)]), [false, false]);
    }

    #[test]
    fn a_user_alone_is_slowed_down_when_memory_is_short() {
        assert_eq!(asked(true, &[(LARGE, 90)]), [true]);
    }
}
