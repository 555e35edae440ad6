//! Arbitrary messages between coordinator and executors.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use penstock_protocol::{
    ids::*,
    shuffle::{
        EndedEpoch, EpochEnd, Location, MapOutput, PartitionSource, PartitionTotals, ShuffleTarget, Winner,
        WorkerAddress,
    },
    task::*,
    token::JobToken,
    wire::executor::{
        AttemptProgress, EpochsRequest, Heartbeat, Hello, NodeSample, ToCoordinator, ToExecutor,
    },
};
use proptest::{collection::vec, option, prelude::*};

pub fn job() -> impl Strategy<Value = JobId> {
    any::<u128>().prop_map(|bits| JobId(uuid::Uuid::from_u128(bits)))
}

pub fn attempt() -> impl Strategy<Value = AttemptId> {
    (job(), any::<(u32, u32, u32)>()).prop_map(|(job, (stage, index, number))| AttemptId {
        task: TaskId { job, stage: StageId(stage), index: TaskIndex(index) },
        number: AttemptNumber(number),
    })
}

fn shuffle() -> impl Strategy<Value = ShuffleId> {
    (job(), any::<(u32, u32)>()).prop_map(|(job, (exchange, run))| ShuffleId {
        job,
        exchange: StageId(exchange),
        run,
    })
}

fn worker() -> impl Strategy<Value = WorkerAddress> {
    ("w[0-3]", any::<u64>(), "[a-z]{1,4}:[0-9]{4}", "[a-z]{1,4}:[0-9]{4}").prop_map(
        |(worker, incarnation, control, data)| WorkerAddress {
            worker: WorkerId::new(worker),
            incarnation: Incarnation(incarnation),
            control,
            data,
        },
    )
}

fn location() -> impl Strategy<Value = Location> {
    let workers = (worker(), option::of(worker()));
    (any::<(u32, u32)>(), workers).prop_map(|((partition, epoch), (worker, replica))| Location {
        replica: replica.map(Arc::new),
        ..Location::on(PartitionIndex(partition), Epoch(epoch), Arc::new(worker))
    })
}

fn target() -> impl Strategy<Value = ShuffleTarget> {
    (shuffle(), vec(location(), 0..5)).prop_map(|(shuffle, locations)| ShuffleTarget { shuffle, locations })
}

fn totals() -> impl Strategy<Value = PartitionTotals> {
    any::<(u64, u64, u64, u64)>().prop_map(|(rows, bytes, batches, checksum)| PartitionTotals {
        rows,
        bytes,
        batches,
        checksum,
    })
}

fn source() -> impl Strategy<Value = PartitionSource> {
    (any::<u32>(), vec(location(), 0..3), totals()).prop_map(|(partition, locations, totals)| {
        PartitionSource { partition: PartitionIndex(partition), locations, totals }
    })
}

fn winner() -> impl Strategy<Value = Winner> {
    any::<(u32, u32)>()
        .prop_map(|(map, attempt)| Winner { map: TaskIndex(map), attempt: AttemptNumber(attempt) })
}

fn payload() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..20).prop_map(Bytes::from)
}

fn output_target() -> impl Strategy<Value = OutputTarget> {
    prop_oneof![
        target().prop_map(OutputTarget::Shuffle),
        (target(), any::<u64>())
            .prop_map(|(target, inline_bytes_max)| OutputTarget::Result { target, inline_bytes_max }),
        ".*".prop_map(|staging_url| OutputTarget::Files { staging_url }),
    ]
}

pub fn stage_definition() -> impl Strategy<Value = StageDefinition> {
    let input =
        (shuffle(), vec(winner(), 0..3)).prop_map(|(shuffle, winners)| StageInput { shuffle, winners });
    let settings = proptest::collection::btree_map(".*", ".*", 0..4);
    (job(), any::<u32>(), payload(), settings, vec(input, 0..3), output_target()).prop_map(
        |(job, stage, plan, settings, inputs, output)| StageDefinition {
            job,
            stage: StageId(stage),
            plan,
            settings,
            inputs,
            output,
        },
    )
}

fn scan_file() -> impl Strategy<Value = ScanFile> {
    let range = option::of(any::<(u64, u64)>().prop_map(|(a, b)| (a.min(b), a.max(b))));
    let version = (option::of(".*"), option::of(".*"));
    (".+", any::<(u64, i64)>(), version, range, vec(payload(), 0..3)).prop_map(
        |(path, (size_bytes, last_modified_ms), (e_tag, version), range, partition_values)| ScanFile {
            path,
            size_bytes,
            last_modified_ms,
            e_tag,
            version,
            range,
            partition_values,
        },
    )
}

pub fn assignment() -> impl Strategy<Value = TaskAssignment> {
    (attempt(), vec(vec(scan_file(), 0..3), 0..3), vec(vec(source(), 0..3), 0..3))
        .prop_map(|(attempt, scans, reads)| TaskAssignment { attempt, scans, reads })
}

fn failure() -> impl Strategy<Value = Failure> {
    use FailureClass::*;
    let class = prop::sample::select(vec![UserSql, UserData, Resources, Infrastructure, Cancelled, Internal]);
    (class, ".*", option::of(".*"), option::of(shuffle()))
        .prop_map(|(class, message, advice, lost_shuffle)| Failure { class, message, advice, lost_shuffle })
}

fn written_file() -> impl Strategy<Value = WrittenFile> {
    (".+", ".+", any::<(u64, u64)>()).prop_map(|(staged_path, final_path, (rows, bytes))| WrittenFile {
        staged_path,
        final_path,
        rows,
        bytes,
    })
}

fn task_output() -> impl Strategy<Value = TaskOutput> {
    let partitions = vec((any::<u32>().prop_map(PartitionIndex), totals()), 0..4);
    prop_oneof![
        partitions.prop_map(|partitions| TaskOutput::Shuffle(MapOutput { partitions })),
        (any::<u64>(), vec(payload(), 0..3)).prop_map(|(rows, batches)| TaskOutput::Inline { rows, batches }),
        vec(written_file(), 0..3).prop_map(TaskOutput::Files),
    ]
}

fn operator() -> impl Strategy<Value = OperatorMetrics> {
    let counters = proptest::collection::btree_map(".*", any::<u64>(), 0..4);
    (any::<(u32, Option<u32>, u64, u32, u64, u64)>(), ".*", ".*", counters).prop_map(
        |((operator, parent, rows_out, cpu_ms, spilled_bytes, memory_peak_bytes), name, detail, counters)| {
            OperatorMetrics {
                operator,
                parent,
                name,
                detail,
                rows_out,
                cpu_ms: f64::from(cpu_ms) / 16.0,
                spilled_bytes,
                memory_peak_bytes,
                counters,
            }
        },
    )
}

fn metrics() -> impl Strategy<Value = AttemptMetrics> {
    (any::<[u64; 12]>(), vec(operator(), 0..3))
        .prop_map(|(numbers, operators)| attempt_metrics(numbers, operators))
}

pub fn attempt_metrics(numbers: [u64; 12], operators: Vec<OperatorMetrics>) -> AttemptMetrics {
    let [
        rows_in,
        rows_out,
        scanned_bytes,
        shuffle_read_bytes,
        shuffle_written_bytes,
        spilled_bytes,
        rest @ ..,
    ] = numbers;
    let [written_bytes, memory_peak_bytes, run_ms, cpu_ms, shuffle_read_wait_ms, shuffle_write_wait_ms] =
        rest;
    AttemptMetrics {
        rows_in,
        rows_out,
        scanned_bytes,
        shuffle_read_bytes,
        shuffle_written_bytes,
        spilled_bytes,
        written_bytes,
        memory_peak_bytes,
        run_ms,
        cpu_ms,
        shuffle_read_wait_ms,
        shuffle_write_wait_ms,
        operators,
    }
}

pub fn report() -> impl Strategy<Value = AttemptReport> {
    let outcome = prop_oneof![
        task_output().prop_map(AttemptOutcome::Succeeded),
        failure().prop_map(AttemptOutcome::Failed),
        Just(AttemptOutcome::Cancelled),
    ];
    (attempt(), outcome, metrics()).prop_map(|(attempt, outcome, metrics)| AttemptReport {
        attempt,
        outcome,
        metrics,
    })
}

fn hello() -> impl Strategy<Value = Hello> {
    (".*", ".+", any::<(u64, u32, u64)>(), ".*", vec(attempt(), 0..3)).prop_map(
        |(build, executor, (incarnation, slots, memory_bytes), host, running)| Hello {
            build,
            executor: ExecutorId::new(executor),
            incarnation: Incarnation(incarnation),
            slots,
            host,
            memory_bytes,
            running,
        },
    )
}

fn heartbeat() -> impl Strategy<Value = Heartbeat> {
    let progress = (attempt(), any::<(u64, u64)>())
        .prop_map(|(attempt, (rows_in, rows_out))| AttemptProgress { attempt, rows_in, rows_out });
    (any::<(u32, u64, u64, u64)>(), vec(progress, 0..3)).prop_map(
        |((cpu, used, limit, scratch), progress)| {
            let sample = NodeSample {
                cpu_used: f64::from(cpu) / 16.0,
                memory_used_bytes: used,
                memory_limit_bytes: limit,
                scratch_used_bytes: scratch,
            };
            Heartbeat { sample, progress }
        },
    )
}

fn epochs() -> impl Strategy<Value = EpochsRequest> {
    let why = prop::sample::select(vec![
        EpochEnd::Grown,
        EpochEnd::Full,
        EpochEnd::Closing,
        EpochEnd::TurnedAway,
        EpochEnd::WorkerLost,
        EpochEnd::ReplicaLost,
        EpochEnd::Damaged,
        EpochEnd::Other,
    ]);
    let ended = (any::<(u32, u32)>(), why).prop_map(|((partition, epoch), why)| EndedEpoch {
        partition: PartitionIndex(partition),
        epoch: Epoch(epoch),
        why,
    });
    (any::<u64>(), shuffle(), vec(ended, 0..3), vec("w[0-3]", 0..2)).prop_map(
        |(request, shuffle, ended, suspects)| EpochsRequest {
            request,
            shuffle,
            ended,
            suspects: suspects.into_iter().map(WorkerId::new).collect(),
        },
    )
}

pub fn to_coordinator() -> impl Strategy<Value = ToCoordinator> {
    prop_oneof![
        hello().prop_map(ToCoordinator::Hello),
        heartbeat().prop_map(ToCoordinator::Heartbeat),
        report().prop_map(|report| ToCoordinator::Report(Box::new(report))),
        Just(ToCoordinator::Draining),
        epochs().prop_map(ToCoordinator::Epochs),
    ]
}

pub fn to_executor() -> impl Strategy<Value = ToExecutor> {
    prop_oneof![
        any::<u32>()
            .prop_map(|ms| ToExecutor::Welcome { heartbeat_interval: Duration::from_millis(ms.into()) }),
        ".*".prop_map(|reason| ToExecutor::Refused { reason }),
        stage_definition().prop_map(|stage| ToExecutor::DefineStage(Box::new(stage))),
        assignment().prop_map(|task| ToExecutor::Run(Box::new(task))),
        attempt().prop_map(ToExecutor::Cancel),
        attempt().prop_map(ToExecutor::ReportTaken),
        job().prop_map(ToExecutor::ForgetJob),
        (any::<u64>(), prop_oneof![target().prop_map(Ok), ".*".prop_map(Err)])
            .prop_map(|(request, outcome)| ToExecutor::Epochs { request, outcome }),
        (job(), any::<[u8; 16]>())
            .prop_map(|(job, token)| ToExecutor::GrantJob(job, JobToken::from_bytes(token))),
    ]
}

/// One fixed message of each kind with every field set, and never more than one entry in a map.
pub mod fixed {
    use super::*;

    pub fn attempt() -> AttemptId {
        let job = JobId(uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001));
        AttemptId { task: TaskId { job, stage: StageId(2), index: TaskIndex(3) }, number: AttemptNumber(4) }
    }

    fn shuffle() -> ShuffleId {
        ShuffleId { job: attempt().task.job, exchange: StageId(1), run: 5 }
    }

    fn location() -> Location {
        let worker = WorkerAddress {
            worker: WorkerId::from("w1"),
            incarnation: Incarnation(6),
            control: "c:1".to_owned(),
            data: "d:2".to_owned(),
        };
        Location::on(PartitionIndex(7), Epoch(8), Arc::new(worker))
    }

    fn replicated() -> Location {
        let mut replica = location().worker.as_ref().clone();
        replica.worker = WorkerId::from("w2");
        Location { replica: Some(Arc::new(replica)), ..location() }
    }

    pub fn epochs() -> ToCoordinator {
        let ended = EndedEpoch { partition: PartitionIndex(7), epoch: Epoch(8), why: EpochEnd::Other };
        let suspects = vec![WorkerId::from("w1")];
        ToCoordinator::Epochs(EpochsRequest { request: 1, shuffle: shuffle(), ended: vec![ended], suspects })
    }

    pub fn epochs_with_reasons() -> ToCoordinator {
        let ended =
            |partition, why| EndedEpoch { partition: PartitionIndex(partition), epoch: Epoch(0), why };
        let ended = vec![
            ended(0, EpochEnd::Grown),
            ended(1, EpochEnd::Full),
            ended(2, EpochEnd::Closing),
            ended(3, EpochEnd::WorkerLost),
            ended(4, EpochEnd::ReplicaLost),
            ended(5, EpochEnd::Damaged),
        ];
        ToCoordinator::Epochs(EpochsRequest { request: 2, shuffle: shuffle(), ended, suspects: Vec::new() })
    }

    pub fn new_epochs() -> ToExecutor {
        let target = ShuffleTarget { shuffle: shuffle(), locations: vec![replicated()] };
        ToExecutor::Epochs { request: 1, outcome: Ok(target) }
    }

    pub fn no_epochs() -> ToExecutor {
        ToExecutor::Epochs { request: 1, outcome: Err("no worker".to_owned()) }
    }

    pub fn run_with_copies() -> ToExecutor {
        let source =
            PartitionSource { partition: PartitionIndex(7), locations: vec![replicated()], totals: totals() };
        ToExecutor::Run(Box::new(TaskAssignment {
            attempt: attempt(),
            scans: vec![],
            reads: vec![vec![source]],
        }))
    }

    fn totals() -> PartitionTotals {
        PartitionTotals { rows: 9, bytes: 10, batches: 11, checksum: 12 }
    }

    pub fn hello() -> ToCoordinator {
        ToCoordinator::Hello(Hello {
            build: "1.0".to_owned(),
            executor: ExecutorId::from("e1"),
            incarnation: Incarnation(1),
            slots: 2,
            host: "h".to_owned(),
            memory_bytes: 3,
            running: vec![attempt()],
        })
    }

    pub fn heartbeat() -> ToCoordinator {
        let sample =
            NodeSample { cpu_used: 1.5, memory_used_bytes: 2, memory_limit_bytes: 3, scratch_used_bytes: 4 };
        let progress = AttemptProgress { attempt: attempt(), rows_in: 5, rows_out: 6 };
        ToCoordinator::Heartbeat(Heartbeat { sample, progress: vec![progress] })
    }

    pub fn succeeded() -> ToCoordinator {
        let operator = OperatorMetrics {
            operator: 1,
            parent: Some(0),
            name: "Filter".to_owned(),
            detail: "a > 1".to_owned(),
            rows_out: 2,
            cpu_ms: 0.5,
            spilled_bytes: 3,
            memory_peak_bytes: 4,
            counters: BTreeMap::from([("selectivity".to_owned(), 5)]),
        };
        let output = MapOutput { partitions: vec![(PartitionIndex(7), totals())] };
        ToCoordinator::Report(Box::new(AttemptReport {
            attempt: attempt(),
            outcome: AttemptOutcome::Succeeded(TaskOutput::Shuffle(output)),
            metrics: attempt_metrics([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], vec![operator]),
        }))
    }

    pub fn failed() -> ToCoordinator {
        let failure = Failure {
            class: FailureClass::Infrastructure,
            message: "m".to_owned(),
            advice: Some("a".to_owned()),
            lost_shuffle: Some(shuffle()),
        };
        let outcome = AttemptOutcome::Failed(failure);
        ToCoordinator::Report(Box::new(AttemptReport {
            attempt: attempt(),
            outcome,
            metrics: Default::default(),
        }))
    }

    pub fn define_stage() -> ToExecutor {
        let target = ShuffleTarget { shuffle: shuffle(), locations: vec![location()] };
        let winner = Winner { map: TaskIndex(1), attempt: AttemptNumber(2) };
        ToExecutor::DefineStage(Box::new(StageDefinition {
            job: attempt().task.job,
            stage: StageId(2),
            plan: Bytes::from_static(b"plan"),
            settings: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
            inputs: vec![StageInput { shuffle: shuffle(), winners: vec![winner] }],
            output: OutputTarget::Result { target, inline_bytes_max: 13 },
        }))
    }

    pub fn run() -> ToExecutor {
        let file = ScanFile {
            path: "a/b.parquet".to_owned(),
            size_bytes: 1,
            last_modified_ms: 2,
            e_tag: Some("t".to_owned()),
            version: Some("v".to_owned()),
            range: Some((3, 4)),
            partition_values: vec![Bytes::from_static(b"p")],
        };
        let source =
            PartitionSource { partition: PartitionIndex(7), locations: vec![location()], totals: totals() };
        ToExecutor::Run(Box::new(TaskAssignment {
            attempt: attempt(),
            scans: vec![vec![file]],
            reads: vec![vec![source]],
        }))
    }
}
