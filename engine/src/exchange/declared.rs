//! What is known of the rows of a leaf: orderings, constants and equal columns of the plan that was cut away.
//!
//! Operators above decide by these when they are built (sorted or hashed aggregation, whether a sort is needed), and the
//! plan was optimised with them. A leaf that declares less than the original makes an executor build other operators
//! than were planned, which can lose an order that someone above relies on.

use std::sync::Arc;

use datafusion::{
    arrow::datatypes::SchemaRef,
    error::Result,
    physical_expr::{
        AcrossPartitions, ConstExpr, EquivalenceProperties, LexOrdering, Partitioning, PhysicalExpr,
    },
    physical_plan::{
        PlanProperties,
        execution_plan::{Boundedness, EmissionType, SchedulingType},
    },
};

#[derive(Debug, Clone)]
pub(crate) struct Declared {
    pub schema: SchemaRef,
    pub orderings: Vec<LexOrdering>,
    /// Expressions with one value per partition, and whether it is the same in all.
    pub constants: Vec<(Arc<dyn PhysicalExpr>, bool)>,
    pub equal: Vec<(Arc<dyn PhysicalExpr>, Arc<dyn PhysicalExpr>)>,
}

impl Declared {
    /// Everything that `known` says.
    pub fn of(known: &EquivalenceProperties) -> Self {
        let uniform =
            |constant: &ConstExpr| matches!(constant.across_partitions, AcrossPartitions::Uniform(_));
        Self {
            schema: known.schema().clone(),
            orderings: known.oeq_class().iter().cloned().collect(),
            constants: known.constants().iter().map(|c| (c.expr.clone(), uniform(c))).collect(),
            equal: equal_pairs(known),
        }
    }

    /// What stays true of rows whose order is lost.
    pub fn unordered(known: &EquivalenceProperties) -> Self {
        Self { orderings: vec![], ..Self::of(known) }
    }

    pub fn properties(&self, partitions: usize) -> Result<Arc<PlanProperties>> {
        let mut known = EquivalenceProperties::new(self.schema.clone());
        for (left, right) in &self.equal {
            known.add_equal_conditions(left.clone(), right.clone())?;
        }
        known.add_constants(self.constants.iter().map(|(expr, uniform)| {
            let across =
                if *uniform { AcrossPartitions::Uniform(None) } else { AcrossPartitions::Heterogeneous };
            ConstExpr::new(expr.clone(), across)
        }))?;
        known.add_orderings(self.orderings.iter().cloned());
        let partitioning = Partitioning::UnknownPartitioning(partitions);
        let properties =
            PlanProperties::new(known, partitioning, EmissionType::Incremental, Boundedness::Bounded);
        Ok(Arc::new(properties.with_scheduling_type(SchedulingType::Cooperative)))
    }
}

fn equal_pairs(known: &EquivalenceProperties) -> Vec<(Arc<dyn PhysicalExpr>, Arc<dyn PhysicalExpr>)> {
    let mut pairs = vec![];
    for class in known.eq_group().iter() {
        let mut exprs = class.iter();
        if let Some(first) = exprs.next() {
            pairs.extend(exprs.map(|other| (first.clone(), other.clone())));
        }
    }
    pairs
}
