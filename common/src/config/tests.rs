use std::io::Write;

use serde::Deserialize;

use super::*;
use crate::bytes::ByteSize;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    listen: String,
    slots: u32,
    memory: ByteSize,
    name: Option<String>,
    masters: Vec<String>,
    limits: Limits,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Limits {
    jobs: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { jobs: 10 }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:1".into(),
            slots: 2,
            memory: ByteSize::mib(512),
            name: None,
            masters: vec!["a:1".into()],
            limits: Limits::default(),
        }
    }
}

fn load_layers(
    file: &str,
    variables: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Result<Loaded<Config>, ConfigError> {
    let mut written = tempfile::NamedTempFile::new().expect("a temporary file");
    written.write_all(file.as_bytes()).expect("written");
    let own = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>()
    };
    let flags = own(flags).into_iter().collect();
    load_with_env("executor", Some(written.path()), own(variables), &flags)
}

fn refusal(file: &str, variables: &[(&str, &str)], flags: &[(&str, &str)]) -> String {
    load_layers(file, variables, flags).expect_err("refused").to_string()
}

#[test]
fn later_layers_win_and_each_key_knows_its_origin() {
    let loaded = load_layers(
        "[executor]\nslots = 3\nmemory = \"1GiB\"\nlimits.jobs = 4\n[coordinator]\nlisten = \"x\"",
        &[("PENSTOCK_EXECUTOR_SLOTS", "5"), ("PENSTOCK_EXECUTOR_LIMITS_JOBS", "6"), ("PATH", "/bin")],
        &[("slots", "7")],
    )
    .expect("loads");
    assert_eq!(loaded.value.slots, 7);
    assert_eq!(loaded.value.memory, ByteSize::gib(1));
    assert_eq!(loaded.value.limits.jobs, 6);
    assert_eq!(loaded.origins["slots"], Origin::Flag);
    assert_eq!(loaded.origins["limits.jobs"], Origin::Env("PENSTOCK_EXECUTOR_LIMITS_JOBS".into()));
    assert!(matches!(loaded.origins["memory"], Origin::File(_)));
    assert_eq!(loaded.origins["listen"], Origin::Default);
}

#[test]
fn text_is_read_as_the_type_that_the_setting_has() {
    let variables =
        [("PENSTOCK_EXECUTOR_NAME", "42"), ("PENSTOCK_EXECUTOR_MASTERS", "a:1, b:2"), ("HOME", "/")];
    let loaded = load_layers("", &variables, &[("listen", "7")]).expect("loads");
    assert_eq!(loaded.value.name.as_deref(), Some("42"));
    assert_eq!(loaded.value.masters, ["a:1", "b:2"]);
    assert_eq!(loaded.value.listen, "7");
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    let message = refusal("[executor]\nslot = 3", &[], &[]);
    assert!(message.contains("`slot`") && message.contains("did you mean `slots`?"), "{message}");
    let message = refusal("[executor.limits]\njob = 3", &[], &[]);
    assert!(message.contains("`limits.job`") && message.contains("`limits.jobs`?"), "{message}");
    let message = refusal("", &[("PENSTOCK_EXECUTOR_SLOTZ", "3")], &[]);
    assert!(message.contains("did you mean `PENSTOCK_EXECUTOR_SLOTS`?"), "{message}");
    let message = refusal("", &[], &[("memry", "1")]);
    assert!(message.contains("`memry` (flag), did you mean `memory`?"), "{message}");
}

#[test]
fn an_unknown_section_is_refused_with_the_nearest_known_one() {
    let message = refusal("[exekutor]\nslots = 3", &[], &[]);
    assert!(message.contains("[exekutor]") && message.contains("did you mean `executor`?"), "{message}");
}

#[test]
fn a_wrong_value_is_refused_by_key_and_origin() {
    let message = refusal("", &[("PENSTOCK_EXECUTOR_SLOTS", "many")], &[]);
    assert!(message.contains("`slots` (variable PENSTOCK_EXECUTOR_SLOTS)"), "{message}");
    let message = refusal("[executor]\nmemory = \"12 apples\"", &[], &[]);
    assert!(message.contains("`memory` (file ") && message.contains("not a size"), "{message}");
}

#[test]
fn a_file_that_is_not_toml_is_refused_by_name() {
    let message = refusal("[executor\nslots", &[], &[]);
    assert!(message.contains("is not valid TOML"), "{message}");
    let missing = load_with_env::<Config>("executor", Some(Path::new("/no/such.toml")), [], &BTreeMap::new());
    let message = missing.expect_err("refused").to_string();
    assert!(message.contains("/no/such.toml"), "{message}");
}
