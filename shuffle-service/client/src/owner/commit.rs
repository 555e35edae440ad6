//! Commit: every copy of every location asked for gets a verdict, whatever happens to the workers.

use penstock_protocol::{
    ids::{Epoch, PartitionIndex},
    pb,
    shuffle::{CommitVerdict, Location, ShuffleTarget, Winner, WorkerAddress},
};

use super::{Owner, OwnerError, by_worker, calls};

impl Owner {
    /// Closes all locations of a shuffle, which are those of all epochs. The answer is total, one verdict for each copy in
    /// the order of the target (invariant 4): a worker that cannot be reached, does not know the location or is in another
    /// life counts as failed. Repeating the call gives the same answer as long as the workers live (invariant 5).
    pub async fn commit(
        &self,
        target: &ShuffleTarget,
        winners: &[Winner],
    ) -> Result<Vec<(Location, CommitVerdict)>, OwnerError> {
        Ok(self.close(target, Some(winners)).await)
    }

    /// Closes locations that a split has ended while the shuffle goes on. [`Self::commit`] has to name them again, and gives
    /// the same verdicts (invariant 17).
    pub async fn commit_early(&self, ended: &ShuffleTarget) -> Vec<(Location, CommitVerdict)> {
        self.close(ended, None).await
    }

    async fn close(
        &self,
        target: &ShuffleTarget,
        winners: Option<&[Winner]>,
    ) -> Vec<(Location, CommitVerdict)> {
        let early = winners.is_none();
        let winners: Vec<pb::Winner> = winners.unwrap_or_default().iter().map(Into::into).collect();
        let copies: Vec<_> = target.locations.iter().flat_map(Location::copies).collect();
        let mut verdicts: Vec<Option<CommitVerdict>> = vec![None; copies.len()];
        let groups = by_worker(&copies);
        let answers = groups.iter().map(|(worker, indices)| {
            let locations = indices.iter().map(|index| (&copies[*index]).into()).collect();
            let request = pb::CommitRequest {
                incarnation: worker.incarnation.0,
                shuffle: Some(target.shuffle.into()),
                locations,
                winners: winners.clone(),
                early,
            };
            self.commit_on(worker, request)
        });
        let answers = futures::future::join_all(answers).await;
        for ((worker, indices), answer) in groups.iter().zip(answers) {
            for index in indices {
                verdicts[*index] = Some(verdict_for(&copies[*index], worker, &answer));
            }
        }
        let verdicts = verdicts.into_iter().map(|verdict| {
            verdict.unwrap_or_else(|| CommitVerdict::Failed { reason: "nobody answers for it".to_owned() })
        });
        copies.into_iter().zip(verdicts).collect()
    }

    async fn commit_on(&self, worker: &WorkerAddress, request: pb::CommitRequest) -> Answer {
        let answer =
            self.ask_worker(worker, calls::COMMIT, async |mut client| client.commit(request.clone()).await);
        let answer = answer.await.map_err(|error| error.message)?.into_inner();
        let decode = |verdict: pb::LocationVerdict| {
            let location = verdict.location?.into();
            Some((location, CommitVerdict::try_from(verdict.verdict?).ok()?))
        };
        Ok(answer.verdicts.into_iter().filter_map(decode).collect())
    }
}

type Answer = Result<std::collections::BTreeMap<(PartitionIndex, Epoch), CommitVerdict>, String>;

fn verdict_for(location: &Location, worker: &WorkerAddress, answer: &Answer) -> CommitVerdict {
    let failed =
        |reason: &str| CommitVerdict::Failed { reason: format!("worker {}: {reason}", worker.worker) };
    match answer {
        Ok(verdicts) => match verdicts.get(&(location.partition, location.epoch)) {
            Some(CommitVerdict::Failed { reason }) => failed(reason),
            Some(verdict) => verdict.clone(),
            None => failed("its answer leaves this location out"),
        },
        Err(reason) => failed(reason),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use penstock_protocol::ids::Incarnation;

    use super::*;

    // Invariant 4: unknown is failed, also where an answer leaves a location out.
    #[test]
    fn what_a_worker_does_not_speak_of_has_failed() {
        let worker = WorkerAddress {
            worker: "w".into(),
            incarnation: Incarnation(1),
            control: "c:1".into(),
            data: "d:1".into(),
        };
        let location =
            |partition| Location::on(PartitionIndex(partition), Epoch(0), Arc::new(worker.clone()));
        let answer: Answer = Ok(BTreeMap::from([((PartitionIndex(0), Epoch(0)), CommitVerdict::Empty)]));
        assert_eq!(verdict_for(&location(0), &worker, &answer), CommitVerdict::Empty);
        let left_out = verdict_for(&location(1), &worker, &answer);
        assert!(matches!(left_out, CommitVerdict::Failed { .. }), "{left_out:?}");
        let unanswered = verdict_for(&location(0), &worker, &Err("no answer in time".to_owned()));
        assert!(matches!(unanswered, CommitVerdict::Failed { .. }), "{unanswered:?}");
    }
}
