//! The settings in force. What may change at run time is read here each time it is needed, or told to whoever keeps it.

use std::sync::{Arc, PoisonError, RwLock};

use penstock_common::{
    config::{self, Reloaded},
    telemetry,
};
use serde_json::Value;

use super::{
    config::{Config, InvalidConfig},
    store::Store,
};

/// Why an operator's changes were not made.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChangeError {
    #[error(transparent)]
    Unreadable(#[from] config::ChangeError),
    #[error("only a restart changes these settings: {}", .0.join(", "))]
    Fixed(Vec<String>),
    #[error(transparent)]
    Invalid(#[from] InvalidConfig),
}

#[derive(Debug, Default)]
pub(super) struct Settings(RwLock<Arc<Config>>);

impl Settings {
    pub fn new(config: Config) -> Self {
        Self(RwLock::new(Arc::new(config)))
    }

    pub fn get(&self) -> Arc<Config> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Store {
    /// Takes new settings, as far as they can change at run time. Nothing changes if what would come out makes no sense.
    pub fn reload(&self, wanted: Config) -> Result<Reloaded, InvalidConfig> {
        wanted.validate()?;
        let mut present = self.settings.0.write().unwrap_or_else(PoisonError::into_inner);
        let fixed = present.fixed_against(&wanted);
        let (next, reloaded) = config::reload(&**present, wanted, &fixed);
        next.validate()?;
        self.budget.configure(&next);
        self.disks.configure(&next);
        if next.log_filter != present.log_filter {
            telemetry::filter_logs(&next.log_filter);
        }
        *present = Arc::new(next);
        drop(present);
        // There may be something to move out now.
        self.budget.check_pressure();
        tracing::info!(changed = ?reloaded.changed, refused = ?reloaded.refused, "took new settings");
        Ok(reloaded)
    }

    /// Takes the settings that the object `changes` names, all of them or none. Returns those that are new.
    pub fn change_settings(&self, changes: &Value) -> Result<Vec<String>, ChangeError> {
        let present = self.settings.get();
        let wanted = config::with_changes(&*present, changes)?.with_hidden_of(&present);
        let fixed = present.fixed_against(&wanted);
        let refused = config::reload(&*present, wanted.clone(), &fixed).1.refused;
        if !refused.is_empty() {
            return Err(ChangeError::Fixed(refused));
        }
        Ok(self.reload(wanted)?.changed)
    }
}
