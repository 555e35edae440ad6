//! Who is who at the two ends of a name that any process may take.
#![allow(clippy::unwrap_used)]

use std::{
    io::Write,
    net::TcpListener,
    os::{
        linux::net::SocketAddrExt,
        unix::{net, process::CommandExt},
    },
    process::{Child, Command, Stdio},
};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::net::{Network, Tcp};

/// Any user but root, who alone can become another one.
const STRANGER: u32 = 54_321;
const ADDR: &str = "PENSTOCK_TEST_STRANGER_ADDR";

/// An address of this host on which nobody else listens.
fn free_addr() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[tokio::test]
async fn processes_of_a_host_meet_under_an_address_until_its_owner_goes() {
    let addr = &free_addr();
    assert!(Tcp.connect_local(addr).await.is_err());
    let listener = Tcp.bind_local(addr).await.unwrap();
    assert_eq!(Tcp.bind_local(addr).await.err().unwrap().kind(), io::ErrorKind::AddrInUse);
    let mut client = Tcp.connect_local(addr).await.unwrap();
    let mut server = listener.accept().await;
    assert_eq!(client.process, Some(ProcessId(std::process::id())));
    client.stream.write_all(b"hello").await.unwrap();
    let mut received = [0; 5];
    server.stream.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"hello");
    drop(listener);
    assert!(Tcp.connect_local(addr).await.is_err());
    Tcp.bind_local(addr).await.unwrap();
}

#[tokio::test]
async fn nobody_on_this_host_is_met_under_the_address_of_another_one() {
    // Set aside for documentation: no host has it.
    let addr = "192.0.2.1:7100";
    let _listener = Tcp.bind_local(addr).await.unwrap();
    let refused = Tcp.connect_local(addr).await.err().unwrap();
    assert_eq!(refused.to_string(), "it is named after another host");
}

#[test]
fn a_host_knows_its_own_addresses() {
    for own in ["127.0.0.1:1", "127.9.9.9:1", "0.0.0.0:1", "[::1]:1"] {
        assert!(is_here(own.parse().unwrap()), "{own}");
    }
    assert!(!is_here("192.0.2.1:1".parse().unwrap()));
}

/// Runs one of the tests below as another user; none if this one cannot, which is told past the harness: it keeps the output
/// of tests that pass to itself.
fn as_stranger(test: &str, addr: &str) -> Option<Child> {
    let own = Command::new("id").arg("-u").output().unwrap().stdout;
    if own != b"0\n" {
        writeln!(io::stderr(), "LEFT OUT, since only root can become another user: {test}").unwrap();
        return None;
    }
    // Its own copy of this program, since the stranger may not get at the folder of the original.
    let program = std::env::temp_dir().join(format!("penstock-{test}-{}", std::process::id()));
    std::fs::copy("/proc/self/exe", &program).unwrap();
    let child = Command::new(&program)
        .args(["--ignored", "--exact", &format!("net::local::tests::{test}"), "--nocapture"])
        .env(ADDR, addr)
        .uid(STRANGER)
        .stdout(Stdio::piped())
        .spawn();
    let child = child.unwrap();
    std::fs::remove_file(program).unwrap();
    Some(child)
}

fn name() -> net::SocketAddr {
    let addr = std::env::var(ADDR).unwrap();
    net::SocketAddr::from_abstract_name(format!("penstock/{addr}")).unwrap()
}

#[test]
#[ignore = "run by another test as another user"]
fn stranger_who_takes_the_name() {
    let listener = net::UnixListener::bind_addr(&name()).unwrap();
    println!("listening");
    // Nothing is ever said to it: the other end goes.
    let (mut accepted, _) = listener.accept().unwrap();
    assert_eq!(io::Read::read(&mut accepted, &mut [0; 1]).unwrap(), 0);
    println!("heard nothing");
}

#[test]
#[ignore = "run by another test as another user"]
fn stranger_who_connects() {
    let mut stream = net::UnixStream::connect_addr(&name()).unwrap();
    assert_eq!(io::Read::read(&mut stream, &mut [0; 1]).unwrap(), 0);
    println!("was sent away");
}

#[tokio::test]
async fn another_user_who_took_the_name_hears_nothing() {
    let addr = free_addr();
    let Some(mut stranger) = as_stranger("stranger_who_takes_the_name", &addr) else { return };
    let mut said = io::BufRead::lines(io::BufReader::new(stranger.stdout.take().unwrap()));
    assert!(said.any(|line| line.unwrap().ends_with("listening")));
    let refused = Tcp.connect_local(&addr).await.err().unwrap();
    assert_eq!(refused.to_string(), "it belongs to another user");
    assert!(said.any(|line| line.unwrap() == "heard nothing"));
    assert!(stranger.wait().unwrap().success());
}

#[tokio::test]
async fn another_user_who_connects_is_sent_away() {
    let addr = free_addr();
    let listener = Tcp.bind_local(&addr).await.unwrap();
    let Some(stranger) = as_stranger("stranger_who_connects", &addr) else { return };
    let gone = tokio::task::spawn_blocking(|| stranger.wait_with_output().unwrap());
    let gone = tokio::select! {
        gone = gone => gone.unwrap(),
        _ = listener.accept() => panic!("it was let in"),
    };
    let said = String::from_utf8(gone.stdout).unwrap();
    assert!(gone.status.success() && said.contains("was sent away"), "{said}");
}
