//! How the workers stand, for those who show it.

use penstock_protocol::{event::WorkerStanding, pb, status::RpcError};

use super::{Owner, OwnerError};

impl Owner {
    /// All workers that the master which answers knows of, by name.
    pub async fn workers(&self) -> Result<Vec<WorkerStanding>, OwnerError> {
        let answer = self.ask_master(async |mut master| {
            let answer = master.list_workers(pb::ListWorkersRequest {}).await?.into_inner();
            let workers: Result<Vec<_>, _> =
                answer.workers.into_iter().map(WorkerStanding::try_from).collect();
            workers.map_err(|error| RpcError::from(error).into())
        });
        answer.await
    }
}
