//! Rows over Arrow Flight, on the port that executors use.

use arrow::array::{AsArray, RecordBatch};
use arrow_flight::{
    FlightDescriptor, FlightInfo, Ticket, decode::FlightRecordBatchStream,
    flight_service_client::FlightServiceClient,
};
use futures::TryStreamExt;
use penstock_common::grpc;
use tonic::transport::Channel;

use crate::{
    cluster::{Cluster, tcp},
    executor::Executor,
};

fn client(cluster: &Cluster) -> FlightServiceClient<Channel> {
    FlightServiceClient::new(grpc::channel(tcp(), &cluster.grpc.to_string()))
}

async fn rows(client: &mut FlightServiceClient<Channel>, ticket: Ticket) -> Vec<RecordBatch> {
    let stream = client.do_get(ticket).await.unwrap().into_inner();
    let stream = FlightRecordBatchStream::new_from_flight_data(stream.map_err(Into::into));
    stream.try_collect().await.unwrap()
}

#[tokio::test]
async fn a_command_is_run_and_its_ticket_fetches_the_rows() {
    let cluster = Cluster::start().await;
    let mut executor = Executor::join(&cluster, "e1", 1).await;
    let mut client = client(&cluster);
    let answer = async {
        let (task, _) = executor.task().await;
        executor.answer(task.attempt, "a", vec![42]).await;
    };
    let ask = client.get_flight_info(FlightDescriptor::new_cmd("select 42 as a"));
    let (info, ()) = tokio::join!(ask, answer);
    let info: FlightInfo = info.unwrap().into_inner();
    assert_eq!(info.total_records, 1);
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let batches = rows(&mut client, ticket).await;
    assert_eq!(batches[0].column(0).as_primitive::<arrow::datatypes::Int64Type>().value(0), 42);
    cluster.stop().await;
}

#[tokio::test]
async fn a_bad_ticket_and_a_bad_command_are_refused_with_words() {
    let cluster = Cluster::start().await;
    let mut client = client(&cluster);
    let refusal = client.do_get(Ticket::new("what")).await.unwrap_err();
    assert!(refusal.message().contains("job_id"), "{}", refusal.message());
    let refusal = client.get_flight_info(FlightDescriptor::new_cmd("selec 1")).await.unwrap_err();
    assert_eq!(refusal.code(), tonic::Code::FailedPrecondition);
    cluster.stop().await;
}
