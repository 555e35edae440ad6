//! What the core does, one behaviour at a time.

use expect_test::expect;

use super::language::check;

#[test]
fn a_query_runs_stage_after_stage_and_keeps_its_rows() {
    check(
        "e1 joins with 2; e2 joins with 1;
         submit a = x:3 > r:1;
         a/x0 succeeds; a/x1 succeeds; a/x2 succeeds; a/r0 succeeds; status a",
        expect![[r#"
            reserve a/x, run a/x0 on e1, run a/x1 on e1, run a/x2 on e2
            commit a/x, reserve a/r, run a/r0 on e1
            result a.0 of 1 rows, release a/x a/r, a succeeded, release all of a
            Succeeded 1/1 statements 2/2 stages 4/4 tasks 0 running"#]],
    );
}

#[test]
fn a_result_in_the_shuffle_stays_until_it_expires() {
    check(
        "e1 joins with 2; submit a = x:1 > big:1; a/x0 succeeds -- a/big0 succeeds; 3599s pass; 2s pass",
        expect![[r#"
            commit a/big, result a.0 of 10 rows, release a/x, a succeeded
            release all of a, forget a"#]],
    );
}

#[test]
fn losing_an_executor_reruns_only_its_unfinished_tasks_elsewhere() {
    check(
        "e1 joins with 2; e2 joins with 2; submit a = x:3 > r:1; a/x0 succeeds --
         e1 is lost; a/x1 succeeds; a/x2 succeeds",
        expect![[r#"
            disconnect e1, run a/x2#1 on e2
            commit a/x, reserve a/r, run a/r0 on e2"#]],
    );
}

#[test]
fn a_silent_executor_is_lost_and_a_new_life_of_it_starts_empty() {
    check(
        "e1 joins with 1; submit a = x:1 > r:1 -- 9s pass in silence; 2s pass in silence; e1 joins with 1; a/x0 succeeds",
        expect![[r#"
            disconnect e1
            run a/x0#1 on e1
            commit a/x, reserve a/r, run a/r0 on e1"#]],
    );
}

#[test]
fn nobody_is_lost_for_a_silence_of_the_coordinator_itself() {
    check(
        "e1 joins with 1; e2 joins with 1; submit a lease 5s = x:2 > r:1; e2 is cut off --
         the coordinator stands still for 60s; 1s pass in silence; e2 comes back with 1 running a/x1;
         a/x0 succeeds; a/x1 succeeds; 3s pass; 2s pass",
        expect![[r#"
            a lives
            commit a/x, reserve a/r, run a/r0 on e1
            stop a/r0 on e1, release a/x a/r, a cancelled: nobody asked for the job within its lease, release all of a"#]],
    );
}

#[test]
fn a_short_cut_of_the_connection_costs_nothing() {
    check(
        "e1 joins with 2; submit a = x:2 > r:1 --
         e1 is cut off; 1s pass; e1 comes back with 2 running a/x0 a/x1; 5s pass; a/x0 succeeds; a/x1 succeeds",
        expect!["commit a/x, reserve a/r, run a/r0 on e1"],
    );
}

#[test]
fn an_attempt_whose_report_went_missing_runs_again() {
    check(
        "e1 joins with 2; submit a = x:2 > r:1 -- e1 is cut off; e1 comes back with 2 running a/x0",
        expect!["run a/x1#1 on e1"],
    );
}

#[test]
fn an_executor_that_brings_strange_attempts_is_told_to_stop_them() {
    check(
        "e1 joins with 1; e2 joins with 1; submit a = x:2 > r:1; e1 is lost --
         e1 joins with 1; e1 comes back with 1 running a/x0#0",
        expect!["stop a/x0 on e1"],
    );
}

#[test]
fn a_failed_task_is_tried_elsewhere_up_to_four_times() {
    check(
        "e1 joins with 1; e2 joins with 1; submit a = x:1 > r:1 --
         a/x0 fails; 1s pass; a/x0 fails; 1s pass; a/x0 fails; 1s pass; a/x0 fails",
        expect![[r#"
            run a/x0#1 on e2
            run a/x0#2 on e1
            run a/x0#3 on e2
            release a/x, a failed: it did not work, release all of a"#]],
    );
}

#[test]
fn a_task_that_failed_waits_for_another_executor_rather_than_going_back() {
    check(
        "e1 joins with 1; submit a = x:1 > r:1; e2 joins with 1; submit b = y:1 > r:1 --
         a/x0 fails; 1s pass; b/y0 succeeds",
        expect!["commit b/y, run a/x0#1 on e2, reserve b/r, run b/r0 on e1"],
    );
}

#[test]
fn wrong_data_fails_at_once_and_stops_the_rest() {
    check(
        "e1 joins with 2; submit a = x:3 > r:1 -- a/x0 fails by data; a/x1 succeeds; status a",
        expect![[r#"
        stop a/x1 on e1, release a/x, a failed: it did not work, release all of a
        Failed 0/1 statements 0/2 stages 0/4 tasks 0 running"#]],
    );
}

#[test]
fn losses_do_not_count_as_failures_but_are_capped() {
    check(
        "submit a = x:1 > r:1;
         e1 joins with 1; e1 is lost; e2 joins with 1; e2 is lost; e3 joins with 1; e3 is lost;
         e4 joins with 1; e4 is lost; e5 joins with 1; e5 is lost; e6 joins with 1; e6 is lost;
         e7 joins with 1; e7 is lost; e8 joins with 1 -- e8 is lost; e9 joins with 1; e9 is lost",
        expect![[r#"
            disconnect e8
            run a/x0#8 on e9
            disconnect e9, release a/x, a failed: executor e9 was lost: its connection was cut, release all of a"#]],
    );
}

#[test]
fn late_and_repeated_reports_change_nothing() {
    check(
        "e1 joins with 1; submit a = x:1 > r:1; e2 joins with 2; e1 is cut off; e1 joins with 1 --
         a/x0#1 succeeds; a/x0#1 succeeds; a/x0#1 fails by data; a/x0#0 fails by data; a/x0#0 succeeds",
        expect![[r#"
            commit a/x, reserve a/r, run a/r0 on e2
            disconnect e1
            disconnect e1"#]],
    );
}

#[test]
fn an_output_that_cannot_be_is_a_failure() {
    check(
        "e1 joins with 1; e2 joins with 1; submit a = x:1 > r:1 -- a/x0 reports nonsense; 1s pass",
        expect!["run a/x0#1 on e2"],
    );
}

#[test]
fn cancel_stops_what_runs_and_frees_everything() {
    check(
        "e1 joins with 2; submit a = x:3 > files:1; submit b = y:2 > r:1 --
         cancel a; a/x0 is handed back; a/x1 succeeds; cancel a; status a",
        expect![[r#"
            stop a/x0 on e1, stop a/x1 on e1, discard a.0, release a/x, a cancelled: the user said so, release all of a
            run b/y0 on e1
            run b/y1 on e1
            Cancelled 0/1 statements 0/2 stages 0/4 tasks 0 running"#]],
    );
}

#[test]
fn cancel_while_planning_or_reserving_gives_back_what_comes_late() {
    check(
        "hold answers; submit a = x:1 > r:1; submit b = x:1 > r:1; give 1 answers -- cancel b; cancel a; give answers; poll a",
        expect![[r#"
            b cancelled: the user said so
            a cancelled: the user said so"#]],
    );
    check(
        "hold answers; submit a = x:1 > r:1; give 2 answers -- cancel a; give answers; poll a",
        expect![[r#"
            a cancelled: the user said so, release all of a
            release a/x"#]],
    );
}

#[test]
fn a_cancel_with_grace_is_taken_back_by_the_same_key() {
    check(
        "e1 joins with 1; submit a key k = x:1 > r:1 --
         cancel a in 5s; 3s pass; submit b key k = x:1 > r:1; 9s pass; cancel a in 2s; 3s pass",
        expect![[r#"
            it is a try 1
            stop a/x0 on e1, release a/x, a cancelled: the user said so, release all of a"#]],
    );
}

#[test]
fn a_sink_is_published_once_and_then_the_catalog_changes() {
    check(
        "e1 joins with 2; submit a = x:1 > table:2 | rows; a/x0 succeeds -- a/table0 succeeds; a/table1 succeeds; status a",
        expect![[r#"
            publish 2 files of a.0, apply catalog a.0, discard a.0, release a/x, a succeeded, release all of a
            Succeeded 2/2 statements 2/2 stages 3/3 tasks 0 running"#]],
    );
}

#[test]
fn what_is_being_published_is_brought_to_its_end_before_the_job_ends() {
    check(
        "e1 joins with 2; submit a = x:1 > table:1 | x:1 > r:1; a/x0 succeeds; hold answers; a/table0 succeeds --
         cancel a; status a; give answers; poll a; status a",
        expect![[r#"
            Running 0/2 statements 2/2 stages 2/2 tasks 0 running
            apply catalog a.0, discard a.0, release a/x, a cancelled: the user said so, release all of a
            Cancelled 1/2 statements 2/2 stages 2/2 tasks 0 running"#]],
    );
}

#[test]
fn a_failed_publication_fails_the_job() {
    check(
        "e1 joins with 2; submit a = files:1; next publish fails -- a/files0 succeeds",
        expect!["publish 1 files of a.0, discard a.0, a failed: publish went wrong"],
    );
}

#[test]
fn room_that_is_refused_is_asked_for_again_as_a_new_shuffle() {
    check(
        "e1 joins with 1; next reserve fails -- submit a = x:1 > r:1; status a; 1s pass",
        expect![[r#"
            reserve a/x
            Running 0/1 statements 0/2 stages 0/2 tasks 0 running (the shuffle service, since 1970-01-01T00:16:40.000Z: no worker has room)
            release a/x, reserve a/x~1, run a/x0 on e1"#]],
    );
}

#[test]
fn a_job_waits_a_minute_for_the_shuffle_service_and_then_fails() {
    check(
        "e1 joins with 1; every reserve fails; submit a = x:1 > r:1 -- 55s pass; status a; 5s pass; status a",
        expect![[r#"
            release a/x, reserve a/x~1, release a/x~1, reserve a/x~2, release a/x~2, reserve a/x~3, release a/x~3, reserve a/x~4, release a/x~4, reserve a/x~5, release a/x~5, reserve a/x~6, release a/x~6, reserve a/x~7, release a/x~7, reserve a/x~8, release a/x~8, reserve a/x~9, release a/x~9, reserve a/x~10, a lives, release a/x~10, reserve a/x~11, release a/x~11, reserve a/x~12, release a/x~12, reserve a/x~13, release a/x~13, reserve a/x~14, release a/x~14, reserve a/x~15
            Running 0/1 statements 0/2 stages 0/2 tasks 0 running (the shuffle service, since 1970-01-01T00:16:40.000Z: no worker has room)
            release a/x~15, reserve a/x~16, release a/x~16, reserve a/x~17, a lives, a failed: no worker has room (18 tries in 60 s), release all of a
            Failed 0/1 statements 0/2 stages 0/2 tasks 0 running"#]],
    );
    check(
        "e1 joins with 1; every reserve fails; submit a = x:1 > r:1; 50s pass; no reserve fails -- 5s pass; a/x0 succeeds",
        expect![[r#"
            release a/x~14, reserve a/x~15, run a/x0 on e1
            commit a/x~15, reserve a/r, run a/r0 on e1"#]],
    );
}

#[test]
fn a_commit_that_was_not_answered_is_asked_for_again() {
    check(
        "e1 joins with 1; next commit fails; submit a = x:1 > r:1 -- a/x0 succeeds; 1s pass",
        expect![[r#"
            commit a/x
            commit a/x, reserve a/r, run a/r0 on e1"#]],
    );
}

#[test]
fn a_stage_without_tasks_is_committed_empty() {
    check(
        "e1 joins with 1 -- submit a = x:0 > r:1; a/r0 succeeds",
        expect![[r#"
        reserve a/x, commit a/x, reserve a/r, run a/r0 on e1
        result a.0 of 1 rows, release a/x a/r, a succeeded, release all of a"#]],
    );
}

#[test]
fn statements_run_one_after_the_other() {
    check(
        "e1 joins with 1 -- submit a = set | catalog | rows | r:1 | files:1; a/r0 succeeds; a/files0 succeeds",
        expect![[r#"
            apply catalog a.1, reserve a/r, run a/r0 on e1
            result a.3 of 1 rows, release a/r, run a/files0 on e1
            publish 1 files of a.4, discard a.4, a succeeded, release all of a"#]],
    );
    check(
        "e1 joins with 1; next plan fails -- submit a = r:1 | r:1; status a",
        expect![[r#"
        a failed: plan went wrong
        Failed 0/2 statements 0/0 stages 0/0 tasks 0 running"#]],
    );
    check(
        "e1 joins with 1; next catalog fails -- submit a = catalog | r:1; status a",
        expect![[r#"
        apply catalog a.0, a failed: catalog went wrong
        Failed 0/2 statements 0/0 stages 0/0 tasks 0 running"#]],
    );
}

#[test]
fn a_job_without_executors_says_so_while_it_waits() {
    check(
        "submit a = x:1 > r:1 -- status a; e1 joins with 1; status a; submit b = x:1 > r:1; status b",
        expect![[r#"
            Running 0/1 statements 0/2 stages 0/2 tasks 0 running (no executor is connected)
            run a/x0 on e1
            Running 0/1 statements 0/2 stages 0/2 tasks 1 running
            reserve b/x
            Running 0/1 statements 0/2 stages 0/2 tasks 0 running (all slots are in use)"#]],
    );
}

#[test]
fn a_job_says_that_it_waits_for_an_executor_to_come_back() {
    check(
        "e1 joins with 1; submit a = x:1 > r:1; submit b = y:1 > r:1; status b --
         e1 is cut off; status b; status a; e1 comes back with 1 running a/x0; status b; status a;
         e1 is cut off; 3s pass; status b",
        expect![[r#"
            Running 0/1 statements 0/2 stages 0/2 tasks 0 running (no executor is connected; e1 may come back)
            Running 0/1 statements 0/2 stages 0/2 tasks 1 running (no executor is connected; e1 may come back)
            Running 0/1 statements 0/2 stages 0/2 tasks 0 running (all slots are in use)
            Running 0/1 statements 0/2 stages 0/2 tasks 1 running
            disconnect e1, disconnect e1, disconnect e1
            Running 0/1 statements 0/2 stages 0/2 tasks 0 running (no executor is connected)"#]],
    );
    check(
        "e1 joins with 1; e2 joins with 1; submit a = x:1 > r:1; submit b = y:1 > r:1; submit c = z:1 > r:1 --
         e1 is cut off; status c; e2 is cut off; status c; e1 comes back with 1 running a/x0; e1 drains; status c",
        expect![[r#"
            Running 0/1 statements 0/2 stages 0/2 tasks 0 running (all slots are in use)
            Running 0/1 statements 0/2 stages 0/2 tasks 0 running (no executor is connected; e1 and 1 more may come back)
            Running 0/1 statements 0/2 stages 0/2 tasks 0 running (all connected executors are draining and take nothing new)"#]],
    );
}

#[test]
fn a_job_whose_executors_all_drain_says_so() {
    check(
        "e1 joins with 1; e1 drains; submit a = x:1 > r:1 -- status a",
        expect![
            "Running 0/1 statements 0/2 stages 0/2 tasks 0 running (all connected executors are draining and take nothing new)"
        ],
    );
}

#[test]
fn queues_admit_as_many_jobs_as_they_may() {
    check(
        "e1 joins with 4; submit a in narrow = r:1; submit b in narrow = r:1; submit c in narrow priority 5 = r:1 --
         status b; a/r0 succeeds; c/r0 succeeds; submit d in nowhere = r:1",
        expect![[r#"
            Queued 0/0 statements 0/0 stages 0/0 tasks 0 running (queue `narrow` or the job's owner runs as many jobs as it may)
            result a.0 of 1 rows, release a/r, a succeeded, release all of a, reserve c/r, run c/r0 on e1
            result c.0 of 1 rows, release c/r, c succeeded, release all of c, reserve b/r, run b/r0 on e1
            there is no queue `nowhere`"#]],
    );
}

#[test]
fn a_key_answers_the_same_job_until_it_fails() {
    check(
        "e1 joins with 4; submit a key k sql s = r:1 --
         submit b key k sql s = r:1; submit c key k sql t = r:1; a/r0 fails by data; submit d key k sql s = r:1;
         d/r0 succeeds; submit e key k sql s = r:1; submit f key k sql t = r:1",
        expect![[r#"
            it is a try 1
            the idempotency key belongs to job a, which is Running and has another definition
            release a/r, a failed: it did not work, release all of a
            try 2, reserve d/r, run d/r0 on e1
            result d.0 of 1 rows, release d/r, d succeeded, release all of d
            it is d try 2
            try 3, reserve f/r, run f/r0 on e1"#]],
    );
}

#[test]
fn a_newer_job_of_a_scope_ends_the_older_one_before_it_starts() {
    check(
        "e1 joins with 4; submit a scope s = x:1 > files:1; a/x0 succeeds; hold answers; a/files0 succeeds --
         submit b scope s = r:1; status b; give answers; poll a",
        expect![[r#"
            Queued 0/0 statements 0/0 stages 0/0 tasks 0 running (job a, which this one replaces, has to end first)
            discard a.0, release a/x, a cancelled: job b of the same scope replaces it, release all of a, reserve b/r, run b/r0 on e1"#]],
    );
    check(
        "e1 joins with 4; submit a scope s = x:1 > files:1 -- submit b scope s = r:1",
        expect![
            "stop a/x0 on e1, discard a.0, release a/x, a cancelled: job b of the same scope replaces it, release all of a, reserve b/r, run b/r0 on e1"
        ],
    );
}

#[test]
fn a_lease_ends_a_job_that_nobody_asks_for() {
    check(
        "e1 joins with 4; submit a lease 5s = r:1 -- 4s pass; poll a; 4s pass; 2s pass",
        expect![
            "stop a/r0 on e1, release a/r, a cancelled: nobody asked for the job within its lease, release all of a"
        ],
    );
}

#[test]
fn a_job_in_which_nothing_happens_shows_that_it_lives_until_it_ends() {
    check(
        "e1 joins with 2; submit a = r:1; submit b = r:1 --
         29s pass; 1s pass; 29s pass; 1s pass; cancel a; 30s pass; b/r0 succeeds; 500s pass",
        expect![[r#"
            a lives, b lives
            a lives, b lives
            stop a/r0 on e1, release a/r, a cancelled: the user said so, release all of a
            b lives
            result b.0 of 1 rows, release b/r, b succeeded, release all of b"#]],
    );
}

#[test]
fn many_jobs_take_turns_in_showing_that_they_live() {
    check(
        "submit a = r:1; submit b = r:1; submit c = r:1; submit d = r:1; submit e = r:1; submit f = r:1 --
         30s pass; 0.5s pass; 29s pass",
        expect![[r#"
            a lives, b lives, c lives, d lives
            e lives, f lives"#]],
    );
}

#[test]
fn a_timeout_ends_a_job_as_failed() {
    check(
        "e1 joins with 4; submit a timeout 5s = r:1 -- 4s pass; 1s pass",
        expect![
            "stop a/r0 on e1, release a/r, a failed: the job ran longer than its timeout of 5 s, release all of a"
        ],
    );
}

#[test]
fn a_draining_executor_gets_nothing_new_and_hands_back_without_blame() {
    check(
        "e1 joins with 1; e2 joins with 1; submit a = x:3 > r:1 --
         e1 drains; a/x0 is handed back; e1 is cut off; a/x1 succeeds",
        expect!["run a/x0#1 on e2"],
    );
}

#[test]
fn a_job_learns_how_busy_its_executors_are_every_ten_seconds() {
    check(
        "e1 joins with 2; e1 uses 8 cores; submit a = x:1 > r:1; submit b = y:1 > r:1; e2 joins with 2 --
         e1 uses 2 cores; e2 uses 1 cores; e1 uses 4 cores; 9s pass; e1 uses 9 cores; 1s pass; e1 uses 2 cores;
         cancel b; 10s pass; e1 uses 1 cores",
        expect![[r#"
            a: e1 used 2 cores, b: e1 used 2 cores
            a: e1 used 5 cores, b: e1 used 5 cores
            stop b/y0 on e1, release b/y, b cancelled: the user said so, release all of b
            a: e1 used 1 cores"#]],
    );
}

#[test]
fn a_running_attempt_says_how_far_it_is() {
    check(
        "e1 joins with 1; submit a = x:1 > r:1 --
         rows of a/x0; a/x0 has read 50 and written 5; a/x0 has read 40 and written 4; rows of a/x0",
        expect![[r#"
            0 in, 0 out
            50 in, 5 out"#]],
    );
}

#[test]
fn somebody_unknown_has_to_say_hello() {
    check("e9 beats", expect!["disconnect e9"]);
}
