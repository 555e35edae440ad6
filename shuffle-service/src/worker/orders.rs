//! What the masters say, taken together. Pure: the caller brings the time.
//!
//! Every master gets every report, but an owner may speak to one of them only. So a release counts from whichever master
//! it comes, and an expiry only when all masters that were heard lately agree: the standby of a lively master must not end
//! a running job because nobody told it (invariant 26).

use std::{collections::BTreeSet, time::Duration};

use penstock_protocol::ids::JobId;
use tokio::time::Instant;

/// A master that was silent for longer has no say.
const HEARD_LATELY: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Orders {
    /// By the master's place in the configuration; none until it answers.
    masters: Vec<Option<Said>>,
}

/// One answer of one master.
#[derive(Debug, Clone)]
pub(super) struct Said {
    pub at: Instant,
    pub released: BTreeSet<JobId>,
    pub expired: BTreeSet<JobId>,
    pub over_quota: BTreeSet<JobId>,
}

impl Orders {
    pub fn new(masters: usize) -> Self {
        Self { masters: vec![None; masters] }
    }

    /// Takes an answer; returns the jobs whose data is to be deleted.
    pub fn take(&mut self, master: usize, said: Said) -> BTreeSet<JobId> {
        let now = said.at;
        let mut ended = said.released.clone();
        let heard = |other: &&Said| now.saturating_duration_since(other.at) <= HEARD_LATELY;
        let others: Vec<_> = self.masters.iter().enumerate().filter(|(index, _)| *index != master).collect();
        let others: Vec<_> = others.into_iter().filter_map(|(_, said)| said.as_ref()).filter(heard).collect();
        let agreed = |job: &&JobId| others.iter().all(|other| other.expired.contains(job));
        ended.extend(said.expired.iter().filter(agreed));
        self.masters[master] = Some(said);
        ended
    }

    /// A master did not answer: what it said of quotas is out of date.
    pub fn lost(&mut self, master: usize) {
        if let Some(said) = &mut self.masters[master] {
            said.over_quota.clear();
        }
    }

    /// The jobs that must not grow, in the eyes of any master. All come to the same within two reports: this worker brings
    /// each the quotas that operators set at the others.
    pub fn over_quota(&self) -> BTreeSet<JobId> {
        self.masters.iter().flatten().flat_map(|said| said.over_quota.iter().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const A: JobId = JobId(Uuid::from_u128(1));

    fn said(at: Instant) -> Said {
        let none = BTreeSet::new;
        Said { at, released: none(), expired: none(), over_quota: none() }
    }

    fn expired(at: Instant) -> Said {
        Said { expired: BTreeSet::from([A]), ..said(at) }
    }

    #[test]
    fn one_master_alone_is_believed() {
        let mut orders = Orders::new(1);
        assert_eq!(orders.take(0, expired(Instant::now())), BTreeSet::from([A]));
    }

    // Invariant 26: the standby, to which no owner speaks, does not end running jobs.
    #[test]
    fn an_expiry_counts_only_when_all_masters_that_were_heard_lately_agree() {
        let start = Instant::now();
        let mut orders = Orders::new(3);
        assert!(orders.take(0, said(start)).is_empty());
        assert!(orders.take(1, expired(start)).is_empty(), "the first one does not think so");
        let later = start + Duration::from_secs(50);
        assert!(orders.take(1, expired(later)).is_empty(), "it was heard lately");
        let much_later = start + Duration::from_secs(61);
        assert_eq!(orders.take(1, expired(much_later)), BTreeSet::from([A]), "it is gone");
        assert_eq!(orders.take(0, expired(much_later)), BTreeSet::from([A]), "both agree");
        assert!(orders.take(0, said(much_later)).is_empty());
    }

    #[test]
    fn a_release_counts_whoever_says_it() {
        let now = Instant::now();
        let mut orders = Orders::new(2);
        orders.take(0, said(now));
        let released = Said { released: BTreeSet::from([A]), ..said(now) };
        assert_eq!(orders.take(1, released), BTreeSet::from([A]));
    }

    #[test]
    fn a_quota_is_used_up_if_any_master_that_answers_says_so() {
        let now = Instant::now();
        let mut orders = Orders::new(2);
        orders.take(0, said(now));
        orders.take(1, Said { over_quota: BTreeSet::from([A]), ..said(now) });
        assert_eq!(orders.over_quota(), BTreeSet::from([A]));
        orders.lost(1);
        assert!(orders.over_quota().is_empty());
    }
}
