//! Which map tasks have batches where in a location, coarsely: enough to leave out most of what a reader of a few maps does
//! not want, and a few bytes for each 256 KiB. Kept in memory only: of what a former life took nothing is known, and ranges of
//! it are picked out of everything.
//!
//! A location is cut into blocks in the order in which it was written; each has the set of its maps. Whoever reads a block
//! still has to pick its batches.

use std::ops::Range;

use penstock_protocol::ids::TaskIndex;

/// A block is closed by the first batch that begins so many bytes behind its start.
const BLOCK_BYTES: u64 = 256 << 10;

#[derive(Debug, Default)]
pub(in crate::worker) struct MapIndex {
    blocks: Vec<Block>,
}

#[derive(Debug)]
struct Block {
    start: u64,
    maps: MapSet,
}

/// Sorted runs that do not touch: pushes of one map come together, and maps are numbered from 0.
#[derive(Debug, Default, PartialEq, Eq)]
struct MapSet(Vec<(u32, u32)>);

impl MapIndex {
    /// Takes note of a batch; batches are added in their order.
    pub fn add(&mut self, start: u64, map: TaskIndex) {
        match self.blocks.last_mut().filter(|block| start < block.start + BLOCK_BYTES) {
            Some(block) => block.maps.add(map.0),
            None => self.blocks.push(Block { start, maps: MapSet(vec![(map.0, map.0)]) }),
        }
    }

    /// The first run of bytes at or behind `from` that may hold batches of `maps`, up to `end`, where the location ends.
    /// Everything may, where nothing was noted.
    pub fn find(&self, maps: &Range<TaskIndex>, from: u64, end: u64) -> Option<Range<u64>> {
        if self.blocks.is_empty() {
            return (from < end).then_some(from..end);
        }
        let first = self.blocks.partition_point(|block| block.start <= from).saturating_sub(1);
        let meets = |block: &Block| block.maps.meets(maps.start.0, maps.end.0);
        let start = first + self.blocks[first..].iter().position(meets)?;
        let length = self.blocks[start..].iter().position(|block| !meets(block));
        let behind = length.map_or(end, |length| self.blocks[start + length].start);
        let run = self.blocks[start].start.max(from)..behind;
        (!run.is_empty()).then_some(run)
    }
}

impl MapSet {
    fn add(&mut self, map: u32) {
        // The first run that ends at `map - 1` or later.
        let at = self.0.partition_point(|(_, last)| last.checked_add(1).is_some_and(|next| next < map));
        match self.0.get_mut(at) {
            Some((first, last)) if *first <= map => *last = (*last).max(map),
            Some((first, _)) if *first - 1 == map => *first = map,
            _ => self.0.insert(at, (map, map)),
        }
        if let (Some((_, last)), Some((next, behind))) =
            (self.0.get(at).copied(), self.0.get(at + 1).copied())
            && next - 1 == last
        {
            self.0[at].1 = behind;
            self.0.remove(at + 1);
        }
    }

    /// Whether any map from `start` up to but not including `end` is in it.
    fn meets(&self, start: u32, end: u32) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < start);
        start < end && self.0.get(at).is_some_and(|(first, _)| *first < end)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn maps(start: u32, end: u32) -> Range<TaskIndex> {
        TaskIndex(start)..TaskIndex(end)
    }

    #[test]
    fn blocks_without_any_of_the_maps_are_left_out() {
        let mut index = MapIndex::default();
        for (block, map) in [0, 1, 1, 2, 0].into_iter().enumerate() {
            index.add(block as u64 * BLOCK_BYTES, TaskIndex(map));
        }
        let end = 5 * BLOCK_BYTES;
        let found = |from, start, end_map| index.find(&maps(start, end_map), from, end);
        assert_eq!(found(0, 1, 2), Some(BLOCK_BYTES..3 * BLOCK_BYTES));
        assert_eq!(found(2 * BLOCK_BYTES + 7, 1, 2), Some(2 * BLOCK_BYTES + 7..3 * BLOCK_BYTES));
        assert_eq!(found(3 * BLOCK_BYTES, 1, 2), None);
        assert_eq!(found(1, 0, 1), Some(1..BLOCK_BYTES));
        assert_eq!(found(BLOCK_BYTES, 0, 1), Some(4 * BLOCK_BYTES..end));
        assert_eq!(found(0, 3, 9), None);
        assert_eq!(found(0, 1, 1), None);
    }

    #[test]
    fn what_was_never_noted_may_hold_anything() {
        let index = MapIndex::default();
        assert_eq!(index.find(&maps(3, 4), 10, 50), Some(10..50));
        assert_eq!(index.find(&maps(3, 4), 50, 50), None);
    }

    proptest! {
        #[test]
        fn a_set_of_runs_is_a_set(added in proptest::collection::vec(0_u32..40, 0..60), start in 0_u32..40, length in 0_u32..10) {
            let (mut set, mut expected) = (MapSet::default(), BTreeSet::new());
            for map in added {
                set.add(map);
                expected.insert(map);
            }
            let flat: Vec<_> = set.0.iter().flat_map(|(first, last)| *first..=*last).collect();
            prop_assert_eq!(flat, expected.iter().copied().collect::<Vec<_>>());
            prop_assert!(set.0.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0));
            prop_assert_eq!(set.meets(start, start + length), expected.range(start..start + length).next().is_some());
        }

        // Invariant 21: no batch of the maps is left out.
        #[test]
        fn every_batch_of_the_maps_is_in_what_is_found(
            batches in proptest::collection::vec((0_u32..8, 1_u64..200_000), 1..60),
            start in 0_u32..8,
            length in 1_u32..4,
        ) {
            let (mut index, mut end, mut wanted, mut ends) = (MapIndex::default(), 0, Vec::new(), Vec::new());
            for (map, bytes) in batches {
                index.add(end, TaskIndex(map));
                if (start..start + length).contains(&map) {
                    wanted.push(end..end + bytes);
                }
                end += bytes;
                ends.push(end);
            }
            let (mut found, mut from) = (Vec::new(), 0);
            while let Some(run) = index.find(&maps(start, start + length), from, end) {
                // As a reader that takes one batch at a time.
                from = ends[ends.partition_point(|end| *end <= run.start)];
                found.push(run.start..from);
            }
            for batch in wanted {
                prop_assert!(found.contains(&batch), "{batch:?} in {found:?}");
            }
        }
    }
}
