//! Makes the plan of one task from its stage's template: its files, its partitions, its branch of a union.
//!
//! The bound plan declares exactly one partition, the one that it runs. Nothing is optimised here: each step leaves an
//! executable plan, and an operator that came out other than it was planned is an error.

use std::{collections::HashMap, sync::Arc};

use datafusion::{
    common::tree_node::{TreeNode, TreeNodeRecursion},
    datasource::{memory::MemorySourceConfig, source::DataSourceExec},
    error::{DataFusionError, Result},
    execution::object_store::ObjectStoreUrl,
    physical_plan::{
        ExecutionPlan, ExecutionPlanProperties,
        aggregates::AggregateExec,
        empty::EmptyExec,
        execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions},
        placeholder_row::PlaceholderRowExec,
        recursive_query::RecursiveQueryExec,
        union::UnionExec,
    },
};
use penstock_protocol::{
    ids::ShuffleId,
    shuffle::Winner,
    task::{ScanFile, TaskAssignment},
};

use crate::{
    attempt::Progress,
    codec,
    exchange::{ExchangeReadExec, ReadSource, store::ShuffleStore},
    metrics::Operator,
    scan::{Found, StageScanExec, partitioned_file},
    window,
};

type Plan = Arc<dyn ExecutionPlan>;

/// The exchanges that a stage reads, by the numbers of its plan.
pub(crate) type Inputs = Vec<(ShuffleId, Arc<[Winner]>)>;

/// A task's plan.
#[derive(Debug)]
pub(crate) struct Bound {
    pub plan: Plan,
    /// The template's operators in pre-order, each with the node that runs it in this task.
    pub operators: Vec<Operator>,
}

/// The files that `template` reads in this task.
pub(crate) fn files(template: &Plan, task: &TaskAssignment) -> Result<Vec<(ObjectStoreUrl, Vec<ScanFile>)>> {
    let mut files = vec![];
    template.apply(|node| {
        if let Some(scan) = node.downcast_ref::<StageScanExec>() {
            let groups = task.scans.get(scan.numbers()).unwrap_or_default();
            files.push((scan.store_url()?, groups.iter().flatten().cloned().collect()));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(files)
}

/// What a template is bound to.
pub(crate) struct Parts<'a> {
    pub inputs: &'a Inputs,
    pub task: &'a TaskAssignment,
    /// The task's files by store, as they are now.
    pub found: &'a HashMap<ObjectStoreUrl, Found>,
    pub store: &'a Arc<dyn ShuffleStore>,
    pub progress: &'a Arc<Progress>,
}

/// Binds `template`, which the caller has decoded for this attempt alone.
pub(crate) fn bind(template: &Plan, parts: Parts<'_>) -> Result<Bound> {
    let partition = parts.task.attempt.task.index.0 as usize;
    let mut binder = Binder { parts, operators: vec![] };
    let plan = binder.one(template, partition, None)?;
    Ok(Bound { plan, operators: binder.operators })
}

struct Binder<'a> {
    parts: Parts<'a>,
    operators: Vec<Operator>,
}

impl Binder<'_> {
    /// The plan that computes `partition` of `node` as its only partition.
    fn one(&mut self, node: &Plan, partition: usize, parent: Option<u32>) -> Result<Plan> {
        let operator = self.number(node, parent);
        let bound = if node.is::<UnionExec>() {
            return self.branch(node, partition, operator);
        } else if node.is::<RecursiveQueryExec>() {
            self.parts_of(node, operator)?
        } else if let Some(leaf) = self.leaf(node, partition)? {
            leaf
        } else {
            let children = node.children().into_iter().map(|child| {
                // The build side of a collected join and what is below a gather have one partition for all.
                let of_child = if partitions(child) == 1 { 0 } else { partition };
                self.one(child, of_child, Some(operator))
            });
            rebuilt(node, children.collect::<Result<_>>()?)?
        };
        self.operators[operator as usize].node = Some(bound.clone());
        Ok(bound)
    }

    /// Of a union, only the branch that owns the partition.
    fn branch(&mut self, union: &Plan, partition: usize, operator: u32) -> Result<Plan> {
        let mut first = 0;
        let mut bound = None;
        for branch in union.children() {
            let owned = first..first + partitions(branch);
            if owned.contains(&partition) {
                bound = Some(self.one(branch, partition - owned.start, Some(operator))?);
            } else {
                self.skip(branch, Some(operator));
            }
            first = owned.end;
        }
        bound.ok_or_else(|| {
            DataFusionError::Internal(format!("no branch of the union has partition {partition}"))
        })
    }

    fn leaf(&mut self, node: &Plan, partition: usize) -> Result<Option<Plan>> {
        if let Some(read) = node.downcast_ref::<ExchangeReadExec>() {
            return Ok(Some(Arc::new(self.read(read)?)));
        }
        if let Some(scan) = node.downcast_ref::<StageScanExec>() {
            return Ok(Some(Arc::new(self.scan(scan)?)));
        }
        if node.is::<EmptyExec>() {
            return Ok(Some(Arc::new(EmptyExec::new(node.schema()))));
        }
        if node.is::<PlaceholderRowExec>() {
            return Ok(Some(Arc::new(PlaceholderRowExec::new(node.schema()))));
        }
        memory_partition(node, partition)
    }

    fn read(&self, read: &ExchangeReadExec) -> Result<ExchangeReadExec> {
        let number = read.input() as usize;
        let (Some((shuffle, winners)), Some(partitions)) =
            (self.parts.inputs.get(number), self.parts.task.reads.get(number))
        else {
            return Err(DataFusionError::Internal(format!(
                "the task does not say what input {number} reads"
            )));
        };
        if partitions.is_empty() {
            return Err(DataFusionError::Internal(format!("the task reads nothing of input {number}")));
        }
        read.bind(ReadSource {
            store: self.parts.store.clone(),
            shuffle: *shuffle,
            winners: winners.clone(),
            partitions: partitions.clone(),
            progress: self.parts.progress.clone(),
        })
    }

    fn scan(&self, scan: &StageScanExec) -> Result<StageScanExec> {
        let Some(groups) = self.parts.task.scans.get(scan.numbers()) else {
            return Err(DataFusionError::Internal(format!(
                "the task does not say what scan {} reads",
                scan.scan()
            )));
        };
        let found = self.parts.found.get(&scan.store_url()?);
        let found =
            found.ok_or_else(|| DataFusionError::Internal("nobody looked at the scan's files".to_owned()))?;
        let groups =
            groups.iter().map(|group| group.iter().map(|file| partitioned_file(file, found)).collect());
        scan.bind(groups.collect::<Result<_>>()?, self.parts.progress.clone())
    }

    /// A piece that runs with all its partitions in this task.
    fn parts_of(&mut self, node: &Plan, operator: u32) -> Result<Plan> {
        let children = node.children().into_iter().map(|child| self.all(child, Some(operator)));
        rebuilt(node, children.collect::<Result<_>>()?)
    }

    fn all(&mut self, node: &Plan, parent: Option<u32>) -> Result<Plan> {
        let operator = self.number(node, parent);
        let bound = match node.downcast_ref::<StageScanExec>() {
            Some(scan) => Arc::new(self.scan(scan)?),
            None if node.children().is_empty() => node.clone(),
            None => self.parts_of(node, operator)?,
        };
        self.operators[operator as usize].node = Some(bound.clone());
        Ok(bound)
    }

    fn number(&mut self, node: &Plan, parent: Option<u32>) -> u32 {
        self.operators.push(Operator::of(node, parent));
        self.operators.len() as u32 - 1
    }

    /// Operators of other branches keep their numbers.
    fn skip(&mut self, node: &Plan, parent: Option<u32>) {
        let operator = self.number(node, parent);
        node.children().into_iter().for_each(|child| self.skip(child, Some(operator)));
    }
}

fn partitions(plan: &Plan) -> usize {
    plan.output_partitioning().partition_count()
}

/// `VALUES` and the like: the partition's batches.
fn memory_partition(node: &Plan, partition: usize) -> Result<Option<Plan>> {
    let source = node.downcast_ref::<DataSourceExec>();
    let Some(memory) = source.and_then(|source| source.data_source().downcast_ref::<MemorySourceConfig>())
    else {
        return Ok(None);
    };
    let batches = memory.partitions().get(partition).cloned().unwrap_or_default();
    let one = MemorySourceConfig::try_new(&[batches], memory.original_schema(), memory.projection().clone())?
        .with_limit(datafusion::datasource::source::DataSource::fetch(memory))
        .try_with_sort_information(memory.sort_information().to_vec())?;
    Ok(Some(DataSourceExec::from_data_source(one)))
}

fn rebuilt(node: &Plan, children: Vec<Plan>) -> Result<Plan> {
    if children.is_empty() {
        return Ok(node.clone());
    }
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    let bound = node.clone().replace_children(children, options)?;
    if let (Some(planned), Some(bound)) =
        (node.downcast_ref::<AggregateExec>(), bound.downcast_ref::<AggregateExec>())
        && codec::order_used(bound) < codec::order_used(planned)
    {
        return Err(DataFusionError::Internal(format!(
            "an aggregation was planned as {:?} and would run as {:?}",
            planned.input_order_mode(),
            bound.input_order_mode()
        )));
    }
    Ok(window::bounded(bound))
}
