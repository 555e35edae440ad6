use std::sync::Arc;

use penstock_protocol::{
    ids::{Epoch, Incarnation, JobId, StageId},
    shuffle::WorkerAddress,
};
use uuid::Uuid;

use super::*;

fn shuffle() -> ShuffleId {
    ShuffleId { job: JobId(Uuid::from_u128(1)), exchange: StageId(0), run: 0 }
}

fn location(partition: u32, epoch: u32, worker: &str) -> Location {
    let worker = WorkerAddress {
        worker: worker.into(),
        incarnation: Incarnation(1),
        control: "c:1".into(),
        data: "d:1".into(),
    };
    Location::on(PartitionIndex(partition), Epoch(epoch), Arc::new(worker))
}

fn output(partition: u32, rows: u64) -> MapOutput {
    let totals = PartitionTotals { rows, bytes: rows * 8, batches: 1, checksum: rows };
    MapOutput { partitions: vec![(PartitionIndex(partition), totals)] }
}

const COMMITTED: CommitVerdict = CommitVerdict::Committed { stored_bytes: 10 };

#[test]
fn totals_of_all_winners_are_added_up_per_partition() {
    let verdicts = [
        (location(0, 0, "a"), COMMITTED),
        (location(1, 0, "b"), CommitVerdict::Empty),
        (location(2, 0, "b"), COMMITTED),
    ];
    let found = sources(shuffle(), &verdicts, &[output(0, 5), output(0, 7)]).expect("complete");
    assert_eq!(found[0].totals, PartitionTotals { rows: 12, bytes: 96, batches: 2, checksum: 12 });
    assert_eq!(found[0].locations, [location(0, 0, "a")]);
    // Proved empty, and committed with batches of losers only: both have nothing to read.
    assert_eq!(found[1].locations, []);
    assert_eq!(found[2].locations, []);
}

#[test]
fn a_partition_that_nobody_holds_is_a_loss_if_it_was_written_to() {
    let verdicts = [(location(0, 0, "a"), COMMITTED)];
    let error = sources(shuffle(), &verdicts, &[output(3, 5)]).expect_err("no such partition");
    let loss = CommitLoss::FalselyEmpty { partition: PartitionIndex(3), batches: 1 };
    assert_eq!(error, IncompleteError { shuffle: shuffle(), loss });
}
