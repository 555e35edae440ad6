//! Effects of one step, in the order in which they are to be carried out.

use penstock_common::clock::Timestamp;
use penstock_protocol::{event, ids::JobId};

use crate::{effect::Effect, journal};

#[derive(Debug)]
pub struct Outbox {
    pub now: Timestamp,
    effects: Vec<Effect>,
}

impl Outbox {
    pub fn new(now: Timestamp) -> Self {
        Self { now, effects: Vec::new() }
    }

    pub fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub fn log(&mut self, job: JobId, event: event::Event) {
        self.push(Effect::Log { job, at: self.now, event });
    }

    pub fn journal(&mut self, job: JobId, fact: journal::Fact) {
        self.push(Effect::Journal { job, record: journal::Record { at: self.now, fact } });
    }

    pub fn into_effects(self) -> Vec<Effect> {
        self.effects
    }
}
