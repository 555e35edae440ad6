//! All that a master knows and decides. Pure: the caller brings the time; a report or a question in, an answer out.
//!
//! Nothing of it is stored: reports bring it back (members, holdings, what operators said), or it is meant to be forgotten
//! (turns, suspicions).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use penstock_common::clock::Timestamp;
use penstock_protocol::{
    ids::{Epoch, JobId, PartitionIndex, ShuffleId, WorkerId},
    shuffle::{Location, ShuffleTarget, WorkerAddress},
};

use super::{
    config::Config,
    exclusions::Exclusions,
    leases::{Ended, Leases},
    limits::InForce,
    members::{FormerLife, Member, Members, Report},
    placement::{self, Ask, Candidate, Copies, Policy, TooFew, Turns},
    quotas::{Ledger, Limit, OverQuota},
};
use crate::ordered::{DrainOrder, Exclusion, ExclusionOrder, QuotaOrders};

#[derive(Debug)]
pub(super) struct State {
    policy: Policy,
    quotas: InForce,
    members: Members,
    leases: Leases,
    exclusions: Exclusions,
    turns: Turns,
}

/// What a worker is told.
#[derive(Debug)]
pub(super) struct Answer {
    pub ended: Ended,
    pub over_quota: Vec<JobId>,
    // What operators said, as far as it has not heard that.
    pub drain: Option<DrainOrder>,
    pub exclusion: Option<ExclusionOrder>,
    pub quotas: QuotaOrders,
}

/// What is to be placed.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub shuffle: ShuffleId,
    pub partitions: Vec<PartitionIndex>,
    pub epoch: Epoch,
    pub copies: usize,
    pub copies_min: usize,
    pub user: String,
    pub tags: Vec<String>,
    /// Workers that just failed this shuffle.
    pub refused: Vec<String>,
}

/// Why nothing was placed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error(transparent)]
    TooFew(#[from] TooFew),
    #[error(transparent)]
    OverQuota(#[from] OverQuota),
}

/// How a worker stands with this master.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    pub member: Member,
    pub alive: bool,
    pub draining: bool,
    pub excluded: Option<Exclusion>,
    pub suspected_until: Option<Timestamp>,
}

impl State {
    pub fn new(config: &Config) -> Self {
        Self {
            policy: config.placement,
            quotas: InForce::new(config.limits()),
            members: Members::new(config.worker_timeout()),
            leases: Leases::new(config.job_lease()),
            exclusions: Exclusions::new(config.exclusion_rules()),
            turns: Turns::default(),
        }
    }

    /// Takes settings that may change at run time; what is known stays.
    pub fn configure(&mut self, config: &Config) {
        self.policy = config.placement;
        self.quotas.configure(config.limits());
        self.members.set_timeout(config.worker_timeout());
        self.leases.set_lease(config.job_lease());
        self.exclusions.set_rules(config.exclusion_rules());
    }

    pub fn heartbeat(&mut self, now: Timestamp, mut report: Report) -> Result<Answer, FormerLife> {
        let worker = report.address.worker.clone();
        let (exclusion, quotas) = (report.exclusion.take(), std::mem::take(&mut report.quotas));
        let jobs: Vec<_> = report.holdings.keys().copied().collect();
        let drain = self.members.report(now, report)?;
        let ended = self.leases.report(now, jobs.iter().copied());
        // Before anything is judged by them: all masters are to come to the same.
        let quotas = self.quotas.hear(&quotas);
        let (ledger, limits) = (self.members.ledger(), self.quotas.limits());
        let over_quota = jobs.into_iter().filter(|job| ledger.is_over(limits, *job)).collect();
        let members = &self.members;
        self.turns.retain(|worker| members.get(worker).is_some());
        self.exclusions.prune(|worker| members.get(worker).is_some());
        let exclusion = self.exclusions.hear(&worker, exclusion);
        Ok(Answer { ended, over_quota, drain, exclusion, quotas })
    }

    /// Chooses workers for partitions; the job is wanted by whoever asks.
    pub fn place(&mut self, now: Timestamp, request: &Request) -> Result<ShuffleTarget, Refused> {
        let job = request.shuffle.job;
        self.leases.keep_alive(now, [job]);
        for name in &request.refused {
            let worker = WorkerId::from(name.as_str());
            if self.exclusions.failed(now, &worker, request.shuffle, request.epoch) {
                tracing::warn!(%worker, "placements failed on it several times: it is the last choice for a while");
            }
        }
        let candidates = self.candidates(now);
        let ask = Ask {
            partitions: request.partitions.len(),
            copies: request.copies,
            copies_min: request.copies_min,
            tags: &request.tags,
            refused: &request.refused,
        };
        let placed = placement::place(self.policy, &candidates, ask, &mut self.turns)?;
        // An owner that started again may not know whose job it is; the workers do.
        let known = self.members.ledger().user(job).filter(|_| request.user.is_empty()).map(str::to_owned);
        let user = known.unwrap_or_else(|| request.user.clone());
        let replicas = placed.iter().filter(|copies| copies.replica.is_some()).count();
        let locations = (placed.len() + replicas) as u64;
        self.members.ledger().admits(self.quotas.limits(), job, &user, locations)?;
        self.count(&candidates, &placed, job, &user);
        Ok(self.target(request, &candidates, &placed))
    }

    pub fn keep_alive(&mut self, now: Timestamp, jobs: Vec<JobId>) {
        self.leases.keep_alive(now, jobs);
    }

    pub fn release(&mut self, now: Timestamp, job: JobId) {
        self.leases.release(now, job);
    }

    /// An operator's word; false if there is no such worker.
    pub fn exclude(&mut self, now: Timestamp, worker: &WorkerId, lasts: Duration, reason: String) -> bool {
        let known = self.members.get(worker).is_some();
        if known {
            self.exclusions.exclude(now, worker.clone(), Exclusion { until: now + lasts, reason });
        }
        known
    }

    /// Ends an exclusion or suspicion; false if there was none.
    pub fn include(&mut self, now: Timestamp, worker: &WorkerId) -> bool {
        self.exclusions.lift(now, worker)
    }

    /// An operator's word; false if there is no such worker.
    pub fn drain(&mut self, now: Timestamp, worker: &WorkerId, drain: bool) -> bool {
        self.members.drain(now, worker, drain)
    }

    /// An operator's word on what the jobs of a user may hold; none: what is configured.
    pub fn set_quota(&mut self, now: Timestamp, user: String, limit: Option<Limit>) {
        self.quotas.order(now, user, limit);
    }

    /// When the machine of a worker goes, as that life of it has heard.
    pub fn leaves(&mut self, life: &WorkerAddress, at: Option<Timestamp>) {
        self.members.leaves(life, at);
    }

    pub fn workers(&self, now: Timestamp) -> Vec<Standing> {
        self.members.iter().map(|member| self.standing(now, member)).collect()
    }

    pub fn worker(&self, now: Timestamp, worker: &WorkerId) -> Option<Standing> {
        self.members.get(worker).map(|member| self.standing(now, member))
    }

    pub fn knows(&self, worker: &WorkerId) -> bool {
        self.members.get(worker).is_some()
    }

    pub fn alive(&self, now: Timestamp) -> usize {
        self.members.iter().filter(|member| self.members.is_alive(now, member)).count()
    }

    /// Those who live and said that they hold something of a job.
    pub fn holders(&self, now: Timestamp, job: JobId) -> Vec<Arc<WorkerAddress>> {
        let holds = |member: &&Member| {
            self.members.is_alive(now, member) && member.report.holdings.contains_key(&job)
        };
        self.members.iter().filter(holds).map(|member| Arc::clone(&member.report.address)).collect()
    }

    pub fn ledger(&self) -> &Ledger {
        self.members.ledger()
    }

    pub fn quotas(&self) -> &InForce {
        &self.quotas
    }

    fn standing(&self, now: Timestamp, member: &Member) -> Standing {
        let worker = &member.report.address.worker;
        Standing {
            alive: self.members.is_alive(now, member),
            draining: self.members.is_draining(member),
            excluded: self.exclusions.ordered(now, worker).cloned(),
            suspected_until: self.exclusions.suspected(now, worker),
            member: member.clone(),
        }
    }

    fn candidates(&self, now: Timestamp) -> Vec<Candidate> {
        let may = |worker: &WorkerId| self.exclusions.ordered(now, worker).is_none();
        let is_suspect = |worker: &WorkerId| self.exclusions.suspected(now, worker).is_some();
        self.members.candidates(now, may, is_suspect)
    }

    /// So that the next request knows of this one, although no worker reported it yet.
    fn count(&mut self, candidates: &[Candidate], placed: &[Copies], job: JobId, user: &str) {
        let mut locations: BTreeMap<usize, u64> = BTreeMap::new();
        for copies in placed {
            *locations.entry(copies.primary).or_default() += 1;
            if let Some(replica) = copies.replica {
                *locations.entry(replica).or_default() += 1;
            }
        }
        for (index, locations) in locations {
            self.members.placed(&candidates[index].worker, job, user, locations);
        }
    }

    fn target(&self, request: &Request, candidates: &[Candidate], placed: &[Copies]) -> ShuffleTarget {
        let address = |candidate: &Candidate| {
            let member = self.members.get(&candidate.worker).expect("candidates are members");
            Arc::clone(&member.report.address)
        };
        let addresses: Vec<_> = candidates.iter().map(address).collect();
        let locations = request.partitions.iter().zip(placed).map(|(partition, copies)| Location {
            replica: copies.replica.map(|replica| Arc::clone(&addresses[replica])),
            ..Location::on(*partition, request.epoch, Arc::clone(&addresses[copies.primary]))
        });
        ShuffleTarget { shuffle: request.shuffle, locations: locations.collect() }
    }
}

#[cfg(test)]
mod tests;
