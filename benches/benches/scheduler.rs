//! One scheduling round with many runnable tasks.

use std::{
    collections::{BTreeMap, BTreeSet},
    hint::black_box,
};

use criterion::{Criterion, criterion_group, criterion_main};
use penstock_coordinator::scheduler::{Executor, Group, Job, Problem, Stage, schedule};
use penstock_protocol::ids::{ExecutorId, StageId, TaskIndex};

const EXECUTORS: u32 = 100;
const SLOTS_FREE: u32 = 4;
const JOBS: u32 = 50;
const TASKS: u32 = 1_000;

fn scheduler(criterion: &mut Criterion) {
    let ready: BTreeSet<_> = (0..TASKS).map(TaskIndex).collect();
    let none = BTreeMap::new();
    let group = Group { weight: 1, running: 0, slots_max: u32::MAX };
    let job = |_| Job {
        queue: 0,
        user: 0,
        priority: 0,
        starved: false,
        running: 0,
        stages: vec![Stage { stage: StageId(0), ready: &ready, avoid: &none, prefer: &none }],
    };
    let problem = Problem {
        executors: (0..EXECUTORS)
            .map(|number| Executor { id: ExecutorId::new(format!("executor-{number}")), free: SLOTS_FREE })
            .collect(),
        queues: vec![group.clone()],
        users: vec![group],
        jobs: (0..JOBS).map(job).collect(),
    };
    criterion.bench_function("schedule 400 slots to 50,000 tasks", |bencher| {
        bencher.iter(|| schedule(black_box(&problem)));
    });
}

criterion_group!(benches, scheduler);
criterion_main!(benches);
