//! SQL in, stages out; and what an executor needs to run one task of a stage.
//!
//! Reading order: a script becomes statements (`script`, `parameters`), a statement is bound to tables and optimised
//! (`sql`, `catalog`, `tables`, `settings`, `session`, `rules`), its plan is cut into stages (`fragment`,
//! `stage_graph`), a stage travels (`codec`, `scan`), one task of it is bound and run (`bind`, `attempt`, `window`), and rows
//! leave it as payloads (`exchange`, with `penstock_batches`) or files (`sink`). Not here: transport, scheduling, retries.

pub mod script;

pub mod parameters;

pub mod sql;

pub mod catalog;
mod tables;

pub mod session;
pub mod settings;
pub mod stores;

pub mod rules;

pub mod fragment;
pub mod stage_graph;

pub mod codec;
pub mod scan;

pub mod attempt;
mod bind;
pub mod local;
mod metrics;
mod window;

mod compact;
pub mod exchange;

pub mod sink;

pub mod error;
pub mod nearest;
