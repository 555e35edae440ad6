//! One file for each command: its arguments and what it does.

use crate::{
    args::{Cli, Command},
    exit::Exit,
    roles,
};

pub mod demo;
pub mod run;

pub mod cancel;
pub mod explain;
pub mod jobs;
pub mod logs;
pub mod results;
pub mod status;
pub mod submit;
pub mod tables;
pub mod wait;

pub mod cluster;
pub mod completions;
pub mod config;
pub mod shuffle;

pub async fn run(cli: Cli) -> anyhow::Result<Exit> {
    let global = &cli.global;
    match cli.command {
        Command::Demo(arguments) => demo::run(global, arguments).await,
        Command::Run(arguments) => run::run(global, arguments).await,
        Command::Submit(arguments) => submit::run(global, arguments).await,
        Command::Status(arguments) => status::run(global, arguments).await,
        Command::Wait(arguments) => wait::run(global, arguments).await,
        Command::Logs(arguments) => logs::run(global, arguments).await,
        Command::Results(arguments) => results::run(global, arguments).await,
        Command::Cancel(arguments) => cancel::run(global, arguments).await,
        Command::Jobs(arguments) => jobs::run(global, arguments).await,
        Command::Explain(arguments) => explain::run(global, arguments).await,
        Command::Tables(arguments) => tables::run(global, arguments).await,
        Command::Cluster(arguments) => cluster::run(global, arguments).await,
        Command::Shuffle(arguments) => shuffle::run(global, arguments).await,
        Command::Coordinator(arguments) => roles::run(arguments).await,
        Command::Executor(arguments) => roles::run(arguments).await,
        Command::ShuffleMaster(arguments) => roles::run(arguments).await,
        Command::ShuffleWorker(arguments) => roles::run(arguments).await,
        Command::HistoryServer(arguments) => roles::run(arguments).await,
        Command::Config(arguments) => config::run(global, arguments),
        Command::Completions(arguments) => completions::run(arguments),
    }
}
