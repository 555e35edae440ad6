//! What it brings to leave the network out: clients on the worker's host beside the same clients over TCP.

use std::{fs, path::PathBuf};

use super::{
    Service, Setup, subfolder,
    transfers::{KIB, LITTLE_MEMORY_BYTES, MEMORY_BYTES, MIB, PARTITIONS, beside},
};
use crate::{
    report::Comparison,
    role::{Work, WorkerSettings},
};

pub fn all(setup: &Setup<'_>) -> anyhow::Result<Vec<Comparison>> {
    let mut all = Vec::new();
    for (block, size) in [(64 * KIB, "64 KiB"), (MIB, "1 MiB")] {
        let name = format!("push on one host, no storage, {size}, beside TCP");
        if setup.wants(&name) {
            let work = Work::Push { block, bytes: setup.bytes(), partitions: PARTITIONS };
            all.push(beside_tcp(setup, &name, None, MEMORY_BYTES, work)?);
        }
    }
    for (block, size) in [(64 * KIB, "64 KiB"), (MIB, "1 MiB")] {
        let name = format!("fetch on one host from memory, {size}, beside TCP");
        if setup.wants(&name) {
            let bytes = setup.bytes() / 4;
            let memory_bytes_for_all = MEMORY_BYTES + 2 * bytes;
            let work = Work::Fetch { block, bytes };
            all.push(beside_tcp(setup, &name, None, memory_bytes_for_all, work)?);
        }
    }
    for (block, size) in [(64 * KIB, "64 KiB"), (MIB, "1 MiB")] {
        let name = format!("fetch on one host from the page cache, {size}, beside TCP");
        if setup.wants(&name) {
            let work = Work::Fetch { block, bytes: setup.bytes() };
            let folders = [subfolder(setup, "sent")?, subfolder(setup, "lent")?];
            all.push(beside_tcp(setup, &name, Some(folders.clone()), LITTLE_MEMORY_BYTES, work)?);
            folders.iter().try_for_each(fs::remove_dir_all)?;
        }
    }
    Ok(all)
}

/// The same work with two workers: one that is reached over TCP and one that is not.
fn beside_tcp(
    setup: &Setup<'_>,
    name: &str,
    folders: Option<[PathBuf; 2]>,
    memory_bytes: u64,
    work: Work,
) -> anyhow::Result<Comparison> {
    let [plain_folder, folder] = folders.map_or([None, None], |folders| folders.map(Some));
    let start = |folder, short_circuit| {
        let settings = WorkerSettings { folder, memory_bytes, short_circuit, ..WorkerSettings::default() };
        let service = Service::start(1, settings)?;
        let client = service.client(1, work)?;
        anyhow::Ok((service, client))
    };
    let (plain_service, mut plain_client) = start(plain_folder, false)?;
    let (service, mut client) = start(folder, true)?;
    if matches!(work, Work::Fetch { .. }) {
        // The first step pushes what the others read.
        plain_client.step()?;
        client.step()?;
    }
    beside(setup, name, (plain_service, plain_client), (service, client))
}
