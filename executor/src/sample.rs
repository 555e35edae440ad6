//! How busy this process is, for heartbeats and metrics.

use std::{fs, sync::Arc};

use datafusion::execution::runtime_env::RuntimeEnv;
use penstock_common::clock::{Clock, Timestamp};
use penstock_protocol::wire::executor::NodeSample;

use crate::metrics;

/// `/proc/self/stat` counts in these; Linux fixes it at 100 for user space.
const TICKS_PER_SECOND: f64 = 100.0;

#[derive(Debug)]
pub struct Sampler {
    clock: Arc<dyn Clock>,
    /// None where no engine runs, as in the simulation.
    env: Option<Arc<RuntimeEnv>>,
    memory_limit_bytes: u64,
    last: Option<(Timestamp, f64)>,
}

impl Sampler {
    pub fn new(clock: Arc<dyn Clock>, env: Option<Arc<RuntimeEnv>>, memory_limit_bytes: u64) -> Self {
        Self { clock, env, memory_limit_bytes, last: None }
    }

    pub fn sample(&mut self) -> NodeSample {
        let Some(env) = &self.env else { return NodeSample::default() };
        let (memory_used_bytes, scratch_used_bytes) =
            (env.memory_pool.reserved() as u64, env.disk_manager.used_disk_space());
        metrics::resources(memory_used_bytes, scratch_used_bytes);
        NodeSample {
            cpu_used: self.cpu_used(),
            memory_used_bytes,
            memory_limit_bytes: self.memory_limit_bytes,
            scratch_used_bytes,
        }
    }

    /// Cores used since the last call; 0 at the first one and where the system does not say.
    fn cpu_used(&mut self) -> f64 {
        let Some(used) = cpu_seconds() else { return 0.0 };
        let now = self.clock.now();
        let before = self.last.replace((now, used));
        before.map_or(0.0, |(at, before)| {
            let elapsed = (now - at).as_secs_f64();
            if elapsed > 0.0 { (used - before) / elapsed } else { 0.0 }
        })
    }
}

/// User and system time of this process so far.
fn cpu_seconds() -> Option<f64> {
    parse_cpu_seconds(&fs::read_to_string("/proc/self/stat").ok()?)
}

fn parse_cpu_seconds(stat: &str) -> Option<f64> {
    // The second field is the command in parentheses and may hold anything; user and system time are fields 14 and 15.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) as f64 / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_past_a_command_with_spaces_and_parentheses() {
        let stat = "42 (pen (stock) x) S 1 42 42 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 9 0 1000 2 3";
        assert_eq!(parse_cpu_seconds(stat), Some(2.0));
        assert_eq!(parse_cpu_seconds(""), None);
    }
}
