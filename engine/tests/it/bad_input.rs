//! What people get wrong, and the one message that tells them.

use penstock_protocol::task::{Failure, FailureClass};

use crate::sql::database::{Database, Joins, Wrong};

async fn database() -> Database {
    Database::new(3, Joins::Broadcast).await
}

/// Runs a script that fails in a task.
async fn failure(database: &mut Database, script: &str) -> Failure {
    match database.execute(script).await {
        Err(Wrong::Running(failure)) => failure,
        other => panic!("{script} fails in a task, but {other:?}"),
    }
}

/// Runs a script that fails before anything runs.
async fn mistake(database: &mut Database, script: &str) -> String {
    match database.execute(script).await {
        Err(Wrong::Planning(error)) => error.to_string(),
        other => panic!("{script} cannot be planned, but {other:?}"),
    }
}

#[tokio::test]
async fn a_broken_csv_line_is_named_with_its_file_and_line() {
    let mut database = database().await;
    let folder = database.folder().join("lines");
    std::fs::create_dir(&folder).unwrap();
    let lines = |bad: usize, line: &str| -> String {
        let rows =
            (2..=3_000).map(|n| if n == bad { format!("{line}\n") } else { format!("{n},word {n}\n") });
        format!("id,word\n{}", rows.collect::<String>())
    };
    std::fs::write(folder.join("good.csv"), lines(0, "")).unwrap();
    std::fs::write(folder.join("wide.csv"), lines(2_345, "1,2,3")).unwrap();
    database
        .execute("create external table lines (id bigint, word varchar) stored as csv location 'lines/' options ('format.has_header' 'true')")
        .await
        .unwrap();
    for partitions in ["1", "3", "7"] {
        database.execute(&format!("set penstock.partitions = {partitions}")).await.unwrap();
        let failure = failure(&mut database, "select count(word), sum(id) from lines").await;
        assert_eq!(failure.class, FailureClass::UserData);
        assert!(failure.message.contains("wide.csv") && failure.message.contains("line 2345"), "{failure:?}");
    }
    std::fs::write(folder.join("wide.csv"), lines(1_234, "twelve,2")).unwrap();
    for partitions in ["1", "3", "7"] {
        database.execute(&format!("set penstock.partitions = {partitions}")).await.unwrap();
        let failure = failure(&mut database, "select count(word), sum(id) from lines").await;
        assert_eq!(failure.class, FailureClass::UserData);
        assert!(failure.message.contains("wide.csv") && failure.message.contains("line 1234"), "{failure:?}");
        assert!(failure.message.contains("twelve"), "{failure:?}");
    }
}

#[tokio::test]
async fn a_corrupt_parquet_file_is_named() {
    let mut database = database().await;
    std::fs::create_dir(database.folder().join("bad")).unwrap();
    std::fs::copy(database.folder().join("one.parquet"), database.folder().join("bad/a.parquet")).unwrap();
    std::fs::write(database.folder().join("bad/b.parquet"), "this is no Parquet file, whatever its name")
        .unwrap();
    let message = mistake(&mut database, "create external table bad stored as parquet location 'bad/'").await;
    let path = database.folder().join("bad/b.parquet");
    assert!(
        message.starts_with(&format!("file `{}` of table `bad` cannot be read", path.display())),
        "{message}"
    );
}

#[tokio::test]
async fn a_parquet_file_with_a_damaged_page_is_named_by_the_task() {
    let mut database = database().await;
    let path = database.folder().join("t/2.parquet");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[4..200].fill(0xAB);
    std::fs::write(&path, bytes).unwrap();
    let failure = failure(&mut database, "select id, k, s from t").await;
    assert_eq!(failure.class, FailureClass::UserData, "{failure:?}");
    assert!(failure.message.starts_with(&format!("file `{}`: ", path.display())), "{failure:?}");
}

#[tokio::test]
async fn damage_anywhere_in_a_parquet_file_with_declared_columns_is_the_datas_fault_and_names_the_file() {
    let mut database = database().await;
    let path = database.folder().join("declared/a.parquet");
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    let good = std::fs::read(database.folder().join("t/2.parquet")).unwrap();
    std::fs::write(&path, &good).unwrap();
    let declare = "create external table declared (id bigint, k int, s varchar, v double) \
                   stored as parquet location 'declared/'";
    database.execute(declare).await.unwrap();
    let mut damaged = 0;
    let cuts = [0, 4, good.len() / 2, good.len() - 9, good.len() - 1].map(|length| good[..length].to_vec());
    let flips = (0..good.len()).step_by(good.len() / 150).map(|at| {
        let mut bytes = good.clone();
        bytes[at..(at + 8).min(good.len())].iter_mut().for_each(|byte| *byte = !*byte);
        bytes
    });
    for bytes in cuts.into_iter().chain(flips) {
        std::fs::write(&path, bytes).unwrap();
        let (class, message) = match database.execute("select id, k, s, v from declared where v > 1").await {
            Err(Wrong::Running(failure)) => (failure.class, failure.message),
            Err(Wrong::Planning(error)) => (error.class, error.message),
            // Not every byte matters; what the oracle makes of it may be an error too.
            _ => continue,
        };
        damaged += 1;
        let shown = path.display().to_string();
        assert_eq!(class, FailureClass::UserData, "{message}");
        assert!(message.contains(&shown), "{message}");
    }
    assert!(damaged > 20, "only {damaged} of the files could not be read");
}

#[tokio::test]
async fn a_file_that_vanished_is_named() {
    let mut database = database().await;
    let folder = database.folder().join("nothing");
    for entry in std::fs::read_dir(&folder).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let message = mistake(&mut database, "select * from nothing").await;
    assert!(
        message.starts_with("table `nothing` has no files: there is no `*.parquet` file in `file:///"),
        "{message}"
    );
}

#[tokio::test]
async fn a_division_by_zero_says_how_to_guard_it() {
    let mut database = database().await;
    let failure = failure(&mut database, "select id / (id - id) from t").await;
    assert_eq!((failure.class, failure.message.as_str()), (FailureClass::UserData, "division by zero"));
    assert!(failure.advice.unwrap().contains("nullif"));
}

#[tokio::test]
async fn a_value_that_cannot_be_cast_is_shown() {
    let mut database = database().await;
    let failure = failure(&mut database, "select cast(s as bigint) from t").await;
    assert_eq!(failure.class, FailureClass::UserData);
    assert!(
        failure.message.contains("'apple'")
            || failure.message.contains("'pear'")
            || failure.message.contains('\'')
    );
    assert!(failure.advice.unwrap().contains("try_cast"));
}

#[tokio::test]
async fn a_type_error_is_found_before_anything_runs() {
    let mut database = database().await;
    let message = mistake(&mut database, "select 1;\nselect sum(s) + date '2020-01-01' from t").await;
    assert!(message.contains("line 2"), "{message}");
}

#[tokio::test]
async fn an_unknown_column_has_line_column_caret_and_the_nearest_name() {
    let mut database = database().await;
    let message = mistake(&mut database, "select id\nfrom t\nwhere nmae = 1").await;
    assert!(
        message.starts_with(
            "there is no column `nmae`\n  at line 3, column 7\n  3 | where nmae = 1\n    |       ^"
        ),
        "{message}"
    );
    let message = mistake(&mut database, "select x.nam from u x").await;
    assert!(message.starts_with("there is no column `x.nam`\n  at line 1, column 8"), "{message}");
    assert!(message.ends_with("help: did you mean `name`?"), "{message}");
}

#[tokio::test]
async fn an_unknown_table_has_its_place_and_the_nearest_name() {
    let mut database = database().await;
    let message = mistake(&mut database, "select *\n  from nestd").await;
    assert_eq!(
        message,
        "there is no table `nestd`\n  at line 2, column 8\n  2 |   from nestd\n    |        ^\n  help: did you mean `nested`?"
    );
}

#[tokio::test]
async fn a_file_in_place_of_a_table_gets_the_statement_that_makes_one() {
    let mut database = database().await;
    let message = mistake(&mut database, "select * from 'sub/orders.JSONL'").await;
    assert_eq!(
        message,
        "`sub/orders.JSONL` is no table; files are read through one\n  at line 1, column 15\n  1 | select * from 'sub/orders.JSONL'\n    |               ^\n  help: CREATE EXTERNAL TABLE t STORED AS json LOCATION 'sub/orders.JSONL'"
    );
}

#[tokio::test]
async fn a_plan_that_panics_the_planner_is_an_error() {
    let mut database = database().await;
    let deep = format!("select {}1{}", "abs(".repeat(95), ")".repeat(95));
    // Whatever it gives, it comes back.
    let _ = database.execute(&deep).await;
}
