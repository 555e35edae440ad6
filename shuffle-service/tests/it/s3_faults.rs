//! What can go wrong between a worker and its object store, on order or by chance.

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Frame, Incoming},
};
use s3s::{Body, HttpError, HttpRequest, HttpResponse, service::S3Service};
use tokio::sync::Notify;

use crate::s3_server::SLOW;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An answer that asks to come back later.
    Busy,
    /// An answer that says that the store is broken.
    Broken,
    /// The answer comes late.
    Slow,
    /// Nothing happens until [`Faults::heal`], and then what was asked for.
    Held,
    /// No answer ever comes.
    Hang,
    /// The connection ends when a part of the request was read.
    CutRequest,
    /// The request was carried out, and the connection ends in the middle of the answer, or before it if it is short.
    CutAnswer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Upload,
    Read,
    List,
    Delete,
}

/// The script of a server; of several rules for an operation the first one counts until its times are over.
#[derive(Debug, Default)]
pub struct Faults {
    plan: Mutex<Plan>,
    healed: Notify,
}

#[derive(Debug, Default)]
struct Plan {
    rules: Vec<(Operation, u32, Fault)>,
    /// Of 100 requests so many go wrong, each as one of these.
    odds: (u64, Vec<Fault>),
    random: u64,
    injected: u64,
    requests: Vec<Operation>,
    largest_bytes: u64,
}

impl Faults {
    pub fn add(&self, operation: Operation, times: u32, fault: Fault) {
        self.plan().rules.push((operation, times, fault));
    }

    /// Every request of this kind, until [`Self::heal`].
    pub fn always(&self, operation: Operation, fault: Fault) {
        self.add(operation, u32::MAX, fault);
    }

    pub fn by_chance(&self, seed: u64, percent: u64, faults: &[Fault]) {
        let mut plan = self.plan();
        (plan.random, plan.odds) = (seed, (percent, faults.to_vec()));
    }

    pub fn heal(&self) {
        let mut plan = self.plan();
        plan.rules.clear();
        plan.odds = (0, Vec::new());
        self.healed.notify_waiters();
    }

    pub fn injected(&self) -> u64 {
        self.plan().injected
    }

    /// How many requests of a kind came so far.
    pub fn requests(&self, operation: Operation) -> usize {
        self.plan().requests.iter().filter(|of| **of == operation).count()
    }

    /// Bytes of the largest request so far.
    pub fn largest_bytes(&self) -> u64 {
        self.plan().largest_bytes
    }

    fn draw(&self, request: &HttpRequest) -> Option<Fault> {
        let operation = operation(request);
        let mut plan = self.plan();
        plan.requests.push(operation);
        plan.largest_bytes = plan.largest_bytes.max(hyper::body::Body::size_hint(request.body()).lower());
        let fault = plan.scripted(operation).or_else(|| plan.drawn())?;
        plan.injected += 1;
        Some(fault)
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap()
    }
}

impl Plan {
    fn scripted(&mut self, operation: Operation) -> Option<Fault> {
        let fits = |(of, times, _): &&mut (Operation, u32, Fault)| *of == operation && *times > 0;
        let (_, times, fault) = self.rules.iter_mut().find(fits)?;
        *times -= 1;
        Some(*fault)
    }

    /// Knuth's generator: what comes when is not the same each time anyway, with several connections.
    fn drawn(&mut self) -> Option<Fault> {
        let (percent, faults) = &self.odds;
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let drawn = self.random >> 33;
        (drawn % 100 < *percent).then(|| faults[usize::try_from(drawn / 100).unwrap() % faults.len()])
    }
}

fn operation(request: &HttpRequest) -> Operation {
    let query = request.uri().query().unwrap_or_default();
    match *request.method() {
        Method::GET if query.contains("list-type") => Operation::List,
        Method::GET | Method::HEAD => Operation::Read,
        Method::DELETE if !query.contains("uploadId") => Operation::Delete,
        Method::POST if query.contains("delete") => Operation::Delete,
        _ => Operation::Upload,
    }
}

pub async fn serve(
    request: Request<Incoming>,
    store: S3Service,
    faults: Arc<Faults>,
) -> Result<HttpResponse, HttpError> {
    let request = request.map(Body::from);
    let healed = faults.healed.notified();
    match faults.draw(&request) {
        None => store.call(request).await,
        Some(Fault::Busy) => refused(request, StatusCode::SERVICE_UNAVAILABLE, "SlowDown").await,
        Some(Fault::Broken) => refused(request, StatusCode::INTERNAL_SERVER_ERROR, "InternalError").await,
        Some(Fault::Slow) => {
            tokio::time::sleep(SLOW).await;
            store.call(request).await
        }
        Some(Fault::Held) => {
            healed.await;
            store.call(request).await
        }
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::CutRequest) => {
            let _ = request.into_body().frame().await;
            Err(cut())
        }
        Some(Fault::CutAnswer) => cut_in_two(store.call(request).await?).await,
    }
}

async fn refused(request: HttpRequest, status: StatusCode, code: &str) -> Result<HttpResponse, HttpError> {
    let _ = request.into_body().collect().await;
    let text =
        format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>injected</Message></Error>");
    Ok(Response::builder().status(status).body(Body::from(text)).unwrap())
}

/// Leaves half of an answer, with the head of all of it.
async fn cut_in_two(answer: HttpResponse) -> Result<HttpResponse, HttpError> {
    let (head, body) = answer.into_parts();
    let whole = body.collect().await.map_err(HttpError::new)?.to_bytes();
    if whole.is_empty() {
        return Err(cut());
    }
    let half: Result<Frame<Bytes>, std::io::Error> = Ok(Frame::data(whole.slice(..whole.len() / 2)));
    let end = Err(std::io::ErrorKind::ConnectionReset.into());
    Ok(Response::from_parts(head, Body::http_body(StreamBody::new(futures::stream::iter([half, end])))))
}

fn cut() -> HttpError {
    HttpError::new(Box::new(std::io::Error::from(std::io::ErrorKind::ConnectionReset)))
}
