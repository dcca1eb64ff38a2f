//! How a refusal or fault is told (RFC 9457).

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::IntoResponses;

use signet_admin_api::clients::Client;
use signet_admin_api::factors::{Enrolled, Factor};
use signet_admin_api::keys::Key;
use signet_admin_api::otp_validation::{OtpClient, OtpKey};
use signet_admin_api::users::User;
use signet_admin_api::{Problem, ProblemKind};
use signet_core::admin::AdminScope;
use signet_service::{ChangeError, InitialiseError, MembershipError, Unavailable};
use signet_store::{StoreError, StoreFailure};

/// What a client is asked to have a token for (RFC 6750 §3).
const REALM: &str = "signet-admin";

/// An operation that was not done, and why.
#[derive(Debug)]
pub(super) struct Refused {
    problem: Problem,
    /// What `WWW-Authenticate` says (RFC 6750 §3): to whoever asks by a token, or should.
    challenge: Option<String>,
    /// Whether it may have been done all the same: the store did not say.
    outcome_is_unknown: bool,
}

/// Beside an answer: nobody knows whether what was asked for was done.
#[derive(Debug, Clone, Copy)]
pub(super) struct OutcomeUnknown;

impl Refused {
    pub(super) fn new(kind: ProblemKind, status: StatusCode, detail: impl Into<String>) -> Self {
        Self { problem: Problem::new(kind, status.as_u16(), detail), challenge: None, outcome_is_unknown: false }
    }

    /// 401: who asks is not known. `error` is a code of RFC 6750 §3.1 or RFC 9470, where a token was shown.
    pub(super) fn unauthenticated(error: Option<&'static str>, detail: &'static str) -> Self {
        let challenge = error.map_or_else(String::new, |error| format!(", error=\"{error}\""));
        let refused = Self::new(ProblemKind::Unauthenticated, StatusCode::UNAUTHORIZED, detail);
        Self { challenge: Some(format!("Bearer realm=\"{REALM}\"{challenge}")), ..refused }
    }

    /// 403: who asks lacks a scope.
    pub(super) fn insufficient(scope: AdminScope, by_token: bool) -> Self {
        let detail = match by_token {
            true => {
                format!("the token lacks the scope {scope}: a role of yours has to grant it, and the client to have it")
            }
            false => format!("this account lacks the scope {scope} (`[admin.operators]`)"),
        };
        let challenge = format!("Bearer realm=\"{REALM}\", error=\"insufficient_scope\", scope=\"{scope}\"");
        let refused = Self::new(ProblemKind::Forbidden, StatusCode::FORBIDDEN, detail);
        Self { challenge: by_token.then_some(challenge), ..refused }
    }

    /// 400: it can't be read.
    pub(super) fn unreadable(detail: impl Into<String>) -> Self {
        Self::new(ProblemKind::Invalid, StatusCode::BAD_REQUEST, detail)
    }

    /// The body can't be read, mostly for its length.
    pub(super) fn too_long(status: StatusCode) -> Self {
        let what = if status == StatusCode::PAYLOAD_TOO_LARGE { "is too long" } else { "could not be read" };
        Self::new(ProblemKind::Invalid, status, format!("the body {what}"))
    }

    /// 422: what was asked for can't be.
    pub(super) fn input(detail: impl Into<String>) -> Self {
        Self::new(ProblemKind::Invalid, StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    /// 404: there is no such thing.
    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(ProblemKind::NotFound, StatusCode::NOT_FOUND, detail)
    }

    /// 503: it may be asked again as it was.
    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(ProblemKind::Unavailable, StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    /// 409: it does not fit to what is there.
    pub(super) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(ProblemKind::Conflict, StatusCode::CONFLICT, detail)
    }
}

impl From<ChangeError> for Refused {
    fn from(error: ChangeError) -> Self {
        let detail = error.to_string();
        match error {
            ChangeError::Taken { .. } | ChangeError::NotInitialised(_) | ChangeError::Conflict(_) => {
                Self::conflict(detail)
            }
            ChangeError::Missing { .. } | ChangeError::Absent(_) => Self::not_found(detail),
            ChangeError::Input(_) => Self::input(detail),
            ChangeError::Forbidden(_) => Self::new(ProblemKind::Forbidden, StatusCode::FORBIDDEN, detail),
            ChangeError::Store(error) => error.into(),
            ChangeError::Hsm(_) | ChangeError::Unavailable(_) => Self::unavailable(detail),
        }
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        let detail = error.to_string();
        match error.failure {
            // A commit whose answer was lost is among these.
            StoreFailure::Unavailable(_) => Self { outcome_is_unknown: true, ..Self::unavailable(detail) },
            StoreFailure::Busy(_) | StoreFailure::NoRowKeys => Self::unavailable(detail),
            // Only a person's decision ends these.
            StoreFailure::Corrupt(_)
            | StoreFailure::Forged { .. }
            | StoreFailure::RolledBack
            | StoreFailure::Unanchored(_)
            | StoreFailure::Unanswered
            | StoreFailure::Fenced(_)
            | StoreFailure::Refused(_) => Self::conflict(detail),
        }
    }
}

impl From<InitialiseError> for Refused {
    fn from(error: InitialiseError) -> Self {
        match error {
            InitialiseError::Store(error) => error.into(),
            InitialiseError::Hsm(error) => Self::unavailable(error.to_string()),
            other => Self::conflict(other.to_string()),
        }
    }
}

impl From<MembershipError> for Refused {
    fn from(error: MembershipError) -> Self {
        let detail = error.to_string();
        match error {
            MembershipError::NotConfigured(_) | MembershipError::NotAMember(_) => Self::not_found(detail),
            MembershipError::Keys(error) => error.into(),
            MembershipError::Store(error) => error.into(),
            MembershipError::SealedCopies(_) | MembershipError::Hsm(_) => Self::unavailable(detail),
            MembershipError::NotInitialised
            | MembershipError::SameToken { .. }
            | MembershipError::NoAlgorithm { .. }
            | MembershipError::Last(_)
            | MembershipError::NothingElseSigns { .. }
            | MembershipError::SealedAlone { .. }
            | MembershipError::NothingElseKeeps { .. } => Self::conflict(detail),
        }
    }
}

impl From<Unavailable> for Refused {
    fn from(error: Unavailable) -> Self {
        Self::unavailable(error.to_string())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self.problem)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(challenge) = self.challenge.and_then(|text| HeaderValue::from_str(&text).ok()) {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        if self.outcome_is_unknown {
            response.extensions_mut().insert(OutcomeUnknown);
        }
        response
    }
}

/// What can be read again.
pub(super) trait Addressed {
    /// The parts of its path below `/api/v1`.
    fn address(&self) -> [String; 2];
}

macro_rules! addressed {
    ($($Thing:ty: $list:literal, $name:ident$(.$of:ident)?;)+) => {
        $(impl Addressed for $Thing {
            fn address(&self) -> [String; 2] {
                [$list.to_owned(), self.$name$(.$of)?.to_string()]
            }
        })+
    };
}

addressed! {
    User: "users", name;
    Factor: "factors", id;
    Enrolled: "factors", factor.id;
    Client: "clients", client_id;
    OtpClient: "otp-clients", id;
    OtpKey: "otp-keys", public_id;
    Key: "keys", kid;
}

/// What was made, 201, with where it is.
pub(super) struct Created<T>(pub(super) T);

impl<T: Serialize + Addressed> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        let location = location(&self.0.address());
        let mut response = (StatusCode::CREATED, Json(self.0)).into_response();
        response.headers_mut().extend(location.map(|location| (header::LOCATION, location)));
        response
    }
}

fn location(address: &[String]) -> Option<HeaderValue> {
    let mut url = url::Url::parse("http://signet/api/v1").ok()?;
    url.path_segments_mut().ok()?.extend(address);
    HeaderValue::from_str(url.path()).ok()
}

/// The faults that every operation can end in.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "it describes what `Refused` answers")]
pub(super) enum Faults {
    /// The request can't be read.
    #[response(status = 400, content_type = "application/problem+json")]
    Unreadable(Problem),
    /// A token is asked for, or the one that was shown does not hold.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthenticated(Problem),
    /// Who asks may not do this.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(Problem),
    /// There is no such thing.
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(Problem),
    /// It does not fit to what is there.
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(Problem),
    /// It was changed meanwhile: what `If-Match` names is not what is there.
    #[response(status = 412, content_type = "application/problem+json")]
    ChangedMeanwhile(Problem),
    /// The body is too long.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLong(Problem),
    /// The body is not JSON by its `Content-Type`.
    #[response(status = 415, content_type = "application/problem+json")]
    NotJson(Problem),
    /// What was asked for can't be.
    #[response(status = 422, content_type = "application/problem+json")]
    Invalid(Problem),
    /// HSM or store do not answer; the same request may be made again.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(Problem),
}
