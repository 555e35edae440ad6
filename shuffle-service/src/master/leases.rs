//! How long jobs' data lives. Pure: the caller brings the time.
//!
//! A job has ended when its owner released it or when nobody asked for its data for a whole lease. Both are things that
//! this master saw itself: a job that it hears of for the first time starts with a full lease (invariant 26).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use penstock_common::clock::Timestamp;
use penstock_protocol::ids::JobId;

#[derive(Debug)]
pub(super) struct Leases {
    lease: Duration,
    jobs: BTreeMap<JobId, Lease>,
    last_event: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy)]
enum Lease {
    Until(Timestamp),
    /// Ended; remembered until no worker can report it any more.
    Ended(Timestamp),
}

impl Leases {
    pub fn new(lease: Duration) -> Self {
        Self { lease, jobs: BTreeMap::new(), last_event: None }
    }

    /// Takes the jobs that a worker holds; returns those that have ended, and how many of them just now.
    pub fn report(
        &mut self,
        now: Timestamp,
        jobs: impl IntoIterator<Item = JobId>,
    ) -> (BTreeSet<JobId>, usize) {
        self.pass(now);
        let (mut ended, mut expired) = (BTreeSet::new(), 0);
        for job in jobs {
            let lease = self.jobs.entry(job).or_insert(Lease::Until(now + self.lease));
            match *lease {
                Lease::Until(until) if now < until => continue,
                Lease::Until(_) => {
                    expired += 1;
                    *lease = Lease::Ended(now);
                }
                Lease::Ended(_) => *lease = Lease::Ended(now),
            }
            ended.insert(job);
        }
        (ended, expired)
    }

    /// Starts new leases. A job that has ended stays ended.
    pub fn keep_alive(&mut self, now: Timestamp, jobs: impl IntoIterator<Item = JobId>) {
        self.pass(now);
        for job in jobs {
            let lease = self.jobs.entry(job).or_insert(Lease::Until(now));
            if let Lease::Until(until) = lease {
                *until = (*until).max(now + self.lease);
            }
        }
    }

    pub fn release(&mut self, now: Timestamp, job: JobId) {
        self.pass(now);
        self.jobs.insert(job, Lease::Ended(now));
    }

    /// Time in which this master heard nothing does not count: it was asleep or cut off, and owners could not be heard.
    fn pass(&mut self, now: Timestamp) {
        let silence = self.last_event.map_or(Duration::ZERO, |last| now - last);
        self.last_event = Some(self.last_event.map_or(now, |last| last.max(now)));
        if silence > self.lease / 4 {
            for lease in self.jobs.values_mut() {
                if let Lease::Until(until) = lease {
                    *until = *until + silence;
                }
            }
        }
        let forget_after = self.lease * 2;
        self.jobs.retain(|_, lease| match *lease {
            Lease::Until(at) | Lease::Ended(at) => now < at + forget_after,
        });
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const LEASE: Duration = Duration::from_secs(100);
    const JOB: JobId = JobId(Uuid::from_u128(7));

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    /// Reports every ten seconds from `from` to `to` and returns the first time at which the job had ended.
    fn ended_at(leases: &mut Leases, from: i64, to: i64) -> Option<i64> {
        (from..=to).step_by(10).find(|seconds| leases.report(at(*seconds), [JOB]).0.contains(&JOB))
    }

    // Invariant 26: an empty or new master deletes nothing.
    #[test]
    fn a_job_that_a_new_master_first_hears_of_gets_a_full_lease() {
        let mut leases = Leases::new(LEASE);
        assert_eq!(ended_at(&mut leases, 1000, 2000), Some(1100));
    }

    #[test]
    fn a_job_lives_as_long_as_its_owner_asks_for_it() {
        let mut leases = Leases::new(LEASE);
        assert_eq!(ended_at(&mut leases, 0, 90), None);
        leases.keep_alive(at(90), [JOB]);
        assert_eq!(ended_at(&mut leases, 90, 300), Some(190));
    }

    #[test]
    fn a_released_job_has_ended_and_stays_so() {
        let mut leases = Leases::new(LEASE);
        leases.keep_alive(at(0), [JOB]);
        leases.release(at(1), JOB);
        leases.keep_alive(at(2), [JOB]);
        assert_eq!(ended_at(&mut leases, 3, 3), Some(3));
        assert_eq!(ended_at(&mut leases, 13, 13), Some(13));
    }

    #[test]
    fn time_in_which_the_master_heard_nothing_does_not_count() {
        let mut leases = Leases::new(LEASE);
        leases.keep_alive(at(0), [JOB]);
        assert_eq!(ended_at(&mut leases, 5000, 5000), None);
        assert_eq!(ended_at(&mut leases, 5010, 5200), Some(5100));
    }

    #[test]
    fn jobs_that_nobody_speaks_of_are_forgotten() {
        let mut leases = Leases::new(LEASE);
        leases.release(at(0), JOB);
        for seconds in (0..=300).step_by(10) {
            leases.keep_alive(at(seconds), []);
        }
        assert!(leases.jobs.is_empty());
    }
}
