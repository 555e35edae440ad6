//! Free ports for processes that come back to where they were.
//!
//! Ports that the system picks are from the range that outgoing connections have, too: while such a process is gone, any
//! connection may get its port, and then it does not start again. So these lie below that range.

use std::{
    fs,
    hash::{BuildHasher, Hasher, RandomState},
    net::{Ipv4Addr, TcpListener},
};

const FIRST: u16 = 10_000;
/// Where connections begin, unless the system says otherwise.
const CONNECTIONS_FROM: u16 = 32_768;
const TRIES: usize = 100;

/// A loopback address on which nothing listens; one that the system picks if none is found.
pub fn free_address() -> String {
    let last = connections_from().unwrap_or(CONNECTIONS_FROM).max(FIRST + 1);
    let port = (0..TRIES).map(|_| random_port(FIRST, last)).find(|port| is_free(*port)).unwrap_or(0);
    format!("{}:{port}", Ipv4Addr::LOCALHOST)
}

/// At random, so that clusters that start at the same time do not try the same ones.
fn random_port(first: u16, last: u16) -> u16 {
    let random = RandomState::new().build_hasher().finish();
    first + (random % u64::from(last - first)) as u16
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

    #[test]
    fn what_is_free_can_be_listened_on_and_no_connection_gets_it() {
        let address = free_address();
        let listener = TcpListener::bind(&address).expect("it is free");
        let port = listener.local_addr().expect("it listens").port();
        assert!(port >= FIRST && port < connections_from().unwrap_or(CONNECTIONS_FROM), "{address}");
        assert!(!is_free(port));
    }
}
