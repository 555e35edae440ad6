//! Recursive queries, encoded. They run whole within one task, so only the query and its work table need a form.

use std::{any::Any, fmt, sync::Arc};

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::{
    common::tree_node::TreeNodeRecursion,
    error::{DataFusionError, Result},
    execution::TaskContext,
    physical_expr::PhysicalExpr,
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
        execution_plan::ReplaceChildrenOptions, recursive_query::RecursiveQueryExec,
        work_table::WorkTableExec,
    },
};
use datafusion_proto::protobuf;

use super::{Own, missing};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RecursiveNode {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bool, tag = "2")]
    distinct: bool,
    #[prost(message, optional, tag = "3")]
    schema: Option<protobuf::Schema>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct WorkTableNode {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    schema: Option<protobuf::Schema>,
    #[prost(uint32, repeated, tag = "3")]
    projection: Vec<u32>,
}

pub(super) fn encode(node: &Arc<dyn ExecutionPlan>) -> Option<Result<Own>> {
    if let Some(query) = node.downcast_ref::<RecursiveQueryExec>() {
        return Some(RecursiveNode::encode(query).map(Own::Recursive));
    }
    node.downcast_ref::<WorkTableTemplateExec>().map(|table| WorkTableNode::encode(table).map(Own::WorkTable))
}

impl RecursiveNode {
    fn encode(query: &RecursiveQueryExec) -> Result<Self> {
        let schema = Some(query.properties().eq_properties.schema().as_ref().try_into()?);
        Ok(Self { name: query.name().to_owned(), distinct: query.is_distinct(), schema })
    }

    pub fn decode(&self, inputs: &[Arc<dyn ExecutionPlan>]) -> Result<Arc<dyn ExecutionPlan>> {
        let [first, next] = inputs else { return Err(missing("terms")) };
        let schema: Schema = self.schema.as_ref().ok_or_else(|| missing("schema"))?.try_into()?;
        let (name, schema) = (self.name.clone(), SchemaRef::new(schema));
        let query = RecursiveQueryExec::try_new(name, schema, first.clone(), next.clone(), self.distinct)?;
        Ok(Arc::new(query))
    }
}

impl WorkTableNode {
    fn encode(table: &WorkTableTemplateExec) -> Result<Self> {
        Ok(Self {
            name: table.name.clone(),
            schema: Some(table.table_schema.as_ref().try_into()?),
            projection: table.projection.iter().map(|column| *column as u32).collect(),
        })
    }

    pub fn decode(&self) -> Result<Arc<dyn ExecutionPlan>> {
        let schema: Schema = self.schema.as_ref().ok_or_else(|| missing("schema"))?.try_into()?;
        let projection = self.projection.iter().map(|column| *column as usize).collect();
        Ok(Arc::new(WorkTableExec::new(self.name.clone(), SchemaRef::new(schema), Some(projection))?))
    }
}

/// A work table in a template: `WorkTableExec` does not tell its projection, so the cut works it out and keeps it here.
#[derive(Debug)]
pub(crate) struct WorkTableTemplateExec {
    name: String,
    table_schema: SchemaRef,
    projection: Vec<usize>,
    table: Arc<dyn ExecutionPlan>,
}

impl WorkTableTemplateExec {
    /// `table_schema` is that of the whole query; columns are found by name.
    pub fn new(table: &WorkTableExec, table_schema: &SchemaRef) -> Result<Self> {
        let fields = table.schema();
        let projection = fields
            .fields()
            .iter()
            .map(|field| table_schema.index_of(field.name()))
            .collect::<Result<_, _>>()?;
        let (name, table_schema) = (table.name().to_owned(), table_schema.clone());
        Ok(Self { name, table_schema, projection, table: Arc::new(table.clone()) })
    }
}

impl DisplayAs for WorkTableTemplateExec {
    fn fmt_as(&self, kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.table.fmt_as(kind, f)
    }
}

impl ExecutionPlan for WorkTableTemplateExec {
    fn name(&self) -> &str {
        "WorkTableExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.table.properties()
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

    /// The query hands its table to this node when its children are replaced.
    fn with_new_state(&self, state: Arc<dyn Any + Send + Sync>) -> Option<Arc<dyn ExecutionPlan>> {
        let table = self.table.with_new_state(state)?;
        let (name, table_schema) = (self.name.clone(), self.table_schema.clone());
        Some(Arc::new(Self { name, table_schema, projection: self.projection.clone(), table }))
    }
}
