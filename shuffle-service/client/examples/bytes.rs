//! Shuffles plain bytes: four writers spread words over partitions, and each partition is read back.
//!
//! Needs a shuffle master with at least one worker, such as `penstock cluster up` starts:
//!
//! ```text
//! cargo run -p penstock-shuffle-client --example bytes -- 127.0.0.1:7072 [copies]
//! ```

use std::{error::Error, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::TryStreamExt;
use penstock_common::{
    lifecycle::Tasks,
    net::{Network, Tcp},
};
use penstock_protocol::{
    ids::{AttemptId, AttemptNumber, JobId, PartitionIndex, ShuffleId, StageId, TaskId, TaskIndex},
    shuffle::{MapOutput, ShuffleTarget},
};
use penstock_shuffle_client::{
    ClientOptions, ShuffleClient,
    owner::{Ledger, MapEnds, Owner, sources},
};
use uuid::Uuid;

const PARTITIONS: u32 = 3;
const MAPS: [&str; 4] =
    ["a goose quill", "is cut with care", "the ink is black", "and every letter has its place"];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let master = arguments.next().unwrap_or_else(|| "127.0.0.1:7072".to_owned());
    let copies = arguments.next().map_or(Ok(1), |copies| copies.parse())?;
    let network: Arc<dyn Network> = Arc::new(Tcp);
    let tasks = Tasks::new("example");

    // The owner decides what counts. A process that only writes and reads needs the client alone, and a reviver that asks
    // the owner, wherever that lives.
    let owner = Arc::new(Owner::new(Arc::clone(&network), vec![master]).with_copies(copies));
    let ledger = Arc::new(Ledger::new(Arc::clone(&owner)));
    let client =
        ShuffleClient::with_reviver(network, ClientOptions::default(), ledger.clone(), tasks.clone());

    // A job's id names everything that belongs to it; an exchange and a run of it name a shuffle.
    let job = JobId(Uuid::now_v7());
    let shuffle = ShuffleId { job, exchange: StageId(0), run: 0 };
    let target = Arc::new(ledger.reserve(shuffle, PARTITIONS).await?);

    // Of each map the first attempt that ends wins; here each has one.
    let mut ends = MapEnds::new(u32::try_from(MAPS.len())?);
    for (map, text) in (0..).map(TaskIndex).zip(MAPS) {
        let task = TaskId { job, stage: StageId(0), index: map };
        let attempt = AttemptId { task, number: AttemptNumber(0) };
        let output = write(&client, attempt, Arc::clone(&target), text).await?;
        ends.record(map, attempt.number, output);
    }
    let (winners, outputs) = ends.complete().ok_or("a map is missing")?;

    // All epochs are committed, whatever became of their workers; each needs one good copy.
    let all = ledger.all(shuffle).ok_or("it was reserved here")?;
    let verdicts = owner.commit(&all, &winners).await?;
    for source in sources(shuffle, &verdicts, outputs)? {
        let (partition, rows) = (source.partition, source.totals.rows);
        let words: Vec<Bytes> = client.read(shuffle, Arc::clone(&winners), source).try_collect().await?;
        let words: Vec<_> = words.iter().map(|word| String::from_utf8_lossy(word)).collect();
        println!("partition {partition}: {rows} words: {}", words.join(" "));
    }

    owner.release_job(job).await?;
    tasks.stop(Duration::from_secs(5)).await?;
    Ok(())
}

/// One attempt of one map: a payload is opaque to the service; what a row is, is the writer's business.
async fn write(
    client: &ShuffleClient,
    attempt: AttemptId,
    target: Arc<ShuffleTarget>,
    text: &'static str,
) -> Result<MapOutput, Box<dyn Error>> {
    let mut writer = client.writer(attempt, target).await?;
    for word in text.split(' ') {
        let partition = PartitionIndex(u32::from(word.as_bytes()[0]) % PARTITIONS);
        writer.push(partition, 1, Bytes::from_static(word.as_bytes())).await?;
    }
    // Returns when every batch is acknowledged by all of its copies.
    Ok(writer.finish().await?)
}
