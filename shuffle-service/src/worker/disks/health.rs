//! How a disk does, from what happened to the calls on it.
//!
//! Errors add up until a probe that works takes one off again, so a disk that fails now and then is found out, and one that
//! failed has to prove itself as often as it failed. Not here: time, and what the numbers lead to.

use std::fmt;

/// Whether a disk takes new data; data on it is served in any state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum DiskState {
    Healthy,
    /// No room beyond the reserve or the quota.
    Full,
    /// Too many calls failed.
    Failed,
    /// A call does not come back.
    Hung,
}

impl fmt::Display for DiskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Healthy => "HEALTHY",
            Self::Full => "FULL",
            Self::Failed => "FAILED",
            Self::Hung => "HUNG",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Health {
    errors: u32,
    errors_max: u32,
    failed: bool,
    /// Calls that are over their time and have not come back.
    overdue: u32,
}

impl Health {
    pub fn new(errors_max: u32) -> Self {
        Self { errors: 0, errors_max, failed: false, overdue: 0 }
    }

    /// A disk that has failed stays so until probes have made good what counts now.
    pub fn set_errors_max(&mut self, errors_max: u32) {
        self.errors_max = errors_max;
        self.errors = self.errors.min(errors_max);
        self.failed |= self.errors == errors_max;
    }

    /// A call ended with an error that says something about the disk.
    pub fn call_failed(&mut self) {
        self.errors = (self.errors + 1).min(self.errors_max);
        self.failed |= self.errors == self.errors_max;
    }

    pub fn probe_succeeded(&mut self) {
        self.errors = self.errors.saturating_sub(1);
        self.failed &= self.errors > 0;
    }

    /// The disk cannot be used at all until a probe says otherwise.
    pub fn lost(&mut self) {
        self.errors = self.errors_max;
        self.failed = true;
    }

    pub fn call_overdue(&mut self) {
        self.overdue += 1;
    }

    pub fn overdue_call_ended(&mut self) {
        self.overdue -= 1;
    }

    pub fn errors(&self) -> u32 {
        self.errors
    }

    pub fn state(&self, has_room: bool) -> DiskState {
        match (self.overdue, self.failed, has_room) {
            (1.., _, _) => DiskState::Hung,
            (0, true, _) => DiskState::Failed,
            (0, false, false) => DiskState::Full,
            (0, false, true) => DiskState::Healthy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_up_to_the_limit_fail_a_disk_and_as_many_probes_heal_it() {
        let mut health = Health::new(3);
        for expected in [DiskState::Healthy, DiskState::Healthy, DiskState::Failed, DiskState::Failed] {
            health.call_failed();
            assert_eq!(health.state(true), expected);
        }
        for expected in [DiskState::Failed, DiskState::Failed, DiskState::Healthy, DiskState::Healthy] {
            health.probe_succeeded();
            assert_eq!(health.state(true), expected);
        }
    }

    #[test]
    fn rare_errors_between_good_probes_do_not_add_up() {
        let mut health = Health::new(2);
        for _ in 0..10 {
            health.call_failed();
            health.probe_succeeded();
        }
        assert_eq!(health.state(true), DiskState::Healthy);
    }

    #[test]
    fn a_disk_hangs_for_as_long_as_any_call_does() {
        let mut health = Health::new(1);
        health.call_overdue();
        health.call_overdue();
        health.overdue_call_ended();
        assert_eq!(health.state(true), DiskState::Hung);
        health.overdue_call_ended();
        assert_eq!(health.state(true), DiskState::Healthy);
        assert_eq!(health.state(false), DiskState::Full);
    }
}
