//! What the random seeds are made of.

use penstock_protocol::event::JobState;
use penstock_sim::summary::run_all;

/// Seeds that have found something: results of a statement that expired before its job ended; objects that stayed in the store
/// because their deletion failed once; an epoch that was asked of a lost worker alone, since the other copy was empty; files and
/// an object of a worker whose disk was away when it started; a stage that ran again since the connection of a commit broke
/// before the call was sent.
const FOUND: [u64; 7] = [102, 126, 92, 315, 1210, 2214, 43];

#[test]
fn seeds_that_found_something_find_it_no_more() {
    for seed in FOUND {
        let summary = run_all(seed..seed + 1, false, |report| eprintln!("{:?}", report.violations));
        assert_eq!(summary.failed, [0u64; 0]);
    }
}

// That every kind of fault is met takes more seeds: `make test-sim` demands it of 200.
#[test]
fn fifty_seeds_meet_a_thousand_faults_and_every_end_and_break_nothing() {
    let summary = run_all(0..50, false, |report| {
        for violation in &report.violations {
            eprintln!("seed {} broke {violation}", report.seed);
        }
    });
    assert_eq!(summary.failed, [0u64; 0], "run `make sim ARGS=\"--seed N --log\"` with one of these");
    assert!(summary.faults_total() >= 1_000, "{:?}", summary.faults);
    for state in [JobState::Succeeded, JobState::Failed, JobState::Cancelled] {
        assert!(summary.jobs.get(&state).is_some_and(|jobs| *jobs >= 5), "{:?}", summary.jobs);
    }
    let half = summary.jobs.values().sum::<u64>() / 2;
    assert!(summary.jobs[&JobState::Succeeded] > half, "{:?}", summary.jobs);
}
