//! `generate_series` and `range`, encoded. DataFusion's form of them leaves out the projection and the order.

use std::{fmt, sync::Arc};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::{
    common::tree_node::TreeNodeRecursion,
    error::{DataFusionError, Result},
    execution::TaskContext,
    physical_expr::PhysicalExpr,
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
        execution_plan::ReplaceChildrenOptions, memory::LazyMemoryExec,
    },
};
use datafusion_proto::{physical_plan::PhysicalPlanDecodeContext, protobuf::PhysicalPlanNode};

use super::{Decoding, Encoding, Own, PenstockCodec, missing, properties::DeclaredNode};
use crate::exchange::Declared;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SeriesNode {
    #[prost(message, optional, tag = "1")]
    series: Option<PhysicalPlanNode>,
    /// Whether the numbers are wanted, or only their count.
    #[prost(bool, tag = "2")]
    counted: bool,
    #[prost(message, optional, tag = "3")]
    declared: Option<DeclaredNode>,
}

/// A series in a template, without projection.
#[derive(Debug)]
pub(crate) struct SeriesTemplateExec {
    /// All columns.
    series: Arc<dyn ExecutionPlan>,
    /// As it was planned.
    planned: Arc<dyn ExecutionPlan>,
}

impl SeriesTemplateExec {
    /// None if `plan` is no series.
    pub fn of(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Self>> {
        let Some(planned) = plan.downcast_ref::<LazyMemoryExec>() else { return Ok(None) };
        let schema = match planned.schema().fields().is_empty() {
            true => whole_schema(planned)?,
            false => planned.schema(),
        };
        let series = LazyMemoryExec::try_new(schema, planned.generators().clone())?;
        Ok(Some(Self { series: Arc::new(series), planned: plan.clone() }))
    }
}

/// The schema before projection: that of the first batch of a fresh run.
fn whole_schema(planned: &LazyMemoryExec) -> Result<SchemaRef> {
    let any = Arc::new(Schema::new(vec![Field::new("value", DataType::Int64, true)]));
    let Some(generator) = planned.generators().first() else { return Ok(any) };
    let fresh = generator.read().reset_state();
    let batch = fresh.write().generate_next_batch()?;
    Ok(batch.map_or(any, |batch| batch.schema()))
}

pub(super) fn encode(node: &Arc<dyn ExecutionPlan>, ctx: Encoding<'_>) -> Option<Result<Own>> {
    node.downcast_ref::<SeriesTemplateExec>()
        .map(|series| SeriesNode::encode(series, ctx).map(|node| Own::Series(Box::new(node))))
}

impl SeriesNode {
    fn encode(node: &SeriesTemplateExec, ctx: Encoding<'_>) -> Result<Self> {
        let declared = Declared::of(node.planned.properties().equivalence_properties());
        Ok(Self {
            series: Some(ctx.converter.execution_plan_to_proto(&node.series, &PenstockCodec)?),
            counted: node.planned.schema().fields().is_empty(),
            declared: Some(ctx.declared(&declared)?),
        })
    }

    pub fn decode(&self, ctx: Decoding<'_>) -> Result<Arc<dyn ExecutionPlan>> {
        let context = PhysicalPlanDecodeContext::new(ctx.task, &PenstockCodec);
        let node = self.series.as_ref().ok_or_else(|| missing("series"))?;
        let series = ctx.converter.proto_to_execution_plan(node, &context)?;
        let series = series.downcast_ref::<LazyMemoryExec>().ok_or_else(|| missing("series"))?;
        let series = LazyMemoryExec::try_new(series.schema(), series.generators().clone())?;
        let mut series = series.with_projection(self.counted.then(Vec::new));
        let declared = ctx.declared(self.declared.as_ref().ok_or_else(|| missing("properties"))?)?;
        declared.orderings.into_iter().for_each(|ordering| series.add_ordering(ordering));
        Ok(Arc::new(series))
    }
}

impl DisplayAs for SeriesTemplateExec {
    fn fmt_as(&self, kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.planned.fmt_as(kind, f)
    }
}

impl ExecutionPlan for SeriesTemplateExec {
    fn name(&self) -> &str {
        self.planned.name()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.planned.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        Err(DataFusionError::Internal("a template is not executed".to_owned()))
    }
}
