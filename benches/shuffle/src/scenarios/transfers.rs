//! Bytes from one process to another, beside what the kernel does alone.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::Instant,
};

use penstock_common::net::tls::TlsFiles;
use rcgen::{CertificateParams, KeyPair};

use super::{Setup, step};
use crate::{
    child::Child,
    report::{Comparison, Measure, Sample},
    role::{Role, Work},
};

pub(super) const KIB: usize = 1 << 10;
pub(super) const MIB: usize = 1 << 20;
/// Partitions that a map task writes at the same time.
pub(super) const PARTITIONS: u32 = 16;
/// Enough that the network is measured, not the flusher's rhythm.
pub(super) const MEMORY_BYTES: u64 = 512 << 20;
/// So little that nearly everything is on disk.
pub(super) const LITTLE_MEMORY_BYTES: u64 = 96 << 20;

pub fn all(setup: &Setup<'_>) -> anyhow::Result<Vec<Comparison>> {
    let mut all = Vec::new();
    for (block, size) in [(64 * KIB, "64 KiB"), (MIB, "1 MiB")] {
        let name = format!("push, no storage, {size}");
        if setup.wants(&name) {
            all.push(push(setup, &name, block)?);
        }
    }
    for (block, size) in [(64 * KIB, "64 KiB"), (MIB, "1 MiB")] {
        let name = format!("push, no storage, {size}, TLS beside none");
        if setup.wants(&name) {
            all.push(push_with_tls(setup, &name, block)?);
        }
    }
    for (block, size) in [(64 * KIB, "64 KiB"), (MIB, "1 MiB")] {
        let name = format!("push to disk, synced, {size}");
        if setup.wants(&name) {
            all.push(push_to_disk(setup, &name, block)?);
        }
    }
    for (block, size) in [(64 * KIB, "64 KiB"), (MIB, "1 MiB")] {
        let name = format!("fetch from the page cache, one connection, {size}");
        if setup.wants(&name) {
            all.push(fetch(setup, &name, block)?);
        }
    }
    Ok(all)
}

fn push(setup: &Setup<'_>, name: &str, block: usize) -> anyhow::Result<Comparison> {
    let bytes = setup.bytes();
    let sink = Child::start(&Role::TcpSink { block })?;
    let mut source = Child::start(&Role::TcpSource { addr: sink.text("addr")?, block, bytes })?;
    let worker =
        Child::start(&Role::Service { folder: None, memory_bytes: MEMORY_BYTES, tls: TlsFiles::default() })?;
    let mut client =
        client(&worker, &TlsFiles::default(), Work::Push { block, bytes, partitions: PARTITIONS })?;
    setup.compare(
        name,
        Measure::BytesPerCpuSecond,
        Some(0.6),
        || step(("sender", &mut source), &[("receiver", &sink)]),
        || step(("client", &mut client), &[("worker", &worker)]),
    )
}

fn push_to_disk(setup: &Setup<'_>, name: &str, block: usize) -> anyhow::Result<Comparison> {
    let bytes = setup.bytes();
    let plain = subfolder(setup, "plain")?;
    let mut writer = Child::start(&Role::FileWriter { folder: plain, block, bytes })?;
    let stored = subfolder(setup, "worker")?;
    setup.compare(
        name,
        Measure::BytesPerSecond,
        Some(0.8),
        || step(("writer", &mut writer), &[]),
        // A fresh worker each time: its folder then holds what this round wrote.
        || {
            let role = Role::Service {
                folder: Some(stored.clone()),
                memory_bytes: LITTLE_MEMORY_BYTES,
                tls: TlsFiles::default(),
            };
            let worker = Child::start(&role)?;
            let mut client =
                client(&worker, &TlsFiles::default(), Work::Push { block, bytes, partitions: PARTITIONS })?;
            let pushed = step(("client", &mut client), &[("worker", &worker)])?;
            let sample = synced(pushed, &stored)?;
            drop((client, worker));
            fs::remove_dir_all(&stored)?;
            Ok(sample)
        },
    )
}

/// The same sample with what reached the files in place of what was pushed, and the time to sync them added.
fn synced(pushed: Sample, folder: &Path) -> anyhow::Result<Sample> {
    let started = Instant::now();
    let mut bytes = 0;
    for file in files_below(folder)? {
        let file = File::open(file)?;
        file.sync_data()?;
        bytes += file.metadata()?.len();
    }
    Ok(Sample { bytes, seconds: pushed.seconds + started.elapsed().as_secs_f64(), ..pushed })
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
    let worker = Child::start(&Role::Service {
        folder: Some(stored.clone()),
        memory_bytes: LITTLE_MEMORY_BYTES,
        tls: TlsFiles::default(),
    })?;
    let mut client = client(&worker, &TlsFiles::default(), Work::Fetch { block, bytes })?;
    client.step()?;
    let comparison = setup.compare(
        name,
        Measure::BytesPerSecond,
        Some(0.7),
        || step(("reader", &mut reader), &[("server", &server)]),
        || step(("client", &mut client), &[("worker", &worker)]),
    )?;
    drop((server, worker));
    fs::remove_dir_all(plain)?;
    fs::remove_dir_all(stored)?;
    Ok(comparison)
}

/// What encryption costs: the same pushes with and without.
fn push_with_tls(setup: &Setup<'_>, name: &str, block: usize) -> anyhow::Result<Comparison> {
    let (bytes, partitions) = (setup.bytes(), PARTITIONS);
    let certificates = certificates(&subfolder(setup, "tls")?)?;
    let start = |tls: TlsFiles| {
        let role = Role::Service { folder: None, memory_bytes: MEMORY_BYTES, tls: tls.clone() };
        let worker = Child::start(&role)?;
        let client = client(&worker, &tls, Work::Push { block, bytes, partitions })?;
        anyhow::Ok((worker, client))
    };
    let (plain_worker, mut plain_client) = start(TlsFiles::default())?;
    let (worker, mut client) = start(certificates)?;
    setup.compare(
        name,
        Measure::BytesPerCpuSecond,
        None,
        || step(("client", &mut plain_client), &[("worker", &plain_worker)]),
        || step(("client", &mut client), &[("worker", &worker)]),
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

pub(super) fn client(service: &Child, tls: &TlsFiles, work: Work) -> anyhow::Result<Child> {
    Child::start(&Role::Client { masters: vec![service.text("master")?], tls: tls.clone(), work })
}

pub(super) fn subfolder(setup: &Setup<'_>, name: &str) -> anyhow::Result<PathBuf> {
    let folder = setup.folder.join(name);
    fs::create_dir_all(&folder)?;
    Ok(folder)
}
