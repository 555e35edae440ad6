//! What becomes of a file that is lent: its readers, its worker and itself may go, move or be damaged.

use super::*;

/// How a reader goes that has been lent a file.
#[derive(Debug, Clone, Copy)]
enum Gone {
    AtTheEnd,
    InTheMiddle,
    WhenTheJobEnded,
    BeforeItOpenedTheFile,
    ClosingTheStream,
}

const WAYS_TO_GO: [Gone; 5] = [
    Gone::AtTheEnd,
    Gone::InTheMiddle,
    Gone::WhenTheJobEnded,
    Gone::BeforeItOpenedTheFile,
    Gone::ClosingTheStream,
];

#[tokio::test]
async fn nothing_is_left_of_loans_whatever_becomes_of_readers() {
    let watch = Watch::start();
    let host = host(Arc::new(Tcp), |_, _| {}).await;
    for (job, gone) in (1..).zip(WAYS_TO_GO) {
        let id = ShuffleId { job: JobId(Uuid::from_u128(job)), ..SHUFFLE };
        let source = host.write(id).await;
        read_and_go(&host, id, source, gone).await;
        host.cluster.owner.release_job(id.job).await.unwrap();
        eventually(&format!("{gone:?}: all files are closed"), async || host.open_files() == 0).await;
        eventually("the files go", async || host.data_files().is_empty()).await;
    }
    let mut open = 0.0;
    eventually("all connections but the writer's are closed", async || {
        open += watch.gauge_change("penstock_shuffle_connections");
        open == 1.0
    })
    .await;
    eventually("all memory is free", async || host.memory_bytes().await == 0).await;
}

async fn read_and_go(host: &Host, id: ShuffleId, source: PartitionSource, gone: Gone) {
    if matches!(gone, Gone::BeforeItOpenedTheFile | Gone::ClosingTheStream) {
        let (mut stream, loan) = host.borrow(id, &source).await;
        assert!(host.open_files() > 0, "the worker holds what it lends");
        if matches!(gone, Gone::ClosingTheStream) {
            write_all(&mut stream, &[Close { stream: loan.stream }.encode()]).await.unwrap();
            eventually("the worker closes the file", async || host.open_files() == 0).await;
        }
        return;
    }
    let tasks = Tasks::new("client");
    let client = ShuffleClient::new(Arc::new(Tcp), ClientOptions::default(), tasks.clone());
    let mut reader = Box::pin(client.read(id, [winner(0, 0)].into(), source));
    reader.next().await.unwrap().unwrap();
    assert!(host.open_files() > 0, "the reader holds what it was lent");
    match gone {
        Gone::AtTheEnd => assert_eq!(reader.by_ref().count().await as u32, BATCHES - 1),
        Gone::WhenTheJobEnded => host.cluster.owner.release_job(id.job).await.unwrap(),
        _ => {}
    }
    drop(reader);
    tasks.stop(Duration::from_secs(10)).await.unwrap();
}

// Invariants 16 and 25: the file is read to its end, and what is not in it comes from the next life.
#[tokio::test]
async fn a_worker_may_be_started_again_under_a_reader_of_its_files() {
    let watch = Watch::start();
    let mut host = host(Arc::new(Tcp), |_, _| {}).await;
    let source = host.write(SHUFFLE).await;
    let mut reader = Box::pin(host.cluster.client.read(SHUFFLE, [winner(0, 0)].into(), source.clone()));
    let mut read = vec![reader.next().await.unwrap().unwrap()];
    host.restart().await;
    read.extend(reader.try_collect::<Vec<_>>().await.unwrap());
    assert!(read == expected());
    assert!(host.read(&source).await.unwrap() == expected());
    assert_eq!(ways(&watch), LENT);
}

// Invariants 16 and 22: what only the former life had is an error, never the end.
#[tokio::test]
async fn a_worker_that_comes_back_empty_under_a_reader_of_its_files_is_a_loss_and_never_fewer_rows() {
    let watch = Watch::start();
    // Little credit, so that what is in memory has not come when the worker goes.
    let options = ClientOptions { fetch_stream_bytes_max: 128 << 10, ..ClientOptions::default() };
    let setup = Setup { workers: 0, network: Arc::new(Tcp), options, ..Setup::default() };
    let forgets = |config: &mut Config, _: &Path| (config.keep_data, config.drain_seconds) = (false, 0);
    let mut host = host_in(setup, forgets).await;
    let source = host.write(SHUFFLE).await;
    let mut reader = Box::pin(host.cluster.client.read(SHUFFLE, [winner(0, 0)].into(), source));
    let mut read = vec![reader.next().await.unwrap().unwrap()];
    host.restart().await;
    let error = loop {
        match reader.next().await.expect("it does not end") {
            Ok(batch) => read.push(batch),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, FetchError::Lost { .. }), "{error}");
    assert!(read.len() >= STORED_BATCHES_MIN && read == expected()[..read.len()], "{} batches", read.len());
    assert_eq!(ways(&watch), LENT);
}

// Invariant 21: a file stays until its last stream closes. Invariant 22: what is gone is an error, never the end.
#[tokio::test]
async fn what_is_deleted_under_a_reader_of_its_file_is_read_to_the_end_of_the_file() {
    let host = host(Arc::new(Tcp), |_, _| {}).await;
    let source = host.write(SHUFFLE).await;
    let mut reader = Box::pin(host.cluster.client.read(SHUFFLE, [winner(0, 0)].into(), source));
    let mut read = vec![reader.next().await.unwrap().unwrap()];
    host.cluster.owner.release_job(JOB).await.unwrap();
    eventually("the files go", async || host.data_files().is_empty()).await;
    let mut end = None;
    while let Some(batch) = reader.next().await {
        match batch {
            Ok(batch) => read.push(batch),
            Err(error) => end = Some(error),
        }
    }
    assert!(read.len() >= STORED_BATCHES_MIN && read == expected()[..read.len()], "{} batches", read.len());
    assert!(read.len() == expected().len() || matches!(end, Some(FetchError::Lost { .. })), "{end:?}");
}

// Invariant 28.
#[tokio::test]
async fn data_may_move_to_the_object_store_under_a_reader_of_its_file() {
    let watch = Watch::start();
    let host = host(Arc::new(Tcp), |config, folder| {
        let quota = ByteSize::mib(20);
        config.disks = vec![DiskConfig { path: folder.join("data"), quota, ..DiskConfig::default() }];
        config.object_store = folder.join("objects").display().to_string();
        (config.evict_from_percent, config.evict_to_percent) = (60, 5);
    })
    .await;
    let source = host.write(SHUFFLE).await;
    let mut reader = Box::pin(host.cluster.client.read(SHUFFLE, [winner(0, 0)].into(), source.clone()));
    let mut read = vec![reader.next().await.unwrap().unwrap()];
    let lent = host.data_files();
    assert!(!lent.is_empty());
    // Presses the rest of the first one out of memory, and the disk above its mark.
    host.write(shuffle(1)).await;
    eventually("the first one moves", async || lent.iter().all(|file| !file.exists())).await;
    read.extend(reader.try_collect::<Vec<_>>().await.unwrap());
    assert!(read == expected());
    assert_eq!(ways(&watch), LENT);
    assert!(host.read(&source).await.unwrap() == expected());
}

// Invariant 23: the worker is asked for what its file does not hold any more, and says so.
#[tokio::test]
async fn a_lent_file_that_was_cut_off_is_a_loss_and_never_fewer_rows() {
    let watch = Watch::start();
    let host = host(Arc::new(Tcp), |_, _| {}).await;
    let source = host.write(SHUFFLE).await;
    for file in host.data_files() {
        let file = std::fs::OpenOptions::new().write(true).open(file).unwrap();
        file.set_len(20 * BATCH as u64).unwrap();
    }
    let error = host.read(&source).await.unwrap_err();
    assert!(matches!(error, FetchError::Lost { .. }), "{error}");
    assert_eq!(ways(&watch), Ways { borrowed: true, ..LOAN_IN_VAIN });
}

// Invariant 23: checksums are the reader's business whoever reads the file.
#[tokio::test]
async fn a_bit_that_turned_in_a_lent_file_is_a_loss_and_never_another_row() {
    const IN_A_HEADER: usize = 3 * (BATCH + BATCH_HEADER_BYTES) + 5;
    const IN_A_PAYLOAD: usize = IN_A_HEADER + BATCH_HEADER_BYTES;
    // The reader meets the first one only when it checks what it has read, and the other one before that.
    for (position, loan_failed) in [(IN_A_PAYLOAD, false), (IN_A_HEADER, true)] {
        let watch = Watch::start();
        let host = host(Arc::new(Tcp), |_, _| {}).await;
        let source = host.write(SHUFFLE).await;
        for file in host.data_files() {
            let mut bytes = std::fs::read(&file).unwrap();
            bytes[position] ^= 1;
            std::fs::write(&file, bytes).unwrap();
        }
        let mut reader = Box::pin(host.cluster.client.read(SHUFFLE, [winner(0, 0)].into(), source));
        let mut read = Vec::new();
        let error = loop {
            match reader.next().await.expect("it does not end") {
                Ok(batch) => read.push(batch),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, FetchError::Lost { .. }), "{error}");
        assert!(read.len() <= 3 && read == expected()[..read.len()], "{} batches", read.len());
        assert_eq!(ways(&watch), Ways { loan_failed, borrowed: !loan_failed, ..LENT });
    }
}
