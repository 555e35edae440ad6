//! Free ports for processes that come back to where they were.
//!
//! Ports that the system picks are from the range that outgoing connections have, too: while such a process is gone, any
//! connection may get its port, and then it does not start again. So these lie below that range.

use std::{
    collections::BTreeSet,
    fs,
    hash::{BuildHasher, Hasher, RandomState},
    net::{Ipv4Addr, TcpListener},
    ops::Range,
};

const FIRST: u16 = 10_000;
/// Where connections begin, unless the system says otherwise.
const CONNECTIONS_FROM: u16 = 32_768;
/// With fewer ports below the range of connections, those in it are as good.
const PORTS_MIN: u16 = 1_000;
const TRIES: usize = 100;

/// Gives each port once.
#[derive(Debug)]
pub struct Ports {
    range: Range<u16>,
    given: BTreeSet<u16>,
}

impl Ports {
    /// Of this machine, without those that somebody else will want.
    pub fn without(wanted: impl IntoIterator<Item = u16>) -> Self {
        let end = connections_from().unwrap_or(CONNECTIONS_FROM);
        Self { range: FIRST..end, given: wanted.into_iter().collect() }
    }

    /// A loopback address on which nothing listens; one that the system picks if none is found.
    pub fn free_address(&mut self) -> String {
        let port = if self.range.len() < usize::from(PORTS_MIN) { 0 } else { self.free_port() };
        format!("{}:{port}", Ipv4Addr::LOCALHOST)
    }

    fn free_port(&mut self) -> u16 {
        let mut tries = (0..TRIES).map(|_| random_in(&self.range));
        tries.find(|port| is_free(*port) && self.given.insert(*port)).unwrap_or(0)
    }
}

/// At random, so that clusters that start at the same time do not try the same ones.
fn random_in(range: &Range<u16>) -> u16 {
    let random = RandomState::new().build_hasher().finish();
    range.start + (random % range.len() as u64) as u16
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn connections_from() -> Option<u16> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    range.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn below(end: u16) -> Ports {
        Ports { range: FIRST..end, given: BTreeSet::new() }
    }

    #[test]
    fn ports_lie_below_those_of_connections_and_are_given_once() {
        let mut ports = below(11_100);
        let given: BTreeSet<_> = (0..50).map(|_| ports.free_address()).collect();
        assert_eq!(given.len(), 50, "{given:?}");
        for address in &given {
            let listener = TcpListener::bind(address).expect("it is free");
            let port = listener.local_addr().expect("it listens").port();
            assert!((FIRST..11_100).contains(&port), "{address}");
            assert!(!is_free(port));
        }
    }

    #[test]
    fn the_system_picks_where_connections_have_almost_all_ports() {
        for end in [1024, 10_000, 10_010] {
            assert_eq!(below(end).free_address(), "127.0.0.1:0", "{end}");
        }
    }
}
