//! `penstock cluster restart`: a rolling restart of a local cluster's processes.

use std::path::Path;

use super::{STOP_DEADLINE, launch, process, record};
use crate::{
    args::Global,
    exit::{Exit, Failed},
    output,
    progress::Progress,
};

pub async fn run(global: &Global, folder: &Path, names: &[String]) -> anyhow::Result<Exit> {
    let Some(mut cluster) = record::read(folder)? else {
        let none = Failed::new(Exit::Infrastructure, "no cluster runs here");
        return Err(none.advise("start one with `penstock cluster up`").into());
    };
    let mut positions = Vec::new();
    for name in names {
        let position = cluster.processes.iter().position(|process| process.name == *name);
        positions.push(position.ok_or_else(|| unknown(name, &cluster))?);
    }
    let progress = Progress::new(global.quiet || global.json);
    for position in positions {
        let old = &cluster.processes[position];
        progress.message(format!("restarting {}", old.name));
        process::stop_all(std::slice::from_ref(old), STOP_DEADLINE).await;
        let (started, child) = launch::spawn(folder, old.name.clone(), old.command.clone())?;
        cluster.processes[position] = started;
        // Written before it is ready: `down` has to find it whatever happens here.
        record::write(folder, &cluster)?;
        launch::until_ready(&mut cluster.processes[position], child, folder).await?;
        record::write(folder, &cluster)?;
    }
    progress.clear();
    if global.json {
        output::print_json(&serde_json::json!({ "restarted": names }))?;
    } else if !global.quiet {
        println!("restarted {}", names.join(", "));
    }
    Ok(Exit::Ok)
}

fn unknown(name: &str, cluster: &record::Cluster) -> Failed {
    let known: Vec<_> = cluster.processes.iter().map(|process| process.name.as_str()).collect();
    Failed::usage(format!("the cluster has no process `{name}`"))
        .advise(format!("it has {}", known.join(", ")))
}
