//! What a worker keeps data in.

use std::sync::Arc;

use opendal::Operator;

use crate::disk::Disk;

/// What carries out a worker's calls to its disks and its object store.
#[derive(Debug, Clone)]
pub struct Storage {
    pub disk: Arc<dyn Disk>,
    /// In place of the one that the configuration names.
    pub object_store: Option<Operator>,
}

impl<D: Disk + 'static> From<Arc<D>> for Storage {
    fn from(disk: Arc<D>) -> Self {
        Self { disk, object_store: None }
    }
}
