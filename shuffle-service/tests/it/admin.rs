//! The views over HTTP, and who may give orders there.

use penstock_protocol::token::{ClusterSecret, Purpose};

use crate::{
    cluster::{SHUFFLE, Setup, cluster, eventually},
    http::{call, get, get_text},
    watch::Watch,
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

const SECRET: &str = "a secret of this test alone";

/// Method, path and body of each.
type Orders = [(&'static str, &'static str, &'static str)];

const ORDERS_TO_A_MASTER: &Orders = &[
    ("POST", "/api/v1/workers/w0/exclude", r#"{"seconds":60}"#),
    ("POST", "/api/v1/workers/w0/include", "{}"),
    ("POST", "/api/v1/workers/w0/interruption", r#"{"seconds":60}"#),
    ("DELETE", "/api/v1/workers/w0/interruption", ""),
    ("POST", "/api/v1/workers/w0/settings", r#"{"locations_max":7}"#),
    ("POST", "/api/v1/quotas", r#"{"user":"ann","locations":7}"#),
    ("POST", "/api/v1/settings", r#"{"job_locations_max":7}"#),
    ("POST", "/api/v1/workers/w0/recommission", "{}"),
    ("POST", "/api/v1/workers/w0/decommission", "{}"),
];

const ORDERS_TO_A_WORKER: &Orders = &[
    ("POST", "/api/v1/interruption", r#"{"seconds":60}"#),
    ("DELETE", "/api/v1/interruption", ""),
    ("POST", "/api/v1/settings", r#"{"locations_max":9}"#),
    ("POST", "/api/v1/recommission", "{}"),
    ("POST", "/api/v1/decommission", "{}"),
];

/// What orders change, as far as it does not change by itself.
const VIEWS_OF_A_MASTER: &[&str] = &["/api/v1/workers/w0/settings", "/api/v1/quotas", "/api/v1/settings"];
const VIEWS_OF_A_WORKER: &[&str] = &["/api/v1/settings", "/api/v1/worker"];

fn bearer(secret: &str, purpose: Purpose) -> String {
    let secret = ClusterSecret::parse(secret.as_bytes()).unwrap();
    format!("Authorization: Bearer {}\r\n", secret.cluster_token(purpose))
}

#[tokio::test]
async fn with_a_secret_orders_are_taken_from_those_who_show_it_and_views_stay_open() {
    let configure = |config: &mut penstock_shuffle_service::worker::Config| {
        config.admin_listen = "127.0.0.1:0".into();
    };
    let cluster = cluster(Setup { workers: 1, secret: Some(SECRET), configure, ..Setup::default() }).await;
    let (master, worker) = (cluster.master.admin.unwrap(), cluster.workers[0].handle.admin.unwrap());
    let strangers = [
        ("no", String::new()),
        ("no", "Authorization: Basic YTpi\r\n".to_owned()),
        ("a wrong", "Authorization: Bearer nonsense\r\n".to_owned()),
        ("a wrong", bearer("a secret of somebody else", Purpose::Order)),
        // It can be read where TLS hides the other; what it opens is less.
        ("a wrong", bearer(SECRET, Purpose::Control)),
    ];
    let watch = Watch::start();
    for (admin, orders, views) in
        [(master, ORDERS_TO_A_MASTER, VIEWS_OF_A_MASTER), (worker, ORDERS_TO_A_WORKER, VIEWS_OF_A_WORKER)]
    {
        let state = async || {
            let mut shown = Vec::new();
            for view in views {
                assert_eq!(call(admin, "HEAD", view, "", "").await.0, 200, "{view}");
                shown.push(get(admin, view).await);
            }
            (shown, get(master, "/api/v1/workers").await["workers"][0]["state"].clone())
        };
        let before = state().await;
        assert_eq!(before.1, "serving");
        for (shown, header) in &strangers {
            for (method, path, body) in orders {
                let (status, answer) = call(admin, method, path, header, body).await;
                assert_eq!(status, 401, "{method} {path} with {header}: {answer}");
                let shown = format!("the order shows {shown} token");
                for said in [shown.as_str(), "--secret-file", "`cluster_secret_file`"] {
                    assert!(answer.contains(said), "`{said}` is missing: {answer}");
                }
                assert_eq!(watch.total("penstock_shuffle_denied_calls_total"), 1, "{method} {path}");
            }
        }
        assert_eq!(state().await, before, "nothing changed");
        for open in ["/healthz", "/metrics", "/api/v1/jobs"] {
            assert_eq!(get_text(admin, open).await.0, 200, "{open}");
        }
    }
    let mut told = watch.warnings();
    told.retain(|line| line.contains("an order was turned away"));
    assert_eq!(told.len(), 2, "the host, once by each of them: {told:?}");
    assert!(told.iter().all(|line| line.contains("host=Some(127.0.0.1)")), "{told:?}");

    let ours = bearer(SECRET, Purpose::Order);
    for (admin, orders) in [(worker, ORDERS_TO_A_WORKER), (master, ORDERS_TO_A_MASTER)] {
        for (method, path, body) in orders {
            let (status, answer) = call(admin, method, path, &ours, body).await;
            assert_eq!(status, 200, "{method} {path}: {answer}");
        }
    }
    assert_eq!(get(master, "/api/v1/settings").await["job_locations_max"], 7);
    assert_eq!(get(worker, "/api/v1/settings").await["locations_max"], 7);
    eventually("the worker drains", async || get(worker, "/api/v1/worker").await["draining"] == true).await;
    assert_eq!(watch.total("penstock_shuffle_denied_calls_total"), 0);
}
