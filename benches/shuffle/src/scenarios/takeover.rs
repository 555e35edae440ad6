//! How long exchanges wait when the shuffle master that places them goes and another one takes over: the worst round.

use super::{Service, Setup, measured, pauses, subfolder};
use crate::{child::Child, report::Number, role::Work};

/// Some seconds of them.
const EXCHANGES: u32 = 1000;
const PARTITIONS: u32 = 4;
const BLOCK_BYTES: usize = 4 << 10;
const TAKEOVER_MS_MAX: f64 = 3000.0;

/// Exchanges one after the other, two copies of each; all that is placed after half of them is placed by the other master.
pub fn all(setup: &Setup<'_>) -> anyhow::Result<Vec<Number>> {
    Ok(vec![
        taken_over(setup, "killed with -9", Child::kill)?,
        taken_over(setup, "stands still (SIGSTOP)", Child::stand_still)?,
    ])
}

fn taken_over(
    setup: &Setup<'_>,
    how: &str,
    go: fn(&mut Child) -> anyhow::Result<()>,
) -> anyhow::Result<Number> {
    let work = Work::ExchangeThrough { rounds: EXCHANGES, partitions: PARTITIONS, block: BLOCK_BYTES };
    let rounds = setup.rounds().map(|_| {
        let folder = subfolder(setup, "takeover")?;
        let mut service = Service::start_with(2, 2, pauses::settings(&folder))?;
        let mut client = service.client(2, work)?;
        // The first one is asked first.
        let first = &mut service.masters[0];
        let round = measured(("client", &mut client), &[], |client| client.step_through(|| go(first)))?;
        drop(service);
        std::fs::remove_dir_all(folder)?;
        Ok(round)
    });
    let rounds = rounds.collect::<anyhow::Result<Vec<_>>>()?;
    let name = format!("takeover: longest exchange, two copies, the shuffle master that is asked {how}");
    pauses::worst(&rounds, "longest_pause_ms", name, TAKEOVER_MS_MAX)
}
