//! Which way readers and writers take, and that all ways bring the same.

use super::*;

/// Whole exchanges of several sizes, and reads of a few maps; the same on every way.
async fn exchanges(host: &Host) {
    for (exchange, (batches, length)) in (0..).zip([(3_u32, 50), (40, BATCH), (6, 700_000)]) {
        let id = shuffle(exchange);
        let target = host.cluster.reserve(id, 2).await;
        let mut outputs: Vec<MapOutput> = Vec::new();
        for map in 0..3 {
            let all = (0..batches).map(|batch| (batch % 2, payload(map, batch % 2, batch, length)));
            outputs.push(host.cluster.write(&target, map, 0, all).await.unwrap());
        }
        let winners = [0, 1, 2].map(|map| winner(map, 0));
        for source in host.cluster.sources(&target, &winners, &outputs).await {
            let partition = source.partition.0;
            let of_map = |map| {
                let mine = (0..batches).filter(|batch| batch % 2 == partition);
                mine.map(|batch| payload(map, partition, batch, length)).collect::<Vec<_>>()
            };
            let read = host.cluster.read(id, &winners, source.clone()).await.unwrap();
            assert!(read == [0, 1, 2].map(of_map).concat(), "exchange {exchange} partition {partition}");
            let maps = TaskIndex(1)..TaskIndex(2);
            let totals = totals_of(source.partition, &outputs[1..2]);
            let part = PartitionSource { totals, ..source };
            let some: Vec<_> = host
                .cluster
                .client
                .read_maps(id, &winners, part, maps, Arc::default())
                .try_collect()
                .await
                .unwrap();
            assert!(some == of_map(1), "exchange {exchange} partition {partition}, one map");
        }
    }
}

#[tokio::test]
async fn every_way_to_a_worker_brings_the_same_rows() {
    type Configure = fn(&mut Config, &Path);
    let cases: [(Ways, Arc<dyn Network>, Configure); 6] = [
        (LENT, Arc::new(Tcp), |_, _| {}),
        (SENT_LOCALLY, Arc::new(Tcp), |config, _| config.memory_bytes_max = ByteSize::mib(256)),
        (OVER_THE_NETWORK, Arc::new(Tcp), |config, _| config.short_circuit = false),
        (OVER_THE_NETWORK, Arc::new(Elsewhere), |_, _| {}),
        (LOAN_IN_VAIN, Arc::new(Sees(None)), |_, _| {}),
        // Whatever that process holds open under the number is not the worker's file.
        (LOAN_IN_VAIN, Arc::new(Sees(Some(ProcessId(1)))), |_, _| {}),
    ];
    for (expected, network, configure) in cases {
        let watch = Watch::start();
        let host = host(network, configure).await;
        exchanges(&host).await;
        assert_eq!(ways(&watch), expected);
    }
}

#[tokio::test]
async fn who_is_on_the_host_is_turned_away_without_the_token_too() {
    let secret = Some("a secret of thirty-two bytes, or more");
    let host = host_in(Setup { workers: 0, secret, ..Setup::default() }, |_, _| {}).await;
    let source = host.write(SHUFFLE).await;
    let open = host.cluster.reserve(shuffle(1), 1).await;
    let watch = Watch::start();
    let stranger = ShuffleClient::new(Arc::new(Tcp), ClientOptions::default(), Tasks::new("stranger"));
    let read = stranger.read(SHUFFLE, [winner(0, 0)].into(), source.clone()).try_collect::<Vec<_>>().await;
    assert!(read.unwrap_err().to_string().contains("token"));
    let mut writer = stranger.writer(attempt(0, 0), open).await.unwrap();
    writer.push(PartitionIndex(0), 1, payload(0, 0, 0, 10)).await.unwrap();
    assert!(writer.finish().await.unwrap_err().to_string().contains("token"));
    // Nothing was lent, nor would it be to who shows the right one of another job.
    assert_eq!(ways(&watch), SENT_LOCALLY);
    assert!(host.read(&source).await.unwrap() == expected());
    assert_eq!(ways(&watch), LENT);
}

// Invariant 16: the same answer as over the network.
#[tokio::test]
async fn who_is_on_the_host_is_turned_away_by_another_life_too() {
    let host = host(Arc::new(Tcp), |_, _| {}).await;
    let mut stream = host.connect().await;
    let hello = host.hello();
    let incarnation = Incarnation(hello.incarnation.0 + 1);
    say_hello(&mut stream, Hello { incarnation, ..hello }).await;
    assert_eq!(next(&mut stream).await.kind, Kind::Fault);
}
