//! How the payloads of a stage are compressed.
//!
//! Compressing buys fewer bytes on a network with CPU time. Where all workers of an exchange are reached over the loopback
//! interface there is no network to spare.

use std::net::SocketAddr;

use penstock_batches::Codec;
use penstock_protocol::shuffle::{Location, ShuffleTarget};

/// The codec of a setting's value for what goes to `target`; nothing where the rows do not go to a shuffle.
pub(super) fn of(setting: &str, target: Option<&ShuffleTarget>) -> Codec {
    match setting {
        "none" => Codec::None,
        "lz4" => Codec::Lz4,
        "zstd" => Codec::Zstd,
        _ if target.is_some_and(stays_on_this_host) => Codec::None,
        _ => Codec::Lz4,
    }
}

fn stays_on_this_host(target: &ShuffleTarget) -> bool {
    let is_loopback = |data: &str| data.parse::<SocketAddr>().is_ok_and(|addr| addr.ip().is_loopback());
    target.locations.iter().flat_map(Location::workers).all(|worker| is_loopback(&worker.data))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use penstock_protocol::{
        ids::{Epoch, Incarnation, JobId, PartitionIndex, ShuffleId, StageId, WorkerId},
        shuffle::WorkerAddress,
    };

    use super::*;

    fn target(workers: &[&str]) -> ShuffleTarget {
        let worker = |data: &&str| WorkerAddress {
            worker: WorkerId::from("worker"),
            incarnation: Incarnation(0),
            control: String::new(),
            data: (*data).to_owned(),
        };
        let job: JobId = "01900000-0000-7000-8000-000000000001".parse().expect("is a UUID");
        let location = |(index, data)| Location::on(PartitionIndex(index), Epoch(0), Arc::new(worker(data)));
        let locations = (0..).zip(workers).map(location).collect();
        ShuffleTarget { shuffle: ShuffleId { job, exchange: StageId(0), run: 0 }, locations }
    }

    #[test]
    fn only_what_crosses_a_network_is_compressed_unless_somebody_says_so() {
        let local = ["127.0.0.1:7073", "[::1]:7073"];
        let far = ["127.0.0.1:7073", "10.0.0.7:7073"];
        let named = ["worker-1:7073"];
        let cases: [(&str, &[&str], Codec); 6] = [
            ("auto", &local, Codec::None),
            ("auto", &far, Codec::Lz4),
            ("auto", &named, Codec::Lz4),
            ("lz4", &local, Codec::Lz4),
            ("zstd", &local, Codec::Zstd),
            ("none", &far, Codec::None),
        ];
        for (setting, workers, codec) in cases {
            assert_eq!(of(setting, Some(&target(workers))), codec, "{setting} to {workers:?}");
        }
    }

    #[test]
    fn a_second_copy_on_another_host_counts() {
        let mut target = target(&["127.0.0.1:7073", "10.0.0.7:7073"]);
        target.locations[0].replica = target.locations.pop().map(|other| other.worker);
        assert_eq!(of("auto", Some(&target)), Codec::Lz4);
    }
}
