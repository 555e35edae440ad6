//! The one place that builds a session.
//!
//! Coordinator and executors call [`session`] with the same settings and so agree on functions, options and rules.

use std::{path::Path, sync::Arc};

use datafusion::{
    common::DataFusionError,
    execution::{
        SessionStateBuilder,
        disk_manager::{DiskManagerBuilder, DiskManagerMode},
        memory_pool::{FairSpillPool, TrackConsumersPool},
        runtime_env::{RuntimeEnv, RuntimeEnvBuilder},
    },
    prelude::{SessionConfig, SessionContext},
};

use crate::{error::SqlError, rules, settings::Settings, stores::Stores};

/// How many of the greediest operators an out-of-memory error names.
const CONSUMERS_NAMED: usize = 5;

/// Memory, spill space and object stores of one process. Without `memory_bytes` memory is not limited; without
/// `spill_dir` spill files go to the system's temporary folder.
pub fn runtime_env(
    memory_bytes: Option<u64>,
    spill_dir: Option<&Path>,
    spill_bytes_max: u64,
) -> Result<Arc<RuntimeEnv>, DataFusionError> {
    let mode = match spill_dir {
        Some(dir) => DiskManagerMode::Directories(vec![dir.to_owned()]),
        None => DiskManagerMode::OsTmpDirectory,
    };
    let disk = DiskManagerBuilder::default().with_mode(mode).with_max_temp_directory_size(spill_bytes_max);
    let builder = RuntimeEnvBuilder::new()
        .with_disk_manager_builder(disk)
        .with_object_store_registry(Arc::new(Stores::default()))
        // A cached listing would hide files that a job wrote a moment ago.
        .with_object_list_cache_limit(0);
    match memory_bytes {
        Some(bytes) => builder.with_memory_pool(Arc::new(memory_pool(bytes))).build_arc(),
        None => builder.build_arc(),
    }
}

fn memory_pool(bytes: u64) -> TrackConsumersPool<FairSpillPool> {
    let named = std::num::NonZeroUsize::new(CONSUMERS_NAMED).unwrap_or(std::num::NonZeroUsize::MIN);
    TrackConsumersPool::new(FairSpillPool::new(usize::try_from(bytes).unwrap_or(usize::MAX)), named)
}

/// A session with our pins, rules and object stores, and no tables.
pub fn session(settings: &Settings, env: &Arc<RuntimeEnv>) -> Result<SessionContext, SqlError> {
    let config = SessionConfig::from(settings.to_config_options()?);
    let state = SessionStateBuilder::new_with_default_features()
        .with_config(config)
        .with_runtime_env(Arc::clone(env))
        .with_physical_optimizer_rules(rules::physical())
        .build();
    Ok(SessionContext::new_with_state(state))
}
