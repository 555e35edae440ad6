#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// `a zone=z rack=r host=h tags=x,y weight=50 rank=paused free=10 memory=0.5 flush=100 fetch=100 open=7`, in lines.
fn candidates(text: &str) -> Vec<Candidate> {
    text.split(';').map(|line| candidate(line.trim())).collect()
}

fn candidate(line: &str) -> Candidate {
    let mut words = line.split_whitespace();
    let mut candidate = Candidate {
        worker: words.next().unwrap().into(),
        rank: Rank::Fit,
        site: Site::default(),
        tags: BTreeSet::new(),
        weight: 100,
        load: Load { free_bytes: 100, ..Load::default() },
    };
    for word in words {
        let (key, value) = word.split_once('=').unwrap();
        let number = || value.parse().unwrap();
        match key {
            "zone" => candidate.site.zone = value.into(),
            "rack" => candidate.site.rack = value.into(),
            "host" => candidate.site.host = value.into(),
            "tags" => candidate.tags = value.split(',').map(str::to_owned).collect(),
            "weight" => candidate.weight = value.parse().unwrap(),
            "rank" => candidate.rank = rank(value),
            "free" => candidate.load.free_bytes = number(),
            "memory" => candidate.load.memory_used = value.parse().unwrap(),
            "flush" => candidate.load.flush_us_per_mib = number(),
            "fetch" => candidate.load.fetch_us_per_mib = number(),
            "open" => candidate.load.open_locations = number(),
            other => panic!("{other}"),
        }
    }
    candidate
}

fn rank(name: &str) -> Rank {
    match name {
        "fit" => Rank::Fit,
        "paused" => Rank::Paused,
        "suspect" => Rank::Suspect,
        "leaving" => Rank::Leaving,
        other => panic!("{other}"),
    }
}

fn ask(partitions: usize, copies: usize) -> Ask<'static> {
    Ask { partitions, copies, copies_min: copies, tags: &[], refused: &[] }
}

/// `a b/c`: the worker of each partition, with that of its replica.
fn shown(candidates: &[Candidate], placed: &[Copies]) -> String {
    let name = |index: usize| candidates[index].worker.as_str();
    let copies = placed.iter().map(|copies| match copies.replica {
        Some(replica) => format!("{}/{}", name(copies.primary), name(replica)),
        None => name(copies.primary).to_owned(),
    });
    copies.collect::<Vec<_>>().join(" ")
}

fn placed(workers: &str, ask: Ask<'_>) -> Result<String, TooFew> {
    let candidates = candidates(workers);
    let placed = place(Policy::RoundRobin, &candidates, ask, &mut Turns::default())?;
    Ok(shown(&candidates, &placed))
}

/// How many of `partitions` each worker gets.
fn shares(policy: Policy, workers: &str, partitions: usize) -> Vec<usize> {
    let candidates = candidates(workers);
    let placed = place(policy, &candidates, ask(partitions, 1), &mut Turns::default()).unwrap();
    (0..candidates.len())
        .map(|index| placed.iter().filter(|copies| copies.primary == index).count())
        .collect()
}

#[test]
fn partitions_are_spread_evenly_and_the_next_shuffle_goes_on_where_the_last_one_ended() {
    let (candidates, mut turns) = (candidates("a; b; c"), Turns::default());
    let mut next = |partitions| {
        let placed = place(Policy::RoundRobin, &candidates, ask(partitions, 1), &mut turns).unwrap();
        shown(&candidates, &placed)
    };
    assert_eq!(next(4), "a b c a");
    assert_eq!(next(2), "b c");
    assert_eq!(next(1), "a");
}

#[test]
fn shares_stay_even_after_a_request_that_one_worker_had_to_take_alone() {
    let (candidates, mut turns) = (candidates("a; b"), Turns::default());
    let refused = ["a".to_owned()];
    place(Policy::RoundRobin, &candidates, ask(7, 1), &mut turns).unwrap();
    place(Policy::RoundRobin, &candidates, Ask { refused: &refused, ..ask(7, 1) }, &mut turns).unwrap();
    let placed = place(Policy::RoundRobin, &candidates, ask(6, 1), &mut turns).unwrap();
    assert_eq!(placed.iter().filter(|copies| copies.primary == 0).count(), 3);
}

#[test]
fn shares_follow_the_weights() {
    assert_eq!(shares(Policy::RoundRobin, "a weight=100; b weight=300", 400), [100, 300]);
}

#[test]
fn by_load_the_worse_worker_gets_less_and_never_nothing() {
    for worse in [
        "free=10",
        "memory=0.9",
        "flush=2000",
        "fetch=2000",
        "open=5000",
        "free=0",
        "memory=1.0 open=9999999",
    ] {
        let workers = format!("a flush=100 fetch=100; b flush=100 fetch=100 {worse}");
        let shares = shares(Policy::Load, &workers, 3000);
        assert!(shares[1] > 0 && shares[1] * 4 < shares[0], "{worse}: {shares:?}");
    }
    assert_eq!(shares(Policy::Load, "a; b flush=2000", 10), [5, 5], "who was not measured counts as fast");
    assert_eq!(shares(Policy::RoundRobin, "a; b free=0 memory=1.0", 10), [5, 5]);
}

#[test]
fn copies_go_to_different_zones_else_racks_else_hosts_else_workers() {
    let two = ask(3, 2);
    let check = |workers: &str, expected: &str| assert_eq!(placed(workers, two).unwrap(), expected);
    check("a zone=1; b zone=1; c zone=2", "a/c b/c c/a");
    check("a zone=1 rack=1; b zone=1 rack=1; c zone=1 rack=2", "a/c b/c c/a");
    check("a host=x; b host=x; c host=y", "a/c b/c c/a");
    check("a host=x; b host=x; c host=x", "a/b c/a b/c");
}

#[test]
fn workers_take_turns_at_being_the_primary() {
    assert_eq!(placed("a; b", ask(4, 2)).unwrap(), "a/b b/a a/b b/a");
    let (candidates, mut turns) = (candidates("a; b; c; d"), Turns::default());
    let mut primaries = [0; 4];
    for _ in 0..8 {
        for copies in place(Policy::RoundRobin, &candidates, ask(1, 2), &mut turns).unwrap() {
            primaries[copies.primary] += 1;
        }
    }
    assert_eq!(primaries, [2; 4]);
}

#[test]
fn a_copy_that_has_no_place_is_an_error_unless_one_is_enough() {
    assert!(placed("a", ask(1, 2)).is_err());
    assert_eq!(placed("a", Ask { copies_min: 1, ..ask(2, 2) }).unwrap(), "a a");
}

#[test]
fn only_workers_with_all_tags_are_taken() {
    let tags = ["nvme".to_owned(), "gpu".to_owned()];
    let tagged = Ask { tags: &tags, ..ask(2, 1) };
    assert_eq!(placed("a; b tags=nvme; c tags=gpu,nvme", tagged).unwrap(), "c c");
    let error = placed("a; b tags=nvme", tagged).unwrap_err().to_string();
    assert!(error.contains("0 of the 1 needed have the tags asked for, of 2"), "{error}");
}

#[test]
fn a_worker_that_just_refused_is_not_asked_again() {
    let refused = ["a".to_owned()];
    assert_eq!(placed("a; b", Ask { refused: &refused, ..ask(2, 1) }).unwrap(), "b b");
    assert!(placed("a", Ask { refused: &refused, ..ask(2, 1) }).is_err());
}

#[test]
fn worse_ranks_come_only_when_better_ones_are_too_few_for_the_copies() {
    let workers = "a rank=leaving; b rank=suspect; c rank=paused; d";
    assert_eq!(placed(workers, ask(2, 1)).unwrap(), "d d");
    assert_eq!(placed(workers, ask(2, 2)).unwrap(), "c/d d/c");
    assert_eq!(placed("a rank=leaving", ask(1, 1)).unwrap(), "a");
}

#[test]
fn a_worker_that_was_alone_in_its_zone_is_not_avoided_for_ever_after() {
    let mut turns = Turns::default();
    let before = candidates("a zone=1; b zone=1; c zone=1; z zone=2");
    place(Policy::RoundRobin, &before, ask(900, 2), &mut turns).unwrap();
    let after = candidates("a zone=1; b zone=1; c zone=1; y zone=2; z zone=2");
    let placed = place(Policy::RoundRobin, &after, ask(100, 1), &mut turns).unwrap();
    let of_z = placed.iter().filter(|copies| copies.primary == 4).count();
    assert!((19..=21).contains(&of_z), "{of_z}");
}

fn any_candidate() -> impl Strategy<Value = Candidate> {
    let site = ("[a-c]", "[a-b]", "[a-b]").prop_map(|(zone, rack, host)| Site { zone, rack, host });
    let load = (0..1000u64, 0.0..1.0f64, 0..1000u64, 0..1000u64, 0..100_000u64).prop_map(
        |(free_bytes, memory_used, flush_us_per_mib, fetch_us_per_mib, open_locations)| Load {
            free_bytes,
            memory_used,
            flush_us_per_mib,
            fetch_us_per_mib,
            open_locations,
        },
    );
    let rank = prop::sample::select(vec![Rank::Fit, Rank::Paused, Rank::Suspect, Rank::Leaving]);
    let tags = prop::collection::btree_set("[t-u]", 0..2);
    (site, load, rank, tags, 1..500u32).prop_map(|(site, load, rank, tags, weight)| Candidate {
        worker: "x".into(),
        rank,
        site,
        tags,
        weight,
        load,
    })
}

fn any_candidates() -> impl Strategy<Value = Vec<Candidate>> {
    prop::collection::vec(any_candidate(), 0..12).prop_map(|mut candidates| {
        for (index, candidate) in candidates.iter_mut().enumerate() {
            candidate.worker = format!("w{index:02}").as_str().into();
        }
        candidates
    })
}

proptest! {
    /// Whoever is there and whatever was placed before.
    #[test]
    fn every_partition_gets_its_copies_on_different_workers_that_may_take_them(
        rounds in prop::collection::vec((any_candidates(), 0..40usize, 1..3usize, 0..2usize), 1..4),
        by_load: bool,
    ) {
        let policy = if by_load { Policy::Load } else { Policy::RoundRobin };
        let mut turns = Turns::default();
        let wanted_tags = ["t".to_owned()];
        for (candidates, partitions, copies, tagged) in rounds {
            let ask = Ask { tags: &wanted_tags[..tagged], ..ask(partitions, copies) };
            let may: Vec<_> =
                candidates.iter().filter(|c| tagged == 0 || c.tags.contains("t")).collect();
            let Ok(placed) = place(policy, &candidates, ask, &mut turns) else {
                prop_assert!(may.len() < copies);
                continue;
            };
            prop_assert_eq!(placed.len(), partitions);
            let zones: BTreeMap<_, usize> = may.iter().map(|c| (&c.site.zone, 1)).collect();
            let all_fit = may.iter().all(|c| c.rank == Rank::Fit);
            for Copies { primary, replica } in placed {
                let first = &candidates[primary];
                prop_assert!(may.iter().any(|c| c.worker == first.worker));
                prop_assert_eq!(replica.is_some(), copies == 2);
                let Some(second) = replica.map(|replica| &candidates[replica]) else { continue };
                prop_assert_ne!(&first.worker, &second.worker);
                prop_assert!(may.iter().any(|c| c.worker == second.worker));
                if zones.len() > 1 && all_fit {
                    prop_assert_ne!(&first.site.zone, &second.site.zone);
                }
            }
        }
    }

    /// One copy: nobody is more than two turns away from the share that its weight gives.
    #[test]
    fn shares_are_those_of_the_weights(weights in prop::collection::vec(1..500u32, 1..10), partitions in 1..500usize) {
        let workers: Vec<_> =
            weights.iter().enumerate().map(|(index, weight)| format!("w{index} weight={weight}")).collect();
        let shares = shares(Policy::RoundRobin, &workers.join(";"), partitions);
        let total: u32 = weights.iter().sum();
        for (share, weight) in shares.iter().zip(&weights) {
            let fair = partitions as f64 * f64::from(*weight) / f64::from(total);
            prop_assert!((*share as f64 - fair).abs() <= weights.len() as f64, "{shares:?} of {weights:?}");
        }
    }
}
