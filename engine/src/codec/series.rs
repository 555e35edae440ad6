//! `generate_series` and `range`, encoded. DataFusion's form of them leaves out the projection and the order.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::{
    error::Result,
    physical_plan::{ExecutionPlan, memory::LazyMemoryExec},
};
use datafusion_proto::{physical_plan::PhysicalPlanDecodeContext, protobuf::PhysicalPlanNode};

use super::{
    Decoding, Encoding, Own, PenstockCodec, missing, properties::DeclaredNode, template::TemplateExec,
};
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

/// A series in a template.
pub(crate) type SeriesTemplateExec = TemplateExec<Series>;

/// All columns of a series, without projection.
#[derive(Debug, Clone)]
pub(crate) struct Series(Arc<dyn ExecutionPlan>);

impl SeriesTemplateExec {
    /// None if `plan` is no series.
    pub fn of(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Self>> {
        let Some(planned) = plan.downcast_ref::<LazyMemoryExec>() else { return Ok(None) };
        let schema = match planned.schema().fields().is_empty() {
            true => whole_schema(planned)?,
            false => planned.schema(),
        };
        let series = LazyMemoryExec::try_new(schema, planned.generators().clone())?;
        Ok(Some(Self { planned: plan.clone(), kept: Series(Arc::new(series)) }))
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
            series: Some(ctx.converter.execution_plan_to_proto(&node.kept.0, &PenstockCodec)?),
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
