//! The simulation on few seeds and on crafted ones; `make test` and `make soak` run many.
#![allow(clippy::unwrap_used)]

mod determinism;
mod losses;
mod smoke;
