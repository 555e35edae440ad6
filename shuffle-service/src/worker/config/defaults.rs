//! What counts where nobody said otherwise.

use std::path::PathBuf;

use penstock_common::{bytes::ByteSize, net::tls::TlsFiles};

use super::{Config, EvictFirst, Fsync, Tier, rules::MEMORY_BYTES_MIN};
use crate::disk::Writes;

impl Default for Config {
    fn default() -> Self {
        Self {
            name: String::new(),
            control_listen: "127.0.0.1:0".to_owned(),
            data_listen: "127.0.0.1:0".to_owned(),
            admin_listen: "127.0.0.1:0".to_owned(),
            advertise_host: String::new(),
            masters: vec!["127.0.0.1:7072".to_owned()],
            zone: String::new(),
            rack: String::new(),
            tags: Vec::new(),
            weight: 100,
            data_dirs: vec![std::env::temp_dir().join("penstock-shuffle")],
            disks: Vec::new(),
            memory_bytes_max: ByteSize(0),
            flush_from_percent: 70,
            flush_to_percent: 50,
            flush_parallelism: 4,
            disk_writes: Writes::Cached,
            disk_reserve_bytes: ByteSize::mib(256),
            disk_probe_interval_ms: 5000,
            disk_hang_ms: 30_000,
            disk_errors_max: 3,
            object_store: String::new(),
            object_store_timeout_ms: 60_000,
            create_in: Tier::Memory,
            evict_from_percent: 85,
            evict_to_percent: 70,
            evict_first: EvictFirst::Oldest,
            keep_data: true,
            fsync: Fsync::None,
            locations_max: 1_000_000,
            split_from_bytes: ByteSize::gib(1),
            connections_max: 4096,
            short_circuit: true,
            commit_timeout_ms: 30_000,
            drain_seconds: 20,
            silence_ms: 1000,
            heartbeat_interval_ms: 1000,
            cluster_secret_file: PathBuf::new(),
            tls: TlsFiles::default(),
            log_filter: String::new(),
        }
    }
}

/// Of the machine's memory where nobody said how much: executors beside it take 60 %.
const MACHINE_PART: u64 = 10;
const MEMORY_BYTES_DEFAULT_MIN: u64 = 512 << 20;

/// What a worker takes of a machine unless told otherwise.
pub(super) fn share_of(machine: Option<ByteSize>) -> u64 {
    let Some(machine) = machine else { return MEMORY_BYTES_DEFAULT_MIN };
    let half = (machine.as_u64() / 2).max(MEMORY_BYTES_MIN);
    (machine.as_u64() / MACHINE_PART).max(MEMORY_BYTES_DEFAULT_MIN).min(half)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_takes_a_tenth_of_the_machine_and_of_a_small_one_no_more_than_half() {
        let share = |machine: ByteSize| ByteSize(share_of(Some(machine)));
        assert_eq!(share(ByteSize::gib(20)), ByteSize::gib(2));
        assert_eq!(share(ByteSize::gib(2)), ByteSize::mib(512));
        assert_eq!(share(ByteSize::mib(256)), ByteSize::mib(128));
        assert_eq!(share_of(None), 512 << 20);
    }
}
