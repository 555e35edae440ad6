"""The DAG that the tests run: the same report once waiting in the worker and once deferred."""

import os

from airflow.sdk import DAG

from penstock_airflow.operators.penstock import PenstockOperator

# Each run writes a folder of its own.
FOLDER = "report/{{ run_id | replace(':', '-') | replace('+', '-') }}/"
BASE_URL = os.environ["PENSTOCK_TEST_BASE_URL"]

with DAG("penstock_report", schedule=None, catchup=False) as dag:
    load = PenstockOperator(
        task_id="load",
        sql=f"copy (select * from (values (1, 'a'), (2, 'b'), (3, 'b')) t(id, kind)) to '{FOLDER}' stored as parquet",
        base_url=BASE_URL,
        inline_wait=60,
    )
    count = PenstockOperator(
        task_id="count",
        sql=f"""
        create or replace external table report stored as parquet location '{FOLDER}';
        select kind, count(*) as n from report where id > $least group by kind order by kind;
        """,
        parameters={"least": 1},
        base_url=BASE_URL,
        deferrable=True,
        inline_wait=0,
        min_defer_seconds=9,
    )
    load >> count
