//! What happens to whole hosts, links and disks, and when.

use std::time::Duration;

use super::{Aim, Kind};
use crate::{random::Dice, topology::Host};

/// One thing to do to the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    Crash(Host),
    /// Crashes, and its disk forgets what was not synced.
    LosePower(Host),
    /// Asked to stop in order.
    Stop(Host),
    Start(Host),
    /// An operator tells all masters.
    Decommission(Host),
    Recommission(Host),
    /// An operator says that its machine will go.
    Interrupt(Host),
    Hold(Host, Host),
    Release(Host, Host),
    Partition(Host, Host),
    PartitionOneWay(Host, Host),
    Repair(Host, Host),
    Pause(Host),
    Resume(Host),
    FailDisk(Host),
    FillDisk(Host),
    SlowDisk(Host),
    DamageDisk(Host),
    /// Now and then a call to it goes wrong in this way.
    SickenDisk(Host, Kind),
    MendDisk(Host),
    /// All calls to the object store of a worker fail.
    LoseObjects(Host),
    /// Now and then a call to it goes wrong, in any way.
    SickenObjects(Host),
    MendObjects(Host),
    /// Everything is as it should be from here on.
    Calm,
}

#[derive(Debug, Clone)]
pub struct Event {
    pub at: Duration,
    pub act: Act,
}

/// Sorted by time; the last event is [`Act::Calm`].
#[derive(Debug, Clone)]
pub struct Timetable(pub Vec<Event>);

/// When the first fault may come: the cluster has met by then.
const FROM_MS: u64 = 1_500;

impl Timetable {
    pub fn quiet() -> Self {
        Self(vec![Event { at: Duration::ZERO, act: Act::Calm }])
    }

    pub fn of(seed: u64, aim: &Aim<'_>) -> Self {
        let dice = Dice::new(seed, "timetable");
        let calm_at = dice.between(8_000, 20_000);
        let kinds: Vec<Kind> =
            HOST_KINDS.into_iter().filter(|kind| dice.chance(0.3) && aim.may(*kind)).collect();
        let mut events = vec![Event { at: Duration::from_millis(calm_at), act: Act::Calm }];
        if !kinds.is_empty() {
            for _ in 0..dice.between(1, 8) {
                let at = dice.between(FROM_MS, calm_at - 500);
                let kind = *dice.pick(&kinds);
                let lasts = dice.between(50, *dice.pick(&[500, 3_000, 12_000]));
                let end = (at + lasts).min(calm_at);
                let (begin, undo) = acts(kind, aim, &dice);
                events.push(Event { at: Duration::from_millis(at), act: begin });
                events.extend(undo.map(|act| Event { at: Duration::from_millis(end), act }));
            }
        }
        // They last: calls to object stores are few.
        if aim.may(Kind::ObjectCallFailed) && dice.chance(0.3) {
            let host = aim.host(Kind::ObjectCallFailed, &dice);
            events.push(Event { at: Duration::from_millis(FROM_MS), act: Act::SickenObjects(host) });
        }
        events.sort_by_key(|event| (event.at, event.act == Act::Calm));
        Self(events)
    }

    pub fn calm_at(&self) -> Duration {
        self.0.last().map_or(Duration::ZERO, |event| event.at)
    }
}

const HOST_KINDS: [Kind; 26] = [
    Kind::LinkHeld,
    Kind::LinkPartitioned,
    Kind::LinkOneWay,
    Kind::HostPaused,
    Kind::CoordinatorCrashed,
    Kind::ExecutorCrashed,
    Kind::MasterCrashed,
    Kind::WorkerCrashed,
    Kind::CoordinatorStopped,
    Kind::ExecutorDrained,
    Kind::MasterStopped,
    Kind::WorkerStopped,
    Kind::WorkerLostPower,
    Kind::WorkerDecommissioned,
    Kind::WorkerInterrupted,
    Kind::DiskFailed,
    Kind::DiskFull,
    Kind::DiskSlow,
    Kind::DiskDamaged,
    Kind::CallFailed,
    Kind::CallOutOfSpace,
    Kind::CallWroteHalf,
    Kind::CallLostSync,
    Kind::CallTurnedBit,
    Kind::CallHung,
    Kind::ObjectStoreAway,
];

/// What begins it, and what ends it.
fn acts(kind: Kind, aim: &Aim<'_>, dice: &Dice) -> (Act, Option<Act>) {
    let host = || aim.host(kind, dice);
    let until = |begin: fn(Host) -> Act, end: fn(Host) -> Act| {
        let host = host();
        (begin(host.clone()), Some(end(host)))
    };
    match kind {
        Kind::LinkHeld | Kind::LinkPartitioned | Kind::LinkOneWay => {
            let (a, b) = aim.pair(dice);
            match kind {
                Kind::LinkHeld => (Act::Hold(a.clone(), b.clone()), Some(Act::Release(a, b))),
                Kind::LinkPartitioned => (Act::Partition(a.clone(), b.clone()), Some(Act::Repair(a, b))),
                _ => (Act::PartitionOneWay(a.clone(), b.clone()), Some(Act::Repair(a, b))),
            }
        }
        Kind::HostPaused => until(Act::Pause, Act::Resume),
        Kind::CoordinatorCrashed | Kind::ExecutorCrashed | Kind::MasterCrashed | Kind::WorkerCrashed => {
            until(Act::Crash, Act::Start)
        }
        Kind::CoordinatorStopped | Kind::ExecutorDrained | Kind::MasterStopped | Kind::WorkerStopped => {
            until(Act::Stop, Act::Start)
        }
        Kind::WorkerLostPower => until(Act::LosePower, Act::Start),
        Kind::WorkerDecommissioned => until(Act::Decommission, Act::Recommission),
        Kind::WorkerInterrupted => (Act::Interrupt(host()), None),
        Kind::DiskFailed => until(Act::FailDisk, Act::MendDisk),
        Kind::DiskFull => until(Act::FillDisk, Act::MendDisk),
        Kind::DiskSlow => until(Act::SlowDisk, Act::MendDisk),
        Kind::DiskDamaged => (Act::DamageDisk(host()), None),
        Kind::ObjectStoreAway => until(Act::LoseObjects, Act::MendObjects),
        of_calls => {
            let host = host();
            (Act::SickenDisk(host.clone(), of_calls), Some(Act::MendDisk(host)))
        }
    }
}
