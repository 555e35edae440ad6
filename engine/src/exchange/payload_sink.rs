//! Where an attempt's payloads go: to the shuffle, or into the report while a result is small.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use datafusion::physical_plan::metrics::Time;
use penstock_batches::{BatchIoError, Codec, Encoder};
use penstock_protocol::{
    effort::PushEffort,
    ids::{AttemptId, PartitionIndex},
    shuffle::{MapOutput, ShuffleTarget},
    task::TaskOutput,
};

use super::store::{BatchEncoder, ShuffleError, ShuffleStore, ShuffleWriter};

/// Takes payloads in order. Opens the shuffle with the first payload that has to go there.
pub(crate) struct PayloadSink {
    store: Arc<dyn ShuffleStore>,
    attempt: AttemptId,
    target: Arc<ShuffleTarget>,
    state: State,
}

enum State {
    /// A result that still fits into the report.
    Inline {
        batches: Vec<(PartitionIndex, u32, Bytes)>,
        bytes: u64,
        bytes_max: u64,
    },
    Unopened,
    Open(Box<dyn ShuffleWriter>),
}

impl PayloadSink {
    pub fn shuffle(store: Arc<dyn ShuffleStore>, attempt: AttemptId, target: Arc<ShuffleTarget>) -> Self {
        Self { store, attempt, target, state: State::Unopened }
    }

    pub fn result(
        store: Arc<dyn ShuffleStore>,
        attempt: AttemptId,
        target: Arc<ShuffleTarget>,
        bytes_max: u64,
    ) -> Self {
        Self { store, attempt, target, state: State::Inline { batches: vec![], bytes: 0, bytes_max } }
    }

    /// What makes payloads for it. Those of a result leave the store's hands.
    pub fn encoder(&self, codec: Codec) -> Result<Box<dyn BatchEncoder>, BatchIoError> {
        match self.state {
            State::Inline { .. } => Ok(Box::new(Encoder::new(codec)?)),
            State::Unopened | State::Open(_) => self.store.encoder(codec),
        }
    }

    /// Hands over one payload; `wait` gets the time that the shuffle took.
    pub async fn push(
        &mut self,
        partition: PartitionIndex,
        rows: u32,
        payload: Bytes,
        wait: &Time,
    ) -> Result<(), ShuffleError> {
        if let State::Inline { batches, bytes, bytes_max } = &mut self.state {
            *bytes += payload.len() as u64;
            batches.push((partition, rows, payload));
            if *bytes <= *bytes_max {
                return Ok(());
            }
            let kept = std::mem::take(batches);
            self.state = State::Unopened;
            return self.push_all(kept, wait).await;
        }
        self.push_all([(partition, rows, payload)], wait).await
    }

    async fn push_all(
        &mut self,
        payloads: impl IntoIterator<Item = (PartitionIndex, u32, Bytes)>,
        wait: &Time,
    ) -> Result<(), ShuffleError> {
        let started = Instant::now();
        if !matches!(self.state, State::Open(_)) {
            self.state = State::Open(self.store.writer(self.attempt, self.target.clone()).await?);
        }
        if let State::Open(writer) = &mut self.state {
            for (partition, rows, payload) in payloads {
                writer.push(partition, rows, payload).await?;
            }
        }
        wait.add_elapsed(started);
        Ok(())
    }

    /// What the pushes took, until now and from now on; none if nothing went to the shuffle.
    pub fn effort(&self) -> Option<Arc<PushEffort>> {
        match &self.state {
            State::Open(writer) => Some(writer.effort()),
            State::Inline { .. } | State::Unopened => None,
        }
    }

    /// Ends the attempt's output: everything pushed is acknowledged when this returns.
    pub async fn finish(self, wait: &Time) -> Result<TaskOutput, ShuffleError> {
        let started = Instant::now();
        let output = match self.state {
            State::Inline { batches, .. } => TaskOutput::Inline {
                rows: batches.iter().map(|(_, rows, _)| u64::from(*rows)).sum(),
                batches: batches.into_iter().map(|(_, _, payload)| payload).collect(),
            },
            State::Unopened => TaskOutput::Shuffle(MapOutput::default()),
            State::Open(writer) => TaskOutput::Shuffle(writer.finish().await?),
        };
        wait.add_elapsed(started);
        Ok(output)
    }
}
