//! What becomes of one message.
//!
//! Frames of the data plane are whole messages: one may be lost, come late or twice, or be the last of its connection. An
//! RPC is a piece of an HTTP/2 byte stream: losing it is cutting the connection before it, losing its answer is cutting
//! after it, and its sender makes the duplicate itself when it asks again.

use std::{collections::BTreeMap, time::Duration};

use super::Kind;
use crate::random::Dice;

/// What a connection carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plane {
    /// Frames of the shuffle's data plane.
    Data,
    /// gRPC and REST.
    Rpc,
}

/// From the side that opened the connection, or to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Out,
    In,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Delivered,
    Late(Duration),
    Twice,
    Lost,
    /// The connection ends, and this was not delivered.
    CutBefore,
    /// This is delivered; whatever would answer it is not.
    CutAfter,
    /// Neither this nor anything after it arrives, and nobody is told.
    Swallowed,
}

/// How often what happens, for one run.
#[derive(Debug)]
pub struct Messages {
    rates: BTreeMap<Kind, f64>,
    delay_max: Duration,
    dice: Dice,
}

const DATA: [Kind; 5] =
    [Kind::FrameLost, Kind::FrameDelayed, Kind::FrameDuplicated, Kind::FrameCutBefore, Kind::FrameCutAfter];
const RPC: [Kind; 3] = [Kind::RpcDelayed, Kind::RpcCutBefore, Kind::RpcCutAfter];

impl Messages {
    pub fn none() -> Self {
        Self { rates: BTreeMap::new(), delay_max: Duration::ZERO, dice: Dice::new(0, "none") }
    }

    /// Some kinds at some rates: a run with everything at once says little.
    pub fn of(seed: u64, may: impl Fn(Kind) -> bool) -> Self {
        let dice = Dice::new(seed, "message faults");
        let mut rates = BTreeMap::new();
        for kind in DATA.into_iter().chain(RPC).chain([Kind::Swallowed, Kind::ConnectionRefused]) {
            if dice.chance(0.35) && may(kind) {
                rates.insert(kind, dice.pick(&[0.002, 0.01, 0.03]) * usual(kind));
            }
        }
        let delay_max = Duration::from_millis(*dice.pick(&[20, 200, 1_500]));
        Self { rates, delay_max, dice }
    }

    pub fn happen(&self) -> bool {
        !self.rates.is_empty()
    }

    /// What becomes of the next message, with what it counts as.
    pub fn fate(&self, plane: Plane) -> (Fate, Option<Kind>) {
        let kinds = match plane {
            Plane::Data => &DATA[..],
            Plane::Rpc => &RPC[..],
        };
        let kinds = kinds.iter().chain(&[Kind::Swallowed]);
        let hit = kinds.copied().find(|kind| self.dice.chance(self.rate(*kind)));
        (hit.map_or(Fate::Delivered, |kind| self.as_fate(kind)), hit)
    }

    pub fn refuses_connection(&self) -> bool {
        self.dice.chance(self.rate(Kind::ConnectionRefused))
    }

    fn rate(&self, kind: Kind) -> f64 {
        self.rates.get(&kind).copied().unwrap_or(0.0)
    }

    fn as_fate(&self, kind: Kind) -> Fate {
        match kind {
            Kind::FrameLost => Fate::Lost,
            Kind::FrameDuplicated => Fate::Twice,
            Kind::FrameCutBefore | Kind::RpcCutBefore => Fate::CutBefore,
            Kind::FrameCutAfter | Kind::RpcCutAfter => Fate::CutAfter,
            Kind::Swallowed => Fate::Swallowed,
            _ => Fate::Late(self.dice.millis(1, self.delay_max.as_millis() as u64)),
        }
    }
}

/// Delays are common in life, silent losses are not.
fn usual(kind: Kind) -> f64 {
    match kind {
        Kind::FrameDelayed | Kind::RpcDelayed => 3.0,
        Kind::FrameLost | Kind::Swallowed => 0.3,
        Kind::ConnectionRefused => 5.0,
        _ => 1.0,
    }
}
