//! What happens to whole hosts, links and disks, and when.

use std::time::Duration;

use super::Kind;
use crate::{
    random::Dice,
    topology::{Host, Role, Topology},
};

/// One thing to do to the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    Crash(Host),
    /// Asked to stop in order.
    Stop(Host),
    Start(Host),
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
    MendDisk(Host),
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

    pub fn of(seed: u64, topology: &Topology) -> Self {
        let dice = Dice::new(seed, "timetable");
        let calm_at = dice.between(8_000, 20_000);
        let kinds: Vec<Kind> = HOST_KINDS.into_iter().filter(|_| dice.chance(0.3)).collect();
        let mut events = vec![Event { at: Duration::from_millis(calm_at), act: Act::Calm }];
        if !kinds.is_empty() {
            for _ in 0..dice.between(1, 8) {
                let at = dice.between(FROM_MS, calm_at - 500);
                let kind = *dice.pick(&kinds);
                let lasts = dice.between(50, *dice.pick(&[500, 3_000, 12_000]));
                let end = (at + lasts).min(calm_at);
                let (begin, undo) = acts(kind, topology, &dice);
                events.push(Event { at: Duration::from_millis(at), act: begin });
                events.extend(undo.map(|act| Event { at: Duration::from_millis(end), act }));
            }
        }
        events.sort_by_key(|event| (event.at, event.act == Act::Calm));
        Self(events)
    }

    pub fn calm_at(&self) -> Duration {
        self.0.last().map_or(Duration::ZERO, |event| event.at)
    }
}

const HOST_KINDS: [Kind; 16] = [
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
    Kind::DiskFailed,
    Kind::DiskFull,
    Kind::DiskSlow,
    Kind::DiskDamaged,
];

/// What begins it, and what ends it.
fn acts(kind: Kind, topology: &Topology, dice: &Dice) -> (Act, Option<Act>) {
    let any = || topology.servers()[dice.roll(topology.servers().len() as u64) as usize].clone();
    let of = |role| dice.pick(&topology.of(role)).clone();
    let restart = |act: fn(Host) -> Act, host: Host| (act(host.clone()), Some(Act::Start(host)));
    let disk = |act: fn(Host) -> Act| {
        let worker = of(Role::Worker);
        (act(worker.clone()), Some(Act::MendDisk(worker)))
    };
    match kind {
        Kind::LinkHeld | Kind::LinkPartitioned | Kind::LinkOneWay => {
            let (a, b) = pair(topology, dice);
            match kind {
                Kind::LinkHeld => (Act::Hold(a.clone(), b.clone()), Some(Act::Release(a, b))),
                Kind::LinkPartitioned => (Act::Partition(a.clone(), b.clone()), Some(Act::Repair(a, b))),
                _ => (Act::PartitionOneWay(a.clone(), b.clone()), Some(Act::Repair(a, b))),
            }
        }
        Kind::HostPaused => {
            let host = any();
            (Act::Pause(host.clone()), Some(Act::Resume(host)))
        }
        Kind::CoordinatorCrashed => restart(Act::Crash, of(Role::Coordinator)),
        Kind::ExecutorCrashed => restart(Act::Crash, of(Role::Executor)),
        Kind::MasterCrashed => restart(Act::Crash, of(Role::Master)),
        Kind::WorkerCrashed => restart(Act::Crash, of(Role::Worker)),
        Kind::CoordinatorStopped => restart(Act::Stop, of(Role::Coordinator)),
        Kind::ExecutorDrained => restart(Act::Stop, of(Role::Executor)),
        Kind::MasterStopped => restart(Act::Stop, of(Role::Master)),
        Kind::WorkerStopped => restart(Act::Stop, of(Role::Worker)),
        Kind::DiskFull => disk(Act::FillDisk),
        Kind::DiskSlow => disk(Act::SlowDisk),
        Kind::DiskDamaged => (Act::DamageDisk(of(Role::Worker)), None),
        _ => disk(Act::FailDisk),
    }
}

/// Two hosts that have something to say to each other.
fn pair(topology: &Topology, dice: &Dice) -> (Host, Host) {
    let talks = [
        (Role::Executor, Role::Coordinator),
        (Role::Executor, Role::Worker),
        (Role::Coordinator, Role::Worker),
        (Role::Coordinator, Role::Master),
        (Role::Worker, Role::Master),
        (Role::Client, Role::Coordinator),
    ];
    let (a, b) = *dice.pick(&talks);
    let (a, b) = (dice.pick(&topology.of(a)).clone(), dice.pick(&topology.of(b)).clone());
    if dice.chance(0.5) { (a, b) } else { (b, a) }
}
