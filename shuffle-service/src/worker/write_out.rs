//! Writes what one location holds in memory to the best place for it.
//!
//! A write that was begun is carried to its end even when nobody waits any more: until then its memory is in use. Not here:
//! which locations are written and when; what a failed write means for a location.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use penstock_protocol::{
    frame::{self, Refusal},
    ids::ShuffleId,
};

use super::{
    config::Tier,
    disks::{Queued, StillRunning},
    location::{Begin, Location, NewPart, Place, Stored, Write, Written},
    store::{LocationKey, Store, shuffle_folder},
};
use crate::metrics;

/// A location with its name.
#[derive(Debug, Clone)]
pub(super) struct Named {
    pub shuffle: ShuffleId,
    pub key: LocationKey,
    pub location: Arc<Location>,
}

/// What came of writing a location out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flushed {
    /// Its memory is free, or it had none.
    Freed,
    /// The data is committed and could not be written: it stays in memory.
    Kept,
    /// No place takes it: it stays in memory.
    NoPlace,
    /// The write goes on for longer than anyone should wait.
    StillRunning,
}

impl Store {
    pub async fn write_out(self: &Arc<Self>, named: Named) -> Flushed {
        self.write_out_within(self.disks.hang(), named).await
    }

    /// The same, and waits for at most `patience`.
    pub async fn write_out_within(self: &Arc<Self>, patience: Duration, named: Named) -> Flushed {
        let mut queued = None;
        let begun = named.location.begin_write(self.budget.write_bytes(), |new| {
            let (place, on_its_way) = self.place(&named, &new)?;
            queued = on_its_way;
            Some(place)
        });
        let write = match begun {
            Begin::Nothing => return Flushed::Freed,
            Begin::NoPlace => return Flushed::NoPlace,
            Begin::Write(write) => write,
        };
        let store = Arc::clone(self);
        let call = async move { store.carry_out(named, write, queued).await };
        match self.disks.carry_within(patience, "write", call).await {
            Ok(Written::Freed) => Flushed::Freed,
            Ok(Written::Kept) => Flushed::Kept,
            Err(StillRunning) => Flushed::StillRunning,
        }
    }

    /// Where a new part goes: to the first tier that takes it.
    fn place(&self, named: &Named, new: &NewPart<'_>) -> Option<(Place, Option<Queued>)> {
        let disk = || self.place_on_disk(named, new).map(|(place, queued)| (place, Some(queued)));
        let object = || {
            let key = self.objects.as_ref()?.key(&file_name(named, new.start));
            Some((Place::Object { key }, None))
        };
        match self.settings.get().create_in {
            Tier::Memory | Tier::Disk => disk().or_else(object),
            Tier::Object => object().or_else(disk),
        }
    }

    fn place_on_disk(&self, named: &Named, new: &NewPart<'_>) -> Option<(Place, Queued)> {
        let last = match new.last {
            Some(Place::Disk { disk, .. }) => Some(*disk),
            _ => None,
        };
        let (disk, queued) = self.disks.choose(last, new.bytes)?;
        let place = match new.last {
            Some(place) if last == Some(disk) => place.clone(),
            _ => {
                Place::Disk { disk, file: self.disks.volumes[disk].folder.join(file_name(named, new.start)) }
            }
        };
        Some((place, queued))
    }

    async fn carry_out(&self, named: Named, write: Write, queued: Option<Queued>) -> Written {
        let started = tokio::time::Instant::now();
        let crc32c = checksum(write.crc32c_before, &write.pieces);
        // An object is there or not.
        let sync = self.durability().at_each_write() || matches!(write.place, Place::Object { .. });
        let outcome = match &write.place {
            Place::Disk { disk, file } => {
                let volume = &self.disks.volumes[*disk];
                let call = async {
                    self.disks.disk.write_at(file, write.offset, write.pieces).await?;
                    if sync { self.disks.disk.sync(file).await } else { Ok(()) }
                };
                let outcome = volume.watched(self.disks.hang(), call).await;
                if outcome.is_ok() {
                    volume.wrote(write.bytes);
                }
                outcome
                    .map_err(|error| (refusal(&error), format!("writing {} failed: {error}", file.display())))
            }
            Place::Object { key } => match &self.objects {
                Some(objects) => objects.put(key, write.pieces).await,
                None => Err(io::Error::other("no object store is configured")),
            }
            .map_err(|error| (Refusal::Broken, format!("writing object {key} failed: {error}"))),
        };
        drop(queued);
        match outcome {
            Ok(()) => {
                metrics::flushed(write.bytes, started.elapsed());
                self.pace.flush.record(write.bytes, started.elapsed());
                let place = write.place.clone();
                let written =
                    named.location.end_write(Ok(Stored { place: write.place, crc32c, synced: sync }));
                self.discard_unless_held(&named, &place);
                if named.location.is_committed() {
                    self.record_soon(named.shuffle);
                }
                written
            }
            Err((refusal, reason)) => {
                metrics::flush_failed();
                let Named { shuffle, key: (partition, _), .. } = named;
                tracing::warn!(%shuffle, %partition, reason, "writing shuffle data failed");
                named.location.end_write(Err((refusal, reason)))
            }
        }
    }
}

impl Store {
    /// A location may have been released, or have failed, while an object of it was on its way: nobody else knows that one.
    fn discard_unless_held(&self, named: &Named, place: &Place) {
        let (Place::Object { key }, Some(objects)) = (place, &self.objects) else { return };
        if !named.location.object_keys().contains(key) {
            objects.discard([key.clone()]);
        }
    }
}

/// Below a disk's folder: the shuffle's folder, and in it the part by its location and where it begins in it.
pub(super) fn file_name(named: &Named, start: u64) -> PathBuf {
    let (partition, epoch) = named.key;
    shuffle_folder(named.shuffle).join(format!("{partition}-{epoch}-{start}"))
}

fn checksum(before: u32, records: &[Bytes]) -> u32 {
    records.iter().fold(before, |checksum, record| frame::checksum_with(checksum, record))
}

fn refusal(error: &io::Error) -> Refusal {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Refusal::NoRoom,
        _ => Refusal::Broken,
    }
}
