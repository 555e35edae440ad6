//! What lies below memory beside the disks, and where new data goes first.

use super::{config::Tier, objects::Objects};

#[derive(Debug, Default)]
pub(super) struct Tiers {
    pub objects: Option<Objects>,
    pub create_in: Tier,
}
