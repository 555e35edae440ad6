//! `/jobs:validate` and `/explain`: what a script would do, without doing it.

use std::{collections::BTreeMap, fmt::Write, sync::Arc};

use axum::{Json, extract::State};
use penstock_protocol::event::PlannedStage;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    body::{Body, Keys},
    error::{ApiError, ErrorBody},
    jobs::SubmitRequest,
};
use crate::{
    api::Api,
    job::JobSpec,
    planning::{Described, PrepareRequest},
};

#[derive(Debug, Serialize, ToSchema)]
pub struct Validation {
    ok: bool,
    statements: Vec<ValidStatement>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ValidStatement {
    sql: String,
    kind: String,
    /// Columns of a query.
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<Vec<ColumnView>>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ColumnView {
    pub name: String,
    /// As Arrow writes it.
    #[serde(rename = "type")]
    pub data_type: String,
}

/// Checks a job without running it: the same body as for submitting.
#[utoipa::path(post, path = "/api/v1/jobs:validate", tag = "sql", request_body = SubmitRequest, responses(
    (status = 200, body = Validation), (status = 400, body = ErrorBody),
))]
pub async fn validate(
    State(api): State<Api>,
    Body(request): Body<SubmitRequest>,
) -> Result<Json<Validation>, ApiError> {
    let statements = describe(&api, request.into()).await?;
    let valid = |statement: Described| ValidStatement {
        sql: statement.sql,
        kind: statement.kind.to_owned(),
        schema: statement.schema.map(columns),
    };
    Ok(Json(Validation { ok: true, statements: statements.into_iter().map(valid).collect() }))
}

#[derive(Debug, Deserialize, ToSchema)]
pub struct ExplainRequest {
    sql: String,
    /// Show stages and exchanges too.
    #[serde(default)]
    distributed: bool,
    #[serde(default)]
    parameters: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    settings: BTreeMap<String, String>,
    #[serde(default)]
    base_url: Option<String>,
}

impl Keys for ExplainRequest {
    const KEYS: &'static [&'static str] = &["sql", "distributed", "parameters", "settings", "base_url"];
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Explanation {
    statements: Vec<ExplainedStatement>,
    /// All of it for reading.
    text: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ExplainedStatement {
    sql: String,
    kind: String,
    logical_plan: String,
    physical_plan: String,
    /// As in the event log; only with `distributed`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    stages: Vec<PlannedStage>,
}

/// Shows the plans of a script.
#[utoipa::path(post, path = "/api/v1/explain", tag = "sql", request_body = ExplainRequest, responses(
    (status = 200, body = Explanation), (status = 400, body = ErrorBody),
))]
pub async fn explain(
    State(api): State<Api>,
    Body(request): Body<ExplainRequest>,
) -> Result<Json<Explanation>, ApiError> {
    let distributed = request.distributed;
    let spec = JobSpec {
        sql: request.sql,
        parameters: request.parameters,
        settings: request.settings,
        base_url: request.base_url,
        ..JobSpec::default()
    };
    let described = describe(&api, spec).await?;
    let text =
        described.iter().map(|statement| as_text(statement, distributed)).collect::<Vec<_>>().join("\n");
    let explained = |statement: Described| ExplainedStatement {
        sql: statement.sql,
        kind: statement.kind.to_owned(),
        logical_plan: statement.plan.logical_plan,
        physical_plan: statement.plan.physical_plan,
        stages: if distributed { statement.plan.stages } else { Vec::new() },
    };
    Ok(Json(Explanation { statements: described.into_iter().map(explained).collect(), text }))
}

async fn describe(api: &Api, spec: JobSpec) -> Result<Vec<Described>, ApiError> {
    let effects = api.effects();
    let request = PrepareRequest {
        job: api.fresh_id(),
        settings: Arc::new(effects.layered(&spec.settings)),
        spec: Arc::new(spec),
        catalog: effects.tables.snapshot(),
    };
    Ok(effects.planner.describe(request).await?)
}

pub fn columns(columns: Vec<(String, String)>) -> Vec<ColumnView> {
    columns.into_iter().map(|(name, data_type)| ColumnView { name, data_type }).collect()
}

fn as_text(statement: &Described, distributed: bool) -> String {
    let mut text = format!("{}\n", statement.sql);
    for (title, plan) in
        [("logical plan", &statement.plan.logical_plan), ("physical plan", &statement.plan.physical_plan)]
    {
        if !plan.is_empty() {
            // Writing to a string cannot fail.
            let _ = write!(text, "{title}:\n{}\n", indented(plan));
        }
    }
    if distributed {
        statement.plan.stages.iter().for_each(|stage| text.push_str(&stage_text(stage)));
    }
    text
}

fn indented(plan: &str) -> String {
    plan.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

fn stage_text(stage: &PlannedStage) -> String {
    let inputs: Vec<String> =
        stage.inputs.iter().map(|input| format!("stage {} {}", input.stage, input.mode)).collect();
    let reads = if inputs.is_empty() { "files".to_owned() } else { inputs.join(", ") };
    let mut text = format!(
        "stage {}: {}\n  {} tasks, reads {reads}, writes {} into {} partitions\n",
        stage.stage, stage.name, stage.tasks, stage.output, stage.output_partitions
    );
    for operator in &stage.operators {
        let _ = writeln!(text, "  {}{}", "  ".repeat(depth(stage, operator.parent)), operator.detail);
    }
    text
}

fn depth(stage: &PlannedStage, parent: Option<u32>) -> usize {
    let parent_of = |operator: u32| stage.operators.iter().find(|o| o.operator == operator)?.parent;
    // A parent comes before its children, so the chain ends; the bound is for a plan that says otherwise.
    std::iter::successors(parent, |operator| parent_of(*operator)).take(stage.operators.len()).count()
}
