//! Takes orders over an admin view only from those who show the cluster's secret, if there is one. Who only looks is let
//! through: tools read views, metrics and health. Not here: what is an order beyond its method.

use std::net::IpAddr;

use axum::{
    Router,
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, Method, header::AUTHORIZATION},
    middleware::{self, Next},
    response::Response,
};
use penstock_common::net::PeerAddr;
use penstock_protocol::token::ClusterSecret;

use crate::{doorkeeper::Doorkeeper, problem::Problem};

const SCHEME: &str = "Bearer";

/// All that is not GET or HEAD asks for a token, on these routes and beside them.
pub(crate) fn guarded(routes: Router, secret: Option<ClusterSecret>) -> Router {
    routes.layer(middleware::from_fn_with_state(Doorkeeper::new(secret), demand_token))
}

async fn demand_token(
    State(doorkeeper): State<Doorkeeper>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let admitted = doorkeeper.admits_order(host(&request), bearer(request.headers()));
        admitted.map_err(|refused| {
            Problem::unauthorized(format!(
                "the order shows {} token: give orders with `penstock shuffle --secret-file FILE`, where FILE is what \
                 the shuffle service has as `cluster_secret_file`",
                refused.shown()
            ))
        })?;
    }
    Ok(next.run(request).await)
}

fn host(request: &Request) -> Option<IpAddr> {
    request.extensions().get::<ConnectInfo<PeerAddr>>().map(|peer| peer.0.0.ip())
}

/// The token of `Authorization: Bearer <token>`.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.as_bytes().split_at_checked(SCHEME.len())?;
    let token = token.strip_prefix(b" ")?.trim_ascii();
    scheme.eq_ignore_ascii_case(SCHEME.as_bytes()).then_some(token)
}
