//! Who can run attempts: executors, their lives, leases and slots.
//!
//! An executor is known by its stable name and, for one life, by its incarnation; what comes from another life is not
//! for us. A slot is taken at dispatch and free again when its executor says that the attempt ended, or is lost.
//! Not here: which attempt goes where, what a loss means for a job.

mod load;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use penstock_common::clock::Timestamp;
use penstock_protocol::{
    ids::{AttemptId, ExecutorId, Incarnation, JobId},
    wire::executor::NodeSample,
};

use crate::job::{ExecutorState, ExecutorStatus, Host};
use load::Load;

#[derive(Debug, Clone, PartialEq)]
pub struct ExecutorLimits {
    /// An executor that says nothing for so long is lost.
    pub lease: Duration,
    /// How long after its stream ended an executor may come back with the same life.
    pub reconnect_grace: Duration,
}

impl Default for ExecutorLimits {
    fn default() -> Self {
        Self { lease: Duration::from_secs(10), reconnect_grace: Duration::from_secs(2) }
    }
}

#[derive(Debug, Default)]
pub struct Executors {
    limits: ExecutorLimits,
    executors: BTreeMap<ExecutorId, Executor>,
}

#[derive(Debug)]
pub struct Executor {
    pub incarnation: Incarnation,
    pub host: String,
    slots: u32,
    presence: Presence,
    lease_expires_at: Timestamp,
    holding: BTreeSet<AttemptId>,
    connected_at: Timestamp,
    seen_at: Timestamp,
    attempts_succeeded: u64,
    attempts_failed: u64,
    load: Load,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    Active,
    Draining,
    Disconnected { lost_at: Timestamp, was_draining: bool },
}

/// An executor that is gone, with the attempts that went with it.
#[derive(Debug, PartialEq)]
pub struct Loss {
    pub host: Host,
    pub attempts: BTreeSet<AttemptId>,
    pub reason: String,
}

/// How busy an executor is, and the jobs that this concerns.
#[derive(Debug, PartialEq)]
pub struct Sampled {
    pub sample: NodeSample,
    pub jobs: BTreeSet<JobId>,
}

/// Why nobody takes work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Shortage {
    #[error("no executor is connected")]
    Nobody,
    #[error("no executor is connected; {first}{} may come back", and_others(*others))]
    Away { first: ExecutorId, others: usize },
    #[error("all connected executors are draining and take nothing new")]
    Draining,
}

fn and_others(others: usize) -> String {
    if others == 0 { String::new() } else { format!(" and {others} more") }
}

/// What a connection changes.
#[derive(Debug, Default, PartialEq)]
pub struct Connection {
    /// The life before this one.
    pub replaced: Option<Loss>,
    /// Attempts that were ours and that this life no longer runs: their reports are lost.
    pub missing: BTreeSet<AttemptId>,
    /// Attempts that it runs and that we did not give it.
    pub unknown: Vec<AttemptId>,
    pub is_new: bool,
}

impl Executors {
    pub fn new(limits: ExecutorLimits) -> Self {
        Self { limits, executors: BTreeMap::new() }
    }

    pub fn connect(
        &mut self,
        now: Timestamp,
        host: &Host,
        address: String,
        slots: u32,
        running: Vec<AttemptId>,
    ) -> Connection {
        let mut connection = Connection::default();
        let running: BTreeSet<_> = running.into_iter().collect();
        let other_life = self
            .executors
            .get(&host.executor)
            .is_some_and(|executor| executor.incarnation != host.incarnation);
        if other_life {
            connection.replaced = self.lose(&host.executor, "it was started again".to_owned());
        }
        let lease_expires_at = now + self.limits.lease;
        let executor = self.executors.entry(host.executor.clone()).or_insert_with(|| {
            connection.is_new = true;
            Executor {
                incarnation: host.incarnation,
                host: String::new(),
                slots,
                presence: Presence::Active,
                lease_expires_at,
                holding: BTreeSet::new(),
                connected_at: now,
                seen_at: now,
                attempts_succeeded: 0,
                attempts_failed: 0,
                load: Load::default(),
            }
        });
        executor.host = address;
        executor.slots = slots;
        executor.presence = match executor.presence {
            Presence::Draining | Presence::Disconnected { was_draining: true, .. } => Presence::Draining,
            Presence::Active | Presence::Disconnected { .. } => Presence::Active,
        };
        executor.seen(now, lease_expires_at);
        connection.missing = executor.holding.difference(&running).copied().collect();
        connection.unknown = running.difference(&executor.holding).copied().collect();
        executor.holding = running;
        connection
    }

    /// Any sign of life. False from somebody who is not, or no longer, one of ours.
    pub fn seen(&mut self, now: Timestamp, host: &Host) -> bool {
        let lease_expires_at = now + self.limits.lease;
        match self.life(host) {
            Some(executor) => {
                executor.seen(now, lease_expires_at);
                true
            }
            None => false,
        }
    }

    /// A sample, when it is time to record one and somebody's attempts run there. An executor that does not measure
    /// itself says nothing.
    pub fn sampled(&mut self, now: Timestamp, host: &Host, sample: NodeSample) -> Option<Sampled> {
        let executor = self.life(host).filter(|_| sample != NodeSample::default())?;
        if executor.holding.is_empty() {
            executor.load.idle(sample);
            return None;
        }
        let sample = executor.load.hear(now, sample)?;
        Some(Sampled { sample, jobs: executor.holding.iter().map(|attempt| attempt.task.job).collect() })
    }

    fn life(&mut self, host: &Host) -> Option<&mut Executor> {
        self.executors.get_mut(&host.executor).filter(|executor| executor.incarnation == host.incarnation)
    }

    /// Whether that is news.
    pub fn drain(&mut self, host: &Host) -> bool {
        let Some(executor) = self.life(host) else { return false };
        let was_active = executor.presence == Presence::Active;
        executor.presence = match executor.presence {
            Presence::Disconnected { lost_at, .. } => Presence::Disconnected { lost_at, was_draining: true },
            Presence::Active | Presence::Draining => Presence::Draining,
        };
        was_active
    }

    /// Its stream ended. Gives the loss at once if it had said farewell and runs nothing.
    pub fn disconnect(&mut self, now: Timestamp, host: &Host, reason: &str) -> Option<Loss> {
        let lost_at = now + self.limits.reconnect_grace;
        let executor = self.life(host)?;
        let was_draining = executor.presence == Presence::Draining;
        if was_draining && executor.holding.is_empty() {
            return self.lose(&host.executor, reason.to_owned());
        }
        if !matches!(executor.presence, Presence::Disconnected { .. }) {
            executor.presence = Presence::Disconnected { lost_at, was_draining };
        }
        None
    }

    /// Nobody could be heard for so long.
    pub fn extend_leases(&mut self, duration: Duration) {
        for executor in self.executors.values_mut() {
            executor.lease_expires_at = executor.lease_expires_at + duration;
            if let Presence::Disconnected { lost_at, .. } = &mut executor.presence {
                *lost_at = *lost_at + duration;
            }
        }
    }

    /// Executors whose time is over.
    pub fn expire(&mut self, now: Timestamp) -> Vec<Loss> {
        let lease = self.limits.lease;
        let reason = |executor: &Executor| match executor.presence {
            Presence::Disconnected { lost_at, .. } if lost_at <= now => {
                Some("its connection was cut".to_owned())
            }
            _ if executor.lease_expires_at <= now => {
                Some(format!("it was silent for {} s", lease.as_secs_f64()))
            }
            _ => None,
        };
        let over: Vec<_> = self
            .executors
            .iter()
            .filter_map(|(id, executor)| Some((id.clone(), reason(executor)?)))
            .collect();
        over.into_iter().filter_map(|(id, reason)| self.lose(&id, reason)).collect()
    }

    fn lose(&mut self, id: &ExecutorId, reason: String) -> Option<Loss> {
        let executor = self.executors.remove(id)?;
        let host = Host { executor: id.clone(), incarnation: executor.incarnation };
        Some(Loss { host, attempts: executor.holding, reason })
    }

    /// Takes a slot.
    pub fn occupy(&mut self, host: &Host, attempt: AttemptId) {
        let executor = self.life(host).expect("attempts go to connected executors only");
        assert!(executor.free() > 0, "attempts go to free slots only");
        executor.holding.insert(attempt);
    }

    /// Gives a slot back; false if the attempt held none.
    pub fn vacate(&mut self, host: &Host, attempt: AttemptId, succeeded: bool) -> bool {
        let Some(executor) = self.life(host) else { return false };
        let held = executor.holding.remove(&attempt);
        if held {
            executor.attempts_succeeded += u64::from(succeeded);
            executor.attempts_failed += u64::from(!succeeded);
        }
        held
    }

    /// Why nobody here takes work, if nobody does.
    pub fn shortage(&self) -> Option<Shortage> {
        let with = |presence: fn(&Presence) -> bool| {
            self.executors.iter().filter(move |(_, executor)| presence(&executor.presence)).map(|(id, _)| id)
        };
        if with(|presence| *presence == Presence::Active).next().is_some() {
            return None;
        }
        if with(|presence| *presence == Presence::Draining).next().is_some() {
            return Some(Shortage::Draining);
        }
        let mut away = with(|presence| matches!(presence, Presence::Disconnected { .. })).cloned();
        Some(away.next().map_or(Shortage::Nobody, |first| Shortage::Away { first, others: away.count() }))
    }

    pub fn iter(&self) -> impl Iterator<Item = (Host, &Executor)> {
        self.executors.iter().map(|(id, executor)| {
            (Host { executor: id.clone(), incarnation: executor.incarnation }, executor)
        })
    }

    pub fn statuses(&self) -> Vec<ExecutorStatus> {
        self.executors.iter().map(|(id, executor)| executor.status(id)).collect()
    }
}

impl Executor {
    fn seen(&mut self, now: Timestamp, lease_expires_at: Timestamp) {
        self.seen_at = now;
        self.lease_expires_at = lease_expires_at;
    }

    /// Slots that may be given out now.
    pub fn free(&self) -> u32 {
        match self.presence {
            Presence::Active => self.slots.saturating_sub(self.holding.len() as u32),
            Presence::Draining | Presence::Disconnected { .. } => 0,
        }
    }

    /// Whether it will have slots again.
    pub fn takes_work(&self) -> bool {
        self.presence == Presence::Active
    }

    pub fn slots(&self) -> u32 {
        self.slots
    }

    fn status(&self, id: &ExecutorId) -> ExecutorStatus {
        ExecutorStatus {
            executor: id.clone(),
            host: self.host.clone(),
            state: match self.presence {
                Presence::Active => ExecutorState::Active,
                Presence::Draining => ExecutorState::Draining,
                Presence::Disconnected { .. } => ExecutorState::Disconnected,
            },
            slots: self.slots,
            slots_used: self.holding.len() as u32,
            connected_at: self.connected_at,
            seen_at: self.seen_at,
            attempts_succeeded: self.attempts_succeeded,
            attempts_failed: self.attempts_failed,
            sample: self.load.newest(),
        }
    }
}
