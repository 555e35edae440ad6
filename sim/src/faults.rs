//! What goes wrong in a run: kinds of faults, how often messages suffer, and what happens when to whole hosts.
//!
//! In: the seed. Out: answers to "what becomes of this message", and a time table. After `calm_at` nothing goes wrong any
//! more. Not here: doing it, which is the network's and the cluster's part.

mod messages;
mod timetable;

use std::fmt;

pub use self::{
    messages::{Fate, Messages, Plane, Way},
    timetable::{Act, Event, Timetable},
};

/// Everything that can go wrong, by what is counted and reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    // Messages: frames of the data plane, and pieces of the byte streams under RPCs.
    FrameLost,
    FrameDelayed,
    FrameDuplicated,
    FrameCutBefore,
    FrameCutAfter,
    RpcDelayed,
    RpcCutBefore,
    RpcCutAfter,
    /// Taken and never delivered, with everything after it on its connection.
    Swallowed,
    ConnectionRefused,

    // Links between two hosts.
    LinkHeld,
    LinkPartitioned,
    LinkOneWay,
    /// All links of a host are held: to others it stands still.
    HostPaused,

    // Processes.
    CoordinatorCrashed,
    ExecutorCrashed,
    MasterCrashed,
    WorkerCrashed,
    CoordinatorStopped,
    ExecutorDrained,
    MasterStopped,
    WorkerStopped,

    // Disks.
    DiskFailed,
    DiskFull,
    DiskSlow,
    DiskDamaged,
}

impl Kind {
    pub const ALL: [Self; 26] = [
        Self::FrameLost,
        Self::FrameDelayed,
        Self::FrameDuplicated,
        Self::FrameCutBefore,
        Self::FrameCutAfter,
        Self::RpcDelayed,
        Self::RpcCutBefore,
        Self::RpcCutAfter,
        Self::Swallowed,
        Self::ConnectionRefused,
        Self::LinkHeld,
        Self::LinkPartitioned,
        Self::LinkOneWay,
        Self::HostPaused,
        Self::CoordinatorCrashed,
        Self::ExecutorCrashed,
        Self::MasterCrashed,
        Self::WorkerCrashed,
        Self::CoordinatorStopped,
        Self::ExecutorDrained,
        Self::MasterStopped,
        Self::WorkerStopped,
        Self::DiskFailed,
        Self::DiskFull,
        Self::DiskSlow,
        Self::DiskDamaged,
    ];

    /// Whether a job may fail because of it. The others are promised to cost time and nothing else. Cut RPCs are not among
    /// those yet: a commit gives up after three calls that fail at once.
    pub fn excuses_failure(self) -> bool {
        !matches!(
            self,
            Self::FrameDelayed
                | Self::RpcDelayed
                | Self::ExecutorCrashed
                | Self::ExecutorDrained
                | Self::FrameCutBefore
                | Self::FrameCutAfter
                | Self::DiskSlow
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = format!("{self:?}");
        for (position, letter) in name.chars().enumerate() {
            if position > 0 && letter.is_uppercase() {
                f.write_str("-")?;
            }
            write!(f, "{}", letter.to_lowercase())?;
        }
        Ok(())
    }
}
