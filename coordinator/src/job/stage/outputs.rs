//! What a stage's winners wrote.

use penstock_protocol::{
    ids::{AttemptNumber, TaskIndex},
    shuffle::MapOutput,
    task::{TaskOutput, WrittenFile},
};

use super::Stage;
use crate::job::{InlineRows, task::Task};

impl Stage {
    fn outputs(&self) -> impl Iterator<Item = (TaskIndex, AttemptNumber, &TaskOutput)> {
        let winners = (0..).map(TaskIndex).zip(&self.tasks);
        winners.filter_map(|(index, task)| task.winner().map(|(number, output)| (index, *number, output)))
    }

    pub(super) fn map_outputs(&self) -> impl Iterator<Item = (TaskIndex, AttemptNumber, &MapOutput)> {
        self.outputs().filter_map(|(task, attempt, output)| match output {
            TaskOutput::Shuffle(output) => Some((task, attempt, output)),
            TaskOutput::Inline { .. } | TaskOutput::Files(_) => None,
        })
    }

    pub fn inline_rows(&self) -> Vec<InlineRows> {
        let inline = self.outputs().filter_map(|(task, _, output)| match output {
            TaskOutput::Inline { rows, batches } => {
                Some(InlineRows { task, rows: *rows, batches: batches.clone() })
            }
            TaskOutput::Shuffle(_) | TaskOutput::Files(_) => None,
        });
        inline.collect()
    }

    pub fn files(&self) -> Vec<WrittenFile> {
        let files = self.outputs().filter_map(|(_, _, output)| match output {
            TaskOutput::Files(files) => Some(files.iter().cloned()),
            TaskOutput::Shuffle(_) | TaskOutput::Inline { .. } => None,
        });
        files.flatten().collect()
    }

    pub(super) fn output_size(&self) -> (u64, u64) {
        let sizes = self.outputs().map(|(_, _, output)| match output {
            TaskOutput::Shuffle(output) => output
                .partitions
                .iter()
                .fold((0, 0), |(rows, bytes), (_, t)| (rows + t.rows, bytes + t.bytes)),
            TaskOutput::Inline { rows, batches } => {
                (*rows, batches.iter().map(|batch| batch.len() as u64).sum())
            }
            TaskOutput::Files(files) => {
                files.iter().fold((0, 0), |(rows, bytes), file| (rows + file.rows, bytes + file.bytes))
            }
        });
        sizes.fold((0, 0), |(rows, bytes), (r, b)| (rows + r, bytes + b))
    }

    /// What the winners wrote has been read, or never will be.
    pub fn drop_outputs(&mut self) {
        self.tasks.iter_mut().for_each(Task::drop_output);
    }
}
