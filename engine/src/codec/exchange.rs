//! Both ends of an exchange, encoded.

use std::sync::Arc;

use datafusion::{error::Result, physical_plan::ExecutionPlan};
use datafusion_proto::protobuf::PhysicalExprNode;

use super::{Decoding, Encoding, Own, missing, only_input, properties::DeclaredNode};
use crate::{
    exchange::{ExchangeReadExec, ExchangeWriteExec, WritePartitioning},
    stage_graph::ReadMode,
};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ReadNode {
    #[prost(uint32, tag = "1")]
    input: u32,
    #[prost(bool, tag = "2")]
    all: bool,
    #[prost(uint32, tag = "3")]
    partitions: u32,
    #[prost(message, optional, tag = "4")]
    declared: Option<DeclaredNode>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct WriteNode {
    #[prost(message, repeated, tag = "1")]
    exprs: Vec<PhysicalExprNode>,
    /// Partitions that are written; of a write by task, how many a reader merges.
    #[prost(uint32, tag = "2")]
    partitions: u32,
    #[prost(enumeration = "Spread", tag = "3")]
    spread: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
enum Spread {
    Hash = 0,
    RoundRobin = 1,
    Gather = 2,
    ByTask = 3,
}

pub(super) fn encode(node: &Arc<dyn ExecutionPlan>, ctx: Encoding<'_>) -> Option<Result<Own>> {
    if let Some(read) = node.downcast_ref::<ExchangeReadExec>() {
        return Some(ReadNode::encode(read, ctx).map(Own::Read));
    }
    node.downcast_ref::<ExchangeWriteExec>().map(|write| WriteNode::encode(write, ctx).map(Own::Write))
}

impl ReadNode {
    fn encode(read: &ExchangeReadExec, ctx: Encoding<'_>) -> Result<Self> {
        Ok(Self {
            input: read.input(),
            all: read.mode() == ReadMode::All,
            partitions: read.partitions() as u32,
            declared: Some(ctx.declared(read.declared())?),
        })
    }

    pub fn decode(&self, ctx: Decoding<'_>) -> Result<Arc<dyn ExecutionPlan>> {
        let mode = if self.all { ReadMode::All } else { ReadMode::Partitioned };
        let declared = ctx.declared(self.declared.as_ref().ok_or_else(|| missing("properties"))?)?;
        Ok(Arc::new(ExchangeReadExec::template(self.input, mode, self.partitions as usize, declared)?))
    }
}

impl WriteNode {
    fn encode(write: &ExchangeWriteExec, ctx: Encoding<'_>) -> Result<Self> {
        let (exprs, partitions, spread) = match write.partitioning() {
            WritePartitioning::Hash(exprs, partitions) => (ctx.exprs(exprs)?, *partitions, Spread::Hash),
            WritePartitioning::RoundRobin(partitions) => (vec![], *partitions, Spread::RoundRobin),
            WritePartitioning::Gather => (vec![], 1, Spread::Gather),
            WritePartitioning::ByTask { merged } => (vec![], *merged, Spread::ByTask),
        };
        Ok(Self { exprs, partitions: partitions as u32, spread: spread.into() })
    }

    pub fn decode(
        &self,
        inputs: &[Arc<dyn ExecutionPlan>],
        ctx: Decoding<'_>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = only_input(inputs)?;
        let partitions = self.partitions as usize;
        let partitioning = match self.spread() {
            Spread::Hash => WritePartitioning::Hash(ctx.exprs(&self.exprs, &input.schema())?, partitions),
            Spread::RoundRobin => WritePartitioning::RoundRobin(partitions),
            Spread::Gather => WritePartitioning::Gather,
            Spread::ByTask => WritePartitioning::ByTask { merged: partitions },
        };
        Ok(Arc::new(ExchangeWriteExec::new(input, partitioning)))
    }
}
