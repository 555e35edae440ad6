//! Which settings make no sense.

use std::{collections::BTreeSet, time::Duration};

use penstock_common::telemetry;
use penstock_protocol::frame::SIGN_OF_LIFE;

use super::{Config, Tier};

/// A setting that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("setting `{setting}` of the shuffle worker {problem}")]
pub struct InvalidConfig {
    pub setting: &'static str,
    pub problem: &'static str,
}

/// Less than this and a single frame could not get in.
pub(super) const MEMORY_BYTES_MIN: u64 = 8 << 20;

impl Config {
    /// Whether they make sense together, and if not, the first that does not.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let rules = [
            (
                "name",
                self.name.chars().all(allowed) && !self.name.starts_with('.'),
                "may only hold letters, digits, `-`, `_` and `.`, and not begin with `.`",
            ),
            ("masters", !self.masters.is_empty(), "must name at least one master"),
            ("data_dirs", !self.disks().is_empty(), "must name at least one folder"),
            ("disks", self.disks_are_distinct(), "must not name a path twice"),
            ("disk_probe_interval_ms", self.disk_probe_interval_ms > 0, "must be at least 1"),
            ("disk_hang_ms", self.disk_hang_ms > 0, "must be at least 1"),
            ("disk_errors_max", self.disk_errors_max > 0, "must be at least 1"),
            (
                "memory_bytes_max",
                self.memory_bytes_max.as_u64() == 0 || self.memory_bytes_max.as_u64() >= MEMORY_BYTES_MIN,
                "must be 0 or at least 8MiB",
            ),
            (
                "flush_to_percent",
                self.flush_to_percent < self.flush_from_percent,
                "must be less than `flush_from_percent`",
            ),
            (
                "evict_to_percent",
                self.evict_to_percent < self.evict_from_percent,
                "must be less than `evict_from_percent`",
            ),
            ("evict_from_percent", self.evict_from_percent <= 100, "must be at most 100"),
            ("object_store_timeout_ms", self.object_store_timeout_ms > 0, "must be at least 1"),
            (
                "create_in",
                self.create_in != Tier::Object || !self.object_store.is_empty(),
                "is `object`, but `object_store` is not set",
            ),
            ("flush_from_percent", self.flush_from_percent <= 95, "must be at most 95"),
            ("flush_parallelism", self.flush_parallelism > 0, "must be at least 1"),
            ("weight", self.weight > 0, "must be at least 1"),
            ("split_from_bytes", self.split_from_bytes.as_u64() > 0, "must be at least 1"),
            ("connections_max", self.connections_max > 0, "must be at least 1"),
            (
                "silence_ms",
                Duration::from_millis(self.silence_ms) >= 2 * SIGN_OF_LIFE,
                "must be at least 500, or signs of life come too late",
            ),
            ("heartbeat_interval_ms", self.heartbeat_interval_ms > 0, "must be at least 1"),
            ("log_filter", telemetry::is_log_filter(&self.log_filter), "is not a log filter"),
        ];
        match rules.into_iter().find(|(_, holds, _)| !holds) {
            Some((setting, _, problem)) => Err(InvalidConfig { setting, problem }),
            None => Ok(()),
        }
    }

    fn disks_are_distinct(&self) -> bool {
        let disks = self.disks();
        let paths: BTreeSet<_> = disks.iter().map(|disk| &disk.path).collect();
        paths.len() == disks.len()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{super::DiskConfig, *};

    #[test]
    fn settings_that_make_no_sense_are_named() {
        let refused = |config: Config| config.validate().unwrap_err().setting;
        let same = || DiskConfig { path: "/mnt/a".into(), ..DiskConfig::default() };
        assert_eq!(refused(Config { disks: vec![same(), same()], ..Config::default() }), "disks");
        assert_eq!(refused(Config { create_in: Tier::Object, ..Config::default() }), "create_in");
        assert_eq!(refused(Config { data_dirs: Vec::new(), ..Config::default() }), "data_dirs");
        assert_eq!(refused(Config { evict_to_percent: 90, ..Config::default() }), "evict_to_percent");
    }
}
