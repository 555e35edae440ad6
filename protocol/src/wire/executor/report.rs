//! Reports of attempts: outcome, failure and metrics.

use crate::{
    decode::{DecodeError, Required, each, optional, required},
    pb,
    task::{
        AttemptMetrics, AttemptOutcome, AttemptReport, Failure, FailureClass, OperatorMetrics, TaskOutput,
        WrittenFile,
    },
};

impl From<AttemptReport> for pb::AttemptReport {
    fn from(report: AttemptReport) -> Self {
        Self {
            attempt: Some(report.attempt.into()),
            outcome: Some(report.outcome.into()),
            metrics: Some(report.metrics.into()),
        }
    }
}

impl TryFrom<pb::AttemptReport> for AttemptReport {
    type Error = DecodeError;
    fn try_from(report: pb::AttemptReport) -> Result<Self, DecodeError> {
        Ok(Self {
            attempt: required(report.attempt, "attempt")?,
            outcome: required(report.outcome, "outcome")?,
            metrics: required(report.metrics, "metrics")?,
        })
    }
}

impl From<AttemptOutcome> for pb::attempt_report::Outcome {
    fn from(outcome: AttemptOutcome) -> Self {
        match outcome {
            AttemptOutcome::Succeeded(output) => Self::Succeeded(output.into()),
            AttemptOutcome::Failed(failure) => Self::Failed(failure.into()),
            AttemptOutcome::Cancelled => Self::Cancelled(pb::Cancelled {}),
        }
    }
}

impl TryFrom<pb::attempt_report::Outcome> for AttemptOutcome {
    type Error = DecodeError;
    fn try_from(outcome: pb::attempt_report::Outcome) -> Result<Self, DecodeError> {
        use pb::attempt_report::Outcome;
        Ok(match outcome {
            Outcome::Succeeded(output) => Self::Succeeded(required(Some(output), "succeeded")?),
            Outcome::Failed(failure) => Self::Failed(required(Some(failure), "failed")?),
            Outcome::Cancelled(pb::Cancelled {}) => Self::Cancelled,
        })
    }
}

impl From<TaskOutput> for pb::TaskOutput {
    fn from(output: TaskOutput) -> Self {
        use pb::task_output::Output;
        let output = match output {
            TaskOutput::Shuffle(output) => Output::Shuffle((&output).into()),
            TaskOutput::Inline { rows, batches } => Output::Inline(pb::InlineResult { rows, batches }),
            TaskOutput::Files(files) => {
                Output::Files(pb::WrittenFiles { files: files.into_iter().map(Into::into).collect() })
            }
        };
        Self { output: Some(output) }
    }
}

impl TryFrom<pb::TaskOutput> for TaskOutput {
    type Error = DecodeError;
    fn try_from(output: pb::TaskOutput) -> Result<Self, DecodeError> {
        use pb::task_output::Output;
        Ok(match output.output.required("output")? {
            Output::Shuffle(output) => Self::Shuffle(required(Some(output), "shuffle")?),
            Output::Inline(result) => Self::Inline { rows: result.rows, batches: result.batches },
            Output::Files(written) => Self::Files(each(written.files, "files.files")?),
        })
    }
}

impl From<WrittenFile> for pb::WrittenFile {
    fn from(file: WrittenFile) -> Self {
        let WrittenFile { staged_path, final_path, rows, bytes } = file;
        Self { staged_path, final_path, rows, bytes }
    }
}

impl TryFrom<pb::WrittenFile> for WrittenFile {
    type Error = DecodeError;
    fn try_from(file: pb::WrittenFile) -> Result<Self, DecodeError> {
        let pb::WrittenFile { staged_path, final_path, rows, bytes } = file;
        if staged_path.is_empty() {
            return Err(DecodeError::missing("staged_path"));
        }
        if final_path.is_empty() {
            return Err(DecodeError::missing("final_path"));
        }
        Ok(Self { staged_path, final_path, rows, bytes })
    }
}

impl From<FailureClass> for pb::FailureClass {
    fn from(class: FailureClass) -> Self {
        match class {
            FailureClass::UserSql => Self::UserSql,
            FailureClass::UserData => Self::UserData,
            FailureClass::Resources => Self::Resources,
            FailureClass::Infrastructure => Self::Infrastructure,
            FailureClass::Cancelled => Self::Cancelled,
            FailureClass::Internal => Self::Internal,
        }
    }
}

fn failure_class(number: i32) -> Result<FailureClass, DecodeError> {
    match pb::FailureClass::try_from(number) {
        Ok(pb::FailureClass::UserSql) => Ok(FailureClass::UserSql),
        Ok(pb::FailureClass::UserData) => Ok(FailureClass::UserData),
        Ok(pb::FailureClass::Resources) => Ok(FailureClass::Resources),
        Ok(pb::FailureClass::Infrastructure) => Ok(FailureClass::Infrastructure),
        Ok(pb::FailureClass::Cancelled) => Ok(FailureClass::Cancelled),
        Ok(pb::FailureClass::Internal) => Ok(FailureClass::Internal),
        Ok(pb::FailureClass::Unspecified) => Err(DecodeError::missing("class")),
        Err(_) => Err(DecodeError::unknown("class", number)),
    }
}

impl From<Failure> for pb::Failure {
    fn from(failure: Failure) -> Self {
        Self {
            class: pb::FailureClass::from(failure.class).into(),
            message: failure.message,
            advice: failure.advice,
            lost_shuffle: failure.lost_shuffle.map(Into::into),
        }
    }
}

impl TryFrom<pb::Failure> for Failure {
    type Error = DecodeError;
    fn try_from(failure: pb::Failure) -> Result<Self, DecodeError> {
        Ok(Self {
            class: failure_class(failure.class)?,
            message: failure.message,
            advice: failure.advice,
            lost_shuffle: optional(failure.lost_shuffle, "lost_shuffle")?,
        })
    }
}

impl From<AttemptMetrics> for pb::AttemptMetrics {
    fn from(metrics: AttemptMetrics) -> Self {
        Self {
            rows_in: metrics.rows_in,
            rows_out: metrics.rows_out,
            scanned_bytes: metrics.scanned_bytes,
            shuffle_read_bytes: metrics.shuffle_read_bytes,
            shuffle_written_bytes: metrics.shuffle_written_bytes,
            spilled_bytes: metrics.spilled_bytes,
            written_bytes: metrics.written_bytes,
            memory_peak_bytes: metrics.memory_peak_bytes,
            run_ms: metrics.run_ms,
            cpu_ms: metrics.cpu_ms,
            shuffle_read_wait_ms: metrics.shuffle_read_wait_ms,
            shuffle_write_wait_ms: metrics.shuffle_write_wait_ms,
            operators: metrics.operators.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<pb::AttemptMetrics> for AttemptMetrics {
    type Error = DecodeError;
    fn try_from(metrics: pb::AttemptMetrics) -> Result<Self, DecodeError> {
        Ok(Self {
            rows_in: metrics.rows_in,
            rows_out: metrics.rows_out,
            scanned_bytes: metrics.scanned_bytes,
            shuffle_read_bytes: metrics.shuffle_read_bytes,
            shuffle_written_bytes: metrics.shuffle_written_bytes,
            spilled_bytes: metrics.spilled_bytes,
            written_bytes: metrics.written_bytes,
            memory_peak_bytes: metrics.memory_peak_bytes,
            run_ms: metrics.run_ms,
            cpu_ms: metrics.cpu_ms,
            shuffle_read_wait_ms: metrics.shuffle_read_wait_ms,
            shuffle_write_wait_ms: metrics.shuffle_write_wait_ms,
            operators: each(metrics.operators, "operators")?,
        })
    }
}

impl From<OperatorMetrics> for pb::OperatorMetrics {
    fn from(operator: OperatorMetrics) -> Self {
        Self {
            operator: operator.operator,
            parent: operator.parent,
            name: operator.name,
            detail: operator.detail,
            rows_out: operator.rows_out,
            cpu_ms: operator.cpu_ms,
            spilled_bytes: operator.spilled_bytes,
            memory_peak_bytes: operator.memory_peak_bytes,
            counters: operator.counters.into_iter().collect(),
        }
    }
}

impl TryFrom<pb::OperatorMetrics> for OperatorMetrics {
    type Error = DecodeError;
    fn try_from(operator: pb::OperatorMetrics) -> Result<Self, DecodeError> {
        Ok(Self {
            operator: operator.operator,
            parent: operator.parent,
            name: operator.name,
            detail: operator.detail,
            rows_out: operator.rows_out,
            cpu_ms: operator.cpu_ms,
            spilled_bytes: operator.spilled_bytes,
            memory_peak_bytes: operator.memory_peak_bytes,
            counters: operator.counters.into_iter().collect(),
        })
    }
}
