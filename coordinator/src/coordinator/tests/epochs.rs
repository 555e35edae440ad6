//! Partitions that move to new epochs while their stage runs.

use expect_test::expect;

use super::language::check;

// Invariant 13: recorded before anybody hears of it (the world checks that), handed out once, committed all together.
#[test]
fn executors_that_ask_for_the_same_successor_get_the_same_and_all_epochs_are_committed() {
    check(
        "e1 joins with 1; e2 joins with 1; submit a = x:2 > r:1; hold answers --
         e1 asks what follows 0 of a/x; e2 asks what follows 0 of a/x; give answers; e2 asks what follows 0 of a/x;
         e1 asks what follows 1 of a/x; a/x0 succeeds; a/x1 succeeds",
        expect![[r#"
            extend a/x by 0.1
            e1 hears of 0.1, e2 hears of 0.1
            e2 hears of 0.1
            extend a/x by 0.2, e1 hears of 0.2
            commit a/x with 3 locations, reserve a/r, run a/r0 on e1"#]],
    );
}

#[test]
fn an_executor_hears_why_there_is_no_new_epoch_and_may_ask_again() {
    check(
        "e1 joins with 1; submit a = x:1 > r:1; next extend fails --
         e1 asks what follows 0 of a/x; e1 asks what follows 0 of a/x; e1 asks what follows 7 of a/x",
        expect![[r#"
            extend a/x by 0.1, e1 hears that no worker has room
            extend a/x by 0.2, e1 hears of 0.2
            e1 hears that partition 0 never had an epoch 7"#]],
    );
}

#[test]
fn what_lies_on_a_worker_that_leaves_goes_on_elsewhere_and_is_closed() {
    check(
        "e1 joins with 1; submit a = x:1 > r:1; hold answers --
         shuffle worker w7 leaves; shuffle worker w1 leaves; shuffle worker w1 leaves; give answers; a/x0 succeeds",
        expect![[r#"
            extend a/x by 0.1
            close 0.0 of a/x
            commit a/x with 2 locations, reserve a/r, run a/r0 on e1"#]],
    );
}

#[test]
fn nobody_waits_for_an_epoch_of_a_stage_that_is_done() {
    check(
        "e1 joins with 1; submit a = x:1 > r:1; hold answers; e1 asks what follows 0 of a/x --
         a/x0 succeeds; e1 asks what follows 0 of a/x; give answers; cancel a; e1 asks what follows 0 of a/x",
        expect![[r#"
            e1 hears that all tasks of the stage are done, commit a/x
            e1 hears that nothing is pushed to shuffle a/0/0 any more
            reserve a/r, run a/r0 on e1
            stop a/r0 on e1, release a/x a/r, a cancelled: the user said so, release all of a
            e1 hears that nothing is pushed to shuffle a/0/0 any more"#]],
    );
}
