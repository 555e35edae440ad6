//! The planner that runs jobs: the engine on threads of its own, so that a large plan never holds up the loop.

use std::{collections::BTreeMap, future::Future, ops::Range, sync::Arc, time::Instant};

use async_trait::async_trait;
use bytes::Bytes;
use datafusion::execution::runtime_env::RuntimeEnv;
use penstock_engine::{
    catalog::Catalog,
    script::Script,
    settings::Settings,
    sql::{self, PlanContext, PlannedStatement, SqlError, StatementKind},
    stage_graph::StageGraph,
};
use penstock_protocol::{
    ids::{JobId, StageId, StatementIndex},
    task::{FailureClass, ScanFile},
};
use tokio::{runtime::Handle, sync::Semaphore};
use tokio_util::sync::CancellationToken;

use super::{
    Described, Held, PlanRequest, Planned, Planner, PrepareRequest, StagePlans, convert, convert::sql_failure,
};
use crate::{
    job::{JobFailure, JobSpec, StatementPlan, StatementText},
    metrics,
};

/// Plans with DataFusion, at most so many statements at a time.
#[derive(Debug)]
pub struct EnginePlanner {
    env: Arc<RuntimeEnv>,
    warehouse_url: String,
    threads: Arc<Semaphore>,
    stop: CancellationToken,
}

impl EnginePlanner {
    pub fn new(env: Arc<RuntimeEnv>, warehouse_url: String, threads: usize, stop: CancellationToken) -> Self {
        Self { env, warehouse_url, threads: Arc::new(Semaphore::new(threads)), stop }
    }

    fn context(
        &self,
        job: JobId,
        spec: &JobSpec,
        settings: &BTreeMap<String, String>,
        catalog: &Catalog,
    ) -> Result<PlanContext, JobFailure> {
        Ok(PlanContext {
            settings: Settings::new(settings.clone()).map_err(|error| sql_failure(&error))?,
            catalog: catalog.clone(),
            parameters: spec.parameters.clone(),
            base_url: spec.base_url.clone(),
            warehouse_url: self.warehouse_url.clone(),
            env: Arc::clone(&self.env),
            job,
        })
    }

    /// Runs planning on a blocking thread: binding and optimising hold the CPU for as long as they take.
    async fn on_own_thread<T, F>(&self, work: F) -> Result<T, JobFailure>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, JobFailure>> + Send + 'static,
    {
        let asked = Instant::now();
        let permit = Arc::clone(&self.threads).acquire_owned().await.map_err(|_| stopped())?;
        metrics::took(metrics::PLANNING_WAIT_SECONDS, asked.elapsed());
        let (runtime, stop) = (Handle::current(), self.stop.clone());
        let planning = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let started = Instant::now();
            let outcome = runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => Err(stopped()),
                    outcome = work => outcome,
                }
            });
            metrics::took(metrics::PLANNING_SECONDS, started.elapsed());
            outcome
        });
        planning.await.unwrap_or_else(|panic| {
            let message = format!("planning {panic}");
            Err(JobFailure::new(
                FailureClass::Internal,
                message,
                Some("this is a bug in Penstock: report it"),
            ))
        })
    }
}

fn stopped() -> JobFailure {
    JobFailure::new(FailureClass::Infrastructure, "the coordinator is stopping", Some("submit the job again"))
}

#[async_trait]
impl Planner for EnginePlanner {
    async fn prepare(&self, request: PrepareRequest) -> Result<Vec<StatementText>, JobFailure> {
        let context = self.context(request.job, &request.spec, &request.settings, &request.catalog)?;
        self.on_own_thread(async move {
            let script = parse(&request.spec.sql)?;
            sql::validate(&script, &context).await.map_err(|error| sql_failure(&error))?;
            let text = |index| StatementText { sql: script.statement_sql(index).into() };
            Ok((0..script.len()).map(text).collect())
        })
        .await
    }

    async fn plan(&self, request: PlanRequest) -> Result<Planned, JobFailure> {
        let context = self.context(request.job, &request.spec, &request.settings, &request.catalog)?;
        self.on_own_thread(async move {
            let script = parse(&request.spec.sql)?;
            let inline_bytes_max = context.settings.result_inline_bytes_max();
            let planned = plan_one(&script, request.statement, &context).await?;
            let plan = StatementPlan {
                work: convert::work_of(&planned, request.first_stage),
                log: Box::new(convert::log_of(&planned, request.statement, request.first_stage)),
            };
            let held = hold(planned, request.first_stage, request.settings, inline_bytes_max)?;
            Ok(Planned { plan, held })
        })
        .await
    }

    async fn describe(&self, request: PrepareRequest) -> Result<Vec<Described>, JobFailure> {
        let mut context = self.context(request.job, &request.spec, &request.settings, &request.catalog)?;
        self.on_own_thread(async move {
            let script = parse(&request.spec.sql)?;
            sql::validate(&script, &context).await.map_err(|error| sql_failure(&error))?;
            let mut statements = Vec::new();
            for index in (0..script.len()).filter_map(|index| u32::try_from(index).ok()) {
                let planned = plan_one(&script, StatementIndex(index), &context).await?;
                statements.push(described(&planned, StatementIndex(index)));
                leave_behind(&planned.kind, &mut context);
            }
            Ok(statements)
        })
        .await
    }
}

fn parse(text: &str) -> Result<Script, JobFailure> {
    Script::parse(text).map_err(|error| sql_failure(&error))
}

async fn plan_one(
    script: &Script,
    statement: StatementIndex,
    context: &PlanContext,
) -> Result<PlannedStatement, JobFailure> {
    let planned = sql::plan_statement(script, statement.0 as usize, context).await;
    planned.map_err(|error| {
        let mut failure = sql_failure(&error);
        failure.place.statement = Some(statement.0);
        failure
    })
}

/// What the following statements of a script see of one that was only planned.
fn leave_behind(kind: &StatementKind, context: &mut PlanContext) {
    let changed: Result<(), SqlError> = match kind {
        StatementKind::Set { key, value } => context.settings.set(key, value),
        StatementKind::Catalog(change) | StatementKind::Sink { then: Some(change), .. } => {
            change.apply(&mut context.catalog).map_err(|error| SqlError::sql(error.to_string()))
        }
        StatementKind::Query { .. } | StatementKind::Sink { .. } | StatementKind::Rows { .. } => Ok(()),
    };
    if let Err(error) = changed {
        tracing::debug!(%error, "a statement that was validated leaves nothing behind");
    }
}

fn described(planned: &PlannedStatement, index: StatementIndex) -> Described {
    let schema = match &planned.kind {
        StatementKind::Query { schema, .. } | StatementKind::Rows { schema, .. } => {
            Some(convert::columns(schema))
        }
        StatementKind::Sink { .. } | StatementKind::Catalog(_) | StatementKind::Set { .. } => None,
    };
    Described {
        sql: planned.sql.clone(),
        kind: convert::kind_name(&planned.kind),
        schema,
        plan: convert::log_of(planned, index, StageId(0)),
    }
}

fn hold(
    planned: PlannedStatement,
    first_stage: StageId,
    settings: Arc<BTreeMap<String, String>>,
    inline_bytes_max: u64,
) -> Result<Held, JobFailure> {
    let stages = match convert::graph_of(&planned.kind) {
        Some(graph) => Some(Arc::new(EncodedGraph::encode(graph)?) as Arc<dyn StagePlans>),
        None => None,
    };
    let mut held = Held {
        first_stage,
        settings,
        inline_bytes_max,
        stages,
        schema: None,
        rows: None,
        sink: None,
        change: None,
    };
    match planned.kind {
        StatementKind::Query { schema, .. } => held.schema = Some(schema),
        StatementKind::Sink { sink, then, .. } => (held.sink, held.change) = (Some(sink), then),
        StatementKind::Catalog(change) => held.change = Some(change),
        StatementKind::Rows { schema, batches } => (held.schema, held.rows) = (Some(schema), Some(batches)),
        StatementKind::Set { .. } => {}
    }
    Ok(held)
}

/// A graph whose templates are encoded once, so that a plan that cannot travel fails here and not at dispatch.
#[derive(Debug)]
struct EncodedGraph {
    graph: StageGraph,
    templates: Vec<Bytes>,
}

impl EncodedGraph {
    fn encode(graph: &StageGraph) -> Result<Self, JobFailure> {
        let encode = |stage: &penstock_engine::stage_graph::Stage| {
            stage.encode().map_err(|error| {
                let message = format!("stage `{}` cannot be sent to executors: {error}", stage.name);
                JobFailure::new(
                    FailureClass::Internal,
                    message,
                    Some("rewrite the part of the query it names"),
                )
            })
        };
        let templates = graph.stages.iter().map(encode).collect::<Result<_, _>>()?;
        Ok(Self { graph: graph.clone(), templates })
    }
}

impl StagePlans for EncodedGraph {
    fn template(&self, stage: usize) -> Bytes {
        self.templates[stage].clone()
    }

    fn scans(&self, stage: usize, task: u32) -> Vec<Vec<ScanFile>> {
        self.graph.stages[stage].task_scans(task)
    }

    fn reads(&self, stage: usize, input: usize, task: u32) -> Range<u32> {
        self.graph.stages[stage].reads(input, task)
    }
}
