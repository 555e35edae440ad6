//! What the admin view shows. Times are RFC 3339 in UTC.

use penstock_common::clock::Timestamp;
use serde::Serialize;

use crate::{
    disk_view::DiskView,
    master::{
        limits::InForce,
        quotas::{Amount, Limit},
        state::Standing,
    },
};

#[derive(Debug, Serialize)]
pub(super) struct WorkerView {
    worker: String,
    incarnation: u64,
    control: String,
    data: String,
    admin: String,
    zone: String,
    rack: String,
    host: String,
    tags: Vec<String>,
    weight: u32,
    /// `serving`, `suspected`, `leaving`, `draining`, `drained`, `excluded`, `silent` or `left`: the first that holds from the
    /// right.
    state: &'static str,
    alive: bool,
    draining: bool,
    /// It drains and holds nothing any more: it may stop.
    drained: bool,
    leaves_at: Option<String>,
    excluded_until: Option<String>,
    excluded_because: Option<String>,
    suspected_until: Option<String>,
    last_heartbeat: String,
    jobs: usize,
    locations: u64,
    open_locations: u64,
    memory_used_bytes: u64,
    memory_limit_bytes: u64,
    paused: bool,
    disk_used_bytes: u64,
    disk_free_bytes: u64,
    disks: Vec<DiskView>,
    flush_us_per_mib: u64,
    fetch_us_per_mib: u64,
}

impl WorkerView {
    pub fn of(standing: Standing, now: Timestamp) -> Self {
        let state = state(&standing, now);
        let (report, usage) = (&standing.member.report, &standing.member.report.usage);
        Self {
            worker: report.address.worker.to_string(),
            incarnation: report.address.incarnation.0,
            control: report.address.control.clone(),
            data: report.address.data.clone(),
            admin: report.admin.clone(),
            zone: report.site.zone.clone(),
            rack: report.site.rack.clone(),
            host: report.site.host.clone(),
            tags: report.tags.clone(),
            weight: report.weight,
            state,
            alive: standing.alive,
            draining: standing.draining,
            drained: is_drained(&standing),
            leaves_at: report.leaves_at.map(|at| at.to_string()),
            excluded_until: standing.excluded.as_ref().map(|exclusion| exclusion.until.to_string()),
            excluded_because: standing.excluded.as_ref().map(|exclusion| exclusion.reason.clone()),
            suspected_until: standing.suspected_until.map(|until| until.to_string()),
            last_heartbeat: standing.member.reported_at.to_string(),
            jobs: report.holdings.len(),
            locations: usage.locations,
            open_locations: usage.open_locations,
            memory_used_bytes: usage.memory_used_bytes,
            memory_limit_bytes: usage.memory_limit_bytes,
            paused: usage.paused,
            disk_used_bytes: usage.disk_used_bytes,
            disk_free_bytes: usage.disk_free_bytes,
            disks: usage.disks.iter().map(DiskView::of).collect(),
            flush_us_per_mib: usage.flush_us_per_mib,
            fetch_us_per_mib: usage.fetch_us_per_mib,
        }
    }
}

/// It said so itself: an order that it has not heard yet is no drain, and one to serve again ends it at once.
fn is_drained(standing: &Standing) -> bool {
    let report = &standing.member.report;
    standing.draining && report.draining && report.holdings.is_empty() && standing.member.placed.is_empty()
}

/// How a worker stands, in one word.
pub(in crate::master) fn state(standing: &Standing, now: Timestamp) -> &'static str {
    let leaves_at = standing.member.report.leaves_at;
    match () {
        () if standing.member.report.left => "left",
        () if !standing.alive => "silent",
        () if standing.excluded.is_some() => "excluded",
        () if is_drained(standing) => "drained",
        () if standing.draining => "draining",
        () if leaves_at.is_some_and(|at| now <= at) => "leaving",
        () if standing.suspected_until.is_some() => "suspected",
        () => "serving",
    }
}

#[derive(Debug, Serialize)]
pub(super) struct JobView {
    pub job: String,
    pub user: String,
    pub bytes: u64,
    pub locations: u64,
    pub workers: usize,
    pub over_quota: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct UserView {
    user: String,
    #[serde(flatten)]
    held: Amount,
    /// 0: no limit.
    bytes_max: u64,
    locations_max: u64,
    /// Whether the limits are this user's own.
    own: bool,
    /// When they were set at run time; none: as configured.
    ordered_at: Option<String>,
}

impl UserView {
    pub fn of(user: String, held: Amount, quotas: &InForce) -> Self {
        let Limit { bytes, locations } = quotas.limits().of(&user);
        let own = quotas.limits().users.contains_key(&user);
        let ordered_at = quotas.ordered_at(&user).map(|at| at.to_string());
        Self { user, held, bytes_max: bytes.as_u64(), locations_max: locations, own, ordered_at }
    }
}
