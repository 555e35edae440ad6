//! Which stages are proved to write the same rows again.

use crate::tpch;

/// `proved` has a `+` for each stage with a proof and a `-` for each without, the root left out.
async fn check(sql: &str, proved: &str) {
    let graph = tpch::cluster(3, &[]).await.graph(sql).await;
    let producers = &graph.stages[..graph.stages.len() - 1];
    let found: String = producers.iter().map(|stage| if stage.deterministic { '+' } else { '-' }).collect();
    assert_eq!(found, proved, "{sql}\n{}", crate::support::describe(&graph));
}

/// Every producer of the plan has a proof.
async fn check_proved(sql: &str) {
    let graph = tpch::cluster(3, &[]).await.graph(sql).await;
    let producers = &graph.stages[..graph.stages.len() - 1];
    let proved = !producers.is_empty() && producers.iter().all(|stage| stage.deterministic);
    assert!(proved, "{sql}\n{}", crate::support::describe(&graph));
}

#[tokio::test]
async fn scans_filters_projections_and_joins_are_proved() {
    let joined = "from orders join lineitem on o_orderkey = l_orderkey where l_quantity > 3";
    check_proved(&format!("select o_orderkey, upper(l_comment) as c {joined} order by 1")).await;
    check_proved("select distinct o_custkey from orders").await;
}

#[tokio::test]
async fn exact_aggregates_are_proved() {
    check_proved("select o_orderpriority, count(*), max(o_comment) from orders group by 1").await;
    check_proved("select l_suppkey, sum(l_quantity), count(distinct l_partkey) from lineitem group by 1")
        .await;
    check_proved("select count(*) from (select distinct l_suppkey, l_partkey from lineitem)").await;
}

#[tokio::test]
async fn what_depends_on_order_chance_or_a_limit_is_not_proved() {
    check("select l_suppkey, sum(l_quantity::double) from lineitem group by 1", "-").await;
    check("select l_suppkey, array_agg(l_partkey) from lineitem group by 1", "-").await;
    check("select l_discount::double as d, count(*) from lineitem group by 1", "-").await;
    check("select o_orderkey from orders order by o_totalprice limit 3", "-").await;
    check("select o_custkey, count(*) from orders where random() < 0.5 group by 1", "-").await;
    check("select o_custkey, count(*) from (select * from orders limit 10) group by 1", "--").await;
    let numbered =
        "select o_custkey, row_number() over (partition by o_custkey order by o_orderdate) as n from orders";
    check(&format!("select n, count(*) from ({numbered}) group by 1"), "+-").await;
}
