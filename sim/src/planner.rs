//! The scripted planner with what results need: their schema, and how much of them may come inline.

use async_trait::async_trait;
use penstock_coordinator::{
    job::{JobFailure, StatementText},
    planning::{Described, PlanRequest, Planned, Planner, PrepareRequest, scripted::ScriptedPlanner},
};

use crate::engine;

#[derive(Debug)]
pub struct SimPlanner {
    pub inline_bytes_max: u64,
}

#[async_trait]
impl Planner for SimPlanner {
    async fn prepare(&self, request: PrepareRequest) -> Result<Vec<StatementText>, JobFailure> {
        ScriptedPlanner.prepare(request).await
    }

    async fn plan(&self, request: PlanRequest) -> Result<Planned, JobFailure> {
        let mut planned = ScriptedPlanner.plan(request).await?;
        planned.held.schema = Some(engine::schema());
        planned.held.inline_bytes_max = self.inline_bytes_max;
        Ok(planned)
    }

    async fn describe(&self, request: PrepareRequest) -> Result<Vec<Described>, JobFailure> {
        ScriptedPlanner.describe(request).await
    }
}
