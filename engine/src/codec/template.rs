//! A leaf of a template whose planned form does not tell all that its encoding needs.

use std::{any::Any, fmt, sync::Arc};

use datafusion::{
    common::tree_node::TreeNodeRecursion,
    error::{DataFusionError, Result},
    execution::TaskContext,
    physical_expr::PhysicalExpr,
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
        execution_plan::ReplaceChildrenOptions,
    },
};

/// Stands for `planned` where a plan is cut and encoded. It is decoded as the real node, so it never runs.
#[derive(Debug)]
pub(crate) struct TemplateExec<K> {
    pub(super) planned: Arc<dyn ExecutionPlan>,
    /// What the encoding needs besides.
    pub(super) kept: K,
}

impl<K> DisplayAs for TemplateExec<K> {
    fn fmt_as(&self, kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.planned.fmt_as(kind, f)
    }
}

impl<K: fmt::Debug + Clone + Send + Sync + 'static> ExecutionPlan for TemplateExec<K> {
    fn name(&self) -> &str {
        self.planned.name()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.planned.properties()
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

    /// A recursive query hands its table to this node when its children are replaced.
    fn with_new_state(&self, state: Arc<dyn Any + Send + Sync>) -> Option<Arc<dyn ExecutionPlan>> {
        let planned = self.planned.with_new_state(state)?;
        Some(Arc::new(Self { planned, kept: self.kept.clone() }))
    }
}
