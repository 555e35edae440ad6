//! The whole service over TLS, switched on by configuration.

#[path = "../../../common/src/net/tls/tests/certificates.rs"]
mod certificates;

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use futures::TryStreamExt;
use penstock_common::{
    clock::SystemClock,
    lifecycle::Tasks,
    net::{Network, Tcp, tls, tls::TlsFiles},
};
use penstock_protocol::ids::PartitionIndex;
use penstock_shuffle_client::{
    ClientOptions, ShuffleClient,
    owner::{Owner, sources},
};
use penstock_shuffle_service::{disk::MemoryDisk, master, worker};

use crate::cluster::{SHUFFLE, attempt, winner};

/// One certificate for everybody, and proof demanded of everybody.
fn make(folder: &Path) -> TlsFiles {
    let made = certificates::make(folder, &["penstock"]);
    TlsFiles {
        ca_file: made.authority,
        certificate_file: made.certificate,
        key_file: made.key,
        server_name: "penstock".to_owned(),
        demand_client_certificates: true,
    }
}

#[tokio::test]
async fn an_exchange_runs_over_tls_and_nobody_without_a_certificate_gets_in() {
    let folder = tempfile::tempdir().unwrap();
    let files = make(folder.path());
    let tasks = Tasks::new("test");
    let config = master::Config {
        control_listen: "127.0.0.1:0".into(),
        admin_listen: String::new(),
        tls: files.clone(),
        ..Default::default()
    };
    let master = master::start(config, Arc::new(Tcp), Arc::new(SystemClock), tasks.clone()).await.unwrap();
    let masters = vec![master.control.to_string()];
    let config = worker::Config {
        admin_listen: String::new(),
        masters: masters.clone(),
        tls: files.clone(),
        ..Default::default()
    };
    let mut workers = Vec::new();
    for _ in 0..2 {
        let disk = Arc::new(MemoryDisk::default());
        let config = config.clone();
        let start =
            worker::start_on(config, Arc::new(Tcp), Arc::new(SystemClock), disk.into(), tasks.clone());
        let worker = start.await.unwrap();
        worker.registered().await;
        workers.push(worker);
    }
    // Past the network there would be no encryption and no proof.
    assert!(Tcp.connect_local(&workers[0].address.data).await.is_err());

    let network = tls::wrap(Arc::new(Tcp), &files, &tasks).unwrap();
    let owner = Owner::new(Arc::clone(&network), masters.clone()).with_copies(2);
    let target = Arc::new(owner.reserve(SHUFFLE, 1).await.unwrap());
    assert!(target.locations[0].replica.is_some());
    let push = async |network: Arc<dyn Network>| {
        let options = ClientOptions { connect_tries: 1, ..ClientOptions::default() };
        let client = ShuffleClient::new(network, options, tasks.clone());
        let mut writer = client.writer(attempt(0, 0), Arc::clone(&target)).await.unwrap();
        // Longer than what TLS sends in one record.
        for _ in 0..40 {
            writer.push(PartitionIndex(0), 1, Bytes::from(vec![7; 100_000])).await?;
        }
        writer.finish().await.map(|output| (client, output))
    };
    assert!(push(Arc::new(Tcp)).await.is_err());
    let stranger = TlsFiles { certificate_file: "".into(), key_file: "".into(), ..files.clone() };
    assert!(push(tls::wrap(Arc::new(Tcp), &stranger, &tasks).unwrap()).await.is_err());

    let (client, output) = push(network).await.unwrap();
    let verdicts = owner.commit(&target, &[winner(0, 0)]).await.unwrap();
    let source = sources(SHUFFLE, &verdicts, [&output]).unwrap().remove(0);
    let read: Vec<_> = client.read(SHUFFLE, [winner(0, 0)].into(), source).try_collect().await.unwrap();
    assert_eq!(read.len(), 40);
    assert_eq!(verdicts.iter().filter(|(_, verdict)| verdict.is_promise()).count(), 2, "{verdicts:?}");
    tasks.stop_token().cancel();
}
