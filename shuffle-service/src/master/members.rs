//! Who is there, what each worker last reported, and what was placed on it since. Pure: the caller brings the time.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use penstock_common::clock::Timestamp;
use penstock_protocol::{
    ids::{JobId, WorkerId},
    pb,
    shuffle::WorkerAddress,
};

use super::{
    placement::{Candidate, Load, Rank, Site},
    quotas::{Amount, Holdings, Ledger},
};
use crate::ordered::{DrainOrder, ExclusionOrder, Latest, ORDERS_MAX, QuotaOrders};

/// A silent worker stays in the admin view for so many timeouts.
const FORGET_AFTER_TIMEOUTS: u32 = 100;

#[derive(Debug)]
pub(super) struct Members {
    timeout: Duration,
    workers: BTreeMap<WorkerId, Member>,
    /// What operators said of workers by their names, whichever life they meant: `true` to drain.
    drains: Latest<WorkerId, bool>,
    ledger: Ledger,
}

/// What a worker says of itself.
#[derive(Debug, Clone)]
pub(super) struct Report {
    pub address: Arc<WorkerAddress>,
    pub admin: String,
    pub site: Site,
    pub tags: Vec<String>,
    pub weight: u32,
    pub usage: pb::WorkerUsage,
    pub holdings: Holdings,
    pub draining: bool,
    /// It has stopped in order.
    pub left: bool,
    /// When it will be gone, if it was told.
    pub leaves_at: Option<Timestamp>,
    /// The last order to drain or to serve that it heard.
    pub drain: Option<DrainOrder>,
    /// The last exclusion that it carries.
    pub exclusion: Option<ExclusionOrder>,
    /// The quotas that it carries.
    pub quotas: QuotaOrders,
}

#[derive(Debug, Clone)]
pub(super) struct Member {
    pub report: Report,
    pub reported_at: Timestamp,
    /// Placed since the report; the one after the next says what became of it.
    pub placed: Holdings,
    /// Whether the ledger has what it holds: not when it is silent, since then nobody knows what is left.
    counted: bool,
}

/// A report from a life before the one that is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("worker {worker} has been started again since")]
pub(super) struct FormerLife {
    worker: WorkerId,
}

impl Members {
    pub fn new(timeout: Duration) -> Self {
        let (workers, drains, ledger) = (BTreeMap::new(), Latest::default(), Ledger::default());
        Self { timeout, workers, drains, ledger }
    }

    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// Takes a report. A later incarnation replaces an earlier one, never the other way round while the later one lives.
    /// Returns a later order to drain or to serve than the one that the worker knows.
    pub fn report(&mut self, now: Timestamp, mut report: Report) -> Result<Option<DrainOrder>, FormerLife> {
        let worker = report.address.worker.clone();
        if let Some(known) = self.workers.get(&worker)
            && known.report.address.incarnation > report.address.incarnation
            && self.is_alive(now, known)
        {
            return Err(FormerLife { worker });
        }
        self.sweep(now);
        if let Some(before) = self.workers.get(&worker) {
            expect_placed(before, &mut report);
        }
        self.ledger.add(&report.holdings);
        let unheard = self.drains.exchange(&worker, report.drain);
        let member = Member { report, reported_at: now, placed: Holdings::new(), counted: true };
        if let Some(before) = self.workers.insert(worker, member) {
            self.uncount(&before);
        }
        Ok(unheard)
    }

    /// Those who may get something new, in the order of their names, with their positions as candidates.
    pub fn candidates(
        &self,
        now: Timestamp,
        may: impl Fn(&WorkerId) -> bool,
        is_suspect: impl Fn(&WorkerId) -> bool,
    ) -> Vec<Candidate> {
        let open = self.workers.values().filter(|member| {
            self.is_alive(now, member) && !self.is_draining(member) && may(&member.report.address.worker)
        });
        open.map(|member| candidate(now, member, is_suspect(&member.report.address.worker))).collect()
    }

    /// Remembers that so many locations of a job were placed on a worker, until it reports again.
    pub fn placed(&mut self, worker: &WorkerId, job: JobId, user: &str, locations: u64) {
        let Some(member) = self.workers.get_mut(worker) else { return };
        let holding =
            super::quotas::Holding { user: user.to_owned(), amount: Amount { bytes: 0, locations } };
        self.ledger.add(&Holdings::from([(job, holding.clone())]));
        let placed = member.placed.entry(job).or_default();
        placed.user = holding.user;
        placed.amount.add(holding.amount);
    }

    /// An operator's order to drain or to serve; false if there is no such worker.
    pub fn drain(&mut self, now: Timestamp, worker: &WorkerId, drain: bool) -> bool {
        let known = self.workers.contains_key(worker);
        if known {
            self.drains.say(now, worker.clone(), drain);
        }
        known
    }

    /// What this life of a worker will say with its next report of when its machine goes.
    pub fn leaves(&mut self, life: &WorkerAddress, at: Option<Timestamp>) {
        if let Some(member) = self.workers.get_mut(&life.worker)
            && member.report.address.incarnation == life.incarnation
        {
            member.report.leaves_at = at;
        }
    }

    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub fn get(&self, worker: &WorkerId) -> Option<&Member> {
        self.workers.get(worker)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.workers.values()
    }

    pub fn is_alive(&self, now: Timestamp, member: &Member) -> bool {
        !member.report.left && now - member.reported_at <= self.timeout
    }

    /// An order that the worker has not heard yet counts at once.
    pub fn is_draining(&self, member: &Member) -> bool {
        let (report, order) = (&member.report, self.drains.get(&member.report.address.worker));
        let unheard = order.filter(|order| Some(*order) > report.drain.as_ref());
        unheard.map_or(report.draining, |order| order.what)
    }

    /// Takes silent workers, and those who left, out of the ledger, and forgets those who are long gone.
    fn sweep(&mut self, now: Timestamp) {
        let (timeout, ledger) = (self.timeout, &mut self.ledger);
        for member in self.workers.values_mut() {
            if member.counted && (member.report.left || now - member.reported_at > timeout) {
                member.counted = false;
                ledger.subtract(&member.report.holdings);
                ledger.subtract(&member.placed);
            }
        }
        let forget_after = timeout * FORGET_AFTER_TIMEOUTS;
        self.workers.retain(|_, member| now - member.reported_at < forget_after);
        let workers = &self.workers;
        // A machine may be away for longer than its worker is remembered.
        self.drains.forget_oldest(ORDERS_MAX, |worker| workers.contains_key(worker));
    }

    fn uncount(&mut self, member: &Member) {
        if member.counted {
            self.ledger.subtract(&member.report.holdings);
            self.ledger.subtract(&member.placed);
        }
    }
}

/// A report may have been on its way while something was placed: what was placed since the last one counts until the next
/// one, whether the worker has heard of it or not.
fn expect_placed(before: &Member, report: &mut Report) {
    if before.report.address.incarnation != report.address.incarnation {
        return;
    }
    for (job, placed) in &before.placed {
        let known = before.report.holdings.get(job).map_or(0, |holding| holding.amount.locations);
        let holding = report.holdings.entry(*job).or_default();
        holding.amount.locations = holding.amount.locations.max(known + placed.amount.locations);
        if holding.user.is_empty() {
            holding.user.clone_from(&placed.user);
        }
    }
}

fn candidate(now: Timestamp, member: &Member, is_suspect: bool) -> Candidate {
    let report = &member.report;
    let usage = &report.usage;
    let placed: u64 = member.placed.values().map(|holding| holding.amount.locations).sum();
    let rank = match () {
        () if report.leaves_at.is_some_and(|at| now <= at) => Rank::Leaving,
        () if is_suspect => Rank::Suspect,
        () if usage.paused => Rank::Paused,
        () => Rank::Fit,
    };
    Candidate {
        worker: report.address.worker.clone(),
        rank,
        site: report.site.clone(),
        tags: report.tags.iter().cloned().collect(),
        weight: report.weight,
        load: Load {
            free_bytes: usage.disk_free_bytes,
            memory_used: usage.memory_used_bytes as f64 / (usage.memory_limit_bytes.max(1) as f64),
            flush_us_per_mib: usage.flush_us_per_mib,
            fetch_us_per_mib: usage.fetch_us_per_mib,
            open_locations: usage.open_locations + placed,
        },
    }
}
