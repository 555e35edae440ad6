//! When an executor that was told to stop may leave. Pure.
//!
//! It takes nothing new, lets running attempts end, hands back those that do not end within the deadline, delivers its
//! reports and leaves. Nobody waits for a coordinator that is gone: without a connection there is nobody to tell.

use std::time::Duration;

use tokio::time::Instant;

/// How long cancelled attempts and last reports get.
const FLUSH: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy)]
pub struct Drain {
    hand_back_at: Instant,
    handed_back: bool,
    idle_since: Option<Instant>,
}

/// What the executor still has to do.
#[derive(Debug, Clone, Copy)]
pub struct Remains {
    pub idle: bool,
    pub owes_nothing: bool,
    pub connected: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Look again at this time, or when something happened.
    WaitUntil(Instant),
    /// Cancel what still runs; said once.
    HandBack,
    Leave,
}

impl Drain {
    pub fn begin(now: Instant, deadline: Duration) -> Self {
        Self { hand_back_at: now + deadline, handed_back: false, idle_since: None }
    }

    pub fn step(&mut self, now: Instant, remains: Remains) -> Step {
        if !remains.idle {
            return self.wait_for_attempts(now);
        }
        let leave_at = *self.idle_since.get_or_insert(now) + FLUSH;
        if remains.owes_nothing || !remains.connected || now >= leave_at {
            Step::Leave
        } else {
            Step::WaitUntil(leave_at)
        }
    }

    fn wait_for_attempts(&mut self, now: Instant) -> Step {
        let leave_at = self.hand_back_at + FLUSH;
        if now >= leave_at {
            Step::Leave
        } else if now < self.hand_back_at {
            Step::WaitUntil(self.hand_back_at)
        } else if !self.handed_back {
            self.handed_back = true;
            Step::HandBack
        } else {
            Step::WaitUntil(leave_at)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(30);
    const BUSY: Remains = Remains { idle: false, owes_nothing: true, connected: true };
    const OWING: Remains = Remains { idle: true, owes_nothing: false, connected: true };
    const DONE: Remains = Remains { idle: true, owes_nothing: true, connected: true };

    #[test]
    fn an_idle_executor_that_owes_nothing_leaves_at_once() {
        let now = Instant::now();
        assert_eq!(Drain::begin(now, DEADLINE).step(now, DONE), Step::Leave);
    }

    #[test]
    fn running_attempts_are_handed_back_at_the_deadline_and_given_up_after_it() {
        let now = Instant::now();
        let mut drain = Drain::begin(now, DEADLINE);
        assert_eq!(drain.step(now, BUSY), Step::WaitUntil(now + DEADLINE));
        assert_eq!(drain.step(now + DEADLINE, BUSY), Step::HandBack);
        assert_eq!(drain.step(now + DEADLINE, BUSY), Step::WaitUntil(now + DEADLINE + FLUSH));
        assert_eq!(drain.step(now + DEADLINE + FLUSH, BUSY), Step::Leave);
    }

    #[test]
    fn last_reports_are_waited_for_while_there_is_somebody_to_take_them() {
        let now = Instant::now();
        let mut drain = Drain::begin(now, DEADLINE);
        assert_eq!(drain.step(now, OWING), Step::WaitUntil(now + FLUSH));
        assert_eq!(drain.step(now, Remains { connected: false, ..OWING }), Step::Leave);
        assert_eq!(drain.step(now + FLUSH, OWING), Step::Leave);
    }
}
