//! The cluster's tables: the engine's definitions, kept in the job store.
//!
//! One coordinator writes, so what is in memory is what is in the store; readers get a snapshot without waiting.

use std::sync::{Arc, PoisonError, RwLock};

use penstock_engine::catalog::{Catalog, CatalogChange, CatalogError, TableDefinition, TableName};
use penstock_protocol::task::FailureClass;
use tokio::sync::Mutex;

use crate::{
    job::JobFailure,
    store::{JobStore, StoreError},
};

/// A cheap handle would be an `Arc` of this.
#[derive(Debug)]
pub struct Tables {
    store: Arc<dyn JobStore>,
    snapshot: RwLock<Arc<Catalog>>,
    /// Held while a change goes to the store, so that changes apply one after the other.
    changing: Mutex<()>,
}

/// Why the catalog could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum TablesError {
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error("the catalog cannot be written")]
    Store(#[from] StoreError),
    #[error("table `{name}` has a definition that this version cannot read")]
    Unreadable {
        name: String,
        #[source]
        source: serde_json::Error,
    },
}

impl Tables {
    pub async fn load(store: Arc<dyn JobStore>) -> Result<Self, TablesError> {
        let mut catalog = Catalog::new();
        for (name, definition) in store.tables().await? {
            let definition = serde_json::from_value(definition)
                .map_err(|source| TablesError::Unreadable { name: name.clone(), source })?;
            catalog.insert(parse(&name), definition);
        }
        Ok(Self { store, snapshot: RwLock::new(Arc::new(catalog)), changing: Mutex::new(()) })
    }

    /// The catalog as it is now.
    pub fn snapshot(&self) -> Arc<Catalog> {
        Arc::clone(&self.snapshot.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Applies a change in the store and then for everybody. An error leaves everything as it was.
    pub async fn apply(&self, change: &CatalogChange) -> Result<(), TablesError> {
        let _one_at_a_time = self.changing.lock().await;
        let mut catalog = Catalog::clone(&self.snapshot());
        change.apply(&mut catalog)?;
        match change {
            CatalogChange::Create { name, .. } => {
                if let Some(definition) = catalog.get(name) {
                    self.store.put_table(&name.to_string(), json(name, definition)?).await?;
                }
            }
            CatalogChange::Drop { name, .. } => {
                self.store.drop_table(&name.to_string()).await?;
            }
        }
        *self.snapshot.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(catalog);
        Ok(())
    }
}

impl From<TablesError> for JobFailure {
    fn from(error: TablesError) -> Self {
        let (class, advice) = match &error {
            TablesError::Catalog(_) => (FailureClass::UserSql, None),
            TablesError::Store(StoreError::Full { .. }) => {
                (FailureClass::Resources, Some("free space on the disk of the coordinator's `state_dir`"))
            }
            TablesError::Store(_) | TablesError::Unreadable { .. } => (FailureClass::Infrastructure, None),
        };
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        Self::new(class, format!("{error}{cause}"), advice)
    }
}

fn parse(name: &str) -> TableName {
    let Ok(name) = name.parse();
    name
}

fn json(name: &TableName, definition: &TableDefinition) -> Result<serde_json::Value, TablesError> {
    serde_json::to_value(definition)
        .map_err(|source| TablesError::Unreadable { name: name.to_string(), source })
}
