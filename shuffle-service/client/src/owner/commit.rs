//! Commit: every copy of every location asked for gets a verdict, whatever happens to the workers.

use std::time::Duration;

use penstock_protocol::{
    pb,
    shuffle::{CommitVerdict, Location, ShuffleTarget, Winner, WorkerAddress},
};
use tokio::time::Instant;

use super::{
    Owner, OwnerError, calls, lock,
    verdicts::{Answer, NoAnswer, Verdicts},
};

/// How long a commit goes on asking for an epoch of which no copy has answered.
const PATIENCE: Duration = Duration::from_secs(10);

impl Owner {
    /// Closes all locations of a shuffle, which are those of all epochs. The answer is total, one verdict for each copy in
    /// the order of the target (invariant 4): a worker that cannot be reached, does not know the location or is in another
    /// life promises nothing, unless it has answered for this copy before. Repeating the call gives the same answer as long
    /// as the workers live (invariant 5).
    pub async fn commit(
        &self,
        target: &ShuffleTarget,
        winners: &[Winner],
    ) -> Result<Vec<(Location, CommitVerdict)>, OwnerError> {
        Ok(self.close(target, Some(winners)).await)
    }

    /// Closes locations that writers have left while the shuffle goes on, so that their workers may leave. [`Self::commit`]
    /// has to name them again, and gives the same verdicts (invariant 17).
    pub async fn commit_early(&self, ended: &ShuffleTarget) -> Vec<(Location, CommitVerdict)> {
        let verdicts = self.close(ended, None).await;
        let mut promised = lock(&self.promised);
        if !self.was_released(ended.shuffle.job) {
            promised.entry(ended.shuffle).or_default().keep(&verdicts);
        }
        drop(promised);
        verdicts
    }

    async fn close(
        &self,
        target: &ShuffleTarget,
        winners: Option<&[Winner]>,
    ) -> Vec<(Location, CommitVerdict)> {
        let early = winners.is_none();
        let winners: Vec<pb::Winner> = winners.unwrap_or_default().iter().map(Into::into).collect();
        let mut verdicts = Verdicts::new(target.locations.iter().flat_map(Location::copies).collect());
        let (started, mut waits) = (Instant::now(), calls::backoff(target.locations.len() as u64));
        let mut asked = verdicts.all();
        loop {
            let answers = asked.iter().map(|(worker, indices)| {
                let locations = indices.iter().map(|index| (&verdicts.copies()[*index]).into()).collect();
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
            for ((worker, indices), answer) in asked.iter().zip(&answers) {
                verdicts.take(worker, indices, answer);
            }
            let promised = lock(&self.promised).get(&target.shuffle).cloned().unwrap_or_default();
            asked = verdicts.needed(&promised);
            if asked.is_empty() || started.elapsed() >= PATIENCE {
                return verdicts.end(&promised);
            }
            tokio::time::sleep(waits.next().expect("it is endless")).await;
        }
    }

    async fn commit_on(&self, worker: &WorkerAddress, request: pb::CommitRequest) -> Answer {
        let policy = calls::COMMIT.within(self.silence);
        let answer = self.ask_worker(worker, policy, async |mut client| client.commit(request.clone()).await);
        let answer = answer
            .await
            .map_err(|error| NoAnswer { may_come: error.may_be_retried(), reason: error.message })?;
        let decode = |verdict: pb::LocationVerdict| {
            let location = verdict.location?.into();
            Some((location, CommitVerdict::try_from(verdict.verdict?).ok()?))
        };
        Ok(answer.into_inner().verdicts.into_iter().filter_map(decode).collect())
    }
}
