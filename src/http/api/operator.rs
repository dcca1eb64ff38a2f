//! Who asks: by a token, the person or the software that it was given to; without one, the account that the kernel names at the other
//! end of the socket.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::serve::IncomingStream;
use nix::unistd::{Uid, User};
use tokio::net::UnixListener;

use super::{ApiState, Refused};
use crate::http::access::Access;
use crate::http::address;
use signet_admin_api::ProblemKind;
use signet_core::admin::{AdminScopes, Authority, OperatorKind};
use signet_core::audit::RequestContext;
use signet_core::networks::{Network, among};
use signet_service::operators::tokens::JudgedToken;

/// Who an operator says to be, where several people share a system account. Written down, and decides nothing by itself.
pub const CLAIM_HEADER: HeaderName = HeaderName::from_static("signet-operator");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What accounts of this machine may do: those that are named here, by number or name, have these scopes and no others; all
/// others have every one.
pub type AccountScopes = BTreeMap<String, AdminScopes>;

/// The system account at the other end of the socket, as the kernel names it; the command's own where there is no server.
#[derive(Debug, Clone, Copy)]
pub struct Operator {
    /// Its number; absent where the kernel does not say.
    pub uid: Option<u32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Operator {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self { uid: stream.io().peer_cred().ok().map(|peer| peer.uid()) }
    }
}

/// Who asks, as the audit record will say, and by what right.
#[derive(Debug, Clone)]
pub(super) struct Caller(pub(super) RequestContext);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refused> {
        parts.extensions.get::<Self>().cloned().ok_or_else(nobody)
    }
}

fn nobody() -> Refused {
    Refused::new(ProblemKind::Forbidden, StatusCode::FORBIDDEN, "who asks is not an account of this machine")
}

/// Puts who asks beside a request, and gives it an id.
pub(super) async fn attach(State(state): State<ApiState>, mut request: Request, next: Next) -> Response {
    let request_id = state.issuer().ids.next();
    let (access, address) = (Access::begin(&request), address::of(request.extensions()));
    // Rights are judged by what is set now, by whatever node; where that can't be read nothing is changed.
    let is_known = match state.issuer().directory.fresh().await {
        Err(error) if !request.method().is_safe() => Err(Refused::from(error)),
        _ => Ok(()),
    };
    let asked = match is_known {
        Ok(()) => who_asks(&state, request.headers(), request.extensions()).await,
        Err(refused) => Err(refused),
    };
    let mut response = match asked {
        Ok(context) => {
            let context = RequestContext { request_id: Some(request_id.clone()), ..context };
            request.extensions_mut().insert(Caller(context));
            next.run(request).await
        }
        Err(refused) => refused.into_response(),
    };
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    // What is secret is shown once, and kept by nobody on the way.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    access.end(&response, &request_id, address);
    response
}

/// Refuses a request that comes from none of these networks, whatever it shows, on the record.
pub(super) async fn admit(
    State((state, allowed)): State<(ApiState, Arc<[Network]>)>,
    request: Request,
    next: Next,
) -> Response {
    let address = address::of(request.extensions());
    if allowed.is_empty() || address.is_some_and(|address| among(allowed.iter(), address)) {
        return next.run(request).await;
    }
    let context = RequestContext { request_id: Some(state.issuer().ids.next()), address, ..RequestContext::NONE };
    match state.issuer().allow_lists.tell_refused("admin API", &context).await {
        Ok(()) => {
            let detail = "operators ask from other addresses than this one (`admin.allow_from`)";
            Refused::new(ProblemKind::Forbidden, StatusCode::FORBIDDEN, detail).into_response()
        }
        Err(error) => Refused::from(error).into_response(),
    }
}

/// A token that is shown is judged, whatever listener it came by: then nobody acts as the account that they are.
async fn who_asks(state: &ApiState, headers: &HeaderMap, extensions: &Extensions) -> Result<RequestContext, Refused> {
    let account = extensions.get::<ConnectInfo<Operator>>().map(|operator| operator.0);
    let address = address::of(extensions);
    if let Some(shown) = headers.get(header::AUTHORIZATION) {
        let token = shown.to_str().ok().and_then(bearer_token).ok_or_else(no_bearer)?;
        return match state.issuer().operator_tokens.judge_token(token, address).await? {
            JudgedToken::Operator(context) => Ok(context),
            JudgedToken::TooWeak => Err(too_weak()),
            JudgedToken::Invalid => Err(invalid()),
        };
    }
    let Some(account) = account else { return Err(no_token()) };
    let claim = match headers.get(CLAIM_HEADER).map(claimed) {
        None => None,
        Some(Some(claim)) => Some(claim),
        Some(None) => return Err(bad_claim()),
    };
    let uid = account.uid.ok_or_else(nobody)?;
    let account = account_of(uid).await.ok_or_else(nobody)?;
    let named = state.accounts.get(&uid.to_string()).or_else(|| state.accounts.get(&account));
    let scopes = named.cloned().unwrap_or_else(AdminScopes::all);
    Ok(RequestContext {
        operator: Some(told(uid, &account, claim.as_deref())),
        authority: Authority::Operator { kind: OperatorKind::Account, scopes },
        ..RequestContext::NONE
    })
}

/// The token of a Bearer header (RFC 6750 §2.1).
fn bearer_token(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start()).filter(|token| !token.is_empty())
}

fn no_token() -> Refused {
    Refused::unauthenticated(
        None,
        "a token is needed: `signet login` with a client that `signet client add --admin` made",
    )
}

fn no_bearer() -> Refused {
    Refused::unauthenticated(Some("invalid_request"), "the Authorization header holds no Bearer token (RFC 6750)")
}

fn invalid() -> Refused {
    let detail = "the token does not hold here: it is no token for the admin API, has expired, or has ended. Sign in again (`signet login`)";
    Refused::unauthenticated(Some("invalid_token"), detail)
}

fn too_weak() -> Refused {
    let detail =
        "this sign-in does not prove what the policy asks of operators: sign in again with a stronger second factor";
    Refused::unauthenticated(Some("insufficient_user_authentication"), detail)
}

/// The operator as the audit record says: `ann (uid 1000)`, and `bob by ann (uid 1000)` where a name was claimed.
fn told(uid: u32, account: &str, claim: Option<&str>) -> String {
    match claim {
        Some(claim) => format!("{claim} by {account} (uid {uid})"),
        None => format!("{account} (uid {uid})"),
    }
}

/// The name of an account; none where the number is no account's, or nobody can say now.
async fn account_of(uid: u32) -> Option<String> {
    // The look-up may ask a directory.
    let found = tokio::task::spawn_blocking(move || User::from_uid(Uid::from_raw(uid))).await;
    found.ok()?.ok()?.map(|user| user.name)
}

fn claimed(value: &HeaderValue) -> Option<String> {
    let claim = String::from_utf8(value.as_bytes().to_vec()).ok()?;
    let well_formed = (1..=64).contains(&claim.chars().count())
        && claim.chars().all(|letter| letter.is_alphanumeric() || matches!(letter, '.' | '-' | '_' | '@'));
    well_formed.then_some(claim)
}

fn bad_claim() -> Refused {
    let detail = "the operator's name takes up to 64 letters, digits, `.`, `-`, `_` and `@`";
    Refused::new(ProblemKind::Invalid, StatusCode::BAD_REQUEST, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_and_name_are_told_and_a_claim_beside_them() {
        assert_eq!(told(1000, "ann", None), "ann (uid 1000)");
        assert_eq!(told(1000, "ann", Some("bob")), "bob by ann (uid 1000)");
    }

    #[test]
    fn a_token_comes_as_a_bearer() {
        assert_eq!(bearer_token("Bearer abc"), Some("abc"));
        assert_eq!(bearer_token("bearer  abc"), Some("abc"));
        for other in ["abc", "Basic abc", "Bearer", "Bearer "] {
            assert_eq!(bearer_token(other), None, "{other}");
        }
    }

    #[tokio::test]
    async fn a_number_without_an_account_has_no_name() {
        assert_eq!(account_of(0).await.as_deref(), Some("root"));
        assert_eq!(account_of(0x3fff_fff0).await, None);
    }

    #[test]
    fn a_claim_is_a_name_and_nothing_else() {
        assert_eq!(claimed(&HeaderValue::from_static("ann.b@bank")).as_deref(), Some("ann.b@bank"));
        for bad in ["", "ann (uid 0)", "a b"] {
            assert_eq!(claimed(&HeaderValue::from_static(bad)), None, "{bad}");
        }
    }
}
