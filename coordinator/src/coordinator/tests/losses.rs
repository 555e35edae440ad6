//! What the core does when the data of a shuffle is lost, one behaviour at a time.

use expect_test::expect;

use super::language::check;

// Invariants 11 and 24: the next run has a shuffle of its own, and numbers of attempts go on.
#[test]
fn a_reader_that_finds_its_input_lost_makes_the_whole_producer_run_again() {
    check(
        "e1 joins with 2; e2 joins with 1; submit a = x:2 > y:2 > r:1; a/x0 succeeds; a/x1 succeeds --
         a/y0 cannot read x; a/y1 is handed back; a/x0 succeeds; a/x1 succeeds; reruns a",
        expect![[r#"
            again a/x~1, stop a/y1 on e1, release a/x, reserve a/x~1, run a/x0#1 on e1, run a/x1#1 on e2
            commit a/x~1, run a/y0#1 on e1, run a/y1#1 on e1
            x~1 because its shuffle data was lost: worker w1 is gone"#]],
    );
}

// Invariant 14.
#[test]
fn a_commit_that_leaves_a_partition_without_a_copy_makes_the_stage_run_again() {
    check(
        "e1 joins with 2; next verdict fails; submit a = x:2 > r:1; a/x0 succeeds -- a/x1 succeeds;
         a/x1 succeeds; a/x0 succeeds; reruns a",
        expect![[r#"
            commit a/x, again a/x~1, release a/x, reserve a/x~1, run a/x0#1 on e1, run a/x1#1 on e1
            commit a/x~1, reserve a/r, run a/r0 on e1
            x~1 because its shuffle data was lost: partition 0 epoch 0 is lost: disk error"#]],
    );
}

#[test]
fn a_push_without_a_place_makes_its_own_stage_run_again() {
    check(
        "e1 joins with 1; e2 joins with 1; submit a = x:2 > r:1; a/x0 succeeds -- a/x1 cannot push; a/x0 succeeds; a/x1 succeeds",
        expect![[r#"
            again a/x~1, release a/x, reserve a/x~1, run a/x0#1 on e1, run a/x1#1 on e2
            commit a/x~1, reserve a/r, run a/r0 on e1"#]],
    );
}

// Invariants 9 and 24: who was stopped because of a loss wins nothing, and loses nothing.
#[test]
fn a_loss_is_told_to_every_reader_and_what_they_say_about_it_later_changes_nothing() {
    check(
        "e1 joins with 3; submit a = x:1 > y:3 > r:1; a/x0 succeeds --
         a/y0 cannot read x; a/y1#0 cannot read x; a/y2#0 succeeds; a/x0 succeeds; a/y1#0 fails by data",
        expect![[r#"
            again a/x~1, stop a/y1 on e1, stop a/y2 on e1, release a/x, reserve a/x~1, run a/x0#1 on e1
            commit a/x~1, run a/y0#1 on e1, run a/y1#1 on e1, run a/y2#1 on e1"#]],
    );
}

#[test]
fn what_a_loss_costs_is_not_counted_against_tasks_or_executors() {
    check(
        "e1 joins with 1; e2 joins with 1; submit a = x:1 > y:1 > r:1; a/x0 succeeds --
         a/y0 fails; 1s pass; a/y0 cannot read x; a/x0 succeeds;
         a/y0 fails; 1s pass; a/y0 cannot read x; a/x0 succeeds;
         a/y0 fails; 1s pass; a/y0 succeeds",
        expect![[r#"
            run a/y0#1 on e2
            again a/x~1, release a/x, reserve a/x~1, run a/x0#1 on e1
            commit a/x~1, run a/y0#2 on e2
            run a/y0#3 on e1
            again a/x~2, release a/x~1, reserve a/x~2, run a/x0#2 on e1
            commit a/x~2, run a/y0#4 on e1
            run a/y0#5 on e2
            commit a/y, reserve a/r, run a/r0 on e1"#]],
    );
}

// Invariant 24: readers that have finished run again too, and theirs.
#[test]
fn readers_that_have_finished_run_again_with_all_that_read_them() {
    check(
        "e1 joins with 3; submit a = x:1 > y:1 > z:2(x,y) > r:1; a/x0 succeeds; a/y0 succeeds; a/z0 succeeds --
         a/z1 cannot read x; a/x0 succeeds; a/y0 succeeds; reruns a",
        expect![[r#"
            again a/x~1, again a/y~1, again a/z~1, release a/x a/y a/z, reserve a/x~1, run a/x0#1 on e1
            commit a/x~1, reserve a/y~1, run a/y0#1 on e1
            commit a/y~1, reserve a/z~1, run a/z0#1 on e1, run a/z1#1 on e1
            x~1 because its shuffle data was lost: worker w1 is gone, y~1 because it builds on stage 0, which may write other rows now, z~1 because it builds on stage 0, which may write other rows now"#]],
    );
}

#[test]
fn readers_of_a_producer_that_is_proved_deterministic_keep_what_they_have() {
    check(
        "e1 joins with 3; submit a = x:1! > y:1 > z:2(x,y) > r:1; a/x0 succeeds; a/y0 succeeds; a/z0 succeeds --
         a/z1 cannot read x; status a; a/x0 succeeds; a/z1 succeeds",
        expect![[r#"
            again a/x~1, release a/x, reserve a/x~1, run a/x0#1 on e1
            Running 0/1 statements 1/4 stages 2/5 tasks 1 running
            commit a/x~1, run a/z1#1 on e1
            commit a/z, reserve a/r, run a/r0 on e1"#]],
    );
}

// Invariant 24.
#[test]
fn a_proof_holds_for_equal_input_only() {
    check(
        "e1 joins with 3; submit a = x:1 > y:1! > z:2 > r:1; a/x0 succeeds; a/y0 succeeds; a/z0 succeeds --
         a/z1 cannot read y; a/y0 cannot read x; a/x0 succeeds; a/y0 succeeds",
        expect![[r#"
            again a/y~1, release a/y, reserve a/y~1, run a/y0#1 on e1
            again a/x~1, again a/z~1, release a/x a/z, reserve a/x~1, run a/x0#1 on e1
            commit a/x~1, run a/y0#2 on e1
            commit a/y~1, reserve a/z~1, run a/z0#1 on e1, run a/z1#1 on e1"#]],
    );
}

#[test]
fn a_reader_that_waits_for_room_gives_it_back_and_waits_for_its_input() {
    check(
        "e1 joins with 3; submit a = x:1! > y:1 > z:1(x) > r:1(y,z); hold answers; a/x0 succeeds; give 2 answers --
         a/y0 cannot read x; give answers; poll a; a/x0 succeeds; a/y0 succeeds; a/z0 succeeds",
        expect![[r#"
            again a/x~1, release a/x a/z, reserve a/x~1
            release a/z, run a/x0#1 on e1
            commit a/x~1, reserve a/z~1, run a/y0#1 on e1, run a/z0 on e1
            commit a/y
            commit a/z~1, reserve a/r, run a/r0 on e1"#]],
    );
}

#[test]
fn a_stage_that_loses_its_data_again_and_again_fails_the_job_with_advice() {
    check(
        "e1 joins with 1; submit a = x:1 > r:1 --
         a/x0 succeeds; a/r0 cannot read x; a/x0 succeeds; a/r0 cannot read x; a/x0 cannot push; a/x0 succeeds;
         a/r0 cannot read x; status a",
        expect![[r#"
            commit a/x, reserve a/r, run a/r0 on e1
            again a/x~1, release a/x, reserve a/x~1, run a/x0#1 on e1
            commit a/x~1, run a/r0#1 on e1
            again a/x~2, release a/x~1, reserve a/x~2, run a/x0#2 on e1
            again a/x~3, release a/x~2, reserve a/x~3, run a/x0#3 on e1
            commit a/x~3, run a/r0#2 on e1
            release a/x~3 a/r, a failed: the shuffle data of stage 0 (x) was lost 4 times: worker w1 is gone, release all of a
            Failed 0/1 statements 1/2 stages 1/2 tasks 0 running"#]],
    );
}

#[test]
fn a_sink_publishes_only_what_its_last_run_wrote() {
    check(
        "e1 joins with 3; submit a = x:1 > files:2; a/x0 succeeds; a/files0 succeeds --
         a/files1 cannot read x; a/x0 succeeds; a/files0#0 succeeds; a/files1 succeeds; a/files0 succeeds",
        expect![[r#"
            again a/x~1, again a/files~1, release a/x, reserve a/x~1, run a/x0#1 on e1
            commit a/x~1, run a/files0#1 on e1, run a/files1#1 on e1
            publish 2 files of a.0, discard a.0, release a/x~1, a succeeded, release all of a"#]],
    );
}

#[test]
fn a_result_that_lost_its_room_is_made_again_before_anybody_sees_it() {
    check(
        "e1 joins with 2; submit a = x:1 > big:2; a/x0 succeeds; a/big0 succeeds -- next verdict fails; a/big1 succeeds;
         a/big0 succeeds; a/big1 succeeds",
        expect![[r#"
            commit a/big, again a/big~1, release a/big, reserve a/big~1, run a/big0#1 on e1, run a/big1#1 on e1
            commit a/big~1, result a.0 of 20 rows, release a/x, a succeeded"#]],
    );
}

#[test]
fn a_loss_of_a_shuffle_that_the_stage_neither_reads_nor_writes_is_a_failure_like_others() {
    check(
        "e1 joins with 2; submit a = x:1 > y:1(x) > r:1; a/x0 succeeds; a/y0 succeeds -- a/r0 says that x is lost; 1s pass",
        expect![[r#"run a/r0#1 on e1"#]],
    );
}

// Invariant 24: what is said of a former run is a failure like others.
#[test]
fn a_loss_of_a_run_that_is_over_costs_the_attempt_that_speaks_of_it_and_no_run() {
    check(
        "e1 joins with 2; submit a = x:1 > y:1 > r:1; a/x0 succeeds; a/y0 cannot read x; a/x0 succeeds --
         a/y0 says that x is lost; 1s pass; a/y0 succeeds",
        expect![[r#"
            run a/y0#2 on e1
            commit a/y, reserve a/r, run a/r0 on e1"#]],
    );
}

#[test]
fn a_job_may_end_while_stages_wait_to_run_again() {
    check(
        "e1 joins with 2; submit a = x:1 > y:2 > r:1; a/x0 succeeds; a/y0 succeeds; a/y1 cannot read x -- cancel a",
        expect![[r#"stop a/x0#1 on e1, release a/x~1, a cancelled: the user said so, release all of a"#]],
    );
}
