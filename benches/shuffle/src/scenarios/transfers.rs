//! Bytes from one process to another, beside what the kernel does alone.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::Instant,
};

use penstock_common::net::tls::TlsFiles;
use penstock_shuffle_service::disk::Writes;
use rcgen::{CertificateParams, KeyPair};

use super::{Service, Setup, step, subfolder};
use crate::{
    child::Child,
    report::{Comparison, Measure, Sample},
    role::{Protection, Role, Work, WorkerSettings, block_of},
};

pub(super) const KIB: usize = 1 << 10;
pub(super) const MIB: usize = 1 << 20;
/// Partitions that a map task writes at the same time.
pub(super) const PARTITIONS: u32 = 16;
/// Enough that the network is measured, not the flusher's rhythm.
pub(super) const MEMORY_BYTES: u64 = 512 << 20;
/// So little that nearly everything is on disk.
pub(super) const LITTLE_MEMORY_BYTES: u64 = 96 << 20;
/// With two copies everything is moved or written twice: the limit is half of the yardstick's.
const HALF: f64 = 0.5;

type Transfer = fn(&Setup<'_>, &str, usize) -> anyhow::Result<Comparison>;

pub fn all(setup: &Setup<'_>) -> anyhow::Result<Vec<Comparison>> {
    let transfers: [(&str, Transfer); 10] = [
        ("push, no storage", |setup, name, block| push(setup, name, block, 1, 0.6)),
        ("push, no storage, two copies", |setup, name, block| push(setup, name, block, 2, 0.8 * HALF)),
        ("push, no storage, tokens beside none", push_with_tokens),
        ("push, no storage, TLS beside none", push_with_tls),
        ("push to disk, synced", |setup, name, block| {
            push_to_disk(setup, name, block, Writes::Cached, (1, 0.8))
        }),
        ("push to disk, synced, two copies", |setup, name, block| {
            push_to_disk(setup, name, block, Writes::Cached, (2, 0.8 * HALF))
        }),
        ("push to disk past the page cache, synced", |setup, name, block| {
            push_to_disk(setup, name, block, Writes::Direct, (1, 0.8))
        }),
        ("push to disk past the page cache, synced, two copies", |setup, name, block| {
            push_to_disk(setup, name, block, Writes::Direct, (2, 0.8 * HALF))
        }),
        ("fetch from the page cache, one connection", fetch),
        ("fetch from the page cache, one connection, TLS beside none", fetch_with_tls),
    ];
    let mut all = Vec::new();
    for (transfer, measure) in transfers {
        for (block, size) in [(64 * KIB, "64 KiB"), (MIB, "1 MiB")] {
            let name = format!("{transfer}, {size}");
            if setup.wants(&name) {
                all.push(measure(setup, &name, block)?);
            }
        }
    }
    Ok(all)
}

fn push(setup: &Setup<'_>, name: &str, block: usize, copies: u32, target: f64) -> anyhow::Result<Comparison> {
    let bytes = setup.bytes();
    let sink = Child::start(&Role::TcpSink { block })?;
    let mut source = Child::start(&Role::TcpSource { addr: sink.text("addr")?, block, bytes })?;
    let service = Service::start(usize::try_from(copies)?, in_memory())?;
    let mut client = service.client(copies, Work::Push { block, bytes, partitions: PARTITIONS })?;
    setup.compare(
        name,
        Measure::BytesPerCpuSecond,
        Some(target),
        || step(("sender", &mut source), &[("receiver", &sink)]),
        || step(("client", &mut client), &service.roles()),
    )
}

fn in_memory() -> WorkerSettings {
    WorkerSettings { memory_bytes: MEMORY_BYTES, ..WorkerSettings::default() }
}

fn on_disk(folder: PathBuf) -> WorkerSettings {
    WorkerSettings { folder: Some(folder), memory_bytes: LITTLE_MEMORY_BYTES, ..WorkerSettings::default() }
}

fn push_to_disk(
    setup: &Setup<'_>,
    name: &str,
    block: usize,
    disk_writes: Writes,
    (copies, target): (u32, f64),
) -> anyhow::Result<Comparison> {
    let bytes = setup.bytes();
    let plain = subfolder(setup, "plain")?;
    let mut writer = Child::start(&Role::FileWriter { folder: plain, block, bytes })?;
    let stored = subfolder(setup, "worker")?;
    setup.compare(
        name,
        Measure::BytesPerSecond,
        Some(target),
        || step(("writer", &mut writer), &[]),
        // Fresh workers each time: their folders then hold what this round wrote.
        || {
            let settings = WorkerSettings { disk_writes, ..on_disk(stored.clone()) };
            let service = Service::start(usize::try_from(copies)?, settings)?;
            let mut client = service.client(copies, Work::Push { block, bytes, partitions: PARTITIONS })?;
            let pushed = step(("client", &mut client), &service.roles())?;
            let sample = synced(pushed, &stored, copies)?;
            drop((client, service));
            fs::remove_dir_all(&stored)?;
            Ok(sample)
        },
    )
}

/// The same sample with what reached the files in place of what was pushed, counted once, and the time to sync them added.
fn synced(pushed: Sample, folder: &Path, copies: u32) -> anyhow::Result<Sample> {
    let started = Instant::now();
    let mut bytes = 0;
    for file in files_below(folder)? {
        let file = File::open(file)?;
        file.sync_data()?;
        bytes += file.metadata()?.len();
    }
    Ok(Sample {
        bytes: bytes / u64::from(copies),
        seconds: pushed.seconds + started.elapsed().as_secs_f64(),
        ..pushed
    })
}

fn files_below(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            files.extend(files_below(&entry.path())?);
        } else {
            files.push(entry.path());
        }
    }
    Ok(files)
}

fn fetch(setup: &Setup<'_>, name: &str, block: usize) -> anyhow::Result<Comparison> {
    let bytes = setup.bytes();
    let plain = subfolder(setup, "served")?;
    let server = Child::start(&Role::FileServer { folder: plain.clone(), block, bytes })?;
    let mut reader = Child::start(&Role::TcpReader { addr: server.text("addr")?, block })?;
    let stored = subfolder(setup, "fetched")?;
    let service = Service::start(1, on_disk(stored.clone()))?;
    let mut client = service.client(1, Work::Fetch { block, bytes })?;
    client.step()?;
    let comparison = setup.compare(
        name,
        Measure::BytesPerSecond,
        Some(0.7),
        || step(("reader", &mut reader), &[("server", &server)]),
        || step(("client", &mut client), &service.roles()),
    )?;
    drop((server, service));
    fs::remove_dir_all(plain)?;
    fs::remove_dir_all(stored)?;
    Ok(comparison)
}

fn push_with_tokens(setup: &Setup<'_>, name: &str, block: usize) -> anyhow::Result<Comparison> {
    let cluster_secret_file = subfolder(setup, "tokens")?.join("secret");
    fs::write(&cluster_secret_file, block_of(32))?;
    protected_push(setup, name, block, Protection { cluster_secret_file, ..Protection::default() })
}

fn push_with_tls(setup: &Setup<'_>, name: &str, block: usize) -> anyhow::Result<Comparison> {
    protected_push(setup, name, block, encrypted(setup)?)
}

/// What protection costs: the same pushes without and with it.
fn protected_push(
    setup: &Setup<'_>,
    name: &str,
    block: usize,
    protection: Protection,
) -> anyhow::Result<Comparison> {
    let work = Work::Push { block, bytes: setup.bytes(), partitions: PARTITIONS };
    let start = |protection| {
        let service = Service::start(1, WorkerSettings { protection, ..in_memory() })?;
        let client = service.client(1, work)?;
        anyhow::Ok((service, client))
    };
    beside(setup, name, start(Protection::default())?, start(protection)?)
}

/// What encryption costs readers.
fn fetch_with_tls(setup: &Setup<'_>, name: &str, block: usize) -> anyhow::Result<Comparison> {
    let work = Work::Fetch { block, bytes: setup.bytes() };
    let start = |folder: &Path, protection| {
        let service = Service::start(1, WorkerSettings { protection, ..on_disk(folder.to_owned()) })?;
        let mut client = service.client(1, work)?;
        // The first step pushes what the others read.
        client.step()?;
        anyhow::Ok((service, client))
    };
    let folders = [subfolder(setup, "open")?, subfolder(setup, "encrypted")?];
    let plain = start(&folders[0], Protection::default())?;
    let comparison = beside(setup, name, plain, start(&folders[1], encrypted(setup)?)?)?;
    folders.iter().try_for_each(fs::remove_dir_all)?;
    Ok(comparison)
}

fn encrypted(setup: &Setup<'_>) -> anyhow::Result<Protection> {
    Ok(Protection { tls: certificates(&subfolder(setup, "tls")?)?, ..Protection::default() })
}

/// One way of ours beside another one, each a service with its client: what they take of the processors.
pub(super) fn beside(
    setup: &Setup<'_>,
    name: &str,
    (plain_service, mut plain_client): (Service, Child),
    (service, mut client): (Service, Child),
) -> anyhow::Result<Comparison> {
    setup.compare(
        name,
        Measure::BytesPerCpuSecond,
        None,
        || step(("client", &mut plain_client), &plain_service.roles()),
        || step(("client", &mut client), &service.roles()),
    )
}

/// One certificate that everybody shows to everybody.
fn certificates(folder: &Path) -> anyhow::Result<TlsFiles> {
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()])?.self_signed(&key)?;
    let files = TlsFiles {
        ca_file: folder.join("certificate.pem"),
        certificate_file: folder.join("certificate.pem"),
        key_file: folder.join("key.pem"),
        ..TlsFiles::default()
    };
    fs::write(&files.certificate_file, certificate.pem())?;
    fs::write(&files.key_file, key.serialize_pem())?;
    Ok(files)
}
