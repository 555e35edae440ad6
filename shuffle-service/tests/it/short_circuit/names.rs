//! Who may stand under the name of a worker.

use super::*;

/// A worker at an address that is settled before it starts.
fn at(cluster: &Cluster, addr: &str, folder: &Path) -> Config {
    Config {
        admin_listen: String::new(),
        masters: vec![cluster.master.control.to_string()],
        data_dirs: vec![folder.into()],
        data_listen: addr.to_owned(),
        ..Config::default()
    }
}

#[tokio::test]
async fn a_worker_does_not_start_where_a_process_of_its_user_has_its_name() {
    let cluster = cluster(Setup { workers: 0, ..Setup::default() }).await;
    let addr = Tcp.bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let _squatter = Tcp.bind_local(&addr).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut config = at(&cluster, &addr, folder.path());
    let start = async |config: &Config| {
        let (clock, disk) = (cluster.clock.clone(), Arc::new(LocalDisk::default()));
        let tasks = Tasks::new("worker");
        let started =
            worker::start_on(config.clone(), Arc::new(Tcp), clock, disk.into(), tasks.clone()).await;
        tasks.stop_token().cancel();
        started
    };
    assert!(matches!(start(&config).await, Err(StartError::NameTaken { address }) if address == addr));
    config.short_circuit = false;
    assert!(start(&config).await.is_ok());
}

/// Whoever has it meets no client, who would come to nobody: anyone could do that to keep a worker from its work.
#[tokio::test]
async fn a_worker_starts_though_its_name_is_taken_where_nobody_listens_under_it() {
    let cluster = cluster(Setup { workers: 0, ..Setup::default() }).await;
    let addr = Tcp.bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let taken = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    taken.bind(&SockAddr::unix(format!("\0penstock/{addr}")).unwrap()).unwrap();
    assert_eq!(Tcp.bind_local(&addr).await.err().unwrap().kind(), io::ErrorKind::AddrInUse);
    let folder = tempfile::tempdir().unwrap();
    let config = at(&cluster, &addr, folder.path());
    start(&cluster, &config).await;
}
