//! Looks at each disk again and again: does a small write come back, and how much room is there.
//!
//! A disk that was given up comes back this way and no other. Each disk is looked at by a task of its own, so that one that
//! hangs does not keep the others from being looked at.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use bytes::Bytes;
use penstock_common::lifecycle::CancellationToken;
use tokio::sync::oneshot;

use super::{DiskState, Volume};
use crate::{metrics, worker::store::Store};

const PROBE_BYTES: usize = 4096;

pub(in crate::worker) struct Monitor {
    pub store: Arc<Store>,
    pub disk: usize,
}

impl Monitor {
    /// Says when it has looked for the first time.
    pub async fn run(self, looked: oneshot::Sender<()>, stop: CancellationToken) -> Result<(), Infallible> {
        let (mut state, mut looked) = (None, Some(looked));
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                probed = self.look() => state = self.tell(state, probed.err()),
            }
            // Nobody may be waiting any more.
            looked.take().map(|looked| looked.send(()));
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(self.interval()) => {}
            }
        }
    }

    /// Probes the disk and measures it; an error if the probe failed.
    pub async fn look(&self) -> io::Result<()> {
        let (disks, volume) = (&self.store.disks, self.volume());
        let disk = disks.disk.as_ref();
        if !volume.is_taken_over() {
            return volume.take_over_late(disk).await;
        }
        let probe = async {
            disk.probe(&volume.folder, Bytes::from(vec![0xA5; PROBE_BYTES])).await?;
            disk.free_bytes(&volume.folder).await
        };
        match volume.watched(disks.hang(), probe).await {
            Ok(free_bytes) => {
                volume.probe_succeeded();
                volume.measured(free_bytes, self.store.disk_bytes(self.disk));
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Says that the state has changed, and lets data flow again if it has become better.
    fn tell(&self, before: Option<DiskState>, failure: Option<io::Error>) -> Option<DiskState> {
        let report = self.volume().report();
        metrics::disk(&report);
        let changed = before.is_some_and(|before| before != report.state);
        if changed {
            let (disk, state, errors) = (report.path, report.state, report.errors);
            tracing::warn!(disk, %state, errors, probe = ?failure, "state of a disk changed");
        }
        if report.state == DiskState::Healthy {
            self.store.budget.check_pressure();
        }
        Some(report.state)
    }

    fn interval(&self) -> Duration {
        Duration::from_millis(self.store.settings.get().disk_probe_interval_ms)
    }

    fn volume(&self) -> &Volume {
        &self.store.disks.volumes[self.disk]
    }
}
