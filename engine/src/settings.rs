//! The settings of a job: DataFusion's own keys and ours, checked once, travelling as text.
//!
//! Coordinator and executors build the same session from the same settings. Pinned keys (see `PINNED`) keep plans
//! right when they are cut into stages; nobody can change them.

use std::collections::BTreeMap;

use datafusion::config::ConfigOptions;
use penstock_protocol::task::FailureClass;
use serde::{Deserialize, Serialize};

use crate::{error::SqlError, nearest::did_you_mean};

/// Settings that differ from the defaults, by key. Every key and value in here has been checked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
pub struct Settings(BTreeMap<String, String>);

/// A setting of ours.
#[derive(Debug, Clone, Copy)]
pub struct OwnSetting {
    pub key: &'static str,
    pub default: &'static str,
    pub about: &'static str,
    check: fn(&str) -> bool,
    expects: &'static str,
}

pub const PARTITIONS: &str = "penstock.partitions";
pub const SHUFFLE_CODEC: &str = "penstock.shuffle.codec";
pub const SHUFFLE_TAGS: &str = "penstock.shuffle.tags";
pub const RESULT_INLINE_BYTES_MAX: &str = "penstock.result.inline_bytes_max";
pub const BROADCAST_BYTES_MAX: &str = "penstock.broadcast.bytes_max";

pub const OWN: [OwnSetting; 5] = [
    OwnSetting {
        key: PARTITIONS,
        default: "8",
        about: "partitions of each exchange, and so tasks of each stage that reads one",
        check: |value| value.parse::<u32>().is_ok_and(|n| (1..=100_000).contains(&n)),
        expects: "a number from 1 to 100000",
    },
    OwnSetting {
        key: SHUFFLE_CODEC,
        default: "auto",
        about: "compression of shuffled batches: auto is lz4, and none where all shuffle workers are reached over the loopback interface; an exchange whose samples do not shrink is sent as it is",
        check: |value| matches!(value, "auto" | "lz4" | "zstd" | "none"),
        expects: "auto, lz4, zstd or none",
    },
    OwnSetting {
        key: SHUFFLE_TAGS,
        default: "",
        about: "tags, with commas between them: only shuffle workers that have all of them hold the job's data",
        check: |_| true,
        expects: "names with commas between them",
    },
    OwnSetting {
        key: RESULT_INLINE_BYTES_MAX,
        default: "1MiB",
        about: "results up to this size per task ride in the task's report",
        check: |value| parse_bytes(value).is_some(),
        expects: "a size such as 1MiB",
    },
    // As Spark's `spark.sql.autoBroadcastJoinThreshold`. With 1 MiB, TPC-H Q5 at scale 1 takes twice the CPU time.
    OwnSetting {
        key: BROADCAST_BYTES_MAX,
        default: "10MiB",
        about: "a join side that is estimated to be smaller is sent whole to every task instead of shuffled",
        check: |value| parse_bytes(value).is_some(),
        expects: "a size such as 10MiB",
    },
];

/// Keys whose values are part of how plans are cut and carried.
const PINNED: [(&str, &str); 12] = [
    // One task would drain the files of all tasks and rows would multiply.
    ("datafusion.execution.enable_file_stream_work_stealing", "false"),
    // Between stages a round robin only costs; within a task it does nothing.
    ("datafusion.optimizer.enable_round_robin_repartition", "false"),
    // `ScalarSubqueryExpr` decodes only inside its own exec node.
    ("datafusion.optimizer.enable_physical_uncorrelated_scalar_subquery", "false"),
    // Nodes without a serialised form.
    ("datafusion.optimizer.enable_window_topn", "false"),
    ("datafusion.optimizer.enable_piecewise_merge_join", "false"),
    // Filters that are filled at run time. Where the cut comes between a join and the scan of its probe side, nobody fills
    // them, and their identity, new with each plan, makes equal stages differ: a common table expression would run once
    // for each of its readers. Within a stage they would be right, as a task's plan declares exactly the partitions that
    // report; without `pushdown_filters` they only prune by statistics.
    ("datafusion.optimizer.enable_dynamic_filter_pushdown", "false"),
    // An interleave needs the same partition of every child in one process.
    ("datafusion.optimizer.prefer_existing_union", "true"),
    ("datafusion.optimizer.skip_failed_rules", "false"),
    // Line and column of errors.
    ("datafusion.sql_parser.collect_spans", "true"),
    ("datafusion.catalog.information_schema", "true"),
    ("datafusion.catalog.default_catalog", "penstock"),
    ("datafusion.catalog.default_schema", "public"),
];

/// Keys that are derived from ours.
const DERIVED: [(&str, &str); 2] = [
    ("datafusion.execution.target_partitions", PARTITIONS),
    ("datafusion.optimizer.hash_join_single_partition_threshold", BROADCAST_BYTES_MAX),
];

impl Settings {
    /// Checks keys and values; the error names the first wrong one.
    pub fn new(entries: impl IntoIterator<Item = (String, String)>) -> Result<Self, SqlError> {
        let mut settings = Self::default();
        for (key, value) in entries {
            settings.set(&key, &value)?;
        }
        Ok(settings)
    }

    /// Sets one key. On an error nothing has changed.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), SqlError> {
        check(key, value)?;
        self.0.insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    /// Back to the default.
    pub fn reset(&mut self, key: &str) -> Result<(), SqlError> {
        if own(key).is_none() {
            check_known(key)?;
        }
        self.0.remove(key);
        Ok(())
    }

    /// The value of one of our own settings; the default if it was not set.
    pub fn get(&self, key: &str) -> &str {
        match self.0.get(key) {
            Some(value) => value,
            None => own(key).map_or("", |setting| setting.default),
        }
    }

    /// Only what was set, for the wire and the journal.
    pub fn as_map(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    pub fn partitions(&self) -> usize {
        self.get(PARTITIONS).parse().unwrap_or(8)
    }

    pub fn shuffle_codec(&self) -> &str {
        self.get(SHUFFLE_CODEC)
    }

    pub fn result_inline_bytes_max(&self) -> u64 {
        parse_bytes(self.get(RESULT_INLINE_BYTES_MAX)).unwrap_or(1 << 20)
    }

    pub fn broadcast_bytes_max(&self) -> u64 {
        parse_bytes(self.get(BROADCAST_BYTES_MAX)).unwrap_or(1 << 20)
    }

    /// DataFusion's options: defaults, then what was set, then what is derived and pinned.
    pub fn to_config_options(&self) -> Result<ConfigOptions, SqlError> {
        let mut options = ConfigOptions::new();
        for (key, value) in self.0.iter().filter(|(key, _)| own(key).is_none()) {
            set_option(&mut options, key, value)?;
        }
        set_option(&mut options, DERIVED[0].0, &self.partitions().to_string())?;
        set_option(&mut options, DERIVED[1].0, &self.broadcast_bytes_max().to_string())?;
        for (key, value) in PINNED {
            set_option(&mut options, key, value)?;
        }
        Ok(options)
    }

    /// Every key with its value, as `SHOW ALL` prints it.
    pub fn entries(&self) -> Result<Vec<(String, Option<String>)>, SqlError> {
        let ours = OWN.iter().map(|setting| (setting.key.to_owned(), Some(self.get(setting.key).to_owned())));
        let options = self.to_config_options()?;
        let theirs = options.entries().into_iter().map(|entry| (entry.key, entry.value));
        let mut all: Vec<_> = ours.chain(theirs).collect();
        all.sort();
        Ok(all)
    }
}

impl TryFrom<BTreeMap<String, String>> for Settings {
    type Error = SqlError;
    fn try_from(entries: BTreeMap<String, String>) -> Result<Self, SqlError> {
        Self::new(entries)
    }
}

impl From<Settings> for BTreeMap<String, String> {
    fn from(settings: Settings) -> Self {
        settings.0
    }
}

fn own(key: &str) -> Option<&'static OwnSetting> {
    OWN.iter().find(|setting| setting.key == key)
}

fn check(key: &str, value: &str) -> Result<(), SqlError> {
    if let Some(setting) = own(key) {
        return if (setting.check)(value) {
            Ok(())
        } else {
            Err(SqlError::sql(format!("setting `{key}` cannot be `{value}`: it takes {}", setting.expects)))
        };
    }
    if let Some((_, ours)) = DERIVED.iter().find(|(derived, _)| *derived == key) {
        return Err(SqlError::sql(format!("setting `{key}` follows `{ours}`"))
            .with_suggestion(format!("set `{ours}` instead")));
    }
    if let Some((_, pinned)) = PINNED.iter().find(|(pinned, _)| *pinned == key) {
        if value.eq_ignore_ascii_case(pinned) {
            return Ok(());
        }
        return Err(SqlError::sql(format!("setting `{key}` is always `{pinned}` in a cluster")));
    }
    check_known(key)?;
    set_option(&mut ConfigOptions::new(), key, value)
}

fn check_known(key: &str) -> Result<(), SqlError> {
    let known: Vec<String> = ConfigOptions::new().entries().into_iter().map(|entry| entry.key).collect();
    let nested = |name: &String| key.starts_with(name.as_str()) && key[name.len()..].starts_with('.');
    if known.iter().any(|name| name == key || nested(name)) {
        return Ok(());
    }
    let candidates = OWN.iter().map(|setting| setting.key).chain(known.iter().map(String::as_str));
    let mut error = SqlError::sql(format!("there is no setting `{key}`"));
    error.suggestion = did_you_mean(key, candidates);
    Err(error)
}

fn set_option(options: &mut ConfigOptions, key: &str, value: &str) -> Result<(), SqlError> {
    options.set(key, value).map_err(|error| {
        SqlError::new(
            FailureClass::UserSql,
            format!("setting `{key}` cannot be `{value}`: {}", error.strip_backtrace()),
        )
    })
}

/// `512`, `64KiB`, `10 MB`: binary and decimal units.
fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let unit: u64 = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return None,
    };
    number.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(key: &str, value: &str) -> String {
        Settings::default().set(key, value).expect_err("is refused").to_string()
    }

    #[test]
    fn an_unknown_setting_is_refused_with_the_nearest_one() {
        let message = refusal("datafusion.execution.batchsize", "10");
        assert!(message.contains("did you mean `datafusion.execution.batch_size`?"), "{message}");
        assert!(refusal("penstock.partition", "10").contains("did you mean `penstock.partitions`?"));
    }

    #[test]
    fn a_wrong_value_is_refused() {
        assert!(refusal("penstock.partitions", "0").contains("a number from 1 to 100000"));
        assert!(refusal("datafusion.execution.batch_size", "many").contains("cannot be `many`"));
    }

    #[test]
    fn pinned_and_derived_settings_cannot_be_changed() {
        assert!(refusal("datafusion.optimizer.prefer_existing_union", "false").contains("is always `true`"));
        assert!(
            refusal("datafusion.execution.target_partitions", "3").contains("`penstock.partitions` instead")
        );
    }

    #[test]
    fn all_pins_and_derived_keys_exist() {
        let mut settings = Settings::default();
        settings.set(PARTITIONS, "5").expect("is a setting");
        let options = settings.to_config_options().expect("defaults are valid");
        assert_eq!(options.execution.target_partitions, 5);
        assert!(!options.execution.enable_file_stream_work_stealing);
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_bytes("64KiB"), Some(65_536));
        assert_eq!(parse_bytes("10 MB"), Some(10_000_000));
        assert_eq!(parse_bytes("10 bananas"), None);
    }
}
