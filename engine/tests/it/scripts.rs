//! Scripts of several statements: validated as a whole before any of it runs.

use penstock_engine::sql::{Script, StatementKind, plan_statement, validate};
use serde_json::json;

use crate::sql::database::{Database, Joins};

async fn database() -> Database {
    Database::new(2, Joins::Broadcast).await
}

async fn verdict(database: &Database, script: &str) -> String {
    let script = Script::parse(script).unwrap();
    match validate(&script, &database.context()).await {
        Ok(statements) => statements.iter().map(|statement| statement.kind).collect::<Vec<_>>().join(" "),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn later_statements_see_what_earlier_ones_will_have_made() {
    let database = database().await;
    let script = "
        create table a as select id, k from t;
        insert into a select id, k from u;
        create view v as select k, count(*) as n from a group by k;
        select v.k, n from v join u on u.k = v.k;
        copy (select * from a) to 'written/' stored as parquet;
        create external table w stored as parquet location 'written/';
        select * from w join a using (id);
        create table x as select * from w;
        select * from x;
        drop table w;
        drop view v;
        set penstock.partitions = 3;
        show penstock.partitions";
    assert_eq!(
        verdict(&database, script).await,
        "sink sink catalog query sink unknown unknown unknown unknown catalog catalog set rows"
    );
}

#[tokio::test]
async fn a_mistake_in_the_last_statement_is_found_before_the_first_runs() {
    let database = database().await;
    let message = verdict(&database, "create table a as select id from t;\nselect idd from a").await;
    assert!(message.starts_with("there is no column `idd`\n  at line 2, column 8"), "{message}");
    let message = verdict(&database, "drop table t;\nselect * from t").await;
    assert!(message.starts_with("there is no table `t`\n  at line 2, column 15"), "{message}");
    assert!(!database.folder().join("warehouse").exists());
}

#[tokio::test]
async fn such_a_script_runs() {
    let mut database = database().await;
    let rows = database
        .execute(
            "create table a as select id, k from t;
             copy (select * from a where k = 3) to 'written/' stored as parquet;
             create external table w stored as parquet location 'written/';
             select count(*) from w",
        )
        .await
        .unwrap()
        .unwrap();
    let expected = database.execute("select count(*) from t where k = 3").await.unwrap().unwrap();
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn parameters_are_typed_values_wherever_a_literal_may_stand() {
    let mut database = database().await;
    let values =
        json!({"low": -3, "words": ["fig", "pear"], "out": "by_parameter/", "day": "1997-06-01", "n": 4});
    database.parameters = serde_json::from_value(values).unwrap();
    database
        .execute("copy (select id, s from t where id > $low and array_has($words, s) and d > $day order by id limit $n) to $out stored as parquet")
        .await
        .unwrap();
    database.parameters.clear();
    let rows = database
        .execute(
            "create external table p stored as parquet location 'by_parameter/'; select s from p order by id",
        )
        .await
        .unwrap()
        .unwrap();
    assert_eq!(rows.len(), 4);
    assert!(rows.iter().all(|row| row[0] == "fig" || row[0] == "pear"), "{rows:?}");
}

#[tokio::test]
async fn explain_distributed_says_why_there_is_each_exchange() {
    let database = database().await;
    let script =
        Script::parse("explain distributed select k, count(*) from t group by k order by k").unwrap();
    let planned = plan_statement(&script, 0, &database.context()).await.unwrap();
    let StatementKind::Rows { batches, .. } = planned.kind else { panic!("has rows") };
    let text: String = crate::support::rows(&batches).into_iter().flatten().collect();
    assert!(text.contains("rows with equal k"), "{text}");
    assert!(text.contains("one task needs all rows"), "{text}");
    assert!(text.contains("writes the result"), "{text}");
}

/// The first lines of what `EXPLAIN DISTRIBUTED` says of each stage.
async fn stage_names(database: &Database, sql: &str) -> Vec<String> {
    let script = Script::parse(&format!("explain distributed {sql}")).unwrap();
    let planned = plan_statement(&script, 0, &database.context()).await.unwrap();
    let StatementKind::Rows { batches, .. } = planned.kind else { panic!("has rows") };
    crate::support::rows(&batches).iter().map(|row| row[1].lines().next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn stages_that_only_scan_are_named_after_their_tables() {
    let database = database().await;
    assert_eq!(stage_names(&database, "select id from t x where k = 3").await, ["Scan t"]);
    let union = "select id from t union all select id from u where k = 1 union all select id from t";
    assert_eq!(stage_names(&database, union).await, ["Scan t +1"]);
    let with_more = "select id from t union all select 1";
    assert_eq!(stage_names(&database, with_more).await, ["Union"]);
    let counted = "select id from t union all select count(*) from u group by k";
    assert_eq!(stage_names(&database, counted).await.last().unwrap(), "Union");
    let join = "select t.id, u.name from t join u on t.k = u.k";
    assert!(stage_names(&database, join).await.contains(&"Scan u".to_owned()));
}

#[tokio::test]
async fn explain_shows_the_logical_and_the_physical_plan() {
    let database = database().await;
    let script = Script::parse("explain select id from t where k = 3").unwrap();
    let planned = plan_statement(&script, 0, &database.context()).await.unwrap();
    assert!(planned.logical_plan.contains("TableScan: t"), "{}", planned.logical_plan);
    assert!(planned.physical_plan.contains("DataSourceExec"), "{}", planned.physical_plan);
}
