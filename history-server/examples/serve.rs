//! A history server over a folder: `serve [--fixtures] FOLDER [HOST:PORT]`.
//!
//! With `--fixtures`, made-up jobs are written there first. Prints its address, and with fixtures the ids of the jobs
//! as JSON, on one line each; lives until its input ends or it is stopped.

#[path = "../tests/fixtures/mod.rs"]
mod fixtures;

use std::{path::Path, sync::Arc, time::Duration};

use penstock_common::{
    clock::{Clock, SystemClock},
    lifecycle::Tasks,
    net::Tcp,
    signal,
};
use penstock_history_server::{Config, start};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let with_fixtures = args.iter().any(|arg| arg == "--fixtures");
    args.retain(|arg| arg != "--fixtures");
    let folder = args.first().ok_or("usage: serve [--fixtures] FOLDER [HOST:PORT]")?;
    let clock = Arc::new(SystemClock);
    if with_fixtures {
        let (folder, now_ms) = (Path::new(folder), clock.now().as_millis());
        let mut ids = fixtures::store::write_all(folder, now_ms);
        ids.extend(fixtures::store::write_shuffles(folder, now_ms));
        fixtures::cluster::log(now_ms).write(folder);
        println!("{}", serde_json::to_string(&ids)?);
    }
    let config = Config {
        event_log: folder.clone(),
        listen: args.get(1).cloned().unwrap_or_else(|| "127.0.0.1:0".to_owned()),
        ..Config::default()
    };
    let tasks = Tasks::new("history-server");
    let handle = start(config, Arc::new(Tcp), clock, tasks.clone()).await?;
    println!("{}", handle.url());
    signal::terminated().await;
    tasks.stop(Duration::from_secs(5)).await?;
    Ok(())
}
