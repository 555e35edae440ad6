//! Payloads, the in-memory shuffle, and what attempts do with them.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, AsArray, DictionaryArray, Int64Array, RecordBatch, RecordBatchOptions, StringViewArray,
    },
    datatypes::{Int8Type, Int64Type, Schema},
};
use bytes::Bytes;
use futures::TryStreamExt;
use penstock_batches::{BatchIoError, Codec, Decoder, encode};
use penstock_engine::exchange::{
    memory::MemoryStore,
    store::{ShuffleError, ShuffleStore},
};
use penstock_protocol::{
    ids::{AttemptId, AttemptNumber, JobId, PartitionIndex, ShuffleId, StageId, TaskId, TaskIndex},
    shuffle::{ShuffleTarget, Winner},
    task::{FailureClass, TaskOutput},
};

use crate::{support::Cluster, tpch};

const CODECS: [Codec; 3] = [Codec::None, Codec::Lz4, Codec::Zstd];

fn batch(rows: i64) -> RecordBatch {
    let colours =
        (0..rows).map(|n| Some(["red", "green"][n as usize % 2])).collect::<DictionaryArray<Int8Type>>();
    let shapes = (0..rows).map(|n| (n % 3 != 0).then_some("circle")).collect::<DictionaryArray<Int8Type>>();
    RecordBatch::try_from_iter_with_nullable([
        (
            "n",
            Arc::new((0..rows).map(|n| (n % 5 != 0).then_some(n)).collect::<Int64Array>()) as ArrayRef,
            true,
        ),
        (
            "text",
            Arc::new(
                (0..rows)
                    .map(|n| Some(format!("a text of some length {}", n % 9)))
                    .collect::<StringViewArray>(),
            ),
            true,
        ),
        ("colour", Arc::new(colours), true),
        ("shape", Arc::new(shapes), true),
    ])
    .unwrap()
}

#[test]
fn payloads_give_back_their_batch_in_every_codec() {
    let empty_columns = RecordBatch::try_new_with_options(
        Arc::new(Schema::empty()),
        vec![],
        &RecordBatchOptions::new().with_row_count(Some(7)),
    )
    .unwrap();
    for codec in CODECS {
        for batch in [batch(0), batch(1), batch(1_000), batch(300).slice(17, 60), empty_columns.clone()] {
            let payload = encode(&batch, codec).unwrap();
            let mut decoder = Decoder::new(batch.schema());
            assert_eq!(decoder.decode(payload.clone()).unwrap(), vec![batch.clone()], "{codec:?}");
            // Bytes off the network lie anywhere.
            let mut shifted = vec![0];
            shifted.extend_from_slice(&payload);
            assert_eq!(decoder.decode(Bytes::from(shifted).slice(1..)).unwrap(), vec![batch], "{codec:?}");
        }
    }
}

#[test]
fn payloads_that_shrink_are_smaller_and_others_are_sent_as_they_are() {
    let repeating = batch(5_000);
    let plain = encode(&repeating, Codec::None).unwrap().len();
    assert!(encode(&repeating, Codec::Lz4).unwrap().len() < plain / 2);
    assert!(encode(&repeating, Codec::Zstd).unwrap().len() < plain / 2);
    let noise: Int64Array = (0..2_000_i64)
        .map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as i64))
        .map(|n| n ^ (n >> 29))
        .map(|n| n.wrapping_mul(0xBF58_476D_1CE4_E5B9_u64 as i64))
        .collect::<Vec<_>>()
        .into();
    let noise = RecordBatch::try_from_iter([("n", Arc::new(noise) as ArrayRef)]).unwrap();
    assert_eq!(encode(&noise, Codec::Lz4).unwrap(), encode(&noise, Codec::None).unwrap());
}

#[test]
fn a_truncated_or_foreign_payload_is_an_error_and_never_fewer_rows() {
    for codec in CODECS {
        let payload = encode(&batch(500), codec).unwrap();
        for length in (0..payload.len()).step_by(97) {
            let mut decoder = Decoder::new(batch(0).schema());
            assert!(decoder.decode(payload.slice(..length)).is_err(), "{codec:?} cut at {length}");
        }
    }
    let mut unknown = encode(&batch(5), Codec::None).unwrap().to_vec();
    unknown[0] = 9;
    let error = Decoder::new(batch(0).schema()).decode(unknown.into()).unwrap_err();
    assert!(matches!(error, BatchIoError::UnknownCodec { codec: 9 }));
}

fn shuffle() -> ShuffleId {
    ShuffleId { job: job(), exchange: StageId(0), run: 0 }
}

fn job() -> JobId {
    JobId("00000000-0000-7000-8000-000000000001".parse().unwrap())
}

fn attempt(map: u32, number: u32) -> AttemptId {
    AttemptId {
        task: TaskId { job: job(), stage: StageId(0), index: TaskIndex(map) },
        number: AttemptNumber(number),
    }
}

#[tokio::test]
async fn a_store_gives_the_winners_payloads_once_and_compares_totals() {
    let store = MemoryStore::default();
    let target = Arc::new(ShuffleTarget { shuffle: shuffle(), locations: vec![] });
    let mut outputs = vec![];
    for (map, number) in [(0, 0), (0, 1), (1, 0)] {
        let mut writer = store.writer(attempt(map, number), target.clone()).await.unwrap();
        writer.push(PartitionIndex(1), 3, Bytes::from(format!("{map}#{number}"))).await.unwrap();
        outputs.push(writer.finish().await.unwrap());
    }
    let mut unfinished = store.writer(attempt(2, 0), target).await.unwrap();
    unfinished.push(PartitionIndex(1), 3, Bytes::from_static(b"lost")).await.unwrap();
    drop(unfinished);

    let winners: Arc<[Winner]> = [(0, 1), (1, 0)]
        .map(|(map, number)| Winner { map: TaskIndex(map), attempt: AttemptNumber(number) })
        .into();
    let sources = store.sources(2, &outputs[1..]);
    let read = |source| store.read(shuffle(), winners.clone(), source).try_collect::<Vec<_>>();
    assert_eq!(read(sources[0].clone()).await.unwrap(), Vec::<Bytes>::new());
    assert_eq!(read(sources[1].clone()).await.unwrap(), ["0#1", "1#0"].map(Bytes::from));

    let mut wrong = sources[1].clone();
    wrong.totals.rows += 1;
    assert!(matches!(read(wrong).await, Err(ShuffleError::Lost { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn results_ride_in_the_report_until_they_are_too_large() {
    let cluster = tpch::cluster(3, &[]).await;
    let sql = "select o_orderkey, o_comment from orders";
    let graph = cluster.graph(sql).await;
    let mut runner = cluster.runner();
    let inline = runner.run(&graph).await.unwrap();
    runner.inline_bytes_max = 10_000;
    let pushed = runner.run(&graph).await.unwrap();
    let count = |batches: &[RecordBatch]| batches.iter().map(RecordBatch::num_rows).sum::<usize>();
    assert_eq!(count(&inline.batches), 15_000);
    assert_eq!(crate::support::rows(&inline.batches), crate::support::rows(&pushed.batches));
    assert!(pushed.metrics.last().unwrap().iter().any(|task| task.shuffle_written_bytes > 10_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_name_the_operators_that_the_plan_lists() {
    let cluster = tpch::cluster(2, &[]).await;
    let graph = cluster.graph(&tpch::query(3)).await;
    let outcome = cluster.runner().run(&graph).await.unwrap();
    for (stage, tasks) in graph.stages.iter().zip(&outcome.metrics) {
        let planned: Vec<_> = stage.operators().into_iter().map(|o| (o.operator, o.parent, o.name)).collect();
        for task in tasks {
            let ran: Vec<_> = task.operators.iter().map(|o| (o.operator, o.parent, o.name.clone())).collect();
            assert_eq!(planned, ran);
        }
        let rows_out: u64 = tasks.iter().map(|task| task.rows_out).sum();
        let written: u64 = tasks.iter().map(|task| task.operators[0].rows_out).sum();
        assert_eq!(rows_out, written);
    }
    let scanned: u64 = outcome.metrics.iter().flatten().map(|task| task.scanned_bytes).sum();
    assert!(scanned > 0);
}

// Invariant 10 of the shuffle: the end of a map is reported only if its input was read to its end without an error.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_whose_input_fails_on_the_way_reports_no_output() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("numbers.parquet");
    crate::support::write_parquet(&path, [batch(100)]);
    let cluster = Cluster::new(2);
    crate::support::register(&cluster.context, "numbers", &path).await;
    let graph = cluster.graph("select 100 / (n - 51) as q, count(*) from numbers group by q").await;
    let failure = cluster.runner().run(&graph).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::UserData, "{failure:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changed_after_planning_fails_the_task_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("numbers.parquet");
    crate::support::write_parquet(&path, [batch(100)]);
    let cluster = Cluster::new(2);
    crate::support::register(&cluster.context, "numbers", &path).await;
    let graph = cluster.graph("select sum(n) from numbers").await;
    crate::support::write_parquet(&path, [batch(200)]);
    let failure = cluster.runner().run(&graph).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::UserData);
    assert!(failure.message.contains(&format!("`{}`", path.display())), "{}", failure.message);

    std::fs::remove_file(&path).unwrap();
    let failure = cluster.runner().run(&graph).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::UserData);
    assert!(failure.message.contains("is gone"), "{}", failure.message);
}

/// A store that has lost everything.
#[derive(Debug)]
struct Broken(MemoryStore);

#[async_trait::async_trait]
impl ShuffleStore for Broken {
    async fn writer(
        &self,
        attempt: AttemptId,
        target: Arc<ShuffleTarget>,
    ) -> Result<Box<dyn penstock_engine::exchange::store::ShuffleWriter>, ShuffleError> {
        self.0.writer(attempt, target).await
    }

    fn read(
        &self,
        shuffle: ShuffleId,
        _: Arc<[Winner]>,
        _: penstock_protocol::shuffle::PartitionSource,
    ) -> futures::stream::BoxStream<'static, Result<Bytes, ShuffleError>> {
        let lost = ShuffleError::Lost { shuffle, reason: "the worker is gone".to_owned() };
        Box::pin(futures::stream::iter([Err(lost)]))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_shuffle_data_names_the_shuffle_so_that_its_producer_runs_again() {
    use penstock_engine::attempt::{decode, run_attempt};
    use penstock_protocol::{
        shuffle::PartitionSource,
        task::{OutputTarget, StageDefinition, StageInput, TaskAssignment},
    };
    let cluster = tpch::cluster(2, &[]).await;
    let graph = cluster.graph("select o_orderpriority, count(*) from orders group by 1").await;
    let stage = graph.root();
    let lost = ShuffleId { run: 3, ..shuffle() };
    let definition = StageDefinition {
        job: job(),
        stage: StageId(1),
        plan: stage.encode().unwrap(),
        settings: cluster.settings.clone(),
        inputs: vec![StageInput { shuffle: lost, winners: vec![] }],
        output: OutputTarget::Result {
            target: ShuffleTarget { shuffle: shuffle(), locations: vec![] },
            inline_bytes_max: 1 << 20,
        },
    };
    let source =
        PartitionSource { partition: PartitionIndex(0), locations: vec![], totals: Default::default() };
    let task = TaskAssignment { attempt: attempt(0, 0), scans: vec![], reads: vec![vec![source]] };
    let decoded = decode(&definition, &cluster.env).unwrap();
    let store = Arc::new(MemoryStore::default());
    // Executors run attempts on another pool.
    fn sendable<T: Send>(future: T) -> T {
        future
    }
    let attempt = sendable(run_attempt(&decoded, &task, store.clone(), &cluster.env, Default::default()));
    let (output, _) = attempt.await;
    assert!(matches!(output, Ok(TaskOutput::Inline { rows: 0, .. })));
    let broken = Arc::new(Broken(MemoryStore::default()));
    let (output, _) = run_attempt(&decoded, &task, broken, &cluster.env, Default::default()).await;
    let failure = output.unwrap_err();
    assert_eq!(failure.lost_shuffle, Some(lost));
    assert_eq!(failure.class, FailureClass::Infrastructure);
}

/// Rows of one text of 2 KB each, in as many row groups as there are inputs.
fn write_wide(path: &std::path::Path, groups: i64, rows_of_group: i64) {
    use parquet::{arrow::ArrowWriter, file::properties::WriterProperties};
    let of_group = |group: i64| {
        let numbers = group * rows_of_group..(group + 1) * rows_of_group;
        let keys = numbers.clone().map(|n| n * 7_919 % (groups * rows_of_group)).collect::<Int64Array>();
        let texts = numbers.map(|n| Some(format!("{n:0>2000}"))).collect::<StringViewArray>();
        RecordBatch::try_from_iter([("key", Arc::new(keys) as ArrayRef), ("text", Arc::new(texts))]).unwrap()
    };
    let rows = Some(rows_of_group as usize);
    let properties = WriterProperties::builder().set_max_row_group_row_count(rows).build();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, of_group(0).schema(), Some(properties)).unwrap();
    (0..groups).for_each(|group| writer.write(&of_group(group)).unwrap());
    writer.close().unwrap();
}

/// What an executor with 512 MiB leaves to its operators.
const OPERATORS_BYTES: u64 = 249 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_of_a_thousand_inputs_fits_into_little_memory() {
    const INPUTS: i64 = 1_000;
    const ROWS: i64 = 150;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wide.parquet");
    write_wide(&path, INPUTS, ROWS);
    let cluster = Cluster::limited(INPUTS as usize, &[], Some(OPERATORS_BYTES));
    crate::support::register(&cluster.context, "wide", &path).await;
    let graph = cluster
        .graph(
            "select key, length(text) as bytes from (select key, text from wide order by key limit 1000000)",
        )
        .await;
    let outcome = cluster.runner().run(&graph).await.unwrap();
    let merging =
        graph.stages.iter().find(|stage| stage.inputs.iter().any(|input| input.partitions == 1_000));
    assert!(merging.is_some_and(|stage| stage.tasks == 1), "{}", crate::support::describe(&graph));
    let keys: Vec<i64> = outcome
        .batches
        .iter()
        .flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec())
        .collect();
    assert_eq!(keys, (0..INPUTS * ROWS).collect::<Vec<_>>());
}
