//! Which disk takes new data: the one that would have written it first, as long as it has room.

use super::DiskState;
use crate::worker::config::DiskClass;

/// What is known of one disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::worker) struct Choice {
    pub class: DiskClass,
    pub state: DiskState,
    /// Bytes that it may still take.
    pub room_bytes: u64,
    /// Bytes that are on their way to it.
    pub queued_bytes: u64,
}

/// A disk with less room than this is kept for when the others have no more either.
const COMFORT_BYTES: u64 = 1 << 30;

/// Rough megabytes per second: only their proportions matter.
fn speed(class: DiskClass) -> u128 {
    match class {
        DiskClass::Nvme => 2000,
        DiskClass::Ssd => 500,
        DiskClass::Hdd => 120,
    }
}

/// The position of the chosen disk; none if none takes `bytes`.
pub(super) fn choose(disks: &[Choice], bytes: u64) -> Option<usize> {
    let takes = |disk: &&Choice| disk.state == DiskState::Healthy && disk.room_bytes >= bytes;
    let badness = |disk: &Choice| {
        let uncomfortable = disk.room_bytes - bytes < COMFORT_BYTES;
        let wait_ns = u128::from(disk.queued_bytes + bytes) * 1000 / speed(disk.class);
        (uncomfortable, wait_ns, std::cmp::Reverse(disk.room_bytes))
    };
    let disks = disks.iter().enumerate().filter(|(_, disk)| takes(disk));
    disks.min_by_key(|(_, disk)| badness(disk)).map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    fn disk(class: DiskClass, room_bytes: u64, queued_bytes: u64) -> Choice {
        Choice { class, state: DiskState::Healthy, room_bytes, queued_bytes }
    }

    #[test]
    fn the_fast_disk_is_first_until_its_queue_is_longer_than_the_slow_one_takes() {
        let disks = |queued| [disk(DiskClass::Hdd, 900 * GIB, 0), disk(DiskClass::Nvme, 100 * GIB, queued)];
        assert_eq!(choose(&disks(0), 64 * MIB), Some(1));
        assert_eq!(choose(&disks(500 * MIB), 64 * MIB), Some(1));
        assert_eq!(choose(&disks(2 * GIB), 64 * MIB), Some(0));
    }

    #[test]
    fn of_equal_disks_the_one_with_more_room_is_chosen() {
        let disks = [disk(DiskClass::Ssd, 5 * GIB, 0), disk(DiskClass::Ssd, 6 * GIB, 0)];
        assert_eq!(choose(&disks, MIB), Some(1));
    }

    #[test]
    fn a_fast_disk_that_is_almost_full_is_kept_back() {
        let disks = [disk(DiskClass::Nvme, GIB, 0), disk(DiskClass::Hdd, 50 * GIB, 0)];
        assert_eq!(choose(&disks, MIB), Some(1));
        assert_eq!(choose(&disks[..1], MIB), Some(0));
    }

    #[test]
    fn nothing_new_goes_to_a_disk_that_is_not_healthy_or_has_no_room() {
        for state in [DiskState::Full, DiskState::Failed, DiskState::Hung] {
            let bad = Choice { state, ..disk(DiskClass::Nvme, 90 * GIB, 0) };
            assert_eq!(choose(&[bad, disk(DiskClass::Hdd, MIB, 0)], MIB), Some(1));
            assert_eq!(choose(&[bad], MIB), None);
        }
        assert_eq!(choose(&[disk(DiskClass::Ssd, MIB - 1, 0)], MIB), None);
        assert_eq!(choose(&[], MIB), None);
    }
}
