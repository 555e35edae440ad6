//! What a submission means: a new job, the next try of an old one, or one that is there already.

use penstock_protocol::{event::JobState, ids::JobId};

use crate::effect::SubmitError;

/// The job that holds the submission's idempotency key.
#[derive(Debug, Clone, PartialEq)]
pub struct Holder {
    pub job: JobId,
    pub try_number: u32,
    pub state: JobState,
    /// Its end is decided but not reached.
    pub is_ending: bool,
    /// What differs from the submission; empty if nothing does. Unknown parts are named `definition`.
    pub differs: Vec<&'static str>,
}

#[derive(Debug, PartialEq)]
pub enum Decision {
    Reattach(Holder),
    /// `after` has to end before the new job may start.
    Start {
        try_number: u32,
        continues: Option<JobId>,
        after: Option<JobId>,
    },
}

/// The same key answers the same job while it runs and after it succeeded. After a failure or a cancel it starts the
/// next try, as does another definition once the old job is over; before that it is a conflict.
pub fn decide(holder: Option<Holder>) -> Result<Decision, SubmitError> {
    let Some(holder) = holder else {
        return Ok(Decision::Start { try_number: 1, continues: None, after: None });
    };
    let is_over = holder.state.is_terminal();
    let next = |holder: &Holder| Decision::Start {
        try_number: holder.try_number + 1,
        continues: Some(holder.job),
        after: (!is_over).then_some(holder.job),
    };
    match holder.differs.is_empty() {
        true if holder.state == JobState::Succeeded => Ok(Decision::Reattach(holder)),
        true if !is_over && !holder.is_ending => Ok(Decision::Reattach(holder)),
        false if !is_over => {
            Err(SubmitError::Conflict { job: holder.job, state: holder.state, differs: holder.differs })
        }
        _ => Ok(next(&holder)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn holder(state: JobState, is_ending: bool, differs: &[&'static str]) -> Option<Holder> {
        let job = JobId(uuid::Uuid::from_u128(7));
        Some(Holder { job, try_number: 2, state, is_ending, differs: differs.to_vec() })
    }

    #[track_caller]
    fn check(holder: Option<Holder>, expected: &str) {
        let decision = match decide(holder) {
            Ok(Decision::Reattach(_)) => "reattach".to_owned(),
            Ok(Decision::Start { try_number, continues, after }) => {
                format!("try {try_number}, continues {}, waits {}", continues.is_some(), after.is_some())
            }
            Err(SubmitError::Conflict { differs, .. }) => format!("conflict in {}", differs.join(" ")),
            Err(error) => error.to_string(),
        };
        assert_eq!(decision, expected);
    }

    #[test]
    fn a_key_stands_for_one_job_until_it_fails() {
        check(None, "try 1, continues false, waits false");
        check(holder(JobState::Queued, false, &[]), "reattach");
        check(holder(JobState::Running, false, &[]), "reattach");
        check(holder(JobState::Succeeded, false, &[]), "reattach");
        check(holder(JobState::Failed, false, &[]), "try 3, continues true, waits false");
        check(holder(JobState::Cancelled, false, &[]), "try 3, continues true, waits false");
        check(holder(JobState::Running, true, &[]), "try 3, continues true, waits true");
    }

    #[test]
    fn another_definition_conflicts_with_an_active_job_only() {
        check(holder(JobState::Running, false, &["sql"]), "conflict in sql");
        check(holder(JobState::Running, true, &["sql", "settings"]), "conflict in sql settings");
        check(holder(JobState::Succeeded, false, &["sql"]), "try 3, continues true, waits false");
        check(holder(JobState::Failed, false, &["sql"]), "try 3, continues true, waits false");
    }
}
