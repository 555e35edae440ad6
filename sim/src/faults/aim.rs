//! Whom trouble may come to: anybody, or only those that have a second one.
//!
//! In: the seed and the cluster. Out: hosts for each kind of fault. A run whose trouble has an aim must succeed: a worker
//! may go while the other copies stay, a master while the other one answers, executors always.

use super::Kind;
use crate::{
    random::Dice,
    topology::{Host, Role, Topology},
};

#[derive(Debug)]
pub struct Aim<'a> {
    topology: &'a Topology,
    /// None: anybody.
    victims: Option<Vec<Host>>,
    /// The one worker of a run that is decommissioned: the others have to take what it does not.
    decommissioned: Host,
}

/// Who has something to say to whom.
const TALKS: [(Role, Role); 7] = [
    (Role::Executor, Role::Coordinator),
    (Role::Executor, Role::Worker),
    (Role::Coordinator, Role::Worker),
    (Role::Coordinator, Role::Master),
    (Role::Worker, Role::Master),
    (Role::Worker, Role::Worker),
    (Role::Client, Role::Coordinator),
];

impl<'a> Aim<'a> {
    pub fn at_anybody(topology: &'a Topology, dice: &Dice) -> Self {
        let decommissioned = dice.pick(&topology.of(Role::Worker)).clone();
        Self { topology, victims: None, decommissioned }
    }

    /// One host of each of these roles, and executors.
    pub fn at_one_of_each(roles: &[Role], topology: &'a Topology, dice: &Dice) -> Self {
        let victims = roles.iter().map(|role| dice.pick(&topology.of(*role)).clone()).collect();
        Self { victims: Some(victims), ..Self::at_anybody(topology, dice) }
    }

    /// Whether this kind of fault may come.
    pub fn may(&self, kind: Kind) -> bool {
        let Some(victims) = &self.victims else { return true };
        match kind.role() {
            Some(Role::Executor) => true,
            Some(role) => victims.iter().any(|victim| victim.role == role),
            None => !kind.is_of_messages() || !kind.excuses_failure(),
        }
    }

    /// Somebody to whom this kind of fault may come.
    pub fn host(&self, kind: Kind, dice: &Dice) -> Host {
        match (kind, kind.role()) {
            (Kind::WorkerDecommissioned, _) => self.decommissioned.clone(),
            (_, Some(role)) => self.of(role, dice),
            (_, None) => match &self.victims {
                Some(victims) => dice.pick(victims).clone(),
                None => dice.pick(&self.topology.servers()).clone(),
            },
        }
    }

    /// Two hosts that have something to say to each other, in some order.
    pub fn pair(&self, dice: &Dice) -> (Host, Host) {
        let (a, b) = match &self.victims {
            None => {
                let (a, b) = *dice.pick(&TALKS);
                let a = dice.pick(&self.topology.of(a)).clone();
                let others = self.others(&a, &[b]);
                (a, dice.pick(&others).clone())
            }
            Some(victims) => {
                let victim = dice.pick(victims).clone();
                let others = self.others(&victim, &partners(victim.role));
                (victim, dice.pick(&others).clone())
            }
        };
        if dice.chance(0.5) { (a, b) } else { (b, a) }
    }

    fn of(&self, role: Role, dice: &Dice) -> Host {
        let victim = self.victims.iter().flatten().find(|victim| victim.role == role);
        victim.cloned().unwrap_or_else(|| dice.pick(&self.topology.of(role)).clone())
    }

    fn others(&self, host: &Host, roles: &[Role]) -> Vec<Host> {
        let others = roles.iter().flat_map(|role| self.topology.of(*role));
        others.filter(|other| other != host).collect()
    }
}

fn partners(role: Role) -> Vec<Role> {
    let partner = |(a, b)| if a == role { Some(b) } else { (b == role).then_some(a) };
    TALKS.into_iter().filter_map(partner).collect()
}
