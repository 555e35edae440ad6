//! Everything that a seed decides, as data.

use std::time::Duration;

use penstock_common::bytes::ByteSize;
use penstock_shuffle_client::ClientOptions;
use penstock_shuffle_service::worker::{DiskConfig, Fsync, Tier};

use crate::{
    faults::{Aim, Messages, Timetable},
    random::Dice,
    topology::{Role, Topology},
    workload::{self, JobPlan},
};

#[derive(Debug)]
pub struct Scenario {
    pub seed: u64,
    pub topology: Topology,
    pub jobs: Vec<JobPlan>,
    pub messages: Messages,
    pub timetable: Timetable,
    pub sizes: Sizes,
}

/// Limits and times, small enough for a run to meet them.
#[derive(Debug, Clone)]
pub struct Sizes {
    /// Simulated time of one step: also the least latency of a message.
    pub tick: Duration,
    pub latency_max: Duration,
    pub slots: u32,
    pub store_delay_max_ms: u64,
    /// Percent of a worker's memory at which data moves to disk.
    pub flush_from_percent: u8,
    pub inline_bytes_max: u64,
    /// Workers that keep each partition.
    pub copies: u32,
    /// Bytes of a location from which its writers are asked to go on elsewhere.
    pub split_from_bytes: u64,
    /// Whether a restarted worker goes on with what it had committed.
    pub keep_data: bool,
    pub fsync: Fsync,
    /// How long a worker that is asked to stop waits for those who need it.
    pub drain_seconds: u64,
    pub client: ClientOptions,
    pub storage: Storage,
}

/// What workers keep data in.
#[derive(Debug, Clone)]
pub struct Storage {
    pub disks: u64,
    /// Of each disk.
    pub quota_bytes: u64,
    pub has_objects: bool,
    pub create_in: Tier,
}

/// How bad the weather is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    /// No faults at all: everything must succeed.
    Quiet,
    /// Trouble comes only to what there is a second one of: everything must succeed as well.
    Spared,
    Stormy,
}

/// One run in eight is quiet, two are spared.
const WEATHER: [Weather; 8] = {
    use Weather::{Quiet, Spared, Stormy};
    [Quiet, Spared, Spared, Stormy, Stormy, Stormy, Stormy, Stormy]
};

impl Scenario {
    pub fn of(seed: u64) -> Self {
        let dice = Dice::new(seed, "scenario");
        let weather = *dice.pick(&WEATHER);
        let mut sizes = Sizes::of(seed, &dice);
        let mut masters = dice.between(1, 2);
        if weather == Weather::Spared && masters == 1 {
            // There is something to lose.
            (sizes.copies, masters) = *dice.pick(&[(2, 1), (2, 2), (1, 2)]);
        }
        let topology = Topology::new(masters, dice.between(2, 3), dice.between(2, 3));
        let spare = [(Role::Worker, sizes.copies > 1), (Role::Master, masters > 1)];
        let spare: Vec<_> =
            spare.into_iter().filter_map(|(role, has_second)| has_second.then_some(role)).collect();
        let aim = match weather {
            Weather::Spared => Aim::at_one_of_each(&spare, &topology, &dice),
            Weather::Quiet | Weather::Stormy => Aim::at_anybody(&topology, &dice),
        };
        let (messages, timetable) = match weather {
            Weather::Quiet => (Messages::none(), Timetable::quiet()),
            Weather::Spared | Weather::Stormy => {
                (Messages::of(seed, |kind| aim.may(kind)), Timetable::of(seed, &aim))
            }
        };
        Self { seed, jobs: workload::jobs(seed), messages, timetable, sizes, topology }
    }
}

impl Sizes {
    fn of(seed: u64, dice: &Dice) -> Self {
        Self {
            tick: Duration::from_millis(*dice.pick(&[4, 10])),
            latency_max: Duration::from_millis(*dice.pick(&[2, 20, 80])),
            slots: dice.between(1, 4) as u32,
            store_delay_max_ms: *dice.pick(&[0, 3, 30]),
            flush_from_percent: *dice.pick(&[1, 5, 70]),
            inline_bytes_max: *dice.pick(&[0, 300, 1 << 20]),
            copies: *dice.pick(&[1, 2]),
            split_from_bytes: *dice.pick(&[300, 2 << 10, 20 << 10, 100 << 10, 1 << 30]),
            keep_data: dice.chance(0.7),
            fsync: *dice.pick(&[Fsync::None, Fsync::Commit, Fsync::Batch]),
            drain_seconds: *dice.pick(&[0, 2, 6]),
            client: ClientOptions {
                frame_bytes: *dice.pick(&[200, 4 << 10, 256 << 10]),
                push_window_bytes: *dice.pick(&[8 << 10, 256 << 10, 8 << 20]),
                push_window_requests: *dice.pick(&[2, 256]),
                fetch_stream_bytes_min: *dice.pick(&[512, 128 << 10]),
                fetch_bytes_total: *dice.pick(&[16 << 10, 64 << 20]),
                answer_timeout_ms: 8_000,
                ..ClientOptions::default()
            },
            storage: Storage::of(&Dice::new(seed, "storage")),
        }
    }
}

impl Storage {
    fn of(dice: &Dice) -> Self {
        let has_objects = dice.chance(0.5);
        let tiers: &[_] = match has_objects {
            true => &[Tier::Memory, Tier::Disk, Tier::Object],
            false => &[Tier::Memory, Tier::Disk],
        };
        Self {
            disks: dice.between(1, 3),
            // With the smaller ones, most of what is committed moves on to the object store.
            quota_bytes: if has_objects { *dice.pick(&[20 << 10, 200 << 10, 1 << 30]) } else { 1 << 30 },
            has_objects,
            create_in: *dice.pick(tiers),
        }
    }

    pub fn disks(&self) -> Vec<DiskConfig> {
        let disk = |number| DiskConfig {
            path: format!("disk-{number}").into(),
            quota: ByteSize(self.quota_bytes),
            ..DiskConfig::default()
        };
        (1..=self.disks).map(disk).collect()
    }

    /// The workers are handed theirs: this says that there is one.
    pub fn object_store(&self) -> String {
        if self.has_objects { "memory://".to_owned() } else { String::new() }
    }
}
