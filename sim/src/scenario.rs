//! Everything that a seed decides, as data.

use std::time::Duration;

use penstock_shuffle_client::ClientOptions;

use crate::{
    faults::{Messages, Timetable},
    random::Dice,
    topology::Topology,
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
    /// Whether a restarted worker goes on with what it had committed.
    pub keep_data: bool,
    pub client: ClientOptions,
}

/// One run in so many has no faults at all: everything must succeed then.
const QUIET_ONE_IN: u64 = 8;

impl Scenario {
    pub fn of(seed: u64) -> Self {
        let dice = Dice::new(seed, "scenario");
        let topology = Topology::new(dice.between(2, 3), dice.between(2, 3));
        let is_quiet = dice.roll(QUIET_ONE_IN) == 0;
        let (messages, timetable) = match is_quiet {
            true => (Messages::none(), Timetable::quiet()),
            false => (Messages::of(seed), Timetable::of(seed, &topology)),
        };
        Self { seed, jobs: workload::jobs(seed), messages, timetable, sizes: Sizes::of(&dice), topology }
    }
}

impl Sizes {
    fn of(dice: &Dice) -> Self {
        Self {
            tick: Duration::from_millis(*dice.pick(&[4, 10])),
            latency_max: Duration::from_millis(*dice.pick(&[2, 20, 80])),
            slots: dice.between(1, 4) as u32,
            store_delay_max_ms: *dice.pick(&[0, 3, 30]),
            flush_from_percent: *dice.pick(&[1, 5, 70]),
            inline_bytes_max: *dice.pick(&[0, 300, 1 << 20]),
            keep_data: dice.chance(0.5),
            client: ClientOptions {
                frame_bytes: *dice.pick(&[200, 4 << 10, 256 << 10]),
                push_window_bytes: *dice.pick(&[8 << 10, 256 << 10, 8 << 20]),
                push_window_requests: *dice.pick(&[2, 256]),
                fetch_stream_bytes_min: *dice.pick(&[512, 128 << 10]),
                fetch_bytes_total: *dice.pick(&[16 << 10, 64 << 20]),
                answer_timeout_ms: 8_000,
                ..ClientOptions::default()
            },
        }
    }
}
