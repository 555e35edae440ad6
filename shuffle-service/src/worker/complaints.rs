//! Tells the operator, once for each shuffle, what its clients are refused although they should know better.

use penstock_protocol::{frame::Refusal, ids::ShuffleId};

use crate::told::Told;

#[derive(Debug, Default)]
pub(super) struct Complaints(Told<(ShuffleId, u8)>);

impl Complaints {
    pub fn tell(&self, shuffle: ShuffleId, refusal: Refusal) {
        if is_strange(refusal) && self.0.is_news((shuffle, refusal as u8)) {
            tracing::warn!(%shuffle, %refusal, "a client of this shuffle was refused");
        }
    }
}

/// Clients that follow the protocol do not run into it as long as no worker is lost.
fn is_strange(refusal: Refusal) -> bool {
    use Refusal::{BadFrame, Corrupt, Denied, OtherIncarnation, Unknown};
    matches!(refusal, Denied | Unknown | OtherIncarnation | BadFrame | Corrupt)
}
