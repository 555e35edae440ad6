//! What a stage shows of itself.

use penstock_protocol::ids::TaskIndex;

use super::{Phase, Stage};
use crate::job::{
    status::{StageState, StageStatus, TaskStatus},
    task::Task,
};

/// Tasks of a stage by what they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub total: u32,
    pub won: u32,
    pub running: u32,
    pub ready: u32,
}

impl Stage {
    pub fn counts(&self) -> Counts {
        Counts {
            total: self.spec.tasks,
            won: self.won,
            running: self.running,
            ready: self.ready.len() as u32,
        }
    }

    pub fn status(&self) -> StageStatus {
        StageStatus {
            stage: self.spec.stage,
            statement: self.statement,
            name: self.spec.name.clone(),
            state: self.state(),
            output: self.spec.output,
            inputs: self.spec.inputs.iter().map(|(stage, _)| *stage).collect(),
            tasks_total: self.spec.tasks,
            tasks_finished: self.won,
            tasks_running: self.running,
            attempts_failed: self.tasks.iter().map(Task::attempts_failed).sum(),
            started_at: self.started_at,
            finished_at: self.finished_at,
            rows_out: self.rows_out,
            output_bytes: self.output_bytes,
            reruns: Vec::new(),
            epochs_added: self.epochs_added(),
        }
    }

    fn state(&self) -> StageState {
        match &self.phase {
            Phase::Waiting { .. } => StageState::Waiting,
            Phase::Reserving(_) => StageState::Reserving,
            Phase::Running { .. } => StageState::Running,
            Phase::Committing { .. } => StageState::Committing,
            Phase::Done { .. } => StageState::Succeeded,
            Phase::Stopped => StageState::Stopped,
        }
    }

    pub fn task_statuses(&self) -> Vec<TaskStatus> {
        (0..).map(TaskIndex).zip(&self.tasks).map(|(index, task)| task.status(index)).collect()
    }
}
