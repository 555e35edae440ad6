//! Arrow Flight: rows by ticket, and a query in one call. Served on the gRPC port beside the executors' stream.
//!
//! A ticket is JSON: `{"job_id": "…", "statement": 0}`. `GetFlightInfo` takes SQL as its command, runs it to its end and
//! answers with the ticket of the last statement that has rows.

use std::{pin::Pin, time::Duration};

use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightEndpoint, FlightInfo,
    HandshakeRequest, HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
    encode::FlightDataEncoderBuilder,
    error::FlightError,
    flight_descriptor::DescriptorType,
    flight_service_server::{FlightService, FlightServiceServer},
};
use futures::{Stream, StreamExt, TryStreamExt};
use penstock_common::grpc::MESSAGE_BYTES_MAX;
use penstock_protocol::ids::{JobId, StatementIndex};
use serde::{Deserialize, Serialize};
use tonic::{Request, Response, Status, Streaming};

use super::{Api, LookupError, RowsError, SubmitFailure};
use crate::{
    job::{JobSpec, JobStatus},
    results::ResultError,
};

/// Long enough that a poll is rare, short enough that a lost wake-up is no disaster.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn service(api: Api) -> FlightServiceServer<Flight> {
    FlightServiceServer::new(Flight { api })
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

#[derive(Debug)]
pub struct Flight {
    api: Api,
}

/// What a ticket says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowsTicket {
    pub job_id: JobId,
    #[serde(default)]
    pub statement: StatementIndex,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl FlightService for Flight {
    type HandshakeStream = Answers<HandshakeResponse>;
    type ListFlightsStream = Answers<FlightInfo>;
    type DoGetStream = Answers<FlightData>;
    type DoPutStream = Answers<PutResult>;
    type DoExchangeStream = Answers<FlightData>;
    type DoActionStream = Answers<arrow_flight::Result>;
    type ListActionsStream = Answers<ActionType>;

    async fn do_get(&self, request: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        let ticket: RowsTicket = serde_json::from_slice(&request.into_inner().ticket).map_err(|error| {
            Status::invalid_argument(format!(
                "the ticket is not of the form {{\"job_id\": \"…\", \"statement\": 0}}: {error}"
            ))
        })?;
        let rows =
            self.api.rows(ticket.job_id, ticket.statement).await.map_err(|error| rows_status(&error))?;
        let batches = rows.batches.map_err(|error| FlightError::Tonic(Box::new(result_status(&error))));
        let flight = FlightDataEncoderBuilder::new().with_schema(rows.schema).build(batches);
        Ok(Response::new(flight.map_err(Status::from).boxed()))
    }

    async fn get_flight_info(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let descriptor = request.into_inner();
        if descriptor.r#type() != DescriptorType::Cmd {
            return Err(Status::invalid_argument("the descriptor must be a command that holds SQL"));
        }
        let sql = String::from_utf8(descriptor.cmd.to_vec())
            .map_err(|_| Status::invalid_argument("the command is not SQL text"))?;
        let status = self.run(sql).await?;
        Ok(Response::new(self.info(&status, descriptor).await?))
    }

    async fn handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        Err(unsupported("handshake"))
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        Err(unsupported("list flights"))
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        Err(unsupported("poll flight info"))
    }

    async fn get_schema(&self, _: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        Err(unsupported("get schema"))
    }

    async fn do_put(&self, _: Request<Streaming<FlightData>>) -> Result<Response<Self::DoPutStream>, Status> {
        Err(unsupported("put"))
    }

    async fn do_exchange(
        &self,
        _: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        Err(unsupported("exchange"))
    }

    async fn do_action(&self, _: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        Err(unsupported("actions"))
    }

    async fn list_actions(&self, _: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        Err(unsupported("actions"))
    }
}

impl Flight {
    /// Runs a script to its end. The job goes on if the caller hangs up, as any other.
    async fn run(&self, sql: String) -> Result<std::sync::Arc<JobStatus>, Status> {
        let spec =
            JobSpec { name: "ad hoc".to_owned(), sql, client: "flight".to_owned(), ..JobSpec::default() };
        let accepted = self.api.submit(spec).await.map_err(|error| submit_status(&error))?;
        loop {
            let status = self.api.wait(accepted.job, None, PATIENCE).await;
            let status = status.map_err(|error| lookup_status(&error))?;
            if let Some(failure) = &status.failure {
                return Err(Status::failed_precondition(failure.failure.message.clone()));
            }
            if status.state.is_terminal() {
                return Ok(status);
            }
        }
    }

    async fn info(&self, status: &JobStatus, descriptor: FlightDescriptor) -> Result<FlightInfo, Status> {
        let with_rows = status.statements.iter().rev().find(|statement| statement.has_result);
        let statement =
            with_rows.ok_or_else(|| Status::failed_precondition("no statement has rows to fetch"))?;
        let rows = self.api.rows(status.job, statement.index).await.map_err(|error| rows_status(&error))?;
        let ticket = RowsTicket { job_id: status.job, statement: statement.index };
        let ticket = serde_json::to_vec(&ticket).map_err(|error| Status::internal(error.to_string()))?;
        let count = statement.rows.and_then(|rows| i64::try_from(rows).ok()).unwrap_or(-1);
        FlightInfo::new()
            .try_with_schema(&rows.schema)
            .map(|info| {
                info.with_descriptor(descriptor)
                    .with_endpoint(FlightEndpoint::new().with_ticket(Ticket::new(ticket)))
                    .with_total_records(count)
                    .with_ordered(true)
            })
            .map_err(|error| Status::internal(error.to_string()))
    }
}

fn unsupported(what: &str) -> Status {
    Status::unimplemented(format!("{what} is not supported yet"))
}

fn lookup_status(error: &LookupError) -> Status {
    match error {
        LookupError::UnknownJob { .. } => Status::not_found(error.to_string()),
        LookupError::Store(_) | LookupError::Stopped(_) => Status::unavailable(error.to_string()),
    }
}

fn submit_status(error: &SubmitFailure) -> Status {
    match error {
        SubmitFailure::Refused(refusal) => Status::failed_precondition(refusal.to_string()),
        SubmitFailure::Full { .. } => Status::resource_exhausted(error.to_string()),
        SubmitFailure::Store(_) | SubmitFailure::Stopped(_) => Status::unavailable(error.to_string()),
    }
}

fn rows_status(error: &RowsError) -> Status {
    match error {
        RowsError::Lookup(error) => lookup_status(error),
        RowsError::UnknownStatement { .. } => Status::not_found(error.to_string()),
        RowsError::NotFinished { .. } | RowsError::NoRows { .. } => {
            Status::failed_precondition(error.to_string())
        }
        RowsError::Gone { why, .. } => Status::not_found(format!("{error}; {}", why.advice())),
    }
}

fn result_status(error: &ResultError) -> Status {
    match error {
        ResultError::Read(error) => Status::data_loss(error.to_string()),
        ResultError::Damaged(_) | ResultError::Arrow(_) => Status::data_loss(error.to_string()),
    }
}
