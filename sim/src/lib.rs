//! A whole cluster in one thread, on a simulated network and clock, with everything going wrong that a seed says.
//!
//! One seed decides topology, jobs, faults and their times; the same seed gives the same run, event for event. The roles
//! are the real ones, from their gRPC and REST down to the shuffle's frames; replaced are sockets, clock, disks, object
//! stores, the job store, the event log's files and the engine. In reading order: [`run`] drives, [`scenario`] says what a seed means,
//! [`cluster`] starts the roles, [`network`] carries bytes, [`faults`] say what goes wrong, [`engine`] and [`oracle`] say
//! what tasks compute, [`client`] submits and operates, and [`invariants`] judge what [`record`] holds. [`exercise`] counts
//! what the cluster was made to do.

pub mod run;
pub mod scenario;

pub mod topology;
pub mod workload;

pub mod cluster;

mod clock;
mod disk;
mod network;
mod objects;
mod planner;
mod store;

pub mod faults;

pub mod engine;
pub mod oracle;

pub mod client;
pub mod exercise;
pub mod invariants;
pub mod record;

pub mod random;
pub mod summary;

/// `WorkerCrashed` as `worker-crashed`: how people are told.
fn kebab(variant: &impl std::fmt::Debug) -> String {
    let mut name = String::new();
    for (position, letter) in format!("{variant:?}").char_indices() {
        if position > 0 && letter.is_uppercase() {
            name.push('-');
        }
        name.extend(letter.to_lowercase());
    }
    name
}
