//! The steps in which a part gets to another place, and in which a reader finds it wherever it is (invariant 28).
//!
//! In: what can be done with places. Not here: files, objects, manifests. The model check runs these very steps.

use std::io;

use bytes::Bytes;
use penstock_protocol::frame::Refusal;

use super::{Chunk, Location, Part, Place};

/// Where parts lie, as far as a move is concerned.
pub(in crate::worker) trait Places {
    /// Makes a copy of a part; where that lies.
    fn copy(&self, part: &Part) -> impl Future<Output = io::Result<Place>> + Send;
    /// Makes the next life find all parts where they are now; false if nothing of them is wanted any more.
    fn write_down(&self) -> impl Future<Output = io::Result<bool>> + Send;
    fn delete(&self, place: &Place) -> impl Future<Output = io::Result<()>> + Send;
}

/// A place in which a reader's next bytes lie: `available` of them, from `offset` of the place on.
#[derive(Debug)]
pub(in crate::worker) struct Run {
    pub place: Place,
    pub offset: u64,
    pub available: u64,
}

/// What comes next for a reader.
#[derive(Debug)]
pub(in crate::worker) enum Upcoming<T> {
    Memory { pieces: Vec<Bytes>, bytes: u64 },
    Stored(T),
    End,
}

/// Reads from places.
pub(in crate::worker) trait Reads {
    type Found;
    type Failure: From<Refusal>;

    fn read(&mut self, run: &Run) -> impl Future<Output = Result<Self::Found, Self::Failure>> + Send;
    /// Whether there is nothing at the place.
    fn is_gone(failure: &Self::Failure) -> bool;
}

impl Location {
    /// Moves one part. The place that it has left, for [`clear`]; none if it did not move because the location was released or
    /// written to meanwhile.
    pub async fn move_part(&self, part: &Part, places: &impl Places) -> io::Result<Option<Place>> {
        if !self.begin_move(part) {
            return Ok(None);
        }
        let copied = places.copy(part).await;
        let moved = self.end_move(part, copied.as_ref().ok().cloned());
        let copy = copied?;
        if !moved {
            places.delete(&copy).await?;
            return Ok(None);
        }
        Ok(Some(part.place.clone()))
    }

    /// What a reader at `offset` gets next. A place is read anew where the bytes have moved since the location said that they
    /// are there.
    pub async fn next<R: Reads>(
        &self,
        offset: u64,
        bytes_max: u64,
        reads: &mut R,
    ) -> Result<Upcoming<R::Found>, R::Failure> {
        loop {
            let run = match self.chunk(offset, bytes_max)? {
                Chunk::End => return Ok(Upcoming::End),
                Chunk::Memory { pieces, bytes } => return Ok(Upcoming::Memory { pieces, bytes }),
                Chunk::Stored { place, offset, available } => Run { place, offset, available },
            };
            match reads.read(&run).await {
                Err(failure) if R::is_gone(&failure) && !self.lies_in(&run.place, offset) => {}
                read => return read.map(Upcoming::Stored),
            }
        }
    }

    fn lies_in(&self, wanted: &Place, offset: u64) -> bool {
        matches!(self.chunk(offset, 1), Ok(Chunk::Stored { place, .. }) if place == *wanted)
    }
}

/// Clears the place that a part has left. When it fails that is to be done again, until it succeeds.
pub(in crate::worker) async fn clear(left: &Place, places: &impl Places) -> io::Result<()> {
    // In this order, each time: a kill at any moment leaves one of the two.
    if places.write_down().await? {
        places.delete(left).await?;
    }
    Ok(())
}

#[cfg(test)]
mod models;
