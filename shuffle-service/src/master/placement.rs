//! Chooses workers for partitions and their copies.
//!
//! In: who may be chosen, what each reported, what is asked for. Out: positions of workers, one or two for each
//! partition. Callers rely on equal input giving equal output. Not here: who lives, time, the wire.
//!
//! Workers take turns by *stride*: each has a pass, the lowest pass is next and then grows by the inverse of the worker's
//! weight. So shares follow weights, small shuffles go on where the last one ended, and a partition costs a logarithm of
//! the number of workers.

mod turns;
mod weight;

use std::{collections::BTreeSet, fmt};

use penstock_protocol::ids::WorkerId;
use serde::{Deserialize, Serialize};

use self::turns::Picker;
pub(super) use self::turns::Turns;

/// What decides a worker's share of new partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Configured weights alone.
    #[default]
    RoundRobin,
    /// Weights, and what workers report: free space, memory, flush and fetch time, open locations.
    Load,
}

/// A worker that may be chosen.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub worker: WorkerId,
    pub rank: Rank,
    pub site: Site,
    pub tags: BTreeSet<String>,
    /// Its share against that of others; at least 1.
    pub weight: u32,
    pub load: Load,
}

/// The best come first; a worse rank is only taken when better ones are too few for the copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Fit,
    /// Pushes to it wait for memory.
    Paused,
    /// It failed several times lately.
    Suspect,
    /// It said that it will be gone soon.
    Leaving,
}

/// Where a worker stands: what it shares with others may fail together.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Site {
    pub zone: String,
    pub rack: String,
    pub host: String,
}

/// What a worker reported of itself, with what was placed on it since.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Load {
    pub free_bytes: u64,
    /// Used part of the memory, 0 to 1.
    pub memory_used: f64,
    /// 0 while unknown.
    pub flush_us_per_mib: u64,
    /// 0 while unknown.
    pub fetch_us_per_mib: u64,
    pub open_locations: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Ask<'a> {
    pub partitions: usize,
    pub copies: usize,
    pub copies_min: usize,
    pub tags: &'a [String],
    /// Workers that just failed what is to be placed.
    pub refused: &'a [String],
}

/// Positions in the slice of candidates; never the same one twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Copies {
    pub primary: usize,
    pub replica: Option<usize>,
}

/// Why nothing can be placed: how many workers there are at each sieve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TooFew {
    copies: usize,
    taking: usize,
    tagged: usize,
    usable: usize,
}

impl fmt::Display for TooFew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { copies, taking, tagged, usable } = self;
        if taking < copies {
            write!(
                f,
                "{taking} of the {copies} needed take new data: start more, or see `penstock shuffle workers`"
            )
        } else if tagged < copies {
            write!(
                f,
                "{tagged} of the {copies} needed have the tags asked for, of {taking} that take new data"
            )
        } else {
            write!(f, "{usable} of the {copies} needed are left, since {} just refused", tagged - usable)
        }
    }
}

impl std::error::Error for TooFew {}

/// Chooses for each partition in order.
pub(super) fn place(
    policy: Policy,
    candidates: &[Candidate],
    ask: Ask<'_>,
    turns: &mut Turns,
) -> Result<Vec<Copies>, TooFew> {
    let has_tags = |candidate: &Candidate| ask.tags.iter().all(|tag| candidate.tags.contains(tag));
    let refused = |candidate: &Candidate| ask.refused.iter().any(|name| name == candidate.worker.as_str());
    let tagged: Vec<usize> = (0..candidates.len()).filter(|index| has_tags(&candidates[*index])).collect();
    let usable: Vec<usize> = tagged.iter().copied().filter(|index| !refused(&candidates[*index])).collect();
    if usable.len() < ask.copies_min {
        let (taking, tagged, usable) = (candidates.len(), tagged.len(), usable.len());
        return Err(TooFew { copies: ask.copies_min, taking, tagged, usable });
    }
    let chosen = best_ranks(candidates, usable, ask.copies);
    let weights = weight::weights(policy, chosen.iter().map(|index| &candidates[*index]));
    let mut picker = Picker::new(candidates, &chosen, &weights, turns);
    let with_replica = ask.copies > 1 && chosen.len() > 1;
    let placed = (0..ask.partitions).map(|_| picker.take(with_replica)).collect();
    picker.give_back(candidates, turns);
    Ok(placed)
}

/// All of the best rank, and of the following ranks while there are fewer than `copies`.
fn best_ranks(candidates: &[Candidate], mut usable: Vec<usize>, copies: usize) -> Vec<usize> {
    usable.sort_by_key(|index| candidates[*index].rank);
    let worst = usable.get(copies.min(usable.len()).saturating_sub(1)).map(|index| candidates[*index].rank);
    usable.retain(|index| Some(candidates[*index].rank) <= worst);
    // Back into the order of names, which decides between equals.
    usable.sort_unstable();
    usable
}

#[cfg(test)]
mod tests;
