//! Plans that go wrong when their partitions run as tasks, unless the cut knows them. Each against one process, at 1, 2
//! and 7 partitions.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BooleanArray, Decimal128Array, DictionaryArray, Float64Array, Int32Array, Int32Builder,
        Int64Array, ListArray, MapBuilder, RecordBatch, StringArray, StringBuilder, StringViewArray,
        StructArray, TimestampMicrosecondArray,
    },
    datatypes::{DataType, Field, Int32Type, Schema},
};
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use tempfile::TempDir;

use crate::support::{Cluster, PARTITIONS, describe, register, rows, write_parquet};

/// `t`: 5 files, keys with many rows and NULLs. `u`: one small file. `e`: no rows. `w`: all kinds of columns.
struct Tables {
    folder: TempDir,
}

impl Tables {
    fn write() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("t")).unwrap();
        for file in 0..5 {
            write_parquet(&path(&format!("t/{file}.parquet")), [t_batch(file * 200, 200)]);
        }
        write_parquet(&path("u.parquet"), [u_batch()]);
        write_parquet(&path("e.parquet"), [t_batch(0, 0)]);
        write_parquet(&path("w.parquet"), [wide_batch()]);
        Self { folder }
    }

    async fn cluster(&self, partitions: usize, settings: &[(&str, &str)]) -> Cluster {
        let cluster = Cluster::with(partitions, settings);
        for (name, file) in [("t", "t/"), ("u", "u.parquet"), ("e", "e.parquet"), ("w", "w.parquet")] {
            register(&cluster.context, name, &self.folder.path().join(file)).await;
        }
        cluster
    }

    async fn check_all(&self, queries: &[&str], settings: &[(&str, &str)]) {
        for partitions in PARTITIONS {
            let cluster = self.cluster(partitions, settings).await;
            for sql in queries {
                cluster.check(sql).await;
            }
        }
    }
}

fn t_batch(from: i64, rows: i64) -> RecordBatch {
    let numbers = from..from + rows;
    let k = numbers.clone().map(|n| (n % 11 != 0).then_some(n % 23));
    let s = numbers.clone().map(|n| {
        if n % 3 == 0 { format!("a name longer than twelve {}", n % 50) } else { format!("s{}", n % 7) }
    });
    RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from_iter_values(numbers.clone())) as ArrayRef),
        ("k", Arc::new(k.collect::<Int64Array>())),
        ("v", Arc::new(Float64Array::from_iter_values(numbers.clone().map(|n| (n % 97) as f64 / 4.0)))),
        ("s", Arc::new(StringArray::from_iter_values(s))),
    ])
    .unwrap()
}

fn u_batch() -> RecordBatch {
    RecordBatch::try_from_iter([
        ("k", Arc::new((0..30_i64).map(|n| (n != 5).then_some(n)).collect::<Int64Array>()) as ArrayRef),
        ("name", Arc::new(StringArray::from_iter_values((0..30).map(|n| format!("name {n}"))))),
    ])
    .unwrap()
}

fn wide_batch() -> RecordBatch {
    let rows = 300;
    let numbers = || 0..rows;
    let text = |n: i32| (n % 5 != 0).then(|| format!("value {} and some more text", n % 40));
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    for n in numbers() {
        map.keys().append_value(format!("key {}", n % 3));
        map.values().append_value(n);
        map.append(n % 4 != 0).unwrap();
    }
    let item = StructArray::from(vec![
        (
            Arc::new(Field::new("x", DataType::Int32, true)),
            Arc::new(Int32Array::from_iter(numbers().map(Some))) as ArrayRef,
        ),
        (
            Arc::new(Field::new("y", DataType::Utf8View, true)),
            Arc::new(numbers().map(text).collect::<StringViewArray>()) as ArrayRef,
        ),
    ]);
    RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(Int32Array::from_iter_values(numbers())) as ArrayRef, false),
        (
            "dict",
            Arc::new(
                numbers()
                    .map(|n| if n % 9 == 0 { None } else { Some(["red", "green", "blue"][n as usize % 3]) })
                    .collect::<DictionaryArray<Int32Type>>(),
            ),
            true,
        ),
        ("note", Arc::new(numbers().map(text).collect::<StringViewArray>()), true),
        (
            "flag",
            Arc::new(numbers().map(|n| (n % 7 != 0).then_some(n % 2 == 0)).collect::<BooleanArray>()),
            true,
        ),
        (
            "price",
            Arc::new(
                Decimal128Array::from_iter_values(numbers().map(|n| i128::from(n) * 101))
                    .with_precision_and_scale(15, 2)
                    .unwrap(),
            ),
            true,
        ),
        (
            "at",
            Arc::new(
                TimestampMicrosecondArray::from_iter_values(numbers().map(|n| i64::from(n) * 1_000_000))
                    .with_timezone("+02:00"),
            ),
            true,
        ),
        (
            "list",
            Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(
                numbers().map(|n| (n % 6 != 0).then(|| (0..n % 4).map(Some).collect::<Vec<_>>())),
            )),
            true,
        ),
        ("item", Arc::new(item), true),
        ("map", Arc::new(map.finish()), true),
    ])
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn unions_of_differently_partitioned_branches_keep_every_row_once() {
    let queries = [
        "select k from t union all select k from u",
        "select k, count(*) from (select k from t union all select k from u union all select 1) group by k",
        "select count(*) from (select id from t union all select k from u union all select 7 union all select id from e)",
        "select * from (select k, count(*) c from t group by k union all select k, 1 from u) x order by 1, 2",
        "select k from t union select k from u",
        "select x.k, u.name from (select k from t union all select k from u) x join u on x.k = u.k",
        "select u.name, x.k from u join (select k from u union all values (3), (4)) x on x.k = u.k",
        "select * from (select id, s from t order by id limit 5) union all (select k, name from u order by k limit 3)",
        "(select k from t where id < 50 except select k from u where k > 3) union all (select k from t intersect select k from u)",
        "select count(*) from (select k from t union all select k from t where false union all select k from e)",
        "select sum(a.k), count(*) from (select k from t union all select k from t) a join (select k from u union all select k from u) b on a.k = b.k",
    ];
    Tables::write().check_all(&queries, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn joins_of_every_type_give_each_row_once() {
    let mut queries = vec![
        "select count(*) from t where k not in (select k from u)".to_owned(),
        "select count(*) from t where k not in (select k from u where k is not null)".to_owned(),
        "select count(*) from t where k not in (select k from u where false)".to_owned(),
        "select count(*) from u where k not in (select k from t)".to_owned(),
        "select count(*), sum(t.id) from t, u".to_owned(),
        "select u.k, e.id from u left join e on u.k = e.id".to_owned(),
        "select u.k, e.id from e full join u on u.k = e.id".to_owned(),
        "select count(*) from u where exists (select 1 from t where t.k = u.k and t.v > 10)".to_owned(),
        "select count(*) from u where not exists (select 1 from t where t.k = u.k)".to_owned(),
        "select u.k, (select max(t.v) from t where t.k = u.k) m from u".to_owned(),
        "select count(*) from u where exists (select 1 from t where t.k = u.k) or u.k > 20".to_owned(),
        "select count(*) from t where v > (select avg(v) from t)".to_owned(),
        "select a.k, b.k, c.name from t a join t b on a.id = b.id left join u c on c.k = a.k".to_owned(),
    ];
    for kind in [
        "join",
        "left join",
        "right join",
        "full join",
        "left semi join",
        "left anti join",
        "right semi join",
        "right anti join",
    ] {
        for (left, right) in [("t", "u"), ("u", "t"), ("t", "e"), ("e", "t"), ("u", "u")] {
            queries.push(format!("select * from {left} l {kind} {right} r on l.k = r.k"));
            queries.push(format!("select count(*) from {left} l {kind} {right} r on l.k < r.k and l.k > 15"));
            queries.push(format!("select * from {left} l {kind} {right} r on l.k = r.k and r.k > 3"));
        }
    }
    let queries: Vec<&str> = queries.iter().map(String::as_str).collect();
    let tables = Tables::write();
    tables.check_all(&queries, &[]).await;
    tables.check_all(&queries, &[("penstock.broadcast.bytes_max", "0")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_over_all_tasks() {
    let tables = Tables::write();
    let queries = [
        "select id from t order by id limit 7",
        "select id from t order by id desc limit 5 offset 3",
        "select count(*) from (select id from t limit 13)",
        "select count(*) from (select id from t limit 13 offset 995)",
        "select count(*) from (select id from t limit 0)",
        "select k, count(*) c from t group by k order by c desc, k limit 4",
        "select count(*) from (select * from t limit 10) a, (select * from u limit 3) b",
        "select max(id) from (select id from t order by id limit 20)",
        "select count(*) from (select k from t group by k limit 5)",
    ];
    tables.check_all(&queries, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ordered_results_come_in_order() {
    let tables = Tables::write();
    for partitions in PARTITIONS {
        let cluster = tables.cluster(partitions, &[]).await;
        for sql in [
            "select id, s from t order by s desc, id",
            "select k, id from t order by k nulls first, id desc",
            "select k, sum(v) from t group by k order by 2 desc, 1",
            "select id from t order by id limit 300",
            "select s, id from (select * from t where id < 100 union all select * from t where id > 800) order by s, id",
        ] {
            let expected = rows(&cluster.oracle(sql).await);
            assert_eq!(expected, rows(&cluster.run(sql).await.batches), "{sql} at {partitions} partitions");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn aggregates_and_windows_see_all_rows() {
    let queries = [
        "select count(*), sum(v), avg(v), min(s), max(s) from t",
        "select count(distinct k), count(distinct s), sum(distinct k) from t",
        "select k, count(distinct s) from t group by k",
        "select count(*) from e",
        "select sum(v), max(id) from e",
        "select k, sum(v) from e group by k",
        "select k, s, count(*) from t group by rollup(k, s)",
        "select k, s, count(*) from t group by cube(k, s)",
        "select k, s, count(*), grouping(k) from t group by grouping sets ((k), (s), ())",
        "select id, row_number() over (order by id) from t",
        "select id, sum(v) over (partition by k order by id) from t",
        "select id, sum(v) over (), rank() over (partition by s order by v, id) from t",
        "select id, lag(id) over (partition by k order by id), avg(v) over (partition by k order by id rows between 2 preceding and current row) from t",
        "select distinct k, s from t",
        "select distinct on (k) k, id from t order by k, id",
        "select median(v), approx_distinct(k) from t",
        "select k, array_agg(id order by id) from t group by k",
        "select k, string_agg(s, ',' order by id) from t group by k",
        "select k from t group by k having count(*) > 40",
        "select stddev(v), corr(v, id) from t",
        "select first_value(s order by id), last_value(s order by id) from t",
        "select k, first_value(v order by id desc) from t group by k",
    ];
    let tables = Tables::write();
    tables.check_all(&queries, &[]).await;
    tables.check_all(&queries, &[("datafusion.execution.batch_size", "13")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_column_crosses_an_exchange() {
    let queries = [
        "select a.* from w a join w b on a.id = b.id",
        "select dict, count(*), max(note), min(at), sum(price) from w group by dict",
        "select note, flag, count(*) from w group by note, flag",
        "select item, count(*) from w group by item",
        "select a.item['y'], b.list, b.map from w a join w b on a.id + 1 = b.id",
        "select * from w order by id desc",
        "select unnest(list) x, id from w",
        "select x, count(*) from (select unnest(list) x from w) group by x",
        "select item['x'], array_agg(dict order by id) from w group by item['x']",
        "select a.id, b.item from w a left join w b on a.id = b.id + 150",
        "select at, price from w union all select at, price from w",
        "select list, count(*) from w group by list",
        "select distinct dict, note from w",
    ];
    let tables = Tables::write();
    tables.check_all(&queries, &[("penstock.broadcast.bytes_max", "0")]).await;
    let small = [("datafusion.execution.batch_size", "17"), ("penstock.shuffle.codec", "none")];
    tables.check_all(&queries, &small).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_without_files_run_as_one_task() {
    let queries = [
        "select 1",
        "select * from (values (1, 'a'), (2, 'b')) v(x, y)",
        "select count(*) from generate_series(1, 100)",
        "select sum(value) from generate_series(1, 1000)",
        "select value, count(*) from generate_series(1, 1000) group by value order by value",
        "select count(*) from generate_series(5, 1)",
        "select count(*) from range(timestamp '2024-01-01', timestamp '2024-02-01', interval '1 day')",
        "select * from generate_series(1, 5) a join generate_series(3, 8) b on a.value = b.value",
        "select * from t where false",
        "select 1 where false",
        "select count(*) from (select 1 where false)",
        "select * from (select 1 x) a left join (select 2 y where false) b on a.x = b.y",
        "select unnest([1, 2, 3])",
        "select x, count(*) from (values (1), (1), (2)) v(x) group by x order by x",
    ];
    Tables::write().check_all(&queries, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn recursive_queries_run_within_one_task() {
    let queries = [
        "with recursive n as (select 1 x union all select x + 1 from n where x < 20) select sum(x) from n",
        "with recursive n as (select 1 x union select (x + 1) % 5 from n) select * from n order by x",
        "with recursive r as (select id, k from t where id = 1 union all select t.id, t.k from t join r on t.id = r.id * 2 where t.id < 900) select count(*), sum(id) from r",
        "with recursive r as (select 1 a, 2 b union all select b, a + b from r where b < 100) select b from r",
        "with recursive n as (select 1 x union all select x + 1 from n where x < 20) select t.k, count(*) from t join n on t.k = n.x group by t.k",
        "with recursive r as (select k, count(*) c from t group by k union all select k, c + 1 from r where c < 45) select k, max(c) from r group by k",
    ];
    Tables::write().check_all(&queries, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_common_table_expression_that_is_used_twice_is_one_stage() {
    let tables = Tables::write();
    let cluster = tables.cluster(3, &[]).await;
    let sql = "with c as (select k, sum(v) total from t group by k) \
               select a.k, a.total from c a join (select max(total) m from c) b on a.total = b.m";
    let graph = cluster.graph(sql).await;
    let scans = graph.stages.iter().filter(|stage| !stage.scans.is_empty()).count();
    assert_eq!(scans, 1, "{}", describe(&graph));
    cluster.check(sql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn volatile_pieces_are_not_shared() {
    let tables = Tables::write();
    let cluster = tables.cluster(3, &[]).await;
    let sql = "with c as (select k, sum(random()) total from t group by k) \
               select count(*) from c a join c b on a.k = b.k where a.total = b.total";
    let graph = cluster.graph(sql).await;
    let scans = graph.stages.iter().filter(|stage| !stage.scans.is_empty()).count();
    assert_eq!(scans, 2, "{}", describe(&graph));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_files_declare_is_kept() {
    let tables = Tables::write();
    for partitions in PARTITIONS {
        let cluster = tables.cluster(partitions, &[]).await;
        let url = ListingTableUrl::parse(tables.folder.path().join("t/").to_str().unwrap()).unwrap();
        let order = vec![vec![datafusion::prelude::col("id").sort(true, false)]];
        let format = Arc::new(datafusion::datasource::file_format::parquet::ParquetFormat::default());
        let options = ListingOptions::new(format).with_file_sort_order(order);
        let schema = options.infer_schema(&cluster.context.state(), &url).await.unwrap();
        let config = ListingTableConfig::new(url).with_listing_options(options).with_schema(schema);
        let table = Arc::new(ListingTable::try_new(config).unwrap());
        cluster.context.register_table("o", table).unwrap();
        for sql in [
            "select id, count(*) from o group by id order by id",
            "select id, s from o order by id",
            "select id, sum(v) over (order by id) from o",
            "select id, k, count(*) from o where k = 3 group by k, id order by k, id",
            "select a.id, b.v from o a join o b on a.id = b.id order by a.id",
        ] {
            let expected = rows(&cluster.oracle(sql).await);
            assert_eq!(expected, rows(&cluster.run(sql).await.batches), "{sql} at {partitions} partitions");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_memory_budget_gives_the_same_rows() {
    let tables = Tables::write();
    let cluster = Cluster::limited(
        7,
        &[
            ("datafusion.execution.batch_size", "64"),
            ("datafusion.execution.sort_spill_reservation_bytes", "100000"),
        ],
        Some(1 << 20),
    );
    register(&cluster.context, "t", &tables.folder.path().join("t/")).await;
    cluster.check("select a.id, a.s, b.s from t a join t b on a.id = b.id").await;
    cluster.check("select id, s, count(*) from t group by id, s").await;
    cluster.check("select id, s from t order by s, id").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn options_of_file_formats_survive_the_encoding() {
    use datafusion::{
        datasource::file_format::{
            csv::CsvFormat, file_compression_type::FileCompressionType, json::JsonFormat,
        },
        prelude::SessionContext,
    };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("array.json"), r#"[{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]"#).unwrap();
    std::fs::write(path("lines.json"), "{\"a\": 1, \"b\": \"x\"}\n{\"a\": 2, \"b\": \"y\"}\n").unwrap();
    std::fs::write(path("odd.csv"), "a;b#1;'x;y'#2;z#3;w#").unwrap();
    let copy = format!(
        "copy (values (1, 'x'), (2, 'y')) to '{}' stored as csv options ('format.compression' 'gzip')",
        path("packed.csv.gz")
    );
    SessionContext::new().sql(&copy).await.unwrap().collect().await.unwrap();
    let odd = CsvFormat::default()
        .with_has_header(false)
        .with_delimiter(b';')
        .with_quote(b'\'')
        .with_terminator(Some(b'#'));
    let packed = CsvFormat::default().with_file_compression_type(FileCompressionType::GZIP);
    let formats: [(&str, &str, &str, Arc<dyn datafusion::datasource::file_format::FileFormat>); 4] = [
        ("j", "array.json", ".json", Arc::new(JsonFormat::default().with_newline_delimited(false))),
        ("l", "lines.json", ".json", Arc::new(JsonFormat::default())),
        ("o", "odd.csv", ".csv", Arc::new(odd)),
        ("p", "packed.csv.gz", ".csv.gz", Arc::new(packed)),
    ];
    for partitions in PARTITIONS {
        let cluster = Cluster::with(partitions, &[]);
        for (name, file, extension, format) in &formats {
            let url = ListingTableUrl::parse(path(file)).unwrap();
            let options = ListingOptions::new(format.clone()).with_file_extension(*extension);
            let schema = match *name {
                // Inference does not know about terminators.
                "o" => Schema::new(["a", "b"].map(|name| Field::new(name, DataType::Utf8, true)).to_vec()),
                _ => options.infer_schema(&cluster.context.state(), &url).await.unwrap().as_ref().clone(),
            };
            let config =
                ListingTableConfig::new(url).with_listing_options(options).with_schema(Arc::new(schema));
            cluster.context.register_table(*name, Arc::new(ListingTable::try_new(config).unwrap())).unwrap();
            let rows_of = |batches: &[RecordBatch]| rows(batches).len();
            let all = cluster.run(&format!("select * from {name}")).await;
            assert_eq!(rows_of(&all.batches), if *name == "o" { 4 } else { 2 }, "{name}");
            cluster.run(&format!("select count(*) from {name}")).await;
        }
    }
}
