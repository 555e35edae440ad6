//! What jobs and users hold, and whether they may hold more. Pure.
//!
//! Numbers come from the workers' reports, so a new master knows them after one round. A placement counts from the moment
//! it is made until its worker reports again. Refused is what would be new, never what was accepted (invariant 29).

use std::collections::BTreeMap;

use penstock_common::bytes::ByteSize;
use penstock_protocol::ids::JobId;
use serde::{Deserialize, Serialize};

/// How much a job or the jobs of a user may hold. 0: as much as there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limit {
    /// Bytes, all copies counted.
    pub bytes: ByteSize,
    /// Locations, all copies counted; each is one file at most.
    pub locations: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Limits {
    pub job: Limit,
    /// For users that have none of their own.
    pub user: Limit,
    pub users: BTreeMap<String, Limit>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub(super) struct Amount {
    pub bytes: u64,
    pub locations: u64,
}

/// What one worker holds of one job.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Holding {
    pub user: String,
    pub amount: Amount,
}

pub(super) type Holdings = BTreeMap<JobId, Holding>;

/// Why something may not grow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the quota of {whose} is used up: {used} of {limit} {unit}")]
pub(super) struct OverQuota {
    whose: String,
    used: u64,
    limit: u64,
    unit: &'static str,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    jobs: BTreeMap<JobId, Account>,
    users: BTreeMap<String, Amount>,
}

#[derive(Debug, Default)]
pub(super) struct Account {
    pub user: String,
    pub amount: Amount,
}

impl Ledger {
    pub fn add(&mut self, holdings: &Holdings) {
        for (job, holding) in holdings {
            let account = self.jobs.entry(*job).or_default();
            if account.user != holding.user && !holding.user.is_empty() {
                move_to_user(&mut self.users, account, &holding.user);
            }
            account.amount.add(holding.amount);
            self.users.entry(account.user.clone()).or_default().add(holding.amount);
        }
    }

    /// Takes back what was added with the same holdings.
    pub fn subtract(&mut self, holdings: &Holdings) {
        for (job, holding) in holdings {
            let Some(account) = self.jobs.get_mut(job) else { continue };
            account.amount.subtract(holding.amount);
            if let Some(user) = self.users.get_mut(&account.user) {
                user.subtract(holding.amount);
            }
            if account.amount == Amount::default() {
                self.users.retain(|_, amount| *amount != Amount::default());
                self.jobs.remove(job);
            }
        }
    }

    /// Whether `job` of `user` may get so many more locations.
    pub fn admits(&self, limits: &Limits, job: JobId, user: &str, locations: u64) -> Result<(), OverQuota> {
        let of_job = self.jobs.get(&job).map(|account| account.amount).unwrap_or_default();
        let of_user = self.users.get(user).copied().unwrap_or_default();
        check(|| format!("job {job}"), of_job, locations, limits.job)?;
        check(|| name_of(user), of_user, locations, limits.of(user))
    }

    /// Whether a job must not grow by a byte.
    pub fn is_over(&self, limits: &Limits, job: JobId) -> bool {
        self.jobs.get(&job).is_some_and(|account| {
            let user = self.users.get(&account.user).copied().unwrap_or_default();
            account.amount.reaches(limits.job) || user.reaches(limits.of(&account.user))
        })
    }

    pub fn user(&self, job: JobId) -> Option<&str> {
        self.jobs.get(&job).map(|account| account.user.as_str())
    }

    pub fn jobs(&self) -> impl Iterator<Item = (&JobId, &Account)> {
        self.jobs.iter()
    }

    pub fn users(&self) -> impl Iterator<Item = (&String, &Amount)> {
        self.users.iter()
    }
}

/// The first report that names the user settles whose job it is.
fn move_to_user(users: &mut BTreeMap<String, Amount>, account: &mut Account, user: &str) {
    if let Some(before) = users.get_mut(&account.user) {
        before.subtract(account.amount);
    }
    users.entry(user.to_owned()).or_default().add(account.amount);
    user.clone_into(&mut account.user);
}

fn check(
    whose: impl Fn() -> String,
    used: Amount,
    more_locations: u64,
    limit: Limit,
) -> Result<(), OverQuota> {
    let over = |used, limit, unit| Err(OverQuota { whose: whose(), used, limit, unit });
    if used.reaches(limit) {
        return over(used.bytes, limit.bytes.as_u64(), "bytes");
    }
    if limit.locations > 0 && used.locations + more_locations > limit.locations {
        return over(used.locations, limit.locations, "locations");
    }
    Ok(())
}

fn name_of(user: &str) -> String {
    if user.is_empty() { "jobs without a user".to_owned() } else { format!("user {user}") }
}

impl Limits {
    pub fn of(&self, user: &str) -> Limit {
        self.users.get(user).copied().unwrap_or(self.user)
    }
}

impl Amount {
    pub fn add(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.locations += other.locations;
    }

    fn subtract(&mut self, other: Self) {
        self.bytes = self.bytes.saturating_sub(other.bytes);
        self.locations = self.locations.saturating_sub(other.locations);
    }

    /// Bytes grow by pushes, locations only by placements, which are asked for: so bytes alone stop pushes.
    fn reaches(self, limit: Limit) -> bool {
        let bytes_max = limit.bytes.as_u64();
        bytes_max > 0 && self.bytes >= bytes_max
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn job(number: u128) -> JobId {
        JobId(Uuid::from_u128(number))
    }

    fn holding(number: u128, user: &str, bytes: u64, locations: u64) -> Holdings {
        Holdings::from([(
            job(number),
            Holding { user: user.to_owned(), amount: Amount { bytes, locations } },
        )])
    }

    fn limits() -> Limits {
        let large = Limit { bytes: ByteSize(1000), locations: 100 };
        Limits {
            job: Limit { bytes: ByteSize(100), locations: 10 },
            user: Limit { bytes: ByteSize(150), locations: 12 },
            users: BTreeMap::from([("eve".to_owned(), large)]),
        }
    }

    #[test]
    fn a_job_may_grow_until_its_own_or_its_users_limit() {
        let mut ledger = Ledger::default();
        ledger.add(&holding(1, "ann", 90, 8));
        let admits = |ledger: &Ledger, number, user, locations| {
            ledger.admits(&limits(), job(number), user, locations).map_err(|error| error.to_string())
        };
        assert_eq!(admits(&ledger, 1, "ann", 2), Ok(()));
        let error = admits(&ledger, 1, "ann", 3).expect_err("11 of 10");
        assert!(error.contains("job") && error.contains("8 of 10 locations"), "{error}");
        let error = admits(&ledger, 2, "ann", 5).expect_err("13 of 12");
        assert!(error.contains("user ann"), "{error}");
        assert_eq!(admits(&ledger, 3, "eve", 10), Ok(()));
        ledger.add(&holding(2, "ann", 60, 1));
        let error = admits(&ledger, 3, "ann", 1).expect_err("150 of 150");
        assert!(error.contains("150 of 150 bytes"), "{error}");
        assert!(ledger.is_over(&limits(), job(1)), "its user's limit is reached");
        ledger.subtract(&holding(2, "ann", 60, 1));
        assert!(!ledger.is_over(&limits(), job(1)));
        assert_eq!(admits(&ledger, 3, "ann", 1), Ok(()));
    }

    #[test]
    fn without_limits_everything_goes() {
        let mut ledger = Ledger::default();
        ledger.add(&holding(1, "", u64::MAX / 2, u64::MAX / 2));
        assert_eq!(ledger.admits(&Limits::default(), job(1), "", 1_000_000), Ok(()));
        assert!(!ledger.is_over(&Limits::default(), job(1)));
    }

    #[test]
    fn a_job_counts_for_its_user_as_soon_as_one_worker_names_the_user() {
        let mut ledger = Ledger::default();
        ledger.add(&holding(1, "", 10, 1));
        ledger.add(&holding(1, "ann", 10, 1));
        ledger.add(&holding(1, "", 10, 1));
        let users: Vec<_> = ledger.users().filter(|(_, amount)| amount.bytes > 0).collect();
        assert_eq!(users, [(&"ann".to_owned(), &Amount { bytes: 30, locations: 3 })]);
    }

    proptest! {
        #[test]
        fn what_is_added_and_taken_back_in_any_order_leaves_nothing(
            reports in prop::collection::vec((0..4u128, "[ab]?", 0..100u64, 0..5u64), 0..20),
            order: u64,
        ) {
            let mut ledger = Ledger::default();
            let mut reports: Vec<_> = reports
                .into_iter()
                .map(|(number, user, bytes, locations)| holding(number, &user, bytes, locations))
                .collect();
            reports.iter().for_each(|holdings| ledger.add(holdings));
            let split = (order as usize) % (reports.len() + 1);
            reports.rotate_left(split);
            reports.iter().for_each(|holdings| ledger.subtract(holdings));
            prop_assert!(ledger.users().all(|(_, amount)| *amount == Amount::default()));
            prop_assert!(ledger.jobs().all(|(_, account)| account.amount == Amount::default()));
        }
    }
}
