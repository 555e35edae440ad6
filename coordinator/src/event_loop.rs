//! The one task that owns the core: takes events, steps, has the effects carried out.
//!
//! Events that wait together are stepped together, so that their journal entries share one write. Nothing here waits
//! for anything but the store and the event log's spool.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use penstock_common::clock::Clock;
use tokio::{
    sync::{mpsc, oneshot},
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;

use crate::{
    coordinator::{Coordinator, TICK},
    effects::Effects,
    event::Event,
    metrics,
    store::StoreError,
};

/// Events that may wait; senders wait beyond it.
const INBOX_MAX: usize = 4_096;
/// Events that share one journal write at most.
const TURN_MAX: usize = 256;
/// A turn that takes longer is told to the core, which counts leases.
const STOOD_STILL_MIN: Duration = Duration::from_secs(1);

type Question = Box<dyn FnOnce(&Coordinator) + Send>;

enum Message {
    Event(Box<Event>),
    Ask(Question),
}

/// How everybody else reaches the core; cheap to clone.
#[derive(Debug, Clone)]
pub struct Inbox {
    messages: mpsc::Sender<Message>,
}

/// The loop has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the coordinator is stopping")]
pub struct Stopped;

pub struct EventLoop {
    core: Coordinator,
    messages: mpsc::Receiver<Message>,
    clock: Arc<dyn Clock>,
}

/// The inbox and the loop's end of it.
pub fn event_loop(core: Coordinator, clock: Arc<dyn Clock>) -> (Inbox, EventLoop) {
    let (sender, messages) = mpsc::channel(INBOX_MAX);
    (Inbox { messages: sender }, EventLoop { core, messages, clock })
}

impl Inbox {
    /// Waits for room. What is sent while the coordinator stops is lost, as it would be a moment later.
    pub async fn send(&self, event: Event) {
        if self.messages.send(Message::Event(Box::new(event))).await.is_err() {
            tracing::debug!("an event came while the coordinator stops");
        }
    }

    /// Looks at the core's state between two steps.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Coordinator) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let (sender, answer) = oneshot::channel();
        let ask: Question = Box::new(move |core| {
            // Whoever asked may have gone.
            let _ = sender.send(question(core));
        });
        self.messages.send(Message::Ask(ask)).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }
}

impl EventLoop {
    /// Runs until stopped. An error means that the store cannot be written: nothing may be promised any more.
    pub async fn run(mut self, effects: Arc<Effects>, stop: CancellationToken) -> Result<(), StoreError> {
        let mut turn = Vec::with_capacity(TURN_MAX);
        // Leases, timeouts and back-offs need time to go on; no query waits for it.
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                _ = ticks.tick() => turn.push(Message::Event(Box::new(Event::Tick))),
                taken = self.messages.recv_many(&mut turn, TURN_MAX) => if taken == 0 { return Ok(()) },
            }
            let started = Instant::now();
            self.take_turn(&mut turn, &effects).await?;
            metrics::took(metrics::TURN_SECONDS, started.elapsed());
        }
    }

    async fn take_turn(&mut self, turn: &mut Vec<Message>, effects: &Arc<Effects>) -> Result<(), StoreError> {
        ::metrics::histogram!(metrics::INBOX_DEPTH).record(turn.len() as f64);
        let (mut wanted, mut questions) = (Vec::new(), Vec::new());
        for message in turn.drain(..) {
            match message {
                Message::Event(event) => wanted.extend(self.core.step(self.clock.now(), *event)),
                Message::Ask(question) => questions.push(question),
            }
        }
        let before = self.clock.now();
        effects.carry_out(wanted).await?;
        let duration = self.clock.now() - before;
        if duration >= STOOD_STILL_MIN {
            // What waits in the inbox was said meanwhile; the clock must not judge before it is heard.
            let event = Event::StoodStill { duration };
            effects.carry_out(self.core.step(self.clock.now(), event)).await?;
        }
        // Only now is what the core knows also in the store: nobody may see it earlier.
        questions.into_iter().for_each(|question| question(&self.core));
        Ok(())
    }
}
