//! Recursive queries, encoded. They run whole within one task, so only the query and its work table need a form.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::{
    error::Result,
    physical_plan::{ExecutionPlan, recursive_query::RecursiveQueryExec, work_table::WorkTableExec},
};
use datafusion_proto::protobuf;

use super::{Own, missing, template::TemplateExec};

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
    node.downcast_ref::<WorkTableTemplateExec>()
        .map(|table| WorkTableNode::encode(&table.kept).map(Own::WorkTable))
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
    fn encode(table: &WorkTable) -> Result<Self> {
        Ok(Self {
            name: table.name.clone(),
            schema: Some(table.schema.as_ref().try_into()?),
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
pub(crate) type WorkTableTemplateExec = TemplateExec<WorkTable>;

#[derive(Debug, Clone)]
pub(crate) struct WorkTable {
    name: String,
    schema: SchemaRef,
    projection: Vec<usize>,
}

impl WorkTableTemplateExec {
    /// `schema` is that of the whole query; columns are found by name.
    pub fn new(table: &WorkTableExec, schema: &SchemaRef) -> Result<Self> {
        let fields = table.schema();
        let projection =
            fields.fields().iter().map(|field| schema.index_of(field.name())).collect::<Result<_, _>>()?;
        let kept = WorkTable { name: table.name().to_owned(), schema: schema.clone(), projection };
        Ok(Self { planned: Arc::new(table.clone()), kept })
    }
}
