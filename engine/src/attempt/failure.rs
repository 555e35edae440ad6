//! Failures of attempts that only this crate knows; the rest is [`classify`]'s.

use datafusion::error::DataFusionError;
use penstock_protocol::task::{Failure, FailureClass};

use crate::{
    error::{SqlError, classify},
    scan::ChangedFile,
};

pub(super) fn of(error: &DataFusionError) -> Failure {
    match changed_file(error) {
        Some(changed) => Failure {
            class: FailureClass::UserData,
            message: changed.to_string(),
            advice: Some("run the job again when nobody changes its input".to_owned()),
            lost_shuffle: None,
        },
        None => classify(error),
    }
}

/// Settings were checked at planning: an executor that refuses them is of another build.
pub(super) fn of_settings(error: SqlError) -> Failure {
    Failure {
        class: FailureClass::Internal,
        message: format!("the stage's settings are not valid here: {error}"),
        advice: Some("run coordinator and executors of the same build".to_owned()),
        lost_shuffle: None,
    }
}

fn changed_file(error: &DataFusionError) -> Option<&ChangedFile> {
    match error.find_root() {
        DataFusionError::External(source) => match source.downcast_ref::<ChangedFile>() {
            // A store that cannot be asked is not a changed file.
            Some(ChangedFile::Store { .. }) | None => None,
            changed => changed,
        },
        _ => None,
    }
}
