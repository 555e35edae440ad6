//! Plans as bytes: DataFusion's encoding, with one file per node of ours.
//!
//! Expressions of our nodes are encoded with the converter and codec that are passed in, so that an expression that
//! occurs twice is still one expression after decoding. Both ends are the same build; nothing here is stable.

mod exchange;
mod properties;
mod recursive;
mod scan;
mod series;
mod sink;
mod template;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use datafusion::{
    error::{DataFusionError, Result},
    execution::TaskContext,
    physical_plan::{ExecutionPlan, InputOrderMode, aggregates::AggregateExec},
};
use datafusion_proto::{
    physical_plan::{
        DeduplicatingProtoConverter, PhysicalExtensionCodec, PhysicalPlanDecodeContext,
        PhysicalProtoConverterExtension,
    },
    protobuf::PhysicalPlanNode,
};
use prost::Message;

pub(crate) use recursive::WorkTableTemplateExec;
pub(crate) use series::SeriesTemplateExec;

/// A plan that has no encoding.
#[derive(Debug, thiserror::Error)]
#[error("encoding a stage's plan: {0}")]
pub struct EncodeError(#[from] pub DataFusionError);

/// A stage's plan with what must come out the same at the other end.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct StagePlan {
    #[prost(message, optional, tag = "1")]
    plan: Option<PhysicalPlanNode>,
    /// How much order each aggregation uses, in pre-order. Decoding derives it anew, and one that came out hashed
    /// instead of sorted would lose an order that someone above it may rely on.
    #[prost(uint32, repeated, tag = "2")]
    aggregations: Vec<u32>,
}

/// Encodes a template once for all tasks.
pub(crate) fn encode_plan(plan: &Arc<dyn ExecutionPlan>) -> Result<Bytes, EncodeError> {
    let node = DeduplicatingProtoConverter {}.execution_plan_to_proto(plan, &PenstockCodec)?;
    Ok(StagePlan { plan: Some(node), aggregations: aggregations(plan) }.encode_to_vec().into())
}

/// Parses the bytes; [`StagePlan::instantiate`] then makes one plan for each attempt.
pub(crate) fn parse_plan(bytes: &[u8]) -> Result<StagePlan> {
    StagePlan::decode(bytes).map_err(|error| DataFusionError::Internal(format!("a stage's plan: {error}")))
}

impl StagePlan {
    /// A plan of its own for one attempt: nodes hold state and metrics, which attempts must not share.
    pub fn instantiate(&self, ctx: &TaskContext) -> Result<Arc<dyn ExecutionPlan>> {
        let node = self
            .plan
            .as_ref()
            .ok_or_else(|| DataFusionError::Internal("a stage without a plan".to_owned()))?;
        let decoding = PhysicalPlanDecodeContext::new(ctx, &PenstockCodec);
        let plan = DeduplicatingProtoConverter {}.proto_to_execution_plan(node, &decoding)?;
        self.check(&plan)?;
        Ok(plan)
    }

    fn check(&self, plan: &Arc<dyn ExecutionPlan>) -> Result<()> {
        let decoded = aggregations(plan);
        let kept = decoded.iter().zip(&self.aggregations).all(|(decoded, planned)| decoded >= planned);
        if kept && decoded.len() == self.aggregations.len() {
            return Ok(());
        }
        let planned = &self.aggregations;
        Err(DataFusionError::Internal(format!("aggregations lost an order: {planned:?} became {decoded:?}")))
    }
}

/// How much order each aggregation uses, in pre-order.
fn aggregations(plan: &Arc<dyn ExecutionPlan>) -> Vec<u32> {
    let own = plan.downcast_ref::<AggregateExec>().map(order_used);
    own.into_iter().chain(plan.children().into_iter().flat_map(aggregations)).collect()
}

/// Grows with the order that the aggregation finds in its input and keeps in its output.
pub(crate) fn order_used(aggregate: &AggregateExec) -> u32 {
    match aggregate.input_order_mode() {
        InputOrderMode::Linear => 0,
        InputOrderMode::PartiallySorted(columns) => columns.len() as u32,
        InputOrderMode::Sorted => u32::MAX,
    }
}

/// Nodes of ours, one message each.
#[derive(Clone, PartialEq, Message)]
struct OwnNode {
    #[prost(oneof = "Own", tags = "1, 2, 3, 4, 5, 6, 7")]
    node: Option<Own>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Own {
    #[prost(message, tag = "1")]
    Read(exchange::ReadNode),
    #[prost(message, tag = "2")]
    Write(exchange::WriteNode),
    #[prost(message, tag = "3")]
    Scan(Box<scan::ScanNode>),
    #[prost(message, tag = "4")]
    Sink(sink::SinkNode),
    #[prost(message, tag = "5")]
    Recursive(recursive::RecursiveNode),
    #[prost(message, tag = "6")]
    WorkTable(recursive::WorkTableNode),
    #[prost(message, tag = "7")]
    Series(Box<series::SeriesNode>),
}

/// Encodes and decodes the nodes that DataFusion cannot.
#[derive(Debug, Clone, Copy)]
pub struct PenstockCodec;

/// What a node needs to encode its parts.
#[derive(Clone, Copy)]
struct Encoding<'a> {
    converter: &'a dyn PhysicalProtoConverterExtension,
}

/// What a node needs to decode its parts.
#[derive(Clone, Copy)]
struct Decoding<'a> {
    task: &'a TaskContext,
    converter: &'a dyn PhysicalProtoConverterExtension,
}

impl PhysicalExtensionCodec for PenstockCodec {
    fn try_decode(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        task: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let own =
            OwnNode::decode(bytes).map_err(|error| DataFusionError::Internal(format!("a node: {error}")))?;
        let ctx = Decoding { task, converter };
        match own.node.ok_or_else(|| missing("node"))? {
            Own::Read(node) => node.decode(ctx),
            Own::Write(node) => node.decode(inputs, ctx),
            Own::Scan(node) => node.decode(ctx),
            Own::Sink(node) => node.decode(inputs),
            Own::Recursive(node) => node.decode(inputs),
            Own::WorkTable(node) => node.decode(),
            Own::Series(node) => node.decode(ctx),
        }
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        bytes: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let ctx = Encoding { converter };
        let own = exchange::encode(&node, ctx)
            .or_else(|| scan::encode(&node, ctx))
            .or_else(|| sink::encode(&node))
            .or_else(|| recursive::encode(&node))
            .or_else(|| series::encode(&node, ctx))
            .unwrap_or_else(|| {
                Err(DataFusionError::NotImplemented(format!("{} has no encoding", node.name())))
            })?;
        OwnNode { node: Some(own) }
            .encode(bytes)
            .map_err(|error| DataFusionError::Internal(error.to_string()))
    }
}

fn missing(what: &'static str) -> DataFusionError {
    DataFusionError::Internal(format!("an encoded node lacks its {what}"))
}

fn only_input(inputs: &[Arc<dyn ExecutionPlan>]) -> Result<Arc<dyn ExecutionPlan>> {
    match inputs {
        [input] => Ok(input.clone()),
        _ => Err(missing("input")),
    }
}
