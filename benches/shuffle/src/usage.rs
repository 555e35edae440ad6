//! CPU seconds and peak memory of a process, as Linux counts them.

use std::fs;

use anyhow::Context;

/// `USER_HZ`: the unit of `/proc/<pid>/stat`, 100 on every architecture that Linux gives user space.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds so far, of all threads, those that ended included.
pub fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("reading the CPU time of a role")?;
    // The program's name stands in brackets and may hold spaces.
    let (_, fields) = stat.rsplit_once(')').context("/proc/<pid>/stat has a name")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |index: usize| -> anyhow::Result<f64> {
        Ok(fields.get(index).context("/proc/<pid>/stat is long enough")?.parse::<u64>()? as f64)
    };
    Ok((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}

/// The largest resident memory so far, in bytes.
pub fn peak_memory_bytes(pid: u32) -> anyhow::Result<u64> {
    memory(pid, "VmHWM:")
}

/// Resident memory now, in bytes.
pub fn memory_bytes(pid: u32) -> anyhow::Result<u64> {
    memory(pid, "VmRSS:")
}

fn memory(pid: u32, field: &str) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("reading the memory of a role")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib: u64 = line.and_then(|line| line.split_whitespace().next()).context("a size in KiB")?.parse()?;
    Ok(kib << 10)
}
