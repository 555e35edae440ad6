//! `penstock completions`

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::{args::Cli, exit::Exit};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  penstock completions bash > ~/.local/share/bash-completion/completions/penstock
  penstock completions zsh > ~/.zfunc/_penstock")]
pub struct Arguments {
    shell: Shell,
}

pub fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "penstock", &mut script);
    std::io::Write::write_all(&mut std::io::stdout(), &script)?;
    Ok(Exit::Ok)
}
