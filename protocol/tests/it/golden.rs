//! Bytes of messages as they were first released. Never edit a file here: a message that is not read any more breaks a
//! cluster. A new message gets a new file; `PENSTOCK_BLESS=1` writes those that are absent.

use std::{fs, path::Path};

use penstock_protocol::{
    pb,
    wire::executor::{ToCoordinator, ToExecutor},
};
use prost::Message;

use crate::executor_samples::fixed;

fn frozen(name: &str, current: &[u8]) -> Vec<u8> {
    let path = Path::new("tests/golden").join(format!("{name}.hex"));
    if !path.exists() && std::env::var_os("PENSTOCK_BLESS").is_some() {
        let lines: Vec<String> = current.chunks(32).map(hex).collect();
        fs::write(&path, lines.join("\n") + "\n").expect("the golden folder is writable");
    }
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let digits: String = text.split_whitespace().collect();
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hex digits");
    (0..digits.len()).step_by(2).map(byte).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn old_bytes_from_executors_are_still_read() {
    let messages = [
        ("executor_hello", fixed::hello()),
        ("executor_heartbeat", fixed::heartbeat()),
        ("executor_report_succeeded", fixed::succeeded()),
        ("executor_report_failed", fixed::failed()),
        ("executor_epochs", fixed::epochs()),
        ("executor_epochs_with_reasons", fixed::epochs_with_reasons()),
    ];
    for (name, message) in messages {
        let bytes = frozen(name, &pb::ToCoordinator::from(message.clone()).encode_to_vec());
        let decoded = pb::ToCoordinator::decode(bytes.as_slice()).expect("frozen bytes are a message");
        assert_eq!(ToCoordinator::try_from(decoded), Ok(message), "{name}");
    }
}

#[test]
fn old_bytes_from_the_coordinator_are_still_read() {
    let messages = [
        ("coordinator_define_stage", fixed::define_stage()),
        ("coordinator_run", fixed::run()),
        ("coordinator_run_with_copies", fixed::run_with_copies()),
        ("coordinator_epochs", fixed::new_epochs()),
        ("coordinator_no_epochs", fixed::no_epochs()),
    ];
    for (name, message) in messages {
        let bytes = frozen(name, &pb::ToExecutor::from(message.clone()).encode_to_vec());
        let decoded = pb::ToExecutor::decode(bytes.as_slice()).expect("frozen bytes are a message");
        assert_eq!(ToExecutor::try_from(decoded), Ok(message), "{name}");
    }
}

#[test]
fn old_bytes_of_what_operators_ordered_are_still_read() {
    let exclusion = pb::ExclusionOrder { at_ms: 1, until_ms: 2, reason: "disk swap".to_owned() };
    let limit = pb::QuotaLimit { bytes: 1 << 40, locations: 200_000 };
    let quotas = vec![
        pb::QuotaOrder { at_ms: 3, user: "ann".to_owned(), limit: Some(limit) },
        pb::QuotaOrder { at_ms: 4, user: "eve".to_owned(), limit: None },
    ];
    let report = pb::WorkerHeartbeat {
        exclusion: Some(exclusion.clone()),
        drain: pb::DrainOrder::Drain.into(),
        drain_at_ms: 5,
        quotas: quotas.clone(),
        ..Default::default()
    };
    let bytes = frozen("shuffle_orders_of_a_worker", &report.encode_to_vec());
    assert_eq!(pb::WorkerHeartbeat::decode(bytes.as_slice()), Ok(report));
    let answer = pb::HeartbeatAnswer {
        exclusion: Some(exclusion),
        drain: pb::DrainOrder::Serve.into(),
        drain_at_ms: 6,
        quotas,
        ..Default::default()
    };
    let bytes = frozen("shuffle_orders_of_a_master", &answer.encode_to_vec());
    assert_eq!(pb::HeartbeatAnswer::decode(bytes.as_slice()), Ok(answer));
}
