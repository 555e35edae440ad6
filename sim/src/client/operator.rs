//! An operator: takes workers out of service and back, or says that their machines go, by telling every master, as
//! `penstock shuffle` does.
//!
//! One order after the other. A master that does not hear an order keeps what it knows; the workers do what they are told by
//! whichever master they hear.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::http::{Answer, Server};
use crate::{
    cluster::{Life, World},
    topology::{Host, MASTER_ADMIN_PORT, MASTER_PORT},
};

#[derive(Debug)]
pub enum Order {
    Decommission(Host),
    Recommission(Host),
    Interrupt(Host),
}

const TRIES: u32 = 8;
/// The machine stays after all, or goes by another fault.
const NOTICE_SECONDS: u64 = 5;
const PATIENCE: Duration = Duration::from_secs(2);
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Carries out orders for ever.
pub(super) async fn obey(world: &World, life: &Life, mut orders: mpsc::Receiver<Order>) {
    while let Some(order) = orders.recv().await {
        let (worker, verb, body) = match &order {
            Order::Decommission(worker) => (worker, "decommission", json!({})),
            Order::Recommission(worker) => (worker, "recommission", json!({})),
            Order::Interrupt(worker) => (worker, "interruption", json!({ "seconds": NOTICE_SECONDS })),
        };
        let path = format!("/api/v1/workers/{worker}/{verb}");
        let tell = world.masters.iter().map(|master| tell(world, life, master, &path, &body));
        futures::future::join_all(tell).await;
    }
    std::future::pending().await
}

/// Until the master has heard it, or for some time.
async fn tell(world: &World, life: &Life, master: &str, path: &str, body: &Value) {
    let admin = master.replace(&MASTER_PORT.to_string(), &MASTER_ADMIN_PORT.to_string());
    let server = Server { network: life.network.as_ref(), addr: &admin };
    for _ in 0..TRIES {
        if let Ok(Answer { status: 200, .. }) = server.post(path, body, PATIENCE).await {
            return world.record.line(format_args!("{master} was told {path}"));
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
    world.record.line(format_args!("{master} was not told {path}"));
}
