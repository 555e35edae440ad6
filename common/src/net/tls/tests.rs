#![allow(clippy::unwrap_used)]

mod certificates;

use std::{fs, path::Path};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::net::Tcp;

/// A new authority and a certificate for loopback.
fn make(folder: &Path) -> TlsFiles {
    let made = certificates::make(folder, &["127.0.0.1", "penstock"]);
    TlsFiles {
        ca_file: made.authority,
        certificate_file: made.certificate,
        key_file: made.key,
        ..TlsFiles::default()
    }
}

fn only_authority(files: &TlsFiles) -> TlsFiles {
    TlsFiles { ca_file: files.ca_file.clone(), ..TlsFiles::default() }
}

fn over_tcp(files: &TlsFiles) -> Tls {
    Tls::new(Arc::new(Tcp), files.clone()).unwrap()
}

/// Sends `hello` from a client to a server and back.
async fn echo(client: &Tls, listener: &dyn Listener) -> io::Result<()> {
    let addr = listener.local_addr()?.to_string();
    let ask = async {
        let mut stream = client.connect(&addr).await?;
        stream.write_all(b"hello").await?;
        stream.flush().await?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await?;
        assert_eq!(&answer, b"hello");
        Ok(())
    };
    let answer = async {
        let (mut stream, _) = listener.accept().await?;
        let mut question = [0; 5];
        stream.read_exact(&mut question).await?;
        stream.write_all(&question).await?;
        stream.flush().await
    };
    let (asked, answered) = tokio::join!(ask, answer);
    asked.and(answered)
}

#[tokio::test]
async fn both_ends_with_the_same_authority_understand_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let files = make(folder.path());
    let listener = over_tcp(&files).bind("127.0.0.1:0").await.unwrap();
    echo(&over_tcp(&only_authority(&files)), listener.as_ref()).await.unwrap();
}

#[tokio::test]
async fn a_server_of_another_authority_is_not_talked_to() {
    let (ours, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (ours, others) = (make(ours.path()), make(others.path()));
    let listener = over_tcp(&others).bind("127.0.0.1:0").await.unwrap();
    assert!(echo(&over_tcp(&only_authority(&ours)), listener.as_ref()).await.is_err());
}

#[tokio::test]
async fn the_name_of_a_server_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let files = make(folder.path());
    let listener = over_tcp(&files).bind("127.0.0.1:0").await.unwrap();
    for (name, fits) in [("penstock", true), ("elsewhere", false)] {
        let client = TlsFiles { server_name: name.to_owned(), ..only_authority(&files) };
        assert_eq!(echo(&over_tcp(&client), listener.as_ref()).await.is_ok(), fits, "{name}");
    }
}

#[tokio::test]
async fn clients_show_certificates_where_they_are_demanded() {
    let folder = tempfile::tempdir().unwrap();
    let files = make(folder.path());
    let demanding = TlsFiles { demand_client_certificates: true, ..files.clone() };
    let listener = over_tcp(&demanding).bind("127.0.0.1:0").await.unwrap();
    echo(&over_tcp(&files), listener.as_ref()).await.unwrap();
    assert!(echo(&over_tcp(&only_authority(&files)), listener.as_ref()).await.is_err());
}

#[tokio::test]
async fn a_stranger_that_never_shakes_hands_holds_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let files = make(folder.path());
    let listener = over_tcp(&files).bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let _silent = Tcp.connect(&addr).await.unwrap();
    let (_held, _) = listener.accept().await.unwrap();
    let mut noisy = Tcp.connect(&addr).await.unwrap();
    noisy.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let (mut refused, _) = listener.accept().await.unwrap();
    assert_eq!(refused.read(&mut [0; 1]).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    echo(&over_tcp(&files), listener.as_ref()).await.unwrap();
}

#[tokio::test]
async fn certificates_that_were_read_again_are_used_from_then_on() {
    let (ours, old) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let files = make(ours.path());
    fs::copy(&files.ca_file, old.path().join("ca.pem")).unwrap();
    let old = over_tcp(&TlsFiles { ca_file: old.path().join("ca.pem"), ..TlsFiles::default() });
    let server = over_tcp(&files);
    let listener = server.bind("127.0.0.1:0").await.unwrap();
    echo(&old, listener.as_ref()).await.unwrap();

    make(ours.path());
    let new = over_tcp(&only_authority(&files));
    assert!(echo(&new, listener.as_ref()).await.is_err());
    server.reload().unwrap();
    echo(&new, listener.as_ref()).await.unwrap();
    assert!(echo(&old, listener.as_ref()).await.is_err());

    fs::write(&files.key_file, "no key").unwrap();
    assert!(matches!(server.reload(), Err(TlsError::Read { .. })));
    echo(&new, listener.as_ref()).await.unwrap();
}

#[tokio::test]
async fn settings_that_do_not_fit_together_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let files = make(folder.path());
    let without_authority = TlsFiles { ca_file: "".into(), ..files.clone() };
    assert!(matches!(Tls::new(Arc::new(Tcp), without_authority), Err(TlsError::NoAuthority)));
    let missing = TlsFiles { ca_file: folder.path().join("missing"), ..TlsFiles::default() };
    assert!(matches!(Tls::new(Arc::new(Tcp), missing), Err(TlsError::Read { .. })));
    let refused = over_tcp(&only_authority(&files)).bind("127.0.0.1:0").await.err().unwrap();
    assert!(refused.to_string().contains("tls.certificate_file"), "{refused}");
}
