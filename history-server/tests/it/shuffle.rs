//! What is told of a job's shuffles, and of the machines that jobs met.

use std::fs;

use penstock_protocol::{
    event::{Event, ExchangeCommitted, PlacedWorker, ShuffleCommitted, ShufflePlaced},
    ids::{StageId, WorkerId},
};
use serde_json::Value;

use crate::{
    fixtures::{cluster, jobs, log::Log},
    server::{NOW_MS, Server},
};

async fn shuffle(server: &Server, log: &Log) -> Value {
    server.get(&format!("/api/v1/jobs/{}/shuffle", log.job)).await
}

fn written(log: Log) -> (Server, Log) {
    let server = Server::new();
    log.write(server.root.path());
    (server, log)
}

fn texts<'a>(list: &'a Value, field: &str) -> Vec<&'a str> {
    list.as_array().unwrap().iter().map(|one| one[field].as_str().unwrap()).collect()
}

#[tokio::test]
async fn an_exchange_is_told_with_its_workers_copies_and_epochs() {
    let (server, log) = written(jobs::succeeded(NOW_MS - 60_000, 3));
    let told = shuffle(&server, &log).await;

    assert_eq!((&told["recorded"], told["exchanges"].as_array().unwrap().len()), (&true.into(), 9));
    let exchange = &told["exchanges"][6];
    assert_eq!((&exchange["stage"], &exchange["readers"]), (&6.into(), &serde_json::json!([7])));
    assert_eq!((&exchange["copies"], &exchange["codec"]), (&2.into(), &"lz4".into()));
    assert_eq!((&exchange["state"], &exchange["epochs_added"]), (&"released".into(), &3.into()));
    let reasons = texts(&exchange["epoch_reasons"], "why");
    assert_eq!(reasons, ["grown", "worker_lost", "replica_lost"]);
    let workers = &exchange["workers"];
    assert_eq!(texts(workers, "worker"), ["shuffle-1", "shuffle-2", "shuffle-3"]);
    let lost = &workers[2];
    assert_eq!(
        (&lost["committed"], &lost["suspected"], &lost["trouble"], &lost["address"]),
        (&0.into(), &2.into(), &"connection refused".into(), &"10.0.5.13:7091".into())
    );
    assert!(lost["failed"].as_u64() > Some(0), "{lost}");
    assert!(workers[0]["stored_bytes"].as_u64() > workers[0]["bytes"].as_u64(), "{workers}");
    assert!(exchange["write"]["pushes"].as_u64() > Some(0), "{exchange}");
}

#[tokio::test]
async fn an_exchange_says_why_it_is_the_way_it_is() {
    let (server, log) = written(jobs::succeeded(NOW_MS - 60_000, 3));
    let told = shuffle(&server, &log).await;

    let why: Vec<&str> =
        told["exchanges"][6]["why"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    for part in [
        "8 partitions, because penstock.partitions is 8.",
        "2 copies (shuffle_copies): losing one worker loses nothing.",
        "once because a part had grown to the size at which it is split",
        "times the bytes of the median",
        "on shuffle-3 could not be committed; another copy of each was good.",
    ] {
        assert!(why.iter().any(|text| text.contains(part)), "no `{part}` in {why:#?}");
    }
}

#[tokio::test]
async fn a_loss_is_told_in_sentences_in_the_order_of_time() {
    let (server, log) = written(jobs::shuffle_lost(NOW_MS - 60_000, 3));
    let told = shuffle(&server, &log).await;

    assert_eq!(texts(&told["story"], "kind"), ["lost", "rerun"], "{}", told["story"]);
    assert_eq!(
        texts(&told["story"], "text"),
        [
            "What stage 0 (Scan(impressions)) wrote was lost: partition 1 on worker shuffle-2: connection refused.",
            "Stage 0 (Scan(impressions)) ran again from its first task."
        ]
    );
    let exchange = &told["exchanges"][0];
    assert_eq!((&exchange["run"], &exchange["lost_runs"][0]["run"]), (&1.into(), &0.into()));
    assert_eq!(texts(&exchange["workers"], "worker"), ["shuffle-1", "shuffle-3"]);
    // Those of the last run alone: the first one wrote as much.
    let (whole_server, once) = written(jobs::old(NOW_MS - 60_000, 3));
    let pushes_once =
        shuffle(&whole_server, &once).await["exchanges"][0]["write"]["pushes"].as_u64().unwrap();
    let pushes = exchange["write"]["pushes"].as_u64().unwrap();
    assert!(pushes < pushes_once * 3 / 2, "{pushes} pushes, {pushes_once} of one run");
    let page = server.page(log.job).await;
    assert_eq!((&page["state"], &page["log"]["whole"]), (&"SUCCEEDED".into(), &true.into()));
}

#[tokio::test]
async fn a_log_of_before_says_that_only_commits_are_known() {
    let (server, log) = written(jobs::old(NOW_MS - 60_000, 3));
    let told = shuffle(&server, &log).await;
    assert_eq!(told["recorded"], false);
    let exchange = &told["exchanges"][0];
    assert_eq!((&exchange["state"], &exchange["copies"]), (&"committed".into(), &Value::Null));
    assert!(exchange["bytes"].as_u64() > Some(0));
    assert_eq!(texts(&exchange["workers"], "worker"), ["shuffle-1", "shuffle-2"]);
}

#[tokio::test]
async fn a_job_of_one_stage_has_no_exchange() {
    let (server, log) = written(jobs::no_exchange(NOW_MS - 60_000, 3));
    let told = shuffle(&server, &log).await;
    assert_eq!((&told["exchanges"], &told["story"]), (&serde_json::json!([]), &serde_json::json!([])));
}

#[tokio::test]
async fn the_shuffles_of_a_log_cut_at_any_byte_are_told_as_far_as_it_goes() {
    let log = jobs::shuffle_lost(NOW_MS - 60_000, 1);
    let text = log.lines().join("\n") + "\n";
    let (whole_server, whole_log) = written(jobs::shuffle_lost(NOW_MS - 60_000, 1));
    let whole = shuffle(&whole_server, &whole_log).await;
    let first_line = text.find('\n').unwrap() + 1;
    for kept in (first_line..text.len()).step_by(211) {
        let server = Server::new();
        let dir = log.dir(server.root.path());
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("00000000.jsonl"), &text[..kept]).unwrap();
        let told = shuffle(&server, &log).await;
        let story = told["story"].as_array().unwrap();
        assert_eq!(story[..], whole["story"].as_array().unwrap()[..story.len()], "cut at {kept}");
        let exchanges = told["exchanges"].as_array().unwrap().len();
        assert!(exchanges <= whole["exchanges"].as_array().unwrap().len(), "cut at {kept}");
    }
}

#[tokio::test]
async fn of_very_many_partitions_all_are_counted_and_the_largest_named() {
    let mut log = jobs::queued(NOW_MS - 60_000, 3);
    let exchange = jobs::exchange(100_000, 1);
    let Event::ShuffleCommitted(whole) = crate::fixtures::shuffles::committed(0, 0, &exchange, 0, &[]) else {
        panic!()
    };
    let whole: Box<ShuffleCommitted> = whole;
    let (rows, bytes) = (whole.totals.rows, whole.totals.bytes);
    log.now(Event::ShufflePlaced(ShufflePlaced {
        stage: StageId(0),
        run: 0,
        partitions: 100_000,
        copies: 1,
        waited_ms: 0,
        workers: vec![PlacedWorker {
            worker: WorkerId::from("shuffle-1"),
            address: "10.0.0.1:1".to_owned(),
            primaries: 100_000,
            replicas: 0,
        }],
        workers_omitted: 0,
    }));
    log.now(Event::ShuffleCommitted(whole));
    let partitions = exchange[..ExchangeCommitted::PARTITIONS_MAX].to_vec();
    log.now(Event::ExchangeCommitted(ExchangeCommitted { stage: StageId(0), run: 0, partitions }));
    let (server, log) = written(log);

    let page = server.page(log.job).await;
    let shown = &page["stages"][0]["exchange"];
    assert_eq!((&shown["partitions"], &shown["rows"]), (&100_000.into(), &rows.into()));
    assert_eq!(shown["partition_bytes"]["sum"].as_f64(), Some(bytes as f64));
    let told = shuffle(&server, &log).await;
    assert_eq!(told["exchanges"][0]["rows"], rows);
    assert!(told["exchanges"][0]["largest"].as_array().unwrap().len() <= 512);
}

#[tokio::test]
async fn the_cluster_is_told_as_jobs_saw_it() {
    let server = Server::new();
    jobs::succeeded(NOW_MS - 600_000, 3).write(server.root.path());
    jobs::shuffle_lost(NOW_MS - 300_000, 4).write(server.root.path());
    jobs::running(NOW_MS - 6_000, 5, 6_000).write(server.root.path());
    server.refresh().await;
    let cluster = server.get("/api/v1/cluster").await;

    assert_eq!((&cluster["jobs_read"], &cluster["jobs_live"]), (&3.into(), &1.into()));
    assert_eq!(texts(&cluster["executors"], "executor"), ["executor-1", "executor-2", "executor-3"]);
    // It was lost, and came back before the newest job.
    assert_eq!(cluster["executors"][1]["state"], "in_use", "{}", cluster["executors"][1]);
    assert_eq!(cluster["executors"][1]["jobs"], 3);
    let workers = &cluster["shuffle_workers"];
    assert_eq!(texts(workers, "worker"), ["shuffle-1", "shuffle-2", "shuffle-3"]);
    assert_eq!(texts(workers, "state"), ["holds_data", "holds_data", "seen"]);
    assert_eq!((&workers[2]["suspected"], &workers[2]["trouble"]["text"].is_string()), (&2.into(), &true));
    let events = texts(&cluster["events"], "kind");
    assert!(events.contains(&"executor_lost") && events.contains(&"worker_trouble"), "{events:?}");
}

#[tokio::test]
async fn without_jobs_nothing_is_known_of_the_cluster() {
    let server = Server::new();
    server.refresh().await;
    let cluster = server.get("/api/v1/cluster").await;
    assert_eq!((&cluster["jobs_read"], &cluster["since"]), (&0.into(), &Value::Null));
    assert_eq!(cluster["executors"], serde_json::json!([]));
}

#[tokio::test]
async fn shuffle_workers_are_known_without_any_job_from_the_log_of_the_cluster() {
    let server = Server::new();
    cluster::log(NOW_MS).write(server.root.path());
    server.refresh().await;
    let cluster = server.get("/api/v1/cluster").await;

    let workers = &cluster["shuffle_workers"];
    assert_eq!(texts(workers, "worker"), ["shuffle-1", "shuffle-2", "shuffle-3", "shuffle-4", "shuffle-5"]);
    let states: Vec<_> = (0..5).map(|n| workers[n]["standing"]["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["serving", "serving", "silent", "draining", "excluded"]);
    let excluded = &workers[4];
    assert_eq!((&excluded["state"], &excluded["last_job"]), (&"unmet".into(), &Value::Null));
    assert_eq!(excluded["standing"]["because"], "slow disk");
    assert_eq!(texts(&excluded["standing"]["disks"], "class"), ["nvme", "hdd"]);
    let newest = &cluster["events"][0];
    assert_eq!((&newest["kind"], &newest["node"]), (&"worker_lost".into(), &"shuffle-3".into()));
    assert_eq!((&newest["job"], &newest["until"]), (&Value::Null, &Value::Null));
    let told = cluster["events"].as_array().unwrap().iter();
    let until: Vec<_> = told.filter(|event| event["until"].is_string()).map(|event| &event["node"]).collect();
    assert_eq!(until, ["shuffle-5"]);
    assert!(cluster["watched"]["silent_since"].is_null(), "{}", cluster["watched"]);
}

#[tokio::test]
async fn what_jobs_and_the_log_of_the_cluster_tell_of_a_worker_stands_together() {
    let server = Server::new();
    jobs::succeeded(NOW_MS - 600_000, 3).write(server.root.path());
    cluster::log(NOW_MS).write(server.root.path());
    server.refresh().await;
    let cluster = server.get("/api/v1/cluster").await;
    let first = &cluster["shuffle_workers"][0];
    assert_eq!((&first["standing"]["state"], &first["jobs"]), (&"serving".into(), &1.into()), "{first}");
    assert!(first["last_job"].is_string(), "{first}");
}

#[tokio::test]
async fn a_log_of_the_cluster_that_cannot_be_read_hides_nothing_else() {
    let server = Server::new();
    jobs::succeeded(NOW_MS - 600_000, 3).write(server.root.path());
    std::fs::write(server.root.path().join("cluster-log.json"), "{\"v\":1,\"workers\":[{").unwrap();
    server.refresh().await;
    let cluster = server.get("/api/v1/cluster").await;
    assert_eq!((&cluster["watched"], &cluster["jobs_read"]), (&Value::Null, &1.into()));
}
