//! Behaviour of the engine as a whole, against one DataFusion process.
#![allow(clippy::unwrap_used)]

mod bad_input;
mod cut;
mod exchange;
mod pushdown;
mod repeatable;
mod scripts;
mod sql;
mod support;
mod tpch;
mod traps;
