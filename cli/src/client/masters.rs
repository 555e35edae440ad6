//! Talks to the admin views of shuffle masters. A question goes to the first that answers; an order to all of them, so
//! that each knows it at once, with what shows that it may be given.

use std::{path::PathBuf, time::Duration};

use penstock_protocol::token::{ClusterSecret, Purpose};
use reqwest::{Method, RequestBuilder, StatusCode, Url};
use serde_json::Value;

use super::refusal;
use crate::exit::{Exit, Failed};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
const NAME_THE_SECRET: &str = "name the file that the masters have as `cluster_secret_file` with --secret-file or PENSTOCK_SHUFFLE_SECRET_FILE";

#[derive(Debug, Clone)]
pub struct Masters {
    http: reqwest::Client,
    addresses: Vec<Url>,
    /// Empty: the masters demand none. Read when the first order is given; views are open.
    secret_file: PathBuf,
}

/// Why one master did not do it.
enum Refused {
    /// It cannot be reached; another one may do.
    Silent(String),
    /// It answered no.
    Answered(StatusCode, Failed),
}

impl Masters {
    /// `host:port` or URLs of the masters' admin views, and the file with their cluster secret.
    pub fn new(addresses: &[String], secret_file: PathBuf) -> anyhow::Result<Self> {
        let url = |address: &String| {
            let with_scheme =
                if address.contains("://") { address.clone() } else { format!("http://{address}") };
            with_scheme.parse::<Url>().map_err(|cause| {
                Failed::usage(format!("`{address}` is not the address of a shuffle master: {cause}"))
            })
        };
        let addresses = addresses.iter().map(url).collect::<Result<_, _>>()?;
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            .no_proxy()
            .user_agent(concat!("penstock-cli/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { http, addresses, secret_file })
    }

    /// The answer of the first master that has one.
    pub async fn get(&self, path: &[&str]) -> anyhow::Result<Value> {
        self.first(|address| self.request(Method::GET, address, path)).await
    }

    /// Gives the order to the first master that takes it: one that concerns no master's own state.
    pub async fn post_once(&self, path: &[&str], body: &Value) -> anyhow::Result<Value> {
        let token = self.token()?;
        self.first(|address| self.order(&token, Method::POST, address, path).json(body)).await
    }

    /// Takes back, at the first master that does it, what concerns no master's own state.
    pub async fn delete_once(&self, path: &[&str]) -> anyhow::Result<Value> {
        let token = self.token()?;
        self.first(|address| self.order(&token, Method::DELETE, address, path)).await
    }

    /// What one master does not know, another may.
    async fn first(&self, request: impl Fn(&Url) -> RequestBuilder) -> anyhow::Result<Value> {
        let (mut silent, mut unknown) = (Vec::new(), None);
        for address in &self.addresses {
            match answer(request(address)).await {
                Ok(answer) => return Ok(answer),
                Err(Refused::Silent(reason)) => silent.push(reason),
                Err(Refused::Answered(StatusCode::NOT_FOUND, refused)) => {
                    unknown = unknown.or(Some(refused));
                }
                Err(Refused::Answered(_, refused)) => return Err(refused.into()),
            }
        }
        Err(unknown.unwrap_or_else(|| unreachable(&silent)).into())
    }

    /// Gives all masters the same order; one that takes it is enough, and those that cannot be reached are named on
    /// standard error. A worker that only some masters know is known.
    pub async fn post(&self, path: &[&str], body: &Value) -> anyhow::Result<Value> {
        let token = self.token()?;
        let (mut done, mut silent, mut refused) = (None, Vec::new(), None);
        for address in &self.addresses {
            match answer(self.order(&token, Method::POST, address, path).json(body)).await {
                Ok(answer) => done = done.or(Some(answer)),
                Err(Refused::Silent(reason)) => silent.push(reason),
                Err(Refused::Answered(StatusCode::NOT_FOUND, answered)) => {
                    refused = refused.or(Some(answered))
                }
                Err(Refused::Answered(_, answered)) => return Err(answered.into()),
            }
        }
        match (done, refused) {
            (Some(answer), _) => {
                for reason in silent {
                    eprintln!(
                        "warning: {reason}; workers tell it of orders when it is back, but not of settings"
                    );
                }
                Ok(answer)
            }
            (None, Some(refused)) => Err(refused.into()),
            (None, None) => Err(unreachable(&silent).into()),
        }
    }

    /// What shows that an order may be given, if there is a secret.
    fn token(&self) -> anyhow::Result<Option<String>> {
        let secret = ClusterSecret::load(&self.secret_file).map_err(|cause| {
            Failed::usage(format!("{:#}", anyhow::Error::from(cause))).advise(NAME_THE_SECRET)
        })?;
        Ok(secret.map(|secret| secret.cluster_token(Purpose::Order)))
    }

    fn order(&self, token: &Option<String>, method: Method, address: &Url, path: &[&str]) -> RequestBuilder {
        let request = self.request(method, address, path);
        match token {
            // It is marked as sensitive: nobody prints it with the request.
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    fn request(&self, method: Method, address: &Url, path: &[&str]) -> RequestBuilder {
        let mut url = address.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            // A name from the command line stays one segment, whatever it holds.
            segments.pop_if_empty().extend(["api", "v1"]).extend(path);
        }
        self.http.request(method, url)
    }
}

async fn answer(request: RequestBuilder) -> Result<Value, Refused> {
    let response = request.send().await.map_err(|cause| silent(&cause))?;
    let status = response.status();
    let body = response.bytes().await.map_err(|cause| silent(&cause))?;
    if !status.is_success() {
        let mut refused = refusal("shuffle master", status, &body);
        if status == StatusCode::UNAUTHORIZED {
            refused = refused.advise(NAME_THE_SECRET);
        }
        return Err(Refused::Answered(status, refused));
    }
    serde_json::from_slice(&body)
        .map_err(|cause| Refused::Silent(format!("the answer cannot be read: {cause}")))
}

fn silent(cause: &reqwest::Error) -> Refused {
    let server = cause.url().map(|url| url.origin().ascii_serialization()).unwrap_or_default();
    let what = if cause.is_connect() { "cannot be reached" } else { "did not answer" };
    Refused::Silent(format!("the shuffle master at {server} {what}: {}", super::root_cause(cause)))
}

fn unreachable(silent: &[String]) -> Failed {
    Failed::new(Exit::Infrastructure, silent.join("; "))
        .advise("name the admin addresses of your masters with --masters or PENSTOCK_SHUFFLE_MASTERS")
}
