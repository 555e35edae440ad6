//! Runs of real files, while something happens to the files or to the reader.
#![allow(clippy::unwrap_used)]

use std::{net::Ipv4Addr, path::PathBuf};

use tokio::{
    io::AsyncReadExt,
    net::{TcpSocket, TcpStream},
};

use super::*;
use crate::{
    disk::LocalDisk,
    worker::{
        config::Config,
        fetch::stream::{
            Next, OutgoingStream,
            tests::{committed_on, stream_with},
        },
        location::{Location, Place},
    },
};

/// A location of 1 MiB on a disk of this machine, and a reader of all of it.
struct Stored {
    _folder: tempfile::TempDir,
    store: Arc<Store>,
    location: Arc<Location>,
    bytes: Bytes,
    stream: OutgoingStream,
}

async fn stored() -> Stored {
    let folder = tempfile::tempdir().unwrap();
    let payload: Vec<u8> =
        (0..1_u32 << 18).flat_map(|word| word.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let config = Config { data_dirs: vec![folder.path().to_owned()], ..Config::default() };
    let payloads: Vec<_> = payload.chunks(100_000).collect();
    let (store, location, bytes) = committed_on(Arc::new(LocalDisk::default()), config, &payloads).await;
    let stream = stream_with(&store, 1 << 30);
    Stored { _folder: folder, store, location, bytes, stream }
}

impl Stored {
    fn place(&self) -> Place {
        self.location.parts()[0].place.clone()
    }

    fn file(&self) -> PathBuf {
        let Place::Disk { file, .. } = self.place() else { panic!("it is on a disk") };
        file
    }

    /// What the stream sends next, which is all of it.
    async fn run(&mut self) -> Run {
        let Next::Run(run) = self.stream.next(&self.store, true).await else {
            panic!("it is in the page cache")
        };
        assert_eq!(run.bytes, self.bytes.len() as u64);
        run
    }
}

/// Two ends of a connection that holds little.
async fn narrow() -> (TcpStream, TcpStream) {
    let (listening, connecting) = (TcpSocket::new_v4().unwrap(), TcpSocket::new_v4().unwrap());
    listening.set_send_buffer_size(8 << 10).unwrap();
    connecting.set_recv_buffer_size(8 << 10).unwrap();
    listening.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let listener = listening.listen(1).unwrap();
    let reader = connecting.connect(listener.local_addr().unwrap()).await.unwrap();
    (listener.accept().await.unwrap().0, reader)
}

/// Sends a run to a reader that takes a few bytes at a time; how that ended, and what came.
async fn sent(store: &Store, run: Run) -> (io::Result<()>, Vec<u8>) {
    let (mut worker, mut reader) = narrow().await;
    let send = async {
        let mut outlet = Outlet::to_socket(worker.split().1)?;
        let sent = outlet.send(store, run).await;
        // What was given up has been shut down already.
        let _ = outlet.writer.shutdown().await;
        sent
    };
    let read = async {
        let (mut came, mut some) = (Vec::new(), [0; 3000]);
        while let Ok(bytes @ 1..) = reader.read(&mut some).await {
            came.extend_from_slice(&some[..bytes]);
        }
        came
    };
    tokio::join!(send, read)
}

#[tokio::test]
async fn a_reader_that_takes_little_at_a_time_gets_every_byte_once() {
    let mut stored = stored().await;
    let run = stored.run().await;
    let (ended, came) = sent(&stored.store, run).await;
    ended.unwrap();
    assert!(came == stored.bytes, "{} bytes came", came.len());
    assert!(matches!(stored.stream.next(&stored.store, true).await, Next::End));
}

// Invariants 21 and 28: what is being sent is held open, wherever its location moves.
#[tokio::test]
async fn what_moves_away_while_it_is_sent_is_sent_to_its_end() {
    let mut stored = stored().await;
    let run = stored.run().await;
    let part = stored.location.parts().remove(0);
    assert!(stored.location.begin_move(&part));
    let moved = stored.file().with_file_name("moved");
    std::fs::write(&moved, &stored.bytes).unwrap();
    let file = stored.file();
    assert!(stored.location.end_move(&part, Some(Place::Disk { disk: 0, file: moved.clone() })));
    std::fs::remove_file(file).unwrap();

    let (ended, came) = sent(&stored.store, run).await;
    ended.unwrap();
    assert!(came == stored.bytes, "{} bytes came", came.len());
    // Whoever comes later is sent the new file.
    let mut later = stream_with(&stored.store, 1 << 30);
    let Next::Run(run) = later.next(&stored.store, true).await else { panic!("it was just written") };
    assert_eq!(run.place, Place::Disk { disk: 0, file: moved });
    assert!(sent(&stored.store, run).await.1 == stored.bytes);
}

#[tokio::test]
async fn a_file_that_became_shorter_while_it_is_sent_ends_the_connection() {
    let mut stored = stored().await;
    let run = stored.run().await;
    let file = File::options().write(true).open(stored.file()).unwrap();
    file.set_len(100_000).unwrap();
    let (ended, came) = sent(&stored.store, run).await;
    assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    assert!(came.len() <= 100_000 && stored.bytes.starts_with(&came));
}

#[tokio::test]
async fn a_file_that_is_too_short_is_refused_and_not_begun() {
    let mut stored = stored().await;
    File::options().write(true).open(stored.file()).unwrap().set_len(1_000_000).unwrap();
    let mut refused = None;
    while refused.is_none() {
        match stored.stream.next(&stored.store, true).await {
            Next::Batches { .. } => {}
            Next::Refused(refusal, _) => refused = Some(refusal),
            Next::Run(_) | Next::End => panic!("not all of it is there"),
        }
    }
    assert_eq!(refused, Some(penstock_protocol::frame::Refusal::Unreadable));
}

#[tokio::test]
async fn a_reader_that_leaves_ends_what_is_sent_to_it() {
    let mut stored = stored().await;
    let run = stored.run().await;
    let (mut worker, reader) = narrow().await;
    let mut outlet = Outlet::to_socket(worker.split().1).unwrap();
    let (ended, ()) = tokio::join!(outlet.send(&stored.store, run), async { drop(reader) });
    assert!(ended.is_err());
}

#[tokio::test]
async fn nobody_can_write_behind_a_run_that_was_given_up() {
    let mut stored = stored().await;
    let run = stored.run().await;
    let (mut worker, _reader) = narrow().await;
    let mut outlet = Outlet::to_socket(worker.split().1).unwrap();
    {
        let mut send = Box::pin(outlet.send(&stored.store, run));
        assert!(futures::poll!(&mut send).is_pending());
    }
    assert!(outlet.write(&[Bytes::from_static(b"a frame")]).await.is_err());
}

#[tokio::test]
async fn files_are_sent_to_sockets_and_to_nothing_else() {
    let mut stored = stored().await;
    assert!(!Outlet::to_stream(Vec::new()).sends_files());
    assert!(matches!(stored.stream.next(&stored.store, false).await, Next::Batches { .. }));
}
