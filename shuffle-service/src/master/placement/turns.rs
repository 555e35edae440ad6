//! Whose turn it is, within a request and from one request to the next.

use std::collections::{BTreeMap, BTreeSet};

use penstock_protocol::ids::WorkerId;

use super::{Candidate, Copies};

/// A worker of weight 1 waits for so much between two turns.
const STRIDE: f64 = 1e9;

/// How far each worker is; outlives requests.
#[derive(Debug, Default)]
pub(in crate::master) struct Turns(BTreeMap<WorkerId, Turn>);

#[derive(Debug, Clone, Copy, Default)]
struct Turn {
    /// The lowest is next.
    pass: u64,
    /// The lower of two takes the primary: it receives and sends, the other one only receives.
    led: u64,
}

impl Turns {
    pub fn retain(&mut self, known: impl Fn(&WorkerId) -> bool) {
        self.0.retain(|worker, _| known(worker));
    }
}

/// Hands out turns for one request.
pub(super) struct Picker {
    /// Those who may fail together share one; each holds (pass, position).
    domains: Vec<BTreeSet<(u64, usize)>>,
    /// The lowest pass of each domain, and the domain.
    heads: BTreeSet<(u64, usize)>,
    /// By position; 0 for who was not chosen.
    strides: Vec<u64>,
    led: Vec<u64>,
}

impl Picker {
    pub fn new(candidates: &[Candidate], chosen: &[usize], weights: &[f64], turns: &Turns) -> Self {
        let mut strides = vec![0; candidates.len()];
        for (index, weight) in chosen.iter().zip(weights) {
            strides[*index] = ((STRIDE / weight) as u64).max(1);
        }
        let known = |index: &usize| turns.0.get(&candidates[*index].worker).copied();
        let least = |figure: fn(Turn) -> u64| chosen.iter().filter_map(known).map(figure).min().unwrap_or(0);
        let base = Turn { pass: least(|turn| turn.pass), led: least(|turn| turn.led) };
        let domain_of = domains(candidates, chosen);
        let mut domains = vec![BTreeSet::new(); chosen.len()];
        let mut led = vec![0; candidates.len()];
        for (index, domain) in chosen.iter().zip(domain_of) {
            // A debt from a time of fewer workers is forgiven: that it is not this worker's turn is remembered, not by how
            // many turns.
            let (turn, debt_max) = (known(index).unwrap_or(base), strides[*index] - 1);
            led[*index] = turn.led.min(base.led + debt_max);
            domains[domain].insert((turn.pass.min(base.pass + debt_max), *index));
        }
        domains.retain(|domain| !domain.is_empty());
        let heads = domains.iter().enumerate();
        let heads = heads.filter_map(|(domain, members)| Some((members.first()?.0, domain))).collect();
        Self { domains, heads, strides, led }
    }

    /// A worker, and another one of another domain.
    pub fn take(&mut self, with_replica: bool) -> Copies {
        let (first, domain) = self.next(None);
        if !with_replica {
            return Copies { primary: first, replica: None };
        }
        let (second, _) = self.next(Some(domain));
        let swap = self.led[second] < self.led[first];
        let (primary, replica) = if swap { (second, first) } else { (first, second) };
        self.led[primary] += self.strides[primary];
        Copies { primary, replica: Some(replica) }
    }

    /// The lowest pass outside of `avoided`, and its domain.
    fn next(&mut self, avoided: Option<usize>) -> (usize, usize) {
        let head = self.heads.iter().find(|(_, domain)| Some(*domain) != avoided).copied();
        let (pass, domain) =
            head.expect("as many domains as copies, since each chosen worker is one at least");
        let (_, index) = self.domains[domain].pop_first().expect("a head stands for a member");
        self.domains[domain].insert((pass + self.strides[index], index));
        self.heads.remove(&(pass, domain));
        let head = self.domains[domain].first().expect("one was just put back").0;
        self.heads.insert((head, domain));
        (index, domain)
    }

    pub fn give_back(self, candidates: &[Candidate], turns: &mut Turns) {
        for (pass, index) in self.domains.iter().flatten().copied() {
            let turn = Turn { pass, led: self.led[index] };
            turns.0.insert(candidates[index].worker.clone(), turn);
        }
    }
}

/// For each chosen worker the number of its domain: zones if there are several, else racks, else hosts, else workers.
fn domains(candidates: &[Candidate], chosen: &[usize]) -> Vec<usize> {
    let path = |index: &usize| {
        let site = &candidates[*index].site;
        [&site.zone, &site.rack, &site.host]
    };
    for depth in 1..=3 {
        let keys: BTreeSet<_> = chosen.iter().map(|index| path(index)[..depth].to_vec()).collect();
        if keys.len() > 1 {
            let keys: BTreeMap<_, _> = keys.into_iter().zip(0..).collect();
            return chosen.iter().map(|index| keys[&path(index)[..depth]]).collect();
        }
    }
    (0..chosen.len()).collect()
}
