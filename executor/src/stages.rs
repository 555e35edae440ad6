//! The stages that the coordinator has defined here, each prepared once for all of its tasks.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, OnceLock},
};

use penstock_protocol::{
    ids::{JobId, StageId},
    task::{Failure, StageDefinition},
};

use crate::runner::{PreparedStage, TaskRunner};

/// A defined stage. Prepared by the first attempt that runs, on a thread for query work.
pub struct Stage {
    definition: StageDefinition,
    prepared: OnceLock<Result<Arc<dyn PreparedStage>, Failure>>,
}

impl Stage {
    /// Waits while another attempt prepares the stage, so it is only called where blocking is fine.
    pub fn prepared(&self, runner: &dyn TaskRunner) -> Result<Arc<dyn PreparedStage>, Failure> {
        self.prepared.get_or_init(|| runner.prepare(&self.definition)).clone()
    }
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stage")
            .field("job", &self.definition.job)
            .field("stage", &self.definition.stage)
            .finish()
    }
}

#[derive(Debug, Default)]
pub struct Stages {
    stages: HashMap<(JobId, StageId), Arc<Stage>>,
}

impl Stages {
    /// Attempts that run keep the definition they began with. The same definition once more costs nothing.
    pub fn define(&mut self, definition: StageDefinition) {
        let key = (definition.job, definition.stage);
        let known = self.stages.get(&key).is_some_and(|stage| stage.definition == definition);
        if !known {
            self.stages.insert(key, Arc::new(Stage { definition, prepared: OnceLock::new() }));
        }
    }

    pub fn get(&self, job: JobId, stage: StageId) -> Option<Arc<Stage>> {
        self.stages.get(&(job, stage)).cloned()
    }

    pub fn forget(&mut self, job: JobId) {
        self.stages.retain(|(of, _), _| *of != job);
    }

    /// Forgets all: over a new connection the coordinator defines a stage again before its first task, and may have
    /// forgotten jobs meanwhile.
    pub fn clear_unused(&mut self) {
        self.stages.retain(|_, stage| Arc::strong_count(stage) > 1);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::attempt::tests::stage_definition;

    #[derive(Debug, Default)]
    struct Counting(AtomicUsize);

    impl TaskRunner for Counting {
        fn prepare(&self, _: &StageDefinition) -> Result<Arc<dyn PreparedStage>, Failure> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Err(crate::attempt::failure_of_panic("x"))
        }
    }

    #[test]
    fn a_stage_is_prepared_once_also_when_it_is_defined_again() {
        let (mut stages, runner) = (Stages::default(), Counting::default());
        let definition = stage_definition();
        for _ in 0..3 {
            stages.define(definition.clone());
            let stage = stages.get(definition.job, definition.stage).expect("it was defined");
            assert!(stage.prepared(&runner).is_err());
        }
        assert_eq!(runner.0.load(Ordering::SeqCst), 1);
        stages.forget(definition.job);
        assert!(stages.get(definition.job, definition.stage).is_none());
    }

    #[test]
    fn another_definition_of_a_stage_replaces_the_first() {
        let (mut stages, runner) = (Stages::default(), Counting::default());
        for plan in ["a", "b"] {
            let definition = StageDefinition { plan: plan.into(), ..stage_definition() };
            stages.define(definition.clone());
            let stage = stages.get(definition.job, definition.stage).expect("it was defined");
            assert!(stage.prepared(&runner).is_err());
        }
        assert_eq!(runner.0.load(Ordering::SeqCst), 2);
    }
}
