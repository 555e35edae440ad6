//! One run: builds the cluster of a seed, lets time pass, does what the time table says, and judges what was seen.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use penstock_common::lifecycle::panic_message;
use penstock_protocol::event::JobState;
use tokio::sync::mpsc::{self, error::TrySendError};
use turmoil::Sim;

use crate::{
    client::{self, Order},
    cluster::{self, World},
    disk::SimDisk,
    exercise::{Feature, Meter},
    faults::{Act, Kind, Timetable},
    invariants::{self, Setup},
    network::Weather,
    record::{Record, Seen, Violation},
    scenario::Scenario,
    topology::{Host, Role, Topology},
};

/// What a run came to.
#[derive(Debug)]
pub struct Report {
    pub seed: u64,
    /// Of the log: equal for two runs of one seed and one build.
    pub digest: String,
    pub lines: Vec<String>,
    pub violations: Vec<Violation>,
    pub seen: Seen,
    pub simulated: Duration,
}

impl Report {
    /// How often what went wrong.
    pub fn faults(&self) -> BTreeMap<Kind, u64> {
        let mut faults = BTreeMap::new();
        self.seen.faults.iter().for_each(|fault| *faults.entry(fault.kind).or_default() += 1);
        faults
    }

    /// Jobs by how they ended in the store.
    pub fn jobs(&self) -> BTreeMap<JobState, u64> {
        let mut jobs = BTreeMap::new();
        let ended = self.seen.statuses.values().filter_map(|statuses| statuses.last());
        ended.for_each(|last| *jobs.entry(last.state).or_default() += 1);
        jobs
    }
}

/// No run lasts longer; clients give up much earlier.
const SIMULATED_MAX: Duration = Duration::from_secs(900);
/// More than the timetable of one run has.
const ORDERS_MAX: usize = 1_000;

/// Runs what a seed stands for.
pub fn seed(seed: u64, keep_lines: bool) -> Report {
    scenario(Scenario::of(seed), keep_lines)
}

/// Runs a scenario, which may have been changed by hand.
pub fn scenario(scenario: Scenario, keep_lines: bool) -> Report {
    let (seed, setup) = (scenario.seed, Setup::of(&scenario));
    let record = Arc::new(Record::new(keep_lines));
    let meter = Meter(Arc::clone(&record));
    let ran = metrics::with_local_recorder(&meter, || {
        catch_unwind(AssertUnwindSafe(|| Run::new(scenario, Arc::clone(&record))?.finish()))
    });
    let failure = match ran {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(panic) => Some(panic_message(panic.as_ref())),
    };
    if let Some(what) = failure {
        record.violation("runs-come-to-an-end", what);
    }
    invariants::promised(&record.seen(), &setup)
        .iter()
        .for_each(|_| record.exercised(Feature::PromisedJobs, 1));
    let seen = record.seen();
    Report {
        seed,
        digest: record.digest(),
        violations: invariants::check(&seen, &setup),
        seen,
        simulated: Duration::from_millis(record.now_ms()),
        lines: record.take_lines(),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Process {
    Runs,
    Stops,
    Dies,
    /// Dies, and is started as soon as it is gone.
    Restarts,
    Gone,
}

struct Run {
    sim: Sim<'static>,
    world: Arc<World>,
    topology: Topology,
    timetable: Timetable,
    processes: BTreeMap<Host, Process>,
    operator: mpsc::Sender<Order>,
    /// Links that are not as they should be.
    touched: BTreeSet<(Host, Host)>,
    /// Workers of which the next file on disk is to be damaged.
    to_damage: BTreeSet<Host>,
    /// Workers whose disk forgets what was not synced as soon as they are gone.
    without_power: BTreeSet<Host>,
    /// Workers that an operator has taken out of service.
    decommissioned: BTreeSet<Host>,
    _folder: tempfile::TempDir,
}

impl Run {
    fn new(scenario: Scenario, record: Arc<Record>) -> anyhow::Result<Self> {
        let Scenario { seed, topology, jobs, messages, timetable, sizes } = scenario;
        let folder = tempfile::tempdir()?;
        let calm_at_ms = timetable.calm_at().as_millis() as u64;
        // OpenDAL's pauses between tries are random, out of this thread's generator.
        fastrand::seed(seed);
        let mut sim = turmoil::Builder::new()
            .rng_seed(seed)
            .epoch(std::time::UNIX_EPOCH)
            .tick_duration(sizes.tick)
            .min_message_latency(Duration::ZERO)
            .max_message_latency(sizes.latency_max)
            .tcp_capacity(1_024)
            .simulation_duration(SIMULATED_MAX)
            .enable_random_order()
            .build();
        let weather = Arc::new(Weather { messages, record, calm_at_ms });
        let world =
            Arc::new(World::new(seed, sizes, &topology, &jobs, weather, folder.path().to_path_buf())?);
        for host in topology.servers() {
            let world = Arc::clone(&world);
            sim.host(host.name.to_string(), move || cluster::live(Arc::clone(&world), host.clone()));
        }
        let (clients, name): (_, Arc<str>) = (Arc::clone(&world), "client".into());
        let (operator, orders) = mpsc::channel(ORDERS_MAX);
        sim.client("client", async move {
            let life = clients.begin(&name);
            client::run(Arc::clone(&clients), life, jobs, orders).await
        });
        let processes = topology.servers().into_iter().map(|host| (host, Process::Runs)).collect();
        let (touched, to_damage, without_power, decommissioned) = Default::default();
        let _folder = folder;
        Ok(Self {
            sim,
            world,
            topology,
            timetable,
            processes,
            operator,
            touched,
            to_damage,
            without_power,
            decommissioned,
            _folder,
        })
    }

    fn finish(mut self) -> anyhow::Result<()> {
        let mut events = std::mem::take(&mut self.timetable.0).into_iter().peekable();
        loop {
            let now = self.sim.elapsed();
            self.world.record.set_now(now.as_millis() as u64);
            self.clear_away_what_exited();
            while let Some(event) = events.next_if(|event| event.at <= now) {
                self.act(event.act);
            }
            self.damage_disks();
            match self.sim.step() {
                Ok(false) => {}
                Ok(true) => return Ok(()),
                Err(error) => anyhow::bail!("{error}"),
            }
        }
    }

    fn clear_away_what_exited(&mut self) {
        for name in self.world.exited() {
            self.sim.crash(&*name);
            self.world.record.is_gone(&name);
            let found = self.processes.iter_mut().find(|(host, _)| host.name == name);
            let Some((host, process)) = found else { continue };
            let starts_again = std::mem::replace(process, Process::Gone) == Process::Restarts;
            let host = host.clone();
            if self.without_power.remove(&host) {
                self.world.disks[&host.name].lose_power();
            }
            if starts_again {
                self.start(&host);
            }
        }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Crash(host) => self.crash(&host),
            Act::LosePower(host) => self.lose_power(&host),
            Act::Decommission(host) => self.decommission(&host),
            Act::Recommission(host) => self.recommission(&host),
            Act::Interrupt(host) => self.interrupt(&host),
            Act::Stop(host) => self.stop(&host),
            Act::Start(host) => self.start(&host),
            Act::Hold(a, b) => self.link(Kind::LinkHeld, a, b, |sim, a, b| sim.hold(a, b)),
            Act::Partition(a, b) => self.link(Kind::LinkPartitioned, a, b, |sim, a, b| sim.partition(a, b)),
            Act::PartitionOneWay(a, b) => {
                self.link(Kind::LinkOneWay, a, b, |sim, a, b| sim.partition_oneway(a, b));
            }
            Act::Release(a, b) | Act::Repair(a, b) => self.mend_link(&(a, b)),
            Act::Pause(host) => self.pause(&host),
            Act::Resume(host) => self.mend_links_of(&host),
            Act::FailDisk(host) => self.disk(Kind::DiskFailed, &host, SimDisk::fail),
            Act::FillDisk(host) => self.disk(Kind::DiskFull, &host, SimDisk::fill),
            Act::SlowDisk(host) => self.disk(Kind::DiskSlow, &host, SimDisk::stall),
            Act::SickenDisk(host, kind) => self.world.disks[&host.name].sicken(kind),
            Act::DamageDisk(host) => {
                self.to_damage.insert(host);
            }
            Act::MendDisk(host) => self.world.disks[&host.name].mend(),
            Act::LoseObjects(host) => {
                self.fault(Kind::ObjectStoreAway, [&host]);
                self.world.objects[&host.name].go_away();
            }
            Act::SickenObjects(host) => self.world.objects[&host.name].sicken(),
            Act::MendObjects(host) => self.world.objects[&host.name].mend(),
            Act::Calm => self.calm(),
        }
    }

    fn crash(&mut self, host: &Host) {
        let kind = match host.role {
            Role::Coordinator => Kind::CoordinatorCrashed,
            Role::Master => Kind::MasterCrashed,
            Role::Worker => Kind::WorkerCrashed,
            Role::Executor | Role::Client => Kind::ExecutorCrashed,
        };
        self.kill(kind, host);
    }

    fn lose_power(&mut self, host: &Host) {
        if self.kill(Kind::WorkerLostPower, host) {
            self.without_power.insert(host.clone());
        }
    }

    /// Whether there was something to kill.
    fn kill(&mut self, kind: Kind, host: &Host) -> bool {
        let lives = matches!(self.processes[host], Process::Runs | Process::Stops);
        if lives {
            self.fault(kind, [host]);
            self.world.kill(&host.name);
            self.processes.insert(host.clone(), Process::Dies);
        }
        lives
    }

    fn decommission(&mut self, host: &Host) {
        self.fault(Kind::WorkerDecommissioned, [host]);
        self.decommissioned.insert(host.clone());
        self.order(Order::Decommission(host.clone()));
    }

    fn recommission(&mut self, host: &Host) {
        if self.decommissioned.remove(host) {
            self.order(Order::Recommission(host.clone()));
        }
    }

    fn interrupt(&mut self, host: &Host) {
        self.fault(Kind::WorkerInterrupted, [host]);
        self.order(Order::Interrupt(host.clone()));
    }

    /// Clients that are gone need no operator.
    fn order(&self, order: Order) {
        let sent = self.operator.try_send(order);
        assert!(!matches!(sent, Err(TrySendError::Full(_))), "the operator has stopped working");
    }

    fn fault<'a>(&self, kind: Kind, hosts: impl IntoIterator<Item = &'a Host>) {
        let hosts: Vec<_> = hosts.into_iter().collect();
        let names: Vec<_> = hosts.iter().map(|host| &*host.name).collect();
        self.world.record.fault(kind, hosts, format_args!("{}", names.join(" and ")));
    }

    fn stop(&mut self, host: &Host) {
        if self.processes[host] != Process::Runs {
            return;
        }
        let kind = match host.role {
            Role::Coordinator => Kind::CoordinatorStopped,
            Role::Master => Kind::MasterStopped,
            Role::Worker => Kind::WorkerStopped,
            Role::Executor | Role::Client => Kind::ExecutorDrained,
        };
        self.fault(kind, [host]);
        self.world.stop(&host.name);
        self.processes.insert(host.clone(), Process::Stops);
    }

    fn start(&mut self, host: &Host) {
        let next = match self.processes[host] {
            Process::Runs | Process::Restarts => return,
            // It had its time.
            Process::Stops => {
                self.world.kill(&host.name);
                Process::Restarts
            }
            Process::Dies => Process::Restarts,
            Process::Gone => {
                self.sim.bounce(&*host.name);
                Process::Runs
            }
        };
        self.processes.insert(host.clone(), next);
    }

    fn link(&mut self, kind: Kind, a: Host, b: Host, cut: impl FnOnce(&Sim<'static>, &str, &str)) {
        self.fault(kind, [&a, &b]);
        cut(&self.sim, &a.name, &b.name);
        self.touched.insert((a, b));
    }

    fn mend_link(&mut self, link: &(Host, Host)) {
        if self.touched.remove(link) {
            self.world.record.line(format_args!("{} and {} are linked again", link.0, link.1));
            self.sim.release(&*link.0.name, &*link.1.name);
            self.sim.repair(&*link.0.name, &*link.1.name);
        }
    }

    fn pause(&mut self, host: &Host) {
        self.fault(Kind::HostPaused, [host]);
        for other in self.topology.hosts().iter().filter(|other| *other != host) {
            self.sim.hold(&*host.name, &*other.name);
            self.touched.insert((host.clone(), other.clone()));
        }
    }

    fn mend_links_of(&mut self, host: &Host) {
        let links: Vec<_> = self.touched.iter().filter(|link| link.0 == *host).cloned().collect();
        links.iter().for_each(|link| self.mend_link(link));
    }

    fn disk(&mut self, kind: Kind, host: &Host, act: impl FnOnce(&SimDisk)) {
        self.fault(kind, [host]);
        act(&self.world.disks[&host.name]);
    }

    fn damage_disks(&mut self) {
        for host in std::mem::take(&mut self.to_damage) {
            if self.world.disks[&host.name].damage() {
                self.fault(Kind::DiskDamaged, [&host]);
            } else {
                self.to_damage.insert(host);
            }
        }
    }

    /// All links are whole, all disks and object stores work, all processes run.
    fn calm(&mut self) {
        self.world.record.line(format_args!("the weather is calm"));
        let links: Vec<_> = self.touched.iter().cloned().collect();
        links.iter().for_each(|link| self.mend_link(link));
        self.world.disks.values().for_each(|disk| disk.mend());
        self.world.objects.values().for_each(|objects| objects.mend());
        self.to_damage.clear();
        std::mem::take(&mut self.decommissioned).into_iter().for_each(|host| {
            self.order(Order::Recommission(host));
        });
        self.topology.servers().iter().for_each(|host| self.start(host));
    }
}
