//! One line of the log for each request. It names the route and never the path, whose parts and query can hold secrets.

use std::net::IpAddr;
use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;

/// A request that is being answered.
pub(super) struct Access {
    method: Method,
    route: Option<MatchedPath>,
    begun: Instant,
}

impl Access {
    /// Begins with the request's head.
    pub(super) fn begin(request: &Request) -> Self {
        Self {
            method: request.method().clone(),
            route: request.extensions().get::<MatchedPath>().cloned(),
            begun: Instant::now(),
        }
    }

    /// Puts the route beside the answer, for whoever stands around a router as a whole and can't know it before.
    pub(super) async fn note_route(route: MatchedPath, request: Request, next: Next) -> Response {
        let mut response = next.run(request).await;
        response.extensions_mut().insert(route);
        response
    }

    /// Ends with the head of the answer. `route` is `-` where there is none.
    pub(super) fn end(self, response: &Response, request_id: &str, address: Option<IpAddr>) {
        let milliseconds = self.begun.elapsed().as_secs_f64() * 1000.0;
        let method = match self.method {
            // Whatever else somebody made up is told by its answer.
            Method::GET
            | Method::POST
            | Method::HEAD
            | Method::PUT
            | Method::PATCH
            | Method::DELETE
            | Method::OPTIONS => self.method.as_str(),
            _ => "-",
        };
        tracing::info!(
            target: "signet::access",
            method,
            route = self.route.as_ref().or(response.extensions().get()).map_or("-", MatchedPath::as_str),
            status = response.status().as_u16(),
            ms = (milliseconds * 10.0).round() / 10.0,
            request_id,
            address = address.map(tracing::field::display),
            "request"
        );
    }
}
