//! A problem in words; the answer in words.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use expect_test::{Expect, expect};
use penstock_protocol::ids::{ExecutorId, StageId, TaskIndex};

use super::*;

/// A problem that owns what [`Problem`] borrows.
#[derive(Default)]
struct Scene {
    executors: Vec<Executor>,
    queues: Vec<(String, Group)>,
    users: Vec<(String, Group)>,
    jobs: Vec<SceneJob>,
}

struct SceneJob {
    name: String,
    queue: usize,
    user: usize,
    priority: i32,
    starved: bool,
    running: u32,
    ready: BTreeSet<TaskIndex>,
    avoid: BTreeMap<TaskIndex, Vec<ExecutorId>>,
    prefer: BTreeMap<TaskIndex, Vec<ExecutorId>>,
}

impl Scene {
    /// Clauses, separated by `;`:
    /// `e1 2` executor with free slots; `queue q weight 2 max 5`; `user u max 3`;
    /// `job a 5 [in q] [of u] [priority 3] [running 2] [starved] [avoid 0:e1+e2] [prefer 0:e1]` with ready tasks.
    fn parse(text: &str) -> Self {
        let mut scene = Scene::default();
        scene.queues.push(("default".to_owned(), group(1, u32::MAX)));
        scene.users.push(("nobody".to_owned(), group(1, u32::MAX)));
        for clause in text.split(';').map(str::trim).filter(|clause| !clause.is_empty()) {
            scene.add(&clause.split_whitespace().collect::<Vec<_>>());
        }
        scene
    }

    fn add(&mut self, words: &[&str]) {
        match words {
            ["queue", name, options @ ..] => self.queues.push(((*name).to_owned(), options_of(options))),
            ["user", name, options @ ..] => self.users.push(((*name).to_owned(), options_of(options))),
            ["job", name, tasks, options @ ..] => self.add_job(name, tasks.parse().unwrap(), options),
            [name, free] => {
                self.executors.push(Executor { id: ExecutorId::from(*name), free: free.parse().unwrap() })
            }
            other => panic!("what is {other:?}?"),
        }
    }

    fn add_job(&mut self, name: &str, tasks: u32, options: &[&str]) {
        let mut job = SceneJob {
            name: name.to_owned(),
            queue: 0,
            user: 0,
            priority: 0,
            starved: false,
            running: 0,
            ready: (0..tasks).map(TaskIndex).collect(),
            avoid: BTreeMap::new(),
            prefer: BTreeMap::new(),
        };
        let mut options = options.iter();
        while let Some(option) = options.next() {
            let mut value = || *options.next().unwrap();
            match *option {
                "in" => job.queue = position(&self.queues, value()),
                "of" => job.user = position(&self.users, value()),
                "priority" => job.priority = value().parse().unwrap(),
                "running" => job.running = value().parse().unwrap(),
                "starved" => job.starved = true,
                "avoid" => job.avoid.extend([task_and_executors(value())]),
                "prefer" => job.prefer.extend([task_and_executors(value())]),
                other => panic!("what is {other}?"),
            }
        }
        self.queues[job.queue].1.running += job.running;
        self.users[job.user].1.running += job.running;
        self.jobs.push(job);
    }

    fn problem(&self) -> Problem<'_> {
        let jobs = self.jobs.iter().map(|job| Job {
            queue: job.queue,
            user: job.user,
            priority: job.priority,
            starved: job.starved,
            running: job.running,
            stages: vec![Stage {
                stage: StageId(0),
                ready: &job.ready,
                avoid: &job.avoid,
                prefer: &job.prefer,
            }],
        });
        Problem {
            executors: self.executors.clone(),
            queues: self.queues.iter().map(|(_, group)| group.clone()).collect(),
            users: self.users.iter().map(|(_, group)| group.clone()).collect(),
            jobs: jobs.collect(),
        }
    }
}

fn group(weight: u32, slots_max: u32) -> Group {
    Group { weight, running: 0, slots_max }
}

fn options_of(options: &[&str]) -> Group {
    let mut group = group(1, u32::MAX);
    for pair in options.chunks(2) {
        match pair {
            ["weight", weight] => group.weight = weight.parse().unwrap(),
            ["max", max] => group.slots_max = max.parse().unwrap(),
            other => panic!("what is {other:?}?"),
        }
    }
    group
}

fn position(groups: &[(String, Group)], name: &str) -> usize {
    groups.iter().position(|(known, _)| known == name).unwrap()
}

fn task_and_executors(text: &str) -> (TaskIndex, Vec<ExecutorId>) {
    let (task, executors) = text.split_once(':').unwrap();
    (task.parse().unwrap(), executors.split('+').map(ExecutorId::from).collect())
}

#[track_caller]
fn check(scene: &str, expected: Expect) {
    let scene = Scene::parse(scene);
    let problem = scene.problem();
    let assignments = schedule(&problem);
    assert_eq!(assignments, schedule(&scene.problem()), "equal input gives equal output");
    let text =
        |a: &Assignment| format!("{}{}@{}", scene.jobs[a.job].name, a.task, scene.executors[a.executor].id);
    expected.assert_eq(&assignments.iter().map(text).collect::<Vec<_>>().join(" "));
}

#[test]
fn tasks_spread_over_the_executors_with_most_room() {
    check("e1 2; e2 3; e3 0; job a 4", expect!["a0@e2 a1@e1 a2@e2 a3@e1"]);
}

#[test]
fn nothing_is_handed_out_without_slots_or_tasks() {
    check("job a 2", expect![""]);
    check("e1 0; job a 2", expect![""]);
    check("e1 4; job a 0", expect![""]);
}

#[test]
fn queues_share_by_weight() {
    check(
        "e1 6; queue heavy weight 2; queue light weight 1; job a 9 in light; job b 9 in heavy",
        expect!["b0@e1 a0@e1 b1@e1 b2@e1 a1@e1 b3@e1"],
    );
}

#[test]
fn a_queue_that_holds_its_share_already_lets_the_other_catch_up() {
    check("e1 3; queue q; job a 9 running 2; job b 9 in q", expect!["b0@e1 b1@e1 a0@e1"]);
}

#[test]
fn limits_of_queues_and_users_hold_and_leave_slots_to_others() {
    check("e1 9; queue q max 2; job a 5 in q; job b 3", expect!["b0@e1 a0@e1 b1@e1 a1@e1 b2@e1"]);
    check("e1 9; user u max 2; job a 5 of u; job b 5 of u; job c 2", expect!["a0@e1 b0@e1 c0@e1 c1@e1"]);
    check("e1 9; queue q max 2; job a 5 in q running 2", expect![""]);
}

#[test]
fn higher_priority_goes_first_and_equal_jobs_take_turns() {
    check("e1 5; job a 2; job b 2 priority 5; job c 2", expect!["b0@e1 b1@e1 a0@e1 c0@e1 a1@e1"]);
}

#[test]
fn a_starved_job_gets_one_slot_before_any_priority() {
    check("e1 3; job a 9 priority 100 running 5; job b 9 starved", expect!["b0@e1 a0@e1 a1@e1"]);
}

#[test]
fn a_task_avoids_executors_where_it_failed_unless_there_are_no_others() {
    check("e1 5; e2 1; job a 2 avoid 0:e1", expect!["a0@e2 a1@e1"]);
    // e2 is busy now but will be free again: the task waits, the others do not.
    check("e1 5; e2 0; job a 2 avoid 0:e1", expect!["a1@e1"]);
    check("e1 5; job a 2 avoid 0:e1", expect!["a0@e1 a1@e1"]);
    check("e1 5; e2 5; job a 1 avoid 0:e1+e2", expect!["a0@e1"]);
    check("e1 5; e2 5; job a 1 avoid 0:e2+e1", expect!["a0@e2"]);
    check("e1 5; job a 1 avoid 0:gone", expect!["a0@e1"]);
}

#[test]
fn a_job_whose_tasks_can_go_nowhere_does_not_hold_up_the_others() {
    check("e1 2; e2 0; job a 1 priority 9 avoid 0:e1; job b 2", expect!["b0@e1 b1@e1"]);
}

#[test]
fn a_task_goes_where_its_data_is_near_if_there_is_room() {
    check("e1 5; e2 1; job a 3 prefer 0:e2 prefer 1:e2", expect!["a0@e2 a1@e1 a2@e1"]);
    check("e1 5; e2 1; job a 1 prefer 0:e2 avoid 0:e2", expect!["a0@e1"]);
}

#[test]
fn every_job_with_tasks_gets_a_slot_within_as_many_rounds_as_there_are_jobs() {
    let mut running = [0u32; 5];
    for _ in 0..running.len() {
        let jobs = (0u8..)
            .zip(running)
            .map(|(i, running)| format!("job {} 9 running {running}", (b'a' + i) as char));
        let scene = Scene::parse(&format!("e1 1; {}", jobs.collect::<Vec<_>>().join("; ")));
        for assignment in schedule(&scene.problem()) {
            running[assignment.job] += 1;
        }
    }
    assert_eq!(running, [1; 5]);
}

#[test]
fn ten_thousand_tasks_on_a_hundred_executors_fill_every_slot_once() {
    let executors: String = (0..100).map(|i| format!("e{i:03} 8; ")).collect();
    let scene = Scene::parse(&format!("{executors} job a 5000; job b 5000"));
    let assignments = schedule(&scene.problem());
    assert_eq!(assignments.len(), 800);
    let mut per_executor = [0; 100];
    let mut per_job = [0; 2];
    for assignment in &assignments {
        per_executor[assignment.executor] += 1;
        per_job[assignment.job] += 1;
    }
    assert_eq!(per_executor, [8; 100]);
    assert_eq!(per_job, [400; 2]);
}
