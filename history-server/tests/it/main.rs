//! The history server as its users meet it: logs in a folder, answers over HTTP.

#![allow(clippy::unwrap_used)]

#[path = "../fixtures/mod.rs"]
mod fixtures;
mod server;

mod damage;
mod events;
mod list;
mod live;
mod page;
mod shuffle;
mod versions;
mod web;
