//! Moves committed data from disks that run full to the object store.
//!
//! A reader never notices: a part is served from its file until its object is whole and written down, and whoever has the
//! file open reads it to its end (invariant 28). A file goes only when a manifest names the object, so that a kill at any
//! moment leaves one of the two.
//!
//! Each disk has an evictor of its own: one that hangs holds up nothing but itself.

use std::{
    cmp::Reverse, collections::VecDeque, convert::Infallible, io, path::PathBuf, sync::Arc, time::Duration,
};

use futures::{FutureExt, TryFutureExt};
use penstock_common::lifecycle::CancellationToken;
use tokio::time::Instant;

use super::{
    config::EvictFirst,
    location::{Part, Place, Places, clear},
    objects::Objects,
    store::Store,
    write_out::{Named, file_name},
};
use crate::metrics;

pub(super) struct Evictor {
    store: Arc<Store>,
    objects: Objects,
    disk: usize,
    left: VecDeque<Left>,
    /// Files that are not as they were written, and until when nothing is tried with them.
    damaged: VecDeque<(Instant, PathBuf)>,
}

const LEAVE_DAMAGED: Duration = Duration::from_secs(600);
/// So many files that cannot be read are passed over in one round.
const UNREADABLE_MAX: u32 = 3;

/// A file that holds room on the disk although its data has moved: it could not be deleted yet.
struct Left {
    named: Named,
    place: Place,
}

impl Evictor {
    pub fn new(store: Arc<Store>, objects: Objects, disk: usize) -> Self {
        Self { store, objects, disk, left: VecDeque::new(), damaged: VecDeque::new() }
    }

    pub async fn run(mut self, stop: CancellationToken) -> Result<(), Infallible> {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(self.interval()) => {}
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = self.relieve() => {}
            }
        }
    }

    fn interval(&self) -> Duration {
        Duration::from_millis(self.store.settings.get().disk_probe_interval_ms)
    }

    async fn relieve(&mut self) {
        self.clear_left().await;
        let settings = self.store.settings.get();
        let (from, to) = (settings.evict_from_percent, settings.evict_to_percent);
        let volume = &self.store.disks.volumes[self.disk];
        let mut goal = volume.excess_bytes(from, to);
        if goal == 0 || !volume.is_usable() {
            return;
        }
        let now = Instant::now();
        while self.damaged.pop_front_if(|(until, _)| *until <= now).is_some() {}
        let mut unreadable = 0;
        for named in self.candidates(settings.evict_first) {
            for part in self.whole(&named).await {
                if goal == 0 {
                    return;
                }
                let bytes = part.bytes;
                let Place::Disk { file, .. } = part.place.clone() else { continue };
                if self.damaged.iter().any(|(_, damaged)| *damaged == file) {
                    continue;
                }
                match self.evict(&named, part).await {
                    Ok(true) => goal = goal.saturating_sub(bytes),
                    Ok(false) => {}
                    Err(error) => {
                        tracing::warn!(shuffle = %named.shuffle, %error, "moving data to the object store failed");
                        match FileFault::of(&error) {
                            None => return,
                            // More of them say that the disk fails.
                            Some(FileFault::Unreadable(_)) if unreadable >= UNREADABLE_MAX => return,
                            Some(FileFault::Unreadable(_)) => unreadable += 1,
                            Some(FileFault::Damaged) => {
                                self.damaged.push_back((Instant::now() + LEAVE_DAMAGED, file));
                            }
                        }
                    }
                }
            }
        }
    }

    /// Committed locations with something on the disk, in the order in which they go.
    fn candidates(&self, first: EvictFirst) -> Vec<Named> {
        let committed = self.store.each_location().filter(|named| named.location.is_committed());
        let mut here: Vec<_> = committed
            .map(|named| (named.location.disk_bytes(self.disk), named))
            .filter(|(bytes, _)| *bytes > 0)
            .collect();
        match first {
            // Ids of jobs sort by the time of their submission.
            EvictFirst::Oldest => here.sort_by_key(|(bytes, named)| (named.shuffle, Reverse(*bytes))),
            EvictFirst::Largest => here.sort_by_key(|(bytes, _)| Reverse(*bytes)),
        }
        here.into_iter().map(|(_, named)| named).collect()
    }

    /// What a location has on the disk. Only what has left memory as a whole is written down and may go: a rest that memory
    /// has room for would hold the disk for as long as the job runs, so it is written out first.
    async fn whole(&self, named: &Named) -> Vec<Part> {
        if named.location.has_memory() {
            // If it stays where it is, so does the location.
            self.store.write_out(named.clone()).await;
        }
        let here = |part: &Part| matches!(part.place, Place::Disk { disk, .. } if disk == self.disk);
        named.location.complete_parts().unwrap_or_default().into_iter().filter(here).collect()
    }

    async fn evict(&mut self, named: &Named, part: Part) -> io::Result<bool> {
        let started = Instant::now();
        let tiers = Tiers { evictor: self, named };
        let Some(place) = named.location.move_part(&part, &tiers).await? else { return Ok(false) };
        metrics::evicted(part.bytes, started.elapsed());
        self.clear(Left { named: named.clone(), place }).await;
        Ok(true)
    }

    /// Whether the file is gone. If not, that is remembered.
    async fn clear(&mut self, left: Left) -> bool {
        let cleared = clear(&left.place, &Tiers { evictor: self, named: &left.named }).await;
        if let Err(error) = &cleared {
            self.left.push_back(left);
            let files = self.left.len();
            tracing::warn!(files, %error, "files are still on the disk although their data has moved");
        }
        cleared.is_ok()
    }

    /// Until one fails, which has its turn again after the others: it holds them up no longer than this round.
    async fn clear_left(&mut self) {
        for _ in 0..self.left.len() {
            let Some(left) = self.left.pop_front() else { return };
            if !self.clear(left).await {
                return;
            }
        }
    }
}

/// What keeps a file from moving and no other one.
#[derive(Debug, thiserror::Error)]
enum FileFault {
    #[error("the file cannot be read: {0}")]
    Unreadable(io::Error),
    #[error("the file does not match its checksum and stays where it is")]
    Damaged,
}

impl FileFault {
    fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

fn unreadable(error: io::Error) -> io::Error {
    io::Error::other(FileFault::Unreadable(error))
}

/// From the disks to the object store.
struct Tiers<'a> {
    evictor: &'a Evictor,
    named: &'a Named,
}

impl Places for Tiers<'_> {
    async fn copy(&self, part: &Part) -> io::Result<Place> {
        let Evictor { store, objects, .. } = self.evictor;
        let key = objects.key(&file_name(self.named, part.start));
        let file = store.open(&part.place, part.bytes).await.map_err(unreadable)?;
        // A disk that hangs gives up: a location that moves is not released before that ends.
        let read =
            |offset, length| store.read_at(&part.place, &file, offset, length).map_err(unreadable).boxed();
        let checksum = objects.put_read(&key, part.bytes, read).await?;
        if checksum == part.crc32c {
            return Ok(Place::Object { key });
        }
        objects.discard([key]);
        Err(io::Error::other(FileFault::Damaged))
    }

    async fn write_down(&self) -> io::Result<bool> {
        let store = &self.evictor.store;
        let Ok(shuffle) = store.shuffle(self.named.shuffle) else { return Ok(false) };
        store.write_manifest(&shuffle, store.durability().at_commit()).await?;
        Ok(true)
    }

    async fn delete(&self, place: &Place) -> io::Result<()> {
        match place {
            Place::Disk { file, .. } => self.evictor.store.disks.disk.remove_file(file).await,
            Place::Object { key } => {
                self.evictor.objects.discard([key.clone()]);
                Ok(())
            }
        }
    }
}
