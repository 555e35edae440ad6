//! A network of hosts, each a namespace with one link to the hub, where the test itself is.
//!
//! Whatever is cut is cut in silence, as when a cable is pulled or a machine loses its power: nobody gets a reset, and
//! nobody is told that there is no way. That is why hosts know each other's hardware addresses from the start: one that
//! has to be asked for, and gives no answer, is told to whoever sends there.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use crate::support::{PENSTOCK, Ran};

pub struct Network {
    hosts: Vec<Host>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    pub name: String,
    number: usize,
}

/// Where the test is.
const HUB: usize = 254;
/// Nobody has it.
const NOBODY: usize = 255;

fn address(number: usize) -> String {
    format!("10.77.0.{number}")
}

fn hardware(number: usize) -> String {
    format!("02:00:00:00:00:{number:02x}")
}

impl Network {
    /// To be called in a network of the test's own, once.
    pub fn of(names: impl IntoIterator<Item = String>) -> Self {
        let hosts = names.into_iter().zip(1..).map(|(name, number)| Host { name, number });
        let network = Self { hosts: hosts.collect() };
        // Names of namespaces are files there, which is nobody else's in these mounts.
        done("mount", &["-t", "tmpfs", "tmpfs", "/run"], "");
        network.connect_hub();
        network.hosts.iter().for_each(|host| network.connect(host));
        network
    }

    pub fn host(&self, name: &str) -> &Host {
        self.hosts.iter().find(|host| host.name == name).expect("a host of this name")
    }

    fn connect_hub(&self) {
        let (address, hardware) = (address(HUB), hardware(HUB));
        let neighbours = self.neighbours(HUB, "hub");
        ip(&format!(
            "link set lo up
            link add hub address {hardware} type bridge
            address add {address}/24 dev hub
            link set hub up
            {neighbours}"
        ));
    }

    fn connect(&self, host: &Host) {
        let Host { name, number } = host;
        let (address, hardware, port) = (address(*number), hardware(*number), host.port());
        ip(&format!(
            "netns add {name}
            link add {port} type veth peer name eth0 address {hardware} netns {name}
            link set {port} master hub up"
        ));
        let neighbours = self.neighbours(*number, "eth0");
        host.ip(&format!(
            "link set lo up
            address add {address}/24 dev eth0
            link set eth0 up
            {neighbours}"
        ));
    }

    fn neighbours(&self, of: usize, device: &str) -> String {
        let numbers = self.hosts.iter().map(|host| host.number).chain([HUB]);
        let others = numbers.filter(|number| *number != of);
        others.map(|other| neighbour(other, &hardware(other), device)).collect()
    }
}

fn neighbour(number: usize, hardware: &str, device: &str) -> String {
    format!("neighbour replace {} lladdr {hardware} nud permanent dev {device}\n", address(number))
}

impl Host {
    /// `host:port` here.
    pub fn at(&self, port: u16) -> String {
        format!("{}:{port}", address(self.number))
    }

    /// The hub's end of its link; names of devices are short.
    fn port(&self) -> String {
        format!("port-{}", self.number)
    }

    /// Whatever is sent from or to here is lost.
    pub fn cut(&self) {
        ip(&format!("link set {} down", self.port()));
    }

    pub fn mend(&self) {
        ip(&format!("link set {} up", self.port()));
    }

    /// Whatever is sent from here to another host, or from there, is lost.
    pub fn cut_from(&self, other: &Host) {
        self.ip(&neighbour(other.number, &hardware(NOBODY), "eth0"));
        other.ip(&neighbour(self.number, &hardware(NOBODY), "eth0"));
    }

    pub fn mend_to(&self, other: &Host) {
        self.ip(&neighbour(other.number, &hardware(other.number), "eth0"));
        other.ip(&neighbour(self.number, &hardware(self.number), "eth0"));
    }

    /// The program, to be run here.
    pub fn penstock(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(self.namespace()).args(["--", PENSTOCK]);
        command
    }

    fn ip(&self, script: &str) {
        done("nsenter", &[&self.namespace(), "--", "ip", "-batch", "-"], script);
    }

    fn namespace(&self) -> String {
        format!("--net=/run/netns/{}", self.name)
    }
}

fn ip(script: &str) {
    done("ip", &["-batch", "-"], script);
}

/// Runs one of the system's tools, which users do not always have on their path.
fn done(program: &str, arguments: &[&str], input: &str) {
    let path = std::env::var("PATH").unwrap_or_default();
    let spawned = Command::new(program)
        .args(arguments)
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let missing = "is needed for tests on networks: iproute2 has `ip`, util-linux `mount` and `nsenter`";
    let mut child = spawned.unwrap_or_else(|cause| panic!("`{program}` {missing}: {cause}"));
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("read by the tool");
    let ran = Ran::of(child.wait_with_output().expect("it ends"));
    assert_eq!(ran.exit, 0, "{program} {arguments:?}: {}\n{input}", ran.stderr);
}
