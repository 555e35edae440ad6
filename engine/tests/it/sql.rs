//! Runs the `.slt` files of `engine/tests/sql`: each statement is planned, cut into stages and run, and every query's
//! rows are compared with those of plain DataFusion in one process.
//!
//! A file is run at 1, 2 and 7 partitions, with small join sides broadcast and with all joins partitioned. `statement ok`
//! before a query means "equal to plain DataFusion"; `query` adds expected rows; `statement error` takes a pattern. The
//! tables of `fixtures` exist in every file.

pub mod database;
mod fixtures;
mod slt;

use database::{Database, Joins};

const PARTITIONS: [usize; 3] = [1, 2, 7];

async fn check_file(name: &str) {
    let path = format!("tests/sql/{name}.slt");
    for partitions in PARTITIONS {
        for joins in [Joins::Broadcast, Joins::Partitioned] {
            let mut database = Database::new(partitions, joins).await;
            slt::run(&path, &format!("at {partitions} partitions, {joins:?}"), &mut database).await;
        }
    }
}

macro_rules! files {
    ($($name:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                check_file(stringify!($name)).await;
            }
        )*
    };
}

files!(
    unions,
    coalesce_and_merge,
    joins_that_emit_build_rows,
    not_in,
    limits,
    empty_inputs,
    sorts,
    windows,
    distinct_aggregates,
    grouping_sets,
    common_table_expressions,
    recursive,
    scalar_subqueries,
    values,
    nested_types,
    dictionaries_decimals_intervals,
    correlated,
    lateral,
    set_operations,
    full_joins,
    cross_and_loop_joins,
    tables,
    files,
    views,
    sinks,
    settings,
);
