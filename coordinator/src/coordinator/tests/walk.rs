//! Random walks: whatever happens in whatever order, the promises hold.
//!
//! Executors join, vanish, come back and drain; reports come late, twice and from former lives; answers of the shell
//! come in any order, twice, or as failures; shuffles are lost; clients submit and cancel. After each step the effects
//! are checked; at the end the weather clears, and every job that was accepted must end with every slot and every shuffle
//! given back.
//! `PENSTOCK_SEED=7 cargo test walk` replays one walk.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use penstock_protocol::{
    ids::{AttemptId, JobId, ShuffleId, StageId, StatementIndex, TaskId, TaskIndex},
    task::{AttemptOutcome, Failure, FailureClass},
};

use super::{language::World, lineage::Lineage};
use crate::{
    coordinator::Options,
    effect::{Dispatch, Effect},
    event::Event,
    job::{AttemptTarget, Host, JobStatus},
    journal::Fact,
};

const WALKS: u64 = 200;
const STEPS: usize = 400;

// Invariants 9, 11, 13 and 24.
#[test]
fn promises_hold_on_random_walks() {
    let replay = std::env::var("PENSTOCK_SEED").ok().map(|seed| seed.parse().unwrap());
    let seeds = replay.map_or(0..WALKS, |seed| seed..seed + 1);
    let (mut outcomes, mut reruns) = (BTreeMap::new(), 0);
    for seed in seeds {
        let _named = NameSeed(seed);
        let mut walk = Walk::new(seed);
        (0..STEPS).for_each(|_| walk.wander());
        walk.clear_up();
        reruns += walk.checks.reruns;
        for name in walk.world.jobs.values() {
            let state = walk.checks.ended.get(name).copied().map(|state| format!("{state:?}"));
            *outcomes.entry(state.unwrap_or_else(|| "not accepted".to_owned())).or_insert(0) += 1;
        }
    }
    if replay.is_none() {
        // A walk that never gets anywhere would prove nothing.
        assert!(
            outcomes["Succeeded"] > WALKS && outcomes["Failed"] > WALKS && outcomes["Cancelled"] > WALKS,
            "{outcomes:?}"
        );
        assert!(reruns > 3 * WALKS, "{reruns} runs again");
    }
}

/// Says which walk failed.
struct NameSeed(u64);

impl Drop for NameSeed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the walk with seed {} failed; replay it with PENSTOCK_SEED={0}", self.0);
        }
    }
}

/// SplitMix64: small, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len() as u64) as usize].clone()
    }
}

struct Walk {
    world: World,
    dice: Dice,
    /// Slots of the executors whose stream is open, by name.
    open: BTreeMap<String, u32>,
    submitted: u32,
    checks: Checks,
}

/// What has been seen, to hold against what comes.
#[derive(Default)]
struct Checks {
    /// Of the stages' current runs.
    winners: BTreeSet<(JobId, StageId, TaskIndex)>,
    lineage: Lineage,
    reruns: u64,
    ended: BTreeMap<JobId, penstock_protocol::event::JobState>,
    versions: BTreeMap<JobId, u64>,
    /// Attempts that their executor has not reported, by its life.
    holding: BTreeMap<Host, BTreeSet<AttemptId>>,
    /// Shuffles with room at the service that was not given back.
    reserved: BTreeSet<ShuffleId>,
    ever_reserved: BTreeSet<ShuffleId>,
    accepted: BTreeSet<JobId>,
    /// Publications and catalog changes that were ever asked for, and those whose outcome is not known yet.
    asked: BTreeSet<(JobId, StatementIndex, &'static str)>,
    unanswered: BTreeSet<(JobId, StatementIndex)>,
}

impl Walk {
    fn new(seed: u64) -> Self {
        let options = Options { user_jobs_max: 6, ..Options::default() };
        let mut world = World::new(options);
        world.holding = true;
        let dice = Dice(seed.wrapping_mul(0x2545_F491_4F6C_DD1D));
        Self { world, dice, open: BTreeMap::new(), submitted: 0, checks: Checks::default() }
    }

    fn wander(&mut self) {
        match self.dice.roll(40) {
            0 | 1 => self.submit(),
            2 => self.cancel(),
            3 | 4 => self.join(),
            5 => self.cut_off(),
            6 => self.come_back(),
            7 if self.dice.roll(4) == 0 => self.drain(),
            8..=10 => {
                let millis = 100 + self.dice.roll(1_500);
                self.world.pass(Duration::from_millis(millis), true);
            }
            11 if self.dice.roll(3) == 0 => self.world.pass(Duration::from_secs(11), false),
            12 => self.fault(),
            13..=22 => self.answer(),
            _ => self.report(),
        }
        self.check();
    }

    fn submit(&mut self) {
        self.submitted += 1;
        let plan = self.dice.pick(&[
            "x:3 > r:1",
            "x:2 > y:3 > big:2",
            "x:2 > table:2 | rows",
            "files:3",
            "set | catalog | r:2",
            "x:0 > r:1",
            "r:1 | x:2 > r:1",
            "x:2! > y:2 > z:2!(x,y) > r:2",
            "x:2 > y:2! > z:1(x) > files:3(y,z)",
            "x:1! > y:2!(x) > big:2(x,y)",
        ]);
        let options = self.dice.pick(&[
            "",
            "key k",
            "key l scope s",
            "key m scope s",
            "in narrow",
            "timeout 60s",
            "lease 30s",
        ]);
        let name = format!("j{}", self.submitted);
        let words: Vec<_> = options.split_whitespace().chain(["="]).chain(plan.split_whitespace()).collect();
        self.world.submit(&name, &words);
    }

    fn cancel(&mut self) {
        let names: Vec<_> = self.world.jobs.keys().cloned().collect();
        if !names.is_empty() {
            let grace = self.dice.pick(&[Duration::ZERO, Duration::from_secs(2)]);
            let name = self.dice.pick(&names);
            self.world.cancel(&name, grace);
        }
    }

    fn join(&mut self) {
        let name = self.dice.pick(&["e1", "e2", "e3", "e4"]);
        let slots = 1 + self.dice.roll(3) as u32;
        self.open.insert(name.to_owned(), slots);
        self.world.join(name, slots, Vec::new());
    }

    fn cut_off(&mut self) {
        let names: Vec<_> = self.open.keys().cloned().collect();
        if !names.is_empty() {
            let name = self.dice.pick(&names);
            self.open.remove(&name);
            self.world.cut_off(&name);
        }
    }

    /// With the same life, and most of what it ran.
    fn come_back(&mut self) {
        let gone: Vec<_> =
            self.world.hosts.keys().filter(|name| !self.open.contains_key(*name)).cloned().collect();
        if gone.is_empty() {
            return;
        }
        let name = self.dice.pick(&gone);
        let held = self.checks.holding.entry(self.world.hosts[&name].clone()).or_default();
        if self.dice.roll(3) == 0 {
            held.pop_first();
        }
        let (running, slots) = (held.iter().copied().collect(), 1 + self.dice.roll(3) as u32);
        self.open.insert(name.clone(), slots);
        self.world.come_back(&name, slots, running);
    }

    fn drain(&mut self) {
        let names: Vec<_> = self.open.keys().cloned().collect();
        if !names.is_empty() {
            let name = self.dice.pick(&names);
            self.world.say(&format!("{name} drains"));
        }
    }

    fn fault(&mut self) {
        let fault = self.dice.pick(&["plan", "reserve", "commit", "verdict", "publish", "catalog"]);
        self.world.faults.insert(fault.to_owned());
    }

    /// One of the answers that wait; sometimes it comes again later.
    fn answer(&mut self) {
        let waiting = self.world.answers.len() as u64;
        if waiting == 0 {
            return;
        }
        let position = self.dice.roll(waiting) as usize;
        let event = self.world.answers[position].clone();
        if let Event::ShuffleReserved { shuffle, outcome: Ok(_) } = &event
            && self.checks.ever_reserved.insert(*shuffle)
        {
            self.checks.reserved.insert(*shuffle);
        }
        if let Event::SinkPublished { job, statement, .. } | Event::CatalogApplied { job, statement, .. } =
            &event
        {
            self.checks.unanswered.remove(&(*job, *statement));
        }
        self.world.answer(position);
        if self.dice.roll(6) == 0 {
            self.world.answers.push_back(event);
        }
    }

    /// Any attempt there ever was, by the life that ran it; most often one that runs.
    fn report(&mut self) {
        let open: BTreeSet<_> = self.open.keys().map(|name| self.world.hosts[name].clone()).collect();
        let held = self.checks.holding.iter().filter(|(host, _)| open.contains(host));
        let running: Vec<_> = held.flat_map(|(_, attempts)| attempts).copied().collect();
        let ever: Vec<_> = self.world.attempts.keys().copied().collect();
        let from = if self.dice.roll(5) == 0 { ever } else { running };
        if from.is_empty() {
            return;
        }
        let attempt = self.dice.pick(&from);
        let outcome = self.outcome(attempt);
        let host = self.world.attempts[&attempt].clone();
        self.checks.holding.entry(host.clone()).or_default().remove(&attempt);
        self.world.report_from(host, attempt, outcome);
    }

    fn outcome(&mut self, attempt: AttemptId) -> AttemptOutcome {
        let failure = |class| Failure { class, message: "no".to_owned(), advice: None, lost_shuffle: None };
        let shuffles = &self.world.shuffles[&attempt];
        match self.dice.roll(40) {
            0..=3 => AttemptOutcome::Failed(failure(FailureClass::Infrastructure)),
            6..=8 if !shuffles.is_empty() => {
                let lost_shuffle = Some(self.dice.pick(shuffles));
                AttemptOutcome::Failed(Failure { lost_shuffle, ..failure(FailureClass::Infrastructure) })
            }
            4 => AttemptOutcome::Failed(failure(FailureClass::UserData)),
            5 => AttemptOutcome::Cancelled,
            _ => AttemptOutcome::Succeeded(self.world.output(attempt.task)),
        }
    }

    /// The weather clears: no more faults, every answer comes, every attempt succeeds.
    fn clear_up(&mut self) {
        self.world.faults.clear();
        for name in ["e1", "e2"] {
            self.open.insert(name.to_owned(), 3);
            self.world.join(name, 3, Vec::new());
            self.check();
        }
        for _ in 0..600 {
            while !self.world.answers.is_empty() {
                self.answer();
                self.check();
            }
            for attempt in self.running() {
                let outcome = AttemptOutcome::Succeeded(self.world.output(attempt.task));
                let host = self.world.attempts[&attempt].clone();
                self.checks.holding.entry(host.clone()).or_default().remove(&attempt);
                self.world.report_from(host, attempt, outcome);
                self.check();
            }
            self.world.pass(Duration::from_millis(1_000), true);
            self.check();
            if self.checks.accepted.iter().all(|job| self.checks.ended.contains_key(job))
                && self.running().is_empty()
            {
                break;
            }
        }
        self.check_end();
    }

    fn running(&self) -> Vec<AttemptId> {
        let open: BTreeSet<_> = self.open.keys().map(|name| &self.world.hosts[name]).collect();
        let held = self.checks.holding.iter().filter(|(host, _)| open.contains(host));
        held.flat_map(|(_, attempts)| attempts).copied().collect()
    }

    fn check_end(&mut self) {
        for job in &self.checks.accepted {
            assert!(
                self.checks.ended.contains_key(job),
                "{} was accepted and ends",
                self.world.job_name(*job)
            );
        }
        for executor in self.world.core.executors() {
            assert_eq!(executor.slots_used, 0, "{} has all of its slots back", executor.executor);
        }
        self.world.pass(Duration::from_secs(4_000), true);
        self.check();
        assert!(self.world.core.remembered_jobs().is_empty(), "every job is forgotten in the end");
        assert_eq!(self.checks.reserved, BTreeSet::new(), "every shuffle is given back");
    }

    fn check(&mut self) {
        for effect in std::mem::take(&mut self.world.effects) {
            self.checks.see(&effect, &self.open, &self.world);
        }
    }
}

impl Checks {
    fn see(&mut self, effect: &Effect, open: &BTreeMap<String, u32>, world: &World) {
        match effect {
            Effect::InsertJob(record) => {
                assert!(self.accepted.insert(record.job()), "a job is accepted once")
            }
            Effect::Journal { job, record } => self.see_fact(*job, &record.fact),
            Effect::PublishStatus(status) => self.see_status(status),
            Effect::Dispatch(dispatch) => {
                let attempt = dispatch.attempt;
                self.lineage.dispatched(dispatch);
                self.must_be_active(attempt.task.job, "dispatches");
                let won = (attempt.task.job, attempt.task.stage, attempt.task.index);
                assert!(!self.winners.contains(&won), "{attempt} is not needed");
                self.must_have_room(dispatch);
                let host = Host { executor: dispatch.executor.clone(), incarnation: dispatch.incarnation };
                let name = dispatch.executor.as_str();
                assert_eq!(world.hosts.get(name), Some(&host), "{attempt} goes to a life that is");
                let slots =
                    *open.get(name).unwrap_or_else(|| panic!("{attempt} goes to {name}, which is cut off"));
                let held = self.holding.entry(host).or_default();
                held.insert(attempt);
                assert!(held.len() <= slots as usize, "{name} has {slots} slots and {} attempts", held.len());
            }
            Effect::PrepareScript { job, .. } => self.must_be_active(*job, "prepares"),
            Effect::PlanStatement { job, .. } => self.must_be_active(*job, "plans"),
            Effect::ReserveShuffle { shuffle, .. } => self.must_be_active(shuffle.job, "reserves"),
            Effect::CommitShuffle { target, .. } => self.must_be_active(target.shuffle.job, "commits"),
            Effect::PublishSink { job, statement, .. } => self.publishes(*job, *statement, "files"),
            Effect::ApplyCatalog { job, statement } => self.publishes(*job, *statement, "the catalog"),
            Effect::ReportTaken { attempt, .. } => self.takes(*attempt, world),
            Effect::ReleaseShuffles { shuffles, .. } => {
                self.reserved.retain(|shuffle| !shuffles.contains(shuffle));
            }
            Effect::ReleaseJob { job } => self.reserved.retain(|shuffle| shuffle.job != *job),
            _ => {}
        }
    }

    /// What an attempt reads and writes must not have been given back.
    fn must_have_room(&self, dispatch: &Dispatch) {
        let target = match &dispatch.target {
            AttemptTarget::Shuffle(target) | AttemptTarget::Result(target) => Some(target.shuffle),
            AttemptTarget::Files => None,
        };
        let inputs = dispatch.inputs.iter().map(|input| input.shuffle);
        for shuffle in inputs.chain(target) {
            assert!(self.reserved.contains(&shuffle), "{shuffle} is in use by {}", dispatch.attempt);
        }
    }

    fn see_fact(&mut self, job: JobId, fact: &Fact) {
        self.lineage.see(job, fact);
        match fact {
            Fact::RunAgain { stage, .. } => {
                self.reruns += 1;
                self.winners.retain(|(of, won, _)| (of, won) != (&job, stage));
                self.must_be_active(job, "runs a stage again");
            }
            Fact::Won { stage, task, .. } => {
                assert!(self.winners.insert((job, *stage, *task)), "a task is won once in each run");
                self.must_be_active(job, "wins");
            }
            Fact::Finished { state, failure } => {
                let class = failure.as_ref().map(|failure| failure.failure.class);
                assert_ne!(class, Some(FailureClass::Internal), "nothing here is Penstock's fault");
                let unknown = self.unanswered.iter().any(|(of, _)| *of == job);
                assert!(!unknown, "a job ends after what it publishes is published");
                assert!(self.ended.insert(job, *state).is_none(), "a job ends once");
            }
            _ => self.must_be_active(job, "journals"),
        }
    }

    fn publishes(&mut self, job: JobId, statement: StatementIndex, what: &'static str) {
        self.must_be_active(job, "publishes");
        assert!(self.asked.insert((job, statement, what)), "{what} of a statement are published once");
        self.unanswered.insert((job, statement));
    }

    fn see_status(&mut self, status: &JobStatus) {
        let version = self.versions.insert(status.job, status.version).unwrap_or(0);
        assert!(status.version > version, "versions grow");
        if let Some(state) = self.ended.get(&status.job) {
            assert_eq!(status.state, *state, "an end is final");
        }
    }

    /// Who is told that a report was taken forgets it: a success that nobody journaled would be lost.
    fn takes(&self, attempt: AttemptId, world: &World) {
        let TaskId { job, stage, index } = attempt.task;
        let tasks = world.core.tasks(job, stage).unwrap_or_default();
        let winner = tasks.get(index.0 as usize).and_then(|task| task.winner);
        if winner == Some(attempt.number) {
            assert!(self.winners.contains(&(job, stage, index)), "{attempt} is journaled before it is taken");
        }
    }

    fn must_be_active(&self, job: JobId, what: &str) {
        assert!(!self.ended.contains_key(&job), "a job that has ended {what}");
    }
}
