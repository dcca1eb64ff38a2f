//! Which scope an operation takes: its tag in the document is its noun, and whatever is no GET is a change. One whose tag is no noun
//! is allowed to nobody.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use utoipa::openapi::path::{HttpMethod, Operation, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Components, OpenApi};

use super::{Caller, Refused};
use signet_admin_api::ProblemKind;
use signet_core::admin::{AdminScope, Authority, Noun, OperatorKind};

/// What the document calls the tokens.
const SCHEME: &str = "token";

/// The scope of each operation, by method and path as it is matched.
pub(super) type OperationScopes = HashMap<(Method, String), AdminScope>;

/// The operations of a path, by method.
fn operations(item: &mut PathItem) -> [(HttpMethod, Option<&mut Operation>); 5] {
    [
        (HttpMethod::Get, item.get.as_mut()),
        (HttpMethod::Put, item.put.as_mut()),
        (HttpMethod::Post, item.post.as_mut()),
        (HttpMethod::Patch, item.patch.as_mut()),
        (HttpMethod::Delete, item.delete.as_mut()),
    ]
}

fn scope_of(changes: bool, operation: &Operation) -> Option<AdminScope> {
    let tag = operation.tags.iter().flatten().next()?;
    Noun::named(tag).map(|noun| AdminScope { noun, changes })
}

/// Writes into the document which scope each operation takes.
pub(super) fn describe(document: &mut OpenApi) {
    for item in document.paths.paths.values_mut() {
        for (method, operation) in operations(item) {
            let Some(operation) = operation else { continue };
            if let Some(scope) = scope_of(method != HttpMethod::Get, operation) {
                // The first one, without anything, is the socket's.
                let with_token = SecurityRequirement::new(SCHEME, [scope.to_string()]);
                operation.security = Some(vec![SecurityRequirement::default(), with_token]);
            }
        }
    }
    let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").description(Some(
        "An access token for urn:signet:admin. On the Unix socket none is needed: the kernel says who asks.",
    ));
    let components = document.components.get_or_insert_with(Components::new);
    components.add_security_scheme(SCHEME, SecurityScheme::Http(scheme.build()));
}

/// The scope of each operation of a document.
pub(super) fn scopes_of(document: &OpenApi) -> OperationScopes {
    let mut scopes = OperationScopes::new();
    for (path, item) in &document.paths.paths {
        let mut item = item.clone();
        for (method, operation) in operations(&mut item) {
            let Some(scope) = operation.and_then(|operation| scope_of(method != HttpMethod::Get, operation)) else {
                continue;
            };
            let method = match method {
                HttpMethod::Put => Method::PUT,
                HttpMethod::Post => Method::POST,
                HttpMethod::Patch => Method::PATCH,
                HttpMethod::Delete => Method::DELETE,
                _ => Method::GET,
            };
            scopes.insert((method, path.clone()), scope);
        }
    }
    scopes
}

/// Lets an operation be done by those who have its scope.
pub(super) async fn judge(State(scopes): State<Arc<OperationScopes>>, request: Request, next: Next) -> Response {
    let method = if request.method() == Method::HEAD { Method::GET } else { request.method().clone() };
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned()).unwrap_or_default();
    let caller = request.extensions().get::<Caller>();
    match (scopes.get(&(method, path)), caller.map(|caller| &caller.0.authority)) {
        (Some(scope), Some(authority)) if authority.permits(*scope) => next.run(request).await,
        (Some(scope), Some(Authority::Operator { kind, .. })) => {
            Refused::insufficient(*scope, *kind != OperatorKind::Account).into_response()
        }
        // Nobody who is known asks, or for what has no scope.
        _ => Refused::new(ProblemKind::Forbidden, StatusCode::FORBIDDEN, "nobody may do this").into_response(),
    }
}
