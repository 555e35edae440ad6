//! Moves, reads and the release of one location at the same time.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard},
};

use penstock_protocol::{ids::Incarnation, shuffle::CommitVerdict};
use shuttle::{
    future::spawn,
    rand::{Rng, thread_rng},
};

use super::*;
use crate::worker::{
    config::Config,
    location::{Begin, NewPart, Stored},
    memory::{Budget, Charge},
    models::{check, switch},
};

const BATCH: &[u8] = b"batch";

/// What exists, by its name, and what the next life would find.
#[derive(Default)]
struct World {
    there: BTreeSet<String>,
    written_down: BTreeSet<String>,
    released: bool,
    /// How many calls may fail yet.
    failures_left: u32,
}

impl World {
    /// A kill may come now.
    fn assert_survives(&self) {
        let survives = self.released || self.written_down.is_subset(&self.there);
        assert!(survives, "{:?} is written down, {:?} is there", self.written_down, self.there);
    }

    /// Fails now and then.
    fn try_call(&mut self) -> io::Result<()> {
        if self.failures_left > 0 && thread_rng().gen_bool(0.3) {
            self.failures_left -= 1;
            return Err(io::Error::other("injected"));
        }
        Ok(())
    }
}

/// A committed location with one part, in a file, and where that may go.
#[derive(Clone)]
struct Tiers {
    location: Arc<Location>,
    world: Arc<Mutex<World>>,
}

impl Tiers {
    fn new() -> Self {
        let budget = Budget::new(&Config::default());
        let location = Arc::new(Location::new(&budget, Incarnation(5)));
        location.append(Bytes::from_static(BATCH), Charge::none(&budget)).unwrap();
        let file = |_: NewPart<'_>| Some(Place::Disk { disk: 0, file: "file".into() });
        let Begin::Write(write) = location.begin_write(u64::MAX, file) else { panic!("there is a batch") };
        location.end_write(Ok(Stored { place: write.place, crc32c: 0, synced: true }));
        assert!(matches!(location.state().try_commit(), Some(CommitVerdict::Committed { .. })));
        let file = || ["file".to_owned()].into();
        let world = World { there: file(), written_down: file(), released: false, failures_left: 3 };
        Self { location, world: Arc::new(Mutex::new(world)) }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        switch();
        self.world.lock().unwrap()
    }
}

fn name(place: &Place) -> String {
    match place {
        Place::Disk { file, .. } => file.to_str().unwrap().to_owned(),
        Place::Object { key } => key.clone(),
    }
}

impl Places for Tiers {
    async fn copy(&self, part: &Part) -> io::Result<Place> {
        if !self.world().there.contains(&name(&part.place)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let key = "object".to_owned();
        let mut world = self.world();
        world.try_call()?;
        world.there.insert(key.clone());
        Ok(Place::Object { key })
    }

    async fn write_down(&self) -> io::Result<bool> {
        let parts = self.location.parts();
        let mut world = self.world();
        world.try_call()?;
        world.written_down = parts.iter().map(|part| name(&part.place)).collect();
        world.assert_survives();
        Ok(!world.released)
    }

    async fn delete(&self, place: &Place) -> io::Result<()> {
        let mut world = self.world();
        // Objects wait for their deletion, and whoever has them deleted does not.
        if matches!(place, Place::Disk { .. }) {
            world.try_call()?;
        }
        world.there.remove(&name(place));
        world.assert_survives();
        Ok(())
    }
}

/// As an evictor does, which tries again in its next round.
async fn evict(tiers: Tiers) {
    let is_file = |part: &Part| matches!(part.place, Place::Disk { .. });
    while let Some(part) = tiers.location.parts().into_iter().find(is_file) {
        match tiers.location.move_part(&part, &tiers).await {
            Ok(Some(left)) => while clear(&left, &tiers).await.is_err() {},
            // Another one moves it, or it was released.
            Ok(None) => return,
            Err(_) => {}
        }
    }
}

/// As a worker releases: the folder goes, and the objects go.
async fn release(tiers: Tiers) {
    tiers.world().released = true;
    let objects = tiers.location.release().await;
    tiers.world().there.remove("file");
    for key in objects {
        tiers.world().there.remove(&key);
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Failure {
    Refused(Refusal),
    Gone,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

struct Reader(Tiers);

impl Reads for Reader {
    type Found = u64;
    type Failure = Failure;

    async fn read(&mut self, run: &Run) -> Result<u64, Failure> {
        let there = self.0.world().there.contains(&name(&run.place));
        if there { Ok(run.available) } else { Err(Failure::Gone) }
    }

    fn is_gone(failure: &Failure) -> bool {
        *failure == Failure::Gone
    }
}

async fn read(tiers: Tiers) -> Result<u64, Failure> {
    let location = Arc::clone(&tiers.location);
    match location.next(0, 100, &mut Reader(tiers)).await? {
        Upcoming::Stored(available) => Ok(available),
        other => panic!("it is stored: {other:?}"),
    }
}

// Invariants 21, 22 and 28: whoever reads while data moves finds all of it, or hears that it was released; a kill leaves all of
// it; nothing of what was released stays.
#[test]
fn a_reader_finds_what_moves() {
    check(|| async {
        let tiers = Tiers::new();
        let moving = [0; 2].map(|_| spawn(evict(tiers.clone())));
        let readers = [0; 2].map(|_| spawn(read(tiers.clone())));
        for reader in readers {
            assert_eq!(reader.await.unwrap(), Ok(BATCH.len() as u64));
        }
        let released = spawn(release(tiers.clone()));
        let late = spawn(read(tiers.clone()));
        let expired = Err(Failure::Refused(Refusal::Expired));
        let late = late.await.unwrap();
        assert!(late == Ok(BATCH.len() as u64) || late == expired, "{late:?}");
        for moving in moving {
            moving.await.unwrap();
        }
        released.await.unwrap();
        assert_eq!(tiers.world().there, BTreeSet::new());
    });
}

// Invariant 28: whatever fails on the way.
#[test]
fn nothing_stays_in_a_place_that_was_left() {
    check(|| async {
        let tiers = Tiers::new();
        let moving = [0; 2].map(|_| spawn(evict(tiers.clone())));
        assert_eq!(spawn(read(tiers.clone())).await.unwrap(), Ok(BATCH.len() as u64));
        for moving in moving {
            moving.await.unwrap();
        }
        let object: BTreeSet<_> = ["object".to_owned()].into();
        let world = tiers.world();
        assert_eq!((&world.there, &world.written_down), (&object, &object));
    });
}
