//! `penstock demo`

use crate::support::World;

#[test]
fn the_demo_answers_all_22_queries_right() {
    let world = World::new();
    let report = world.json(&["demo", "--exit", "--json"]);
    let wrong: Vec<_> =
        report["queries"].as_array().expect("a list").iter().filter(|line| line["ok"] != true).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert_eq!(report["ok"], 22);
    world.assert_nothing_left();
}

#[test]
fn the_demo_prints_a_table_with_one_line_per_query() {
    let world = World::new();
    let out = world.ok(&["demo", "--exit", "--queries", "1,6"]);
    let first_words: Vec<_> = out.lines().map(|line| line.split(' ').next().unwrap_or_default()).collect();
    assert_eq!(first_words, ["QUERY", "q01", "q06", "total"]);
    assert!(out.contains("2 ok"), "{out}");
}
