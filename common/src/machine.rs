//! What the machine has.

use std::fs;

use crate::bytes::ByteSize;

/// Memory that this process could have: the container's limit or the machine's memory, whichever is less. None where
/// neither is told.
pub fn memory() -> Option<ByteSize> {
    let container = fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let container = container.and_then(|text| text.trim().parse().ok());
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| memory_total(&text));
    container.into_iter().chain(machine).min().map(ByteSize)
}

fn memory_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_memory() {
        assert_eq!(memory_total("MemTotal:       24000000 kB\nMemFree: 1 kB\n"), Some(24_000_000 << 10));
        assert!(memory().is_some_and(|memory| memory.as_u64() > 0));
    }
}
