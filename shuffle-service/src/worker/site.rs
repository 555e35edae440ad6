//! Where this worker stands and what it is for, as masters hear it.

use super::config::Config;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Site {
    pub zone: String,
    pub rack: String,
    pub host: String,
    pub tags: Vec<String>,
    pub weight: u32,
}

impl Site {
    /// `data` is the address under which others reach this worker: workers of one host share what is before the port.
    pub fn new(config: &Config, data: &str) -> Self {
        let host = data.rsplit_once(':').map_or(data, |(host, _)| host);
        Self {
            zone: config.zone.clone(),
            rack: config.rack.clone(),
            host: host.to_owned(),
            tags: config.tags.clone(),
            weight: config.weight,
        }
    }
}
