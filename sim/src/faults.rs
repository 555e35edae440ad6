//! What goes wrong in a run: kinds of faults, how often messages suffer, and what happens when to whole hosts.
//!
//! In: the seed. Out: answers to "what becomes of this message", and a time table. After `calm_at` nothing goes wrong any
//! more. Not here: doing it, which is the network's and the cluster's part.

mod aim;
mod messages;
mod timetable;

use std::fmt;

pub use self::{
    aim::Aim,
    messages::{Fate, Messages, Plane, Way},
    timetable::{Act, Event, Timetable},
};
use crate::{kebab, topology::Role};

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
    /// Asked to stop: it drains first.
    WorkerStopped,
    /// Crashed with its machine: what was not synced is gone.
    WorkerLostPower,
    /// Told by its masters to take nothing new; served again later.
    WorkerDecommissioned,
    /// Told that its machine will go.
    WorkerInterrupted,

    // Whole disks.
    DiskFailed,
    DiskFull,
    DiskSlow,
    /// A bit of a file turns.
    DiskDamaged,

    // Single calls to a disk.
    CallFailed,
    CallOutOfSpace,
    CallWroteHalf,
    CallLostSync,
    CallTurnedBit,
    CallHung,

    // Object stores, and single calls to them.
    ObjectStoreAway,
    ObjectCallFailed,
    /// Carried out, and not said so.
    ObjectAnswerLost,
    ObjectCallHung,
}

impl Kind {
    pub const ALL: [Self; 39] = [
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
        Self::WorkerLostPower,
        Self::WorkerDecommissioned,
        Self::WorkerInterrupted,
        Self::DiskFailed,
        Self::DiskFull,
        Self::DiskSlow,
        Self::DiskDamaged,
        Self::CallFailed,
        Self::CallOutOfSpace,
        Self::CallWroteHalf,
        Self::CallLostSync,
        Self::CallTurnedBit,
        Self::CallHung,
        Self::ObjectStoreAway,
        Self::ObjectCallFailed,
        Self::ObjectAnswerLost,
        Self::ObjectCallHung,
    ];

    /// Whether a job may fail because of it, unless everything that it befell had a second one (see
    /// [`crate::invariants`]). The others are promised to cost time and nothing else. What TCP keeps from happening
    /// within a connection is not among those.
    pub fn excuses_failure(self) -> bool {
        !matches!(
            self,
            Self::FrameDelayed
                | Self::FrameCutBefore
                | Self::FrameCutAfter
                | Self::RpcDelayed
                | Self::RpcCutBefore
                | Self::RpcCutAfter
                | Self::ExecutorCrashed
                | Self::ExecutorDrained
                | Self::WorkerDecommissioned
                | Self::WorkerInterrupted
                | Self::DiskSlow
        )
    }

    /// Whether it befalls single messages.
    pub fn is_of_messages(self) -> bool {
        self.role().is_none()
            && !matches!(self, Self::LinkHeld | Self::LinkPartitioned | Self::LinkOneWay | Self::HostPaused)
    }

    /// Whose trouble it is; none of messages and links.
    pub fn role(self) -> Option<Role> {
        match self {
            Self::FrameLost
            | Self::FrameDelayed
            | Self::FrameDuplicated
            | Self::FrameCutBefore
            | Self::FrameCutAfter
            | Self::RpcDelayed
            | Self::RpcCutBefore
            | Self::RpcCutAfter
            | Self::Swallowed
            | Self::ConnectionRefused
            | Self::LinkHeld
            | Self::LinkPartitioned
            | Self::LinkOneWay
            | Self::HostPaused => None,
            Self::CoordinatorCrashed | Self::CoordinatorStopped => Some(Role::Coordinator),
            Self::ExecutorCrashed | Self::ExecutorDrained => Some(Role::Executor),
            Self::MasterCrashed | Self::MasterStopped => Some(Role::Master),
            Self::WorkerCrashed
            | Self::WorkerStopped
            | Self::WorkerLostPower
            | Self::WorkerDecommissioned
            | Self::WorkerInterrupted
            | Self::DiskFailed
            | Self::DiskFull
            | Self::DiskSlow
            | Self::DiskDamaged
            | Self::CallFailed
            | Self::CallOutOfSpace
            | Self::CallWroteHalf
            | Self::CallLostSync
            | Self::CallTurnedBit
            | Self::CallHung
            | Self::ObjectStoreAway
            | Self::ObjectCallFailed
            | Self::ObjectAnswerLost
            | Self::ObjectCallHung => Some(Role::Worker),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&kebab(self))
    }
}
