//! The object store tier on a server that speaks S3: `moto_server`, which `make test-rust` installs.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
};

use penstock_common::net::{Network, Tcp};
use penstock_shuffle_service::worker::{Fsync, Tier};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    cluster::{JOB, SHUFFLE, eventually},
    http::get,
    tiers::{Tiers, tiers},
};

/// A server that ends with the test.
struct Server {
    process: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn server() -> Server {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let program = std::env::var_os("PENSTOCK_S3_SERVER").unwrap_or_else(|| "moto_server".into());
    let process = Command::new(program)
        .args(["-H", "127.0.0.1", "-p", &port.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("no moto_server: `make test-rust` installs one, or PENSTOCK_S3_SERVER names it");
    let server = Server { process, address: format!("127.0.0.1:{port}") };
    eventually("the server answers", async || Tcp.connect(&server.address).await.is_ok()).await;
    server.ask("PUT", "/bucket").await;
    server
}

impl Server {
    async fn ask(&self, method: &str, path: &str) -> String {
        let mut stream = Tcp.connect(&self.address).await.unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            self.address
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer
    }

    /// How many objects there are.
    async fn objects(&self) -> usize {
        self.ask("GET", "/bucket?list-type=2").await.matches("<Key>").count()
    }

    fn location(&self) -> String {
        let keys = "access_key_id=test&secret_access_key=test&disable_config_load=true";
        format!("s3://bucket/shuffle?endpoint=http://{}&region=us-east-1&{keys}", self.address)
    }
}

async fn on(server: &Server, create_in: Tier) -> Tiers {
    let location = server.location();
    tiers(
        |config| {
            config.object_store = location;
            config.create_in = create_in;
            config.fsync = Fsync::Commit;
            (config.evict_from_percent, config.evict_to_percent) = (40, 5);
            config.disks = crate::tiers::quota(20 << 20);
        },
        u64::MAX,
    )
    .await
}

#[tokio::test]
async fn s3_holds_new_data_through_a_restart_until_the_job_ends() {
    let server = server().await;
    let tiers = on(&server, Tier::Object).await;
    let source = tiers.write(SHUFFLE).await;
    assert!(server.objects().await > 0);
    assert_eq!(tiers.data_files(), 0);
    tiers.assert_readable(SHUFFLE, &source).await;
    let shown = get(tiers.cluster.master.admin.unwrap(), "/api/v1/workers/w0/settings").await;
    assert_eq!(shown["object_store"], "s3://bucket/shuffle?******", "its keys are not for everybody");
    let worker = &tiers.cluster.workers[0];
    let _again = tiers.cluster.restart(worker, worker.disk.after_power_loss().into()).await;
    tiers.assert_readable(SHUFFLE, &source).await;
    tiers.cluster.owner.release_job(JOB).await.unwrap();
    eventually("the objects go", async || server.objects().await == 0).await;
}

#[tokio::test]
async fn s3_takes_what_a_full_disk_gives_away() {
    let server = server().await;
    let tiers = on(&server, Tier::Memory).await;
    let source = tiers.write(SHUFFLE).await;
    eventually("the data moves", async || tiers.data_files() == 0).await;
    assert!(server.objects().await > 0);
    tiers.assert_readable(SHUFFLE, &source).await;
}
