//! How long jobs' data lives. Pure: the caller brings the time.
//!
//! A job has ended when its owner released it, which is final, or expired when nobody asked for its data for a whole
//! lease, which a later sign of life takes back. Both are things that this master saw itself: a job that it hears of for
//! the first time starts with a full lease, and one whose owner comes to this master after a long silence, because it was
//! at another one, does too (invariant 26).

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
    /// When an owner of any job was last heard.
    last_owner: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lease {
    Until(Timestamp),
    /// Nobody asked for it; remembered until no worker can report it any more.
    Expired(Timestamp),
    /// Its owner said so; remembered likewise.
    Released(Timestamp),
}

/// The jobs of a report that should go.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ended {
    pub expired: BTreeSet<JobId>,
    pub released: BTreeSet<JobId>,
    /// How many of the expired ones did just now.
    pub just_expired: usize,
}

impl Leases {
    pub fn new(lease: Duration) -> Self {
        Self { lease, jobs: BTreeMap::new(), last_event: None, last_owner: None }
    }

    /// Counts for every lease from its next sign of life on.
    pub fn set_lease(&mut self, lease: Duration) {
        self.lease = lease;
    }

    /// Takes the jobs that a worker holds; returns those that have ended.
    pub fn report(&mut self, now: Timestamp, jobs: impl IntoIterator<Item = JobId>) -> Ended {
        self.pass(now);
        let mut ended = Ended::default();
        for job in jobs {
            let lease = self.jobs.entry(job).or_insert(Lease::Until(now + self.lease));
            match *lease {
                Lease::Until(until) if now < until => {}
                Lease::Until(_) | Lease::Expired(_) => {
                    ended.just_expired += usize::from(matches!(lease, Lease::Until(_)));
                    *lease = Lease::Expired(now);
                    ended.expired.insert(job);
                }
                Lease::Released(_) => {
                    *lease = Lease::Released(now);
                    ended.released.insert(job);
                }
            }
        }
        ended
    }

    /// Starts new leases. A job that was released stays so.
    pub fn keep_alive(&mut self, now: Timestamp, jobs: impl IntoIterator<Item = JobId>) {
        self.pass(now);
        self.owner_heard(now);
        for job in jobs {
            let lease = self.jobs.entry(job).or_insert(Lease::Until(now));
            match lease {
                Lease::Until(until) => *until = (*until).max(now + self.lease),
                Lease::Expired(_) => *lease = Lease::Until(now + self.lease),
                Lease::Released(_) => {}
            }
        }
    }

    pub fn release(&mut self, now: Timestamp, job: JobId) {
        self.pass(now);
        self.owner_heard(now);
        self.jobs.insert(job, Lease::Released(now));
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
            Lease::Until(at) | Lease::Expired(at) | Lease::Released(at) => now < at + forget_after,
        });
    }

    /// Owners that come after a silence were at another master: it may have heard of any job. After a shorter one every
    /// lease has half of its time left, since it began anew at the last visit.
    fn owner_heard(&mut self, now: Timestamp) {
        let silent = self.last_owner.is_none_or(|last| now - last > self.lease / 2);
        self.last_owner = Some(self.last_owner.map_or(now, |last| last.max(now)));
        if silent {
            for lease in self.jobs.values_mut() {
                match lease {
                    Lease::Until(until) => *until = (*until).max(now + self.lease),
                    Lease::Expired(_) => *lease = Lease::Until(now + self.lease),
                    Lease::Released(_) => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const LEASE: Duration = Duration::from_secs(100);
    const JOB: JobId = JobId(Uuid::from_u128(7));
    const OTHER: JobId = JobId(Uuid::from_u128(8));

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    /// Reports every ten seconds from `from` to `to` and returns the first time at which the job had expired.
    fn expired_at(leases: &mut Leases, from: i64, to: i64) -> Option<i64> {
        // To the end, as workers do: a job of which nobody speaks is forgotten.
        let expired = (from..=to)
            .step_by(10)
            .filter(|seconds| leases.report(at(*seconds), [JOB]).expired.contains(&JOB));
        expired.collect::<Vec<_>>().first().copied()
    }

    // Invariant 26: an empty or new master deletes nothing.
    #[test]
    fn a_job_that_a_new_master_first_hears_of_gets_a_full_lease() {
        let mut leases = Leases::new(LEASE);
        assert_eq!(expired_at(&mut leases, 1000, 2000), Some(1100));
    }

    #[test]
    fn a_job_lives_as_long_as_its_owner_asks_for_it() {
        let mut leases = Leases::new(LEASE);
        assert_eq!(expired_at(&mut leases, 0, 90), None);
        leases.keep_alive(at(90), [JOB]);
        assert_eq!(expired_at(&mut leases, 90, 300), Some(190));
    }

    #[test]
    fn a_released_job_has_ended_and_stays_so() {
        let mut leases = Leases::new(LEASE);
        leases.keep_alive(at(0), [JOB]);
        leases.release(at(1), JOB);
        leases.keep_alive(at(2), [JOB]);
        for seconds in [3, 13] {
            let ended = leases.report(at(seconds), [JOB]);
            assert_eq!((ended.released.len(), ended.expired.len()), (1, 0));
        }
    }

    #[test]
    fn a_sign_of_life_takes_an_expiry_back() {
        let mut leases = Leases::new(LEASE);
        leases.keep_alive(at(0), [OTHER]);
        assert_eq!(expired_at(&mut leases, 0, 200), Some(100));
        leases.keep_alive(at(110), [JOB]);
        assert_eq!(expired_at(&mut leases, 110, 300), Some(210));
    }

    // Invariant 26: a change of master extends all timeouts.
    #[test]
    fn owners_that_come_from_another_master_bring_a_full_lease_for_every_job() {
        let mut standby = Leases::new(LEASE);
        assert_eq!(expired_at(&mut standby, 0, 500), Some(100));
        standby.keep_alive(at(500), [OTHER]);
        assert_eq!(expired_at(&mut standby, 500, 590), None);
        standby.keep_alive(at(520), [OTHER]);
        assert_eq!(
            expired_at(&mut standby, 590, 700),
            Some(600),
            "an owner that stays extends nothing for others"
        );
    }

    // Invariant 26: a master that was asleep or cut off deletes nothing.
    #[test]
    fn time_in_which_the_master_heard_nothing_does_not_count() {
        let mut leases = Leases::new(LEASE);
        leases.keep_alive(at(0), [JOB]);
        // Longer than the lease, and not so long that the job is forgotten.
        assert_eq!(expired_at(&mut leases, 250, 250), None);
        assert_eq!(expired_at(&mut leases, 260, 500), Some(350));
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
