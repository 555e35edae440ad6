//! Which shuffle masters are meant, and what they demand of those who give orders.

use std::path::PathBuf;

use clap::Args;

use crate::{
    client::Masters,
    commands::cluster::{self, RunningMasters},
};

#[derive(Debug, Args)]
pub struct Named {
    /// Admin addresses of all masters, with commas between them [default: those of the local cluster, 127.0.0.1:7073]
    #[arg(
        long,
        global = true,
        env = "PENSTOCK_SHUFFLE_MASTERS",
        value_name = "HOST:PORT",
        value_delimiter = ','
    )]
    masters: Vec<String>,
    /// File with the cluster's secret, which masters that have a `cluster_secret_file` demand for orders [default: that of
    /// the local cluster]
    #[arg(long, global = true, env = "PENSTOCK_SHUFFLE_SECRET_FILE", value_name = "PATH")]
    secret_file: Option<PathBuf>,
}

impl Named {
    /// The local cluster is meant where no masters are named; others are never shown anything of its secret.
    pub fn masters(self) -> anyhow::Result<Masters> {
        let RunningMasters { addresses, secret_file } = match self.masters.is_empty() {
            true => cluster::running_shuffle_masters().unwrap_or_default(),
            false => RunningMasters { addresses: self.masters, secret_file: PathBuf::new() },
        };
        let addresses = if addresses.is_empty() { vec!["127.0.0.1:7073".to_owned()] } else { addresses };
        Masters::new(&addresses, self.secret_file.unwrap_or(secret_file))
    }
}
