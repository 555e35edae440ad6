//! Two workers that send each other second copies while memory is short.
#![allow(clippy::unwrap_used)]

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use penstock_common::bytes::ByteSize;
use shuttle::future::{JoinHandle, spawn};
use tokio::sync::{mpsc, oneshot};

use super::{Budget, Charge, NoRoom, Share};
use crate::worker::{
    config::Config,
    models::{check, switch},
};

/// A batch fills more than a third of a worker's memory of 1000 bytes, so that two of each share do not fit.
const BATCH_BYTES: usize = 380;

struct Worker {
    budget: Arc<Budget>,
    stored: Mutex<VecDeque<Charge>>,
}

impl Worker {
    fn new() -> Arc<Self> {
        let config = Config { memory_bytes_max: ByteSize(2000), ..Config::default() };
        Arc::new(Self { budget: Budget::new(&config), stored: Mutex::default() })
    }

    /// Takes a batch as soon as there is room.
    async fn store(&self, share: Share) {
        let charge = match self.budget.take_now(share, BATCH_BYTES) {
            Some(charge) => charge,
            None => self.budget.wait(share, BATCH_BYTES).await,
        };
        // The frame is read: its memory is taken, and nothing can be flushed yet.
        switch();
        self.stored.lock().unwrap().push_back(charge.unwrap());
        switch();
        self.budget.check_pressure();
    }

    /// Writes out what is stored whenever memory runs short.
    async fn flush(self: Arc<Self>) {
        loop {
            self.budget.pressure().await;
            while self.budget.flush_goal() > 0 {
                switch();
                let Some(oldest) = self.stored.lock().unwrap().pop_front() else { break };
                switch();
                drop(oldest);
            }
        }
    }
}

type Copy = oneshot::Sender<()>;

/// Takes second copies one after the other, as they come over one link.
async fn take_copies(worker: Arc<Worker>, mut copies: mpsc::Receiver<Copy>) {
    while let Some(taken) = copies.recv().await {
        worker.store(Share::Replicas).await;
        taken.send(()).unwrap();
    }
}

/// Pushes three batches, each acknowledged when both workers have it.
async fn push(worker: Arc<Worker>, link: mpsc::Sender<Copy>) {
    for _ in 0..3 {
        worker.store(Share::Clients).await;
        let (taken, answer) = oneshot::channel();
        link.send(taken).await.unwrap();
        answer.await.unwrap();
    }
}

// Invariant 27: a pause for memory ends by itself, whoever waits for whom, and everything is given back.
#[test]
fn two_workers_that_replicate_to_each_other_do_not_wait_for_each_other() {
    check(|| async {
        let workers = [Worker::new(), Worker::new()];
        let flushers = workers.each_ref().map(|worker| spawn(Arc::clone(worker).flush()));
        let mut tasks: Vec<JoinHandle<()>> = Vec::new();
        for (worker, other) in [(0, 1), (1, 0)] {
            let (link, copies) = mpsc::channel(1);
            tasks.push(spawn(take_copies(Arc::clone(&workers[other]), copies)));
            tasks.extend((0..2).map(|_| spawn(push(Arc::clone(&workers[worker]), link.clone()))));
        }
        for task in tasks {
            task.await.unwrap();
        }
        for flusher in flushers {
            flusher.abort();
            assert!(flusher.await.is_err(), "it flushes for ever");
        }
        for worker in &workers {
            worker.stored.lock().unwrap().clear();
            assert_eq!(worker.budget.used(), 0);
        }
    });
}

// Invariant 27: a waiting push is refused, and never forgotten, when the disks take nothing.
#[test]
fn a_push_that_waits_while_the_disks_fail_is_refused() {
    check(|| async {
        let worker = Worker::new();
        let held = worker.budget.take_now(Share::Clients, 700).unwrap().unwrap();
        let waiting = Arc::clone(&worker);
        let push = spawn(async move { waiting.budget.wait(Share::Clients, BATCH_BYTES).await.map(drop) });
        let failing = Arc::clone(&worker);
        let flusher = spawn(async move {
            failing.budget.pressure().await;
            switch();
            failing.budget.refuse_waiting();
        });
        assert_eq!(push.await.unwrap(), Err(NoRoom::Exhausted));
        flusher.await.unwrap();
        drop(held);
        assert_eq!(worker.budget.used(), 0);
    });
}
