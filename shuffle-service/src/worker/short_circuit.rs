//! The way in for clients of this host that leaves the network out.

use std::io;

use penstock_common::net::{Listener, LocalListener, Network};

use super::{Config, StartError, reach};

/// Listens under the name of the data address; none where there is no such way, or another user stands in it: clients come
/// over the network then.
pub(super) async fn listen(
    config: &Config,
    network: &dyn Network,
    data: &dyn Listener,
) -> Result<Option<LocalListener>, StartError> {
    if !config.short_circuit {
        return Ok(None);
    }
    let address = reach(config, data.local_addr().map_err(StartError::Bind)?);
    match network.bind_local(&address).await {
        Ok(listener) => Ok(Some(listener)),
        Err(cause) if cause.kind() == io::ErrorKind::Unsupported => Ok(None),
        // Clients would take whoever lets them in for this worker, and leave all others alone.
        Err(cause)
            if cause.kind() == io::ErrorKind::AddrInUse && network.connect_local(&address).await.is_ok() =>
        {
            Err(StartError::NameTaken { address })
        }
        Err(cause) => {
            tracing::warn!(address, %cause, "clients of this host come over the network");
            Ok(None)
        }
    }
}
