//! The master's view over HTTP.

use crate::{
    cluster::{SHUFFLE, Setup, cluster, eventually},
    http::{get, get_text},
};

#[tokio::test]
async fn the_admin_view_shows_the_workers_and_what_they_hold() {
    let cluster = cluster(Setup::default()).await;
    let admin = cluster.master.admin.unwrap();
    assert_eq!(get_text(admin, "/healthz").await.0, 200);
    assert!(get_text(admin, "/metrics").await.1.contains("penstock_shuffle_workers_alive"));
    cluster.reserve(SHUFFLE, 4).await;
    eventually("the workers report their locations", async || {
        let view = get(admin, "/api/v1/workers").await;
        let workers = view["workers"].as_array().unwrap();
        let names: Vec<_> = workers.iter().map(|worker| worker["worker"].as_str().unwrap()).collect();
        assert_eq!(names, ["w0", "w1"]);
        workers.iter().all(|worker| worker["alive"] == true && worker["locations"] == 2)
    })
    .await;
}
