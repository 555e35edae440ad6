//! One seed is one run.

use std::process::Command;

use penstock_sim::{run, summary::prepare_process};

/// With message faults, crashes and holds.
const SEEDS: [u64; 3] = [1, 2, 3];

#[test]
fn one_seed_gives_the_same_log_twice() {
    prepare_process();
    for seed in SEEDS {
        let (first, second) = (run::seed(seed, true), run::seed(seed, true));
        let differs = first.lines.iter().zip(&second.lines).find(|(first, second)| first != second);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!((first.lines.len(), &first.digest), (second.lines.len(), &second.digest), "seed {seed}");
        assert!(first.lines.len() > 50, "seed {seed} has a log");
    }
}

#[test]
fn another_process_gives_the_same_digest() {
    prepare_process();
    let expected = format!("digest {}", run::seed(SEEDS[0], false).digest);
    let seed = SEEDS[0].to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_penstock-sim")).args(["--seed", &seed]).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains(&expected), "{expected} is not in {printed}");
}

#[test]
fn another_seed_is_another_run() {
    prepare_process();
    assert_ne!(run::seed(SEEDS[0], false).digest, run::seed(SEEDS[1], false).digest);
}
