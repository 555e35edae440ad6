//! The template of a piece of plan: where it reads files and where it reads other stages.

use std::{ops::Range, sync::Arc};

use datafusion::{
    common::Statistics,
    datasource::{memory::MemorySourceConfig, physical_plan::FileScanConfig, source::DataSourceExec},
    physical_expr::Partitioning,
    physical_plan::{
        ExecutionPlan, ExecutionPlanProperties,
        coalesce_partitions::CoalescePartitionsExec,
        empty::EmptyExec,
        execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions},
        filter::FilterExec,
        joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PartitionMode},
        limit::LocalLimitExec,
        placeholder_row::PlaceholderRowExec,
        projection::ProjectionExec,
        recursive_query::RecursiveQueryExec,
        repartition::RepartitionExec,
        sorts::sort_preserving_merge::SortPreservingMergeExec,
        union::UnionExec,
    },
};

use penstock_protocol::task::ScanFile;

use super::{CutError, Cutter, Leaving, Sources};
use crate::{
    exchange::{Declared, ExchangeReadExec, WritePartitioning},
    metrics,
    scan::{StageScanExec, is_json_array, scan_file},
    stage_graph::{Input, ReadMode, StageScan},
};

type Plan = Arc<dyn ExecutionPlan>;

/// Which tasks run a piece, and how.
#[derive(Debug, Clone)]
pub(super) struct Run {
    owners: Range<u32>,
    /// `Partitioned`: the i-th owner runs partition i. `All`: the piece has one partition, and each owner runs it.
    mode: ReadMode,
}

impl Run {
    pub fn spread(owners: Range<u32>) -> Self {
        Self { owners, mode: ReadMode::Partitioned }
    }

    /// The same tasks, each with the whole of a piece that has one partition.
    fn whole(&self) -> Self {
        let mode = if self.owners.len() == 1 { ReadMode::Partitioned } else { ReadMode::All };
        Self { owners: self.owners.clone(), mode }
    }

    /// Partitions of a piece that is run like this.
    fn partitions(&self) -> usize {
        match self.mode {
            ReadMode::Partitioned => self.owners.len(),
            ReadMode::All => 1,
        }
    }
}

impl Cutter {
    pub(super) fn template(
        &mut self,
        plan: Plan,
        run: &Run,
        sources: &mut Sources,
    ) -> Result<Plan, CutError> {
        if let Some(repartition) = plan.downcast_ref::<RepartitionExec>() {
            return self.repartition(repartition, run, sources);
        }
        if is_gather(&plan) {
            return self.gather(plan, run, sources);
        }
        if collects_left(&plan) {
            return self.collected_join(plan, run, sources);
        }
        if plan.is::<UnionExec>() {
            return self.union(plan, run, sources);
        }
        if plan.is::<RecursiveQueryExec>() {
            return self.recursive(plan, run, sources);
        }
        if let Some(config) = file_scan(&plan) {
            return scan(&plan, config, run, sources);
        }
        self.children(plan, run, sources)
    }

    /// An operator that runs partition by partition: its children run as it does.
    fn children(&mut self, plan: Plan, run: &Run, sources: &mut Sources) -> Result<Plan, CutError> {
        let children: Vec<Plan> = plan.children().into_iter().cloned().collect();
        if children.is_empty() {
            return Ok(plan);
        }
        let mut templates = Vec::with_capacity(children.len());
        for child in children {
            let partitions = child.output_partitioning().partition_count();
            templates.push(match partitions == run.partitions() {
                true => self.template(child, run, sources)?,
                // One partition is wanted and several are there: the operator sees them as one.
                false if run.partitions() == 1 => self.gathered(child, run, sources)?,
                false => {
                    let reason = "its input is partitioned in another way than its output";
                    return Err(CutError::Unsupported { operator: plan.name().to_owned(), reason });
                }
            });
        }
        replace(plan, templates)
    }

    fn repartition(
        &mut self,
        repartition: &RepartitionExec,
        run: &Run,
        sources: &mut Sources,
    ) -> Result<Plan, CutError> {
        let input = repartition.input().clone();
        if repartition.partitioning().partition_count() == 1
            && input.output_partitioning().partition_count() == 1
        {
            return self.template(input, run, sources);
        }
        let declared = Declared::of(repartition.properties().equivalence_properties());
        let leaving = match repartition.partitioning() {
            Partitioning::Hash(exprs, partitions) => WritePartitioning::Hash(exprs.clone(), *partitions),
            Partitioning::RoundRobinBatch(partitions) => WritePartitioning::RoundRobin(*partitions),
            other => {
                let operator = format!("RepartitionExec({other})");
                return Err(CutError::Unsupported { operator, reason: "this partitioning has no exchange" });
            }
        };
        let expected = metrics::expected(&input);
        let producer = self.stage(input, Leaving::Exchange(leaving))?;
        self.read(producer, run.mode, declared, expected, run, sources)
    }

    /// A coalesce or merge: it stays, and reads what the stage below it wrote.
    fn gather(&mut self, plan: Plan, run: &Run, sources: &mut Sources) -> Result<Plan, CutError> {
        let input = plan.children()[0].clone();
        let input = if input.output_partitioning().partition_count() == 1 {
            self.template(input, &run.whole(), sources)?
        } else {
            let known = input.properties().equivalence_properties().clone();
            let merged = input.output_partitioning().partition_count();
            let ordered = plan.is::<SortPreservingMergeExec>();
            let input = limited(input, plan.fetch());
            let expected = metrics::expected(&input);
            if ordered {
                let producer = self.stage(input, Leaving::Exchange(WritePartitioning::ByTask { merged }))?;
                self.read(producer, ReadMode::All, Declared::of(&known), expected, run, sources)?
            } else {
                let producer = self.stage(input, Leaving::Exchange(WritePartitioning::Gather))?;
                self.read(producer, ReadMode::All, Declared::unordered(&known), expected, run, sources)?
            }
        };
        replace(plan, vec![input])
    }

    /// Several partitions where one is wanted.
    fn gathered(&mut self, input: Plan, run: &Run, sources: &mut Sources) -> Result<Plan, CutError> {
        let declared = Declared::unordered(input.properties().equivalence_properties());
        let expected = metrics::expected(&input);
        let producer = self.stage(input, Leaving::Exchange(WritePartitioning::Gather))?;
        self.read(producer, ReadMode::All, declared, expected, run, sources)
    }

    /// The build side is whole in every task. When there are several, it is computed once, by a stage of its own.
    fn collected_join(&mut self, plan: Plan, run: &Run, sources: &mut Sources) -> Result<Plan, CutError> {
        let (left, right) = (plan.children()[0].clone(), plan.children()[1].clone());
        let left = if run.owners.len() == 1 || is_cheap(&left) {
            self.template(left, &run.whole(), sources)?
        } else {
            self.gathered(below_coalesce(left), run, sources)?
        };
        let right = self.template(right, run, sources)?;
        replace(plan, vec![left, right])
    }

    /// Each branch has tasks of its own.
    fn union(&mut self, plan: Plan, run: &Run, sources: &mut Sources) -> Result<Plan, CutError> {
        let mut first = run.owners.start;
        let mut branches = vec![];
        for branch in plan.children().into_iter().cloned() {
            let tasks = branch.output_partitioning().partition_count() as u32;
            branches.push(self.template(branch, &Run::spread(first..first + tasks), sources)?);
            first += tasks;
        }
        replace(plan, branches)
    }

    /// Runs whole within one task: its terms read the work table of the same process.
    fn recursive(&mut self, plan: Plan, run: &Run, sources: &mut Sources) -> Result<Plan, CutError> {
        if run.owners.len() > 1 { self.gathered(plan, run, sources) } else { within_task(plan, run, sources) }
    }

    fn read(
        &mut self,
        producer: usize,
        mode: ReadMode,
        declared: Declared,
        expected: Option<Arc<Statistics>>,
        run: &Run,
        sources: &mut Sources,
    ) -> Result<Plan, CutError> {
        let partitions = self.stages[producer].output_partitions;
        let input = sources.inputs.len() as u32;
        sources.inputs.push(Input { stage: producer, mode, partitions, owners: run.owners.clone() });
        let read = ExchangeReadExec::template(input, mode, partitions as usize, declared)?;
        Ok(Arc::new(read.expecting(expected)))
    }
}

/// A piece that one task runs with all its partitions: only its files are taken out.
fn within_task(plan: Plan, run: &Run, sources: &mut Sources) -> Result<Plan, CutError> {
    if let Some(config) = file_scan(&plan) {
        return whole_scan(&plan, config, run, sources);
    }
    let children: Vec<Plan> = plan.children().into_iter().cloned().collect();
    if children.is_empty() {
        return Ok(plan);
    }
    let children =
        children.into_iter().map(|child| within_task(child, run, sources)).collect::<Result<_, _>>()?;
    replace(plan, children)
}

fn scan(plan: &Plan, config: &FileScanConfig, run: &Run, sources: &mut Sources) -> Result<Plan, CutError> {
    let index = sources.scans.len() as u32;
    let partitions = config.file_groups.len();
    sources.scans.push(StageScan { groups: groups(config)?, owners: run.owners.clone(), mode: run.mode });
    let declared = Declared::of(plan.properties().equivalence_properties());
    let scan = StageScanExec::template(index, false, config, partitions, declared)?;
    Ok(Arc::new(scan.expecting(metrics::expected(plan))))
}

/// Each group becomes a scan with one group, so that the task gets all of them apart.
fn whole_scan(
    plan: &Plan,
    config: &FileScanConfig,
    run: &Run,
    sources: &mut Sources,
) -> Result<Plan, CutError> {
    let index = sources.scans.len() as u32;
    let partitions = config.file_groups.len();
    let one = |group| StageScan { groups: vec![group], owners: run.owners.clone(), mode: ReadMode::All };
    sources.scans.extend(groups(config)?.into_iter().map(one));
    let declared = Declared::of(plan.properties().equivalence_properties());
    let scan = StageScanExec::template(index, true, config, partitions, declared)?;
    Ok(Arc::new(scan.expecting(metrics::expected(plan))))
}

fn groups(config: &FileScanConfig) -> Result<Vec<Vec<ScanFile>>, CutError> {
    let whole_files = is_json_array(config);
    let mut groups = vec![];
    for group in &config.file_groups {
        let files = group.iter().map(scan_file).collect::<datafusion::error::Result<Vec<_>>>()?;
        groups.push(if whole_files { files.into_iter().filter_map(whole).collect() } else { files });
    }
    Ok(groups)
}

/// DataFusion splits files that it cannot read in parts: who has the start of one reads all of it.
fn whole(file: ScanFile) -> Option<ScanFile> {
    let starts_here = file.range.is_none_or(|(start, _)| start == 0);
    starts_here.then_some(ScanFile { range: None, ..file })
}

pub(super) fn file_scan(plan: &Plan) -> Option<&FileScanConfig> {
    plan.downcast_ref::<DataSourceExec>()?.data_source().downcast_ref::<FileScanConfig>()
}

fn is_gather(plan: &Plan) -> bool {
    plan.is::<CoalescePartitionsExec>() || plan.is::<SortPreservingMergeExec>()
}

pub(super) fn collects_left(plan: &Plan) -> bool {
    let hash = plan.downcast_ref::<HashJoinExec>();
    hash.is_some_and(|join| *join.partition_mode() == PartitionMode::CollectLeft)
        || plan.is::<NestedLoopJoinExec>()
        || plan.is::<CrossJoinExec>()
}

/// Cheaper to compute in every task than to ship.
fn is_cheap(plan: &Plan) -> bool {
    let source = plan.downcast_ref::<DataSourceExec>();
    plan.is::<EmptyExec>()
        || plan.is::<PlaceholderRowExec>()
        || source.is_some_and(|source| source.data_source().is::<MemorySourceConfig>())
        || ((plan.is::<ProjectionExec>() || plan.is::<FilterExec>()) && is_cheap(plan.children()[0]))
}

/// A broadcast needs no gather of its own: the exchange is one.
fn below_coalesce(plan: Plan) -> Plan {
    match plan.downcast_ref::<CoalescePartitionsExec>() {
        Some(coalesce) if coalesce.fetch().is_none() => coalesce.input().clone(),
        _ => plan,
    }
}

/// Of a gather with a limit, each task sends at most so many rows.
fn limited(input: Plan, fetch: Option<usize>) -> Plan {
    match fetch {
        Some(fetch) if input.fetch().is_none_or(|known| known > fetch) => {
            Arc::new(LocalLimitExec::new(input, fetch))
        }
        _ => input,
    }
}

pub(super) fn replace(plan: Plan, children: Vec<Plan>) -> Result<Plan, CutError> {
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    Ok(plan.replace_children(children, options)?)
}
