//! The write node of a sink, encoded.

use std::sync::Arc;

use datafusion::{
    error::{DataFusionError, Result},
    physical_plan::ExecutionPlan,
};

use super::{Own, only_input};
use crate::sink::{WriteExec, WriteSpec};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SinkNode {
    /// [`WriteSpec`] as JSON.
    #[prost(bytes, tag = "1")]
    spec: Vec<u8>,
}

pub(super) fn encode(node: &Arc<dyn ExecutionPlan>) -> Option<Result<Own>> {
    let write = node.downcast_ref::<WriteExec>()?;
    let json = |error: serde_json::Error| DataFusionError::Internal(error.to_string());
    Some(serde_json::to_vec(write.spec()).map(|spec| Own::Sink(SinkNode { spec })).map_err(json))
}

impl SinkNode {
    pub fn decode(&self, inputs: &[Arc<dyn ExecutionPlan>]) -> Result<Arc<dyn ExecutionPlan>> {
        let spec: WriteSpec = serde_json::from_slice(&self.spec)
            .map_err(|error| DataFusionError::Internal(format!("what to write: {error}")))?;
        Ok(Arc::new(WriteExec::new(only_input(inputs)?, spec)))
    }
}
