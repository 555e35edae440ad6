//! Many runs on all cores, and what they add up to.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Mutex, Once, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use penstock_common::lifecycle::panic_message;
use penstock_protocol::event::JobState;

use crate::{
    engine::SCRIPTED_PANIC,
    exercise::Feature,
    faults::Kind,
    run::{self, Report},
};

/// Plans and futures of a whole cluster are polled on one stack.
const STACK_BYTES: usize = 16 << 20;

/// What all runs have in common.
#[derive(Debug, Default)]
pub struct Summary {
    pub runs: u64,
    pub faults: BTreeMap<Kind, u64>,
    pub exercised: BTreeMap<Feature, u64>,
    pub jobs: BTreeMap<JobState, u64>,
    pub simulated: Duration,
    /// Seeds that broke something.
    pub failed: Vec<u64>,
}

impl Summary {
    pub fn add(&mut self, report: &Report) {
        self.runs += 1;
        report.faults().into_iter().for_each(|(kind, count)| *self.faults.entry(kind).or_default() += count);
        report.jobs().into_iter().for_each(|(state, count)| *self.jobs.entry(state).or_default() += count);
        for (feature, times) in &report.seen.exercised {
            *self.exercised.entry(*feature).or_default() += times;
        }
        self.simulated += report.simulated;
        if !report.violations.is_empty() {
            self.failed.push(report.seed);
        }
    }

    pub fn faults_total(&self) -> u64 {
        self.faults.values().sum()
    }

    /// Faults and features that no run met.
    pub fn never_met(&self) -> Vec<String> {
        let faults = Kind::ALL.into_iter().filter(|kind| !self.faults.contains_key(kind));
        let features = Feature::ALL.into_iter().filter(|feature| !self.exercised.contains_key(feature));
        faults.map(|kind| kind.to_string()).chain(features.map(|feature| feature.to_string())).collect()
    }
}

/// Runs seeds side by side, one thread each; `each` sees every report as soon as it is there.
pub fn run_all(seeds: Range<u64>, keep_lines: bool, each: impl Fn(&Report) + Sync) -> Summary {
    prepare_process();
    let next = AtomicU64::new(seeds.start);
    let summary = Mutex::new(Summary::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let report = run::seed(seed, keep_lines);
            let mut summary = summary.lock().unwrap_or_else(PoisonError::into_inner);
            summary.add(&report);
            each(&report);
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..cores {
            let builder = thread::Builder::new().stack_size(STACK_BYTES);
            builder.spawn_scoped(scope, work).expect("a thread starts");
        }
    });
    let mut summary = summary.into_inner().unwrap_or_else(PoisonError::into_inner);
    summary.failed.sort_unstable();
    summary
}

/// Scripted panics belong to the script; and what roles measure would only pile up.
pub fn prepare_process() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !panic_message(panic.payload()).contains(SCRIPTED_PANIC) {
                default(panic);
            }
        }));
        // Somebody else measures already: fine.
        let _ = metrics::set_global_recorder(metrics::NoopRecorder);
    });
}
