use penstock_protocol::{
    decode::{DecodeError, Problem},
    pb,
    wire::executor::{ToCoordinator, ToExecutor},
};
use proptest::prelude::*;
use prost::Message;

use crate::executor_samples::{self as samples, fixed};

proptest! {
    #[test]
    fn what_an_executor_says_is_read_back_as_it_was(message in samples::to_coordinator()) {
        let bytes = pb::ToCoordinator::from(message.clone()).encode_to_vec();
        let decoded = pb::ToCoordinator::decode(bytes.as_slice()).map_err(|error| error.to_string());
        prop_assert_eq!(decoded.map(ToCoordinator::try_from), Ok(Ok(message)));
    }

    #[test]
    fn what_the_coordinator_says_is_read_back_as_it_was(message in samples::to_executor()) {
        let bytes = pb::ToExecutor::from(message.clone()).encode_to_vec();
        let decoded = pb::ToExecutor::decode(bytes.as_slice()).map_err(|error| error.to_string());
        prop_assert_eq!(decoded.map(ToExecutor::try_from), Ok(Ok(message)));
    }

    #[test]
    fn a_truncated_message_is_an_error_or_another_message_and_never_a_panic(
        message in samples::to_executor(),
        keep in 0.0..1.0,
    ) {
        let bytes = pb::ToExecutor::from(message).encode_to_vec();
        let kept = (bytes.len() as f64 * keep) as usize;
        if let Ok(decoded) = pb::ToExecutor::decode(&bytes[..kept]) {
            let _ = ToExecutor::try_from(decoded);
        }
    }
}

fn missing(path: &str) -> DecodeError {
    DecodeError { path: path.to_owned(), problem: Problem::Missing }
}

#[test]
fn an_empty_message_names_what_is_missing() {
    assert_eq!(ToCoordinator::try_from(pb::ToCoordinator::default()), Err(missing("message")));
    assert_eq!(ToExecutor::try_from(pb::ToExecutor::default()), Err(missing("message")));
}

#[test]
fn a_missing_field_is_named_from_the_outside_in() {
    let run = |change: fn(&mut pb::TaskAssignment)| {
        let mut message = pb::ToExecutor::from(fixed::run());
        match &mut message.message {
            Some(pb::to_executor::Message::Run(task)) => change(task),
            other => panic!("{other:?}"),
        }
        ToExecutor::try_from(message).expect_err("a field is missing").to_string()
    };
    assert_eq!(run(|task| task.attempt = None), "field `run.attempt` is missing");
    let no_job = |task: &mut pb::TaskAssignment| {
        if let Some(id) = task.attempt.as_mut().and_then(|attempt| attempt.task.as_mut()) {
            id.job.clear();
        }
    };
    assert_eq!(run(no_job), "field `run.attempt.task.job` is missing");
    assert_eq!(run(|task| task.scans[0].files[0].path.clear()), "field `run.scans.files[0].path` is missing");
}

#[test]
fn an_unknown_failure_class_is_refused_with_its_number() {
    let mut message = pb::ToCoordinator::from(fixed::failed());
    match &mut message.message {
        Some(pb::to_coordinator::Message::Report(pb::AttemptReport {
            outcome: Some(pb::attempt_report::Outcome::Failed(failure)),
            ..
        })) => failure.class = 99,
        other => panic!("{other:?}"),
    }
    let error = ToCoordinator::try_from(message).expect_err("99 is no class");
    assert_eq!(error.to_string(), "field `report.outcome.failed.class` holds the unknown value 99");
}
