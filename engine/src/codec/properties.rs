//! What is declared of a leaf's rows, encoded: schema, orderings, constants, equal columns.

use std::sync::Arc;

use arrow::{
    compute::SortOptions,
    datatypes::{Schema, SchemaRef},
};
use datafusion::{
    error::Result,
    physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr},
};
use datafusion_proto::{
    physical_plan::PhysicalPlanDecodeContext,
    protobuf::{self, PhysicalExprNode},
};

use super::{Decoding, Encoding, PenstockCodec, missing};
use crate::exchange::Declared;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct DeclaredNode {
    #[prost(message, optional, tag = "1")]
    schema: Option<protobuf::Schema>,
    #[prost(message, repeated, tag = "2")]
    orderings: Vec<OrderingNode>,
    #[prost(message, repeated, tag = "3")]
    constants: Vec<PhysicalExprNode>,
    /// For each constant, whether it is the same in all partitions.
    #[prost(bool, repeated, tag = "4")]
    uniform: Vec<bool>,
    /// Pairs, one after the other.
    #[prost(message, repeated, tag = "5")]
    equal: Vec<PhysicalExprNode>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OrderingNode {
    #[prost(message, repeated, tag = "1")]
    exprs: Vec<PhysicalExprNode>,
    #[prost(bool, repeated, tag = "2")]
    descending: Vec<bool>,
    #[prost(bool, repeated, tag = "3")]
    nulls_first: Vec<bool>,
}

impl Encoding<'_> {
    pub(super) fn expr(&self, expr: &Arc<dyn PhysicalExpr>) -> Result<PhysicalExprNode> {
        self.converter.physical_expr_to_proto(expr, &PenstockCodec)
    }

    pub(super) fn exprs<'e>(
        &self,
        exprs: impl IntoIterator<Item = &'e Arc<dyn PhysicalExpr>>,
    ) -> Result<Vec<PhysicalExprNode>> {
        exprs.into_iter().map(|expr| self.expr(expr)).collect()
    }

    pub(super) fn declared(&self, declared: &Declared) -> Result<DeclaredNode> {
        Ok(DeclaredNode {
            schema: Some(declared.schema.as_ref().try_into()?),
            orderings: declared
                .orderings
                .iter()
                .map(|ordering| self.ordering(ordering))
                .collect::<Result<_>>()?,
            constants: self.exprs(declared.constants.iter().map(|(expr, _)| expr))?,
            uniform: declared.constants.iter().map(|(_, uniform)| *uniform).collect(),
            equal: self.exprs(declared.equal.iter().flat_map(|(left, right)| [left, right]))?,
        })
    }

    fn ordering(&self, ordering: &LexOrdering) -> Result<OrderingNode> {
        Ok(OrderingNode {
            exprs: self.exprs(ordering.iter().map(|sort| &sort.expr))?,
            descending: ordering.iter().map(|sort| sort.options.descending).collect(),
            nulls_first: ordering.iter().map(|sort| sort.options.nulls_first).collect(),
        })
    }
}

impl Decoding<'_> {
    pub(super) fn expr(&self, node: &PhysicalExprNode, schema: &Schema) -> Result<Arc<dyn PhysicalExpr>> {
        let context = PhysicalPlanDecodeContext::new(self.task, &PenstockCodec);
        self.converter.proto_to_physical_expr(node, schema, &context)
    }

    pub(super) fn exprs(
        &self,
        nodes: &[PhysicalExprNode],
        schema: &Schema,
    ) -> Result<Vec<Arc<dyn PhysicalExpr>>> {
        nodes.iter().map(|node| self.expr(node, schema)).collect()
    }

    pub(super) fn declared(&self, node: &DeclaredNode) -> Result<Declared> {
        let schema: Schema = node.schema.as_ref().ok_or_else(|| missing("schema"))?.try_into()?;
        let constants = self.exprs(&node.constants, &schema)?.into_iter().zip(node.uniform.iter().copied());
        let equal = self.exprs(&node.equal, &schema)?;
        let orderings = node.orderings.iter().map(|ordering| self.ordering(ordering, &schema));
        Ok(Declared {
            orderings: orderings.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect(),
            constants: constants.collect(),
            equal: equal.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect(),
            schema: SchemaRef::new(schema),
        })
    }

    fn ordering(&self, node: &OrderingNode, schema: &Schema) -> Result<Option<LexOrdering>> {
        let options = node.descending.iter().zip(&node.nulls_first);
        let sorts = self.exprs(&node.exprs, schema)?.into_iter().zip(options).map(
            |(expr, (descending, nulls_first))| PhysicalSortExpr {
                expr,
                options: SortOptions { descending: *descending, nulls_first: *nulls_first },
            },
        );
        Ok(LexOrdering::new(sorts))
    }
}
