//! A file scan's template, encoded: DataFusion's form of the scan without files, and what that form leaves out.

use std::{str::FromStr, sync::Arc};

use datafusion::{
    datasource::{file_format::file_compression_type::FileCompressionType, source::DataSourceExec},
    error::Result,
    physical_plan::ExecutionPlan,
};
use datafusion_proto::{physical_plan::PhysicalPlanDecodeContext, protobuf::PhysicalPlanNode};

use super::{Decoding, Encoding, Own, PenstockCodec, missing, properties::DeclaredNode};
use crate::scan::{Forgotten, StageScanExec};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ScanNode {
    #[prost(uint32, tag = "1")]
    scan: u32,
    #[prost(bool, tag = "2")]
    whole: bool,
    #[prost(uint32, tag = "3")]
    partitions: u32,
    #[prost(message, optional, tag = "4")]
    source: Option<PhysicalPlanNode>,
    #[prost(string, tag = "5")]
    compression: String,
    #[prost(bool, tag = "6")]
    preserve_order: bool,
    #[prost(uint32, optional, tag = "7")]
    csv_terminator: Option<u32>,
    #[prost(message, optional, tag = "8")]
    declared: Option<DeclaredNode>,
    #[prost(bool, tag = "9")]
    json_array: bool,
}

pub(super) fn encode(node: &Arc<dyn ExecutionPlan>, ctx: Encoding<'_>) -> Option<Result<Own>> {
    node.downcast_ref::<StageScanExec>()
        .map(|scan| ScanNode::encode(scan, ctx).map(|node| Own::Scan(Box::new(node))))
}

impl ScanNode {
    fn encode(scan: &StageScanExec, ctx: Encoding<'_>) -> Result<Self> {
        let source: Arc<dyn ExecutionPlan> = scan.source().clone();
        let forgotten = scan.forgotten();
        Ok(Self {
            scan: scan.scan(),
            whole: scan.is_whole(),
            partitions: scan.properties().output_partitioning().partition_count() as u32,
            source: Some(ctx.converter.execution_plan_to_proto(&source, &PenstockCodec)?),
            compression: forgotten.compression.get_variant().to_string(),
            preserve_order: forgotten.preserve_order,
            csv_terminator: forgotten.csv_terminator.map(u32::from),
            declared: Some(ctx.declared(scan.declared())?),
            json_array: forgotten.json_array,
        })
    }

    pub fn decode(&self, ctx: Decoding<'_>) -> Result<Arc<dyn ExecutionPlan>> {
        let context = PhysicalPlanDecodeContext::new(ctx.task, &PenstockCodec);
        let node = self.source.as_ref().ok_or_else(|| missing("source"))?;
        let source = ctx.converter.proto_to_execution_plan(node, &context)?;
        let source = source.downcast_ref::<DataSourceExec>().ok_or_else(|| missing("file source"))?;
        let forgotten = Forgotten {
            compression: FileCompressionType::from_str(&self.compression)?,
            preserve_order: self.preserve_order,
            csv_terminator: self.csv_terminator.map(|byte| byte as u8),
            json_array: self.json_array,
        };
        let declared = ctx.declared(self.declared.as_ref().ok_or_else(|| missing("properties"))?)?;
        let source = Arc::new(source.clone());
        let partitions = self.partitions as usize;
        Ok(Arc::new(StageScanExec::decoded(self.scan, self.whole, source, forgotten, partitions, declared)?))
    }
}
