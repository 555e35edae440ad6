//! Tests that need a part of the system for themselves: its mounts, or its network. The test runs once more, in a process
//! with namespaces of its own, which go with it however it ends, and with them all that it mounted and connected. Needs
//! root, or a system that lets users make namespaces.

use std::process::Command;

use crate::support::Ran;

#[derive(Debug, Clone, Copy)]
pub enum Own {
    Mounts,
    /// No process outlives the test either: it would keep the network.
    Network,
}

/// Set inside of the namespaces.
const INSIDE: &str = "PENSTOCK_TEST_NAMESPACES";

impl Own {
    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Mounts => &["--mount"],
            Self::Network => &["--mount", "--net", "--pid", "--fork", "--kill-child"],
        }
    }
}

/// Runs `body`, a closure of a test's own, where what is wanted belongs to it alone.
pub fn with_own<F: FnOnce()>(own: Own, body: F) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user"])
        .args(own.flags())
        .arg("--")
        .arg(std::env::current_exe().expect("a test program"))
        .args(["--exact", &test_of::<F>(), "--nocapture", "--include-ignored", "--test-threads", "1"])
        .env(INSIDE, "1")
        .output()
        .expect("`unshare` of util-linux is needed for tests that want something for themselves");
    let ran = Ran::of(output);
    let why = "no namespaces for this test: run as root, or allow users to make them";
    assert!(!ran.stderr.starts_with("unshare:"), "{why}: {}", ran.stderr);
    assert!(ran.exit == 0 && ran.stdout.contains("1 passed"), "{}\n{}", ran.stdout, ran.stderr);
}

/// The test that a closure stands in: `it::full_disk::a_test::{{closure}}` without its ends.
fn test_of<F>() -> String {
    let name = std::any::type_name::<F>().trim_end_matches("::{{closure}}");
    name.split_once("::").expect("a test in a module").1.to_owned()
}
