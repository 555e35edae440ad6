//! How a worker leaves: batches go elsewhere at once; what its clients still need here is served until a stop loses
//! nothing, or time is up.
//!
//! Not here: what the stop itself makes durable.

use std::time::Duration;

use super::store::Store;

/// Between two looks at what a stop would lose.
const POLL: Duration = Duration::from_millis(100);

/// Takes nothing more, and waits for commits at most for `patience`. Of a worker that keeps nothing for its next life,
/// everything has to be released.
pub(super) async fn drain(store: &Store, patience: Duration) {
    store.standing.set_stopping();
    let safe = async {
        while at_risk(store) > 0 {
            tokio::time::sleep(POLL).await;
        }
    };
    match tokio::time::timeout(patience, safe).await {
        Ok(()) => tracing::info!(worker = %store.worker, "drained"),
        Err(_) => {
            let locations = at_risk(store);
            tracing::warn!(worker = %store.worker, locations, "not waiting longer for those who need this worker");
        }
    }
}

/// Locations that a stop would lose.
fn at_risk(store: &Store) -> usize {
    let keeps = store.durability().keep;
    let lost = |location: &super::location::Location| match keeps {
        true => location.is_unfinished(),
        false => location.is_unfinished() || location.is_committed() && location.has_bytes(),
    };
    store.each_location().filter(|named| lost(&named.location)).count()
}
