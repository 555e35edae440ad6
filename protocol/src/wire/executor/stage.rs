//! Stage definitions and task assignments.

use crate::{
    decode::{DecodeError, Required, each, job_id, required},
    ids::StageId,
    pb,
    task::{OutputTarget, ScanFile, StageDefinition, StageInput, TaskAssignment},
    wire::common::job_bytes,
};

impl From<StageDefinition> for pb::StageDefinition {
    fn from(stage: StageDefinition) -> Self {
        Self {
            job: job_bytes(stage.job),
            stage: stage.stage.0,
            plan: stage.plan,
            settings: stage.settings.into_iter().collect(),
            inputs: stage.inputs.iter().map(Into::into).collect(),
            output: Some(stage.output.into()),
        }
    }
}

impl TryFrom<pb::StageDefinition> for StageDefinition {
    type Error = DecodeError;
    fn try_from(stage: pb::StageDefinition) -> Result<Self, DecodeError> {
        Ok(Self {
            job: job_id(&stage.job, "job")?,
            stage: StageId(stage.stage),
            plan: stage.plan,
            settings: stage.settings.into_iter().collect(),
            inputs: each(stage.inputs, "inputs")?,
            output: required(stage.output, "output")?,
        })
    }
}

impl From<&StageInput> for pb::StageInput {
    fn from(input: &StageInput) -> Self {
        Self { shuffle: Some(input.shuffle.into()), winners: input.winners.iter().map(Into::into).collect() }
    }
}

impl TryFrom<pb::StageInput> for StageInput {
    type Error = DecodeError;
    fn try_from(input: pb::StageInput) -> Result<Self, DecodeError> {
        Ok(Self { shuffle: required(input.shuffle, "shuffle")?, winners: each(input.winners, "winners")? })
    }
}

impl From<OutputTarget> for pb::stage_definition::Output {
    fn from(output: OutputTarget) -> Self {
        match output {
            OutputTarget::Shuffle(target) => Self::Shuffle((&target).into()),
            OutputTarget::Result { target, inline_bytes_max } => {
                Self::Result(pb::ResultTarget { target: Some((&target).into()), inline_bytes_max })
            }
            OutputTarget::Files { staging_url } => Self::Files(pb::FilesTarget { staging_url }),
        }
    }
}

impl TryFrom<pb::stage_definition::Output> for OutputTarget {
    type Error = DecodeError;
    fn try_from(output: pb::stage_definition::Output) -> Result<Self, DecodeError> {
        use pb::stage_definition::Output;
        Ok(match output {
            Output::Shuffle(target) => Self::Shuffle(required(Some(target), "shuffle")?),
            Output::Result(result) => Self::Result {
                target: required(result.target, "result.target")?,
                inline_bytes_max: result.inline_bytes_max,
            },
            Output::Files(files) => Self::Files { staging_url: files.staging_url },
        })
    }
}

impl From<TaskAssignment> for pb::TaskAssignment {
    fn from(task: TaskAssignment) -> Self {
        let scan =
            |files: Vec<ScanFile>| pb::ScanFiles { files: files.into_iter().map(Into::into).collect() };
        let read = |partitions: Vec<_>| pb::PartitionSources {
            partitions: partitions.iter().map(Into::into).collect(),
        };
        Self {
            attempt: Some(task.attempt.into()),
            scans: task.scans.into_iter().map(scan).collect(),
            reads: task.reads.into_iter().map(read).collect(),
        }
    }
}

impl TryFrom<pb::TaskAssignment> for TaskAssignment {
    type Error = DecodeError;
    fn try_from(task: pb::TaskAssignment) -> Result<Self, DecodeError> {
        let scan = |scan: pb::ScanFiles| each(scan.files, "scans.files");
        let read = |read: pb::PartitionSources| each(read.partitions, "reads.partitions");
        Ok(Self {
            attempt: required(task.attempt, "attempt")?,
            scans: task.scans.into_iter().map(scan).collect::<Result<_, _>>()?,
            reads: task.reads.into_iter().map(read).collect::<Result<_, _>>()?,
        })
    }
}

impl From<ScanFile> for pb::ScanFile {
    fn from(file: ScanFile) -> Self {
        Self {
            path: file.path,
            size_bytes: file.size_bytes,
            last_modified_ms: file.last_modified_ms,
            e_tag: file.e_tag,
            version: file.version,
            range: file.range.map(|(start, end)| pb::ByteRange { start, end }),
            partition_values: file.partition_values,
        }
    }
}

impl TryFrom<pb::ScanFile> for ScanFile {
    type Error = DecodeError;
    fn try_from(file: pb::ScanFile) -> Result<Self, DecodeError> {
        let path = Some(file.path).filter(|path| !path.is_empty()).required("path")?;
        let range = file.range.map(|range| (range.start, range.end));
        if range.is_some_and(|(start, end)| start > end) {
            return Err(DecodeError::invalid("range", "a range that starts before it ends"));
        }
        Ok(Self {
            path,
            size_bytes: file.size_bytes,
            last_modified_ms: file.last_modified_ms,
            e_tag: file.e_tag,
            version: file.version,
            range,
            partition_values: file.partition_values,
        })
    }
}
