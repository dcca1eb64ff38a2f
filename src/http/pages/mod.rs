//! `/login`, `/logout` and `/account`: pages for people. Who asks is judged in [`visitor`]; what is asked, by the service.

mod account;
mod factor;
mod failures;
mod login;
mod password;
mod recovery;
mod token;
mod totp;
mod visitor;
mod webauthn;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, middleware};

use super::oauth_error::retry_after;
use super::{HttpState, Refusal};
use crate::ui::{self, BASE_VALUE, FailurePage};
use signet_service::factors::own::SelfServiceError;
use signet_service::{SignInError, Unavailable};
use visitor::{OwnForm, Visitor, forgetting};

/// The routes of all pages. What is refused before a page is made, by its path or method, is protected as pages are.
pub(super) fn routes(base: &str) -> Router<HttpState> {
    let home = || get(async || see_other("/account"));
    let routes = Router::new().route("/", home());
    // With the issuer's path taken away it is the same.
    let routes = if base.is_empty() { routes } else { routes.route(&format!("{base}/"), home()) };
    let base: Arc<str> = base.into();
    routes
        .route("/login", get(login::show).post(login::sign_in))
        .route("/logout", post(login::sign_out))
        .route("/account", get(account::show))
        .route("/account/step-up", get(login::show_step_up).post(login::step_up))
        .route("/login/key", post(webauthn::ask))
        .route("/account/key", get(webauthn::show).post(webauthn::confirm))
        .route("/account/key/options", post(webauthn::make))
        .route("/account/recovery", get(recovery::show).post(recovery::make))
        .route("/account/token", get(token::show).post(token::take))
        .route("/account/totp", get(totp::show).post(totp::confirm))
        .route("/account/factors/{id}", get(factor::show))
        .route("/account/factors/{id}/name", post(factor::rename))
        .route("/account/factors/{id}/remove", get(factor::show_removal).post(factor::remove))
        .route("/account/password", get(password::show).post(password::change))
        .route("/account/failures", post(account::answer_failures))
        .route("/account/sessions/end", post(account::end_session))
        .route("/account/sessions/end-all", post(account::sign_out_everywhere))
        .method_not_allowed_fallback(super::method_not_allowed)
        .layer(middleware::map_response(protect))
        .layer(middleware::from_fn_with_state(base, below))
        .route("/assets/signet.css", get(async || asset("text/css; charset=utf-8", ui::STYLE)))
        .route("/assets/webauthn.js", get(async || asset("text/javascript; charset=utf-8", ui::KEY_SCRIPT)))
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "public, max-age=3600")];
    (headers, text).into_response()
}

/// Nothing is loaded but the style sheet and the one script, which asks nobody but this service; none stands in the page;
/// nobody frames the page, and forms go nowhere else.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; \
                      frame-ancestors 'none'; base-uri 'none'";

/// The headers of every page. The referrer stays within the site; with `no-referrer` a browser would send its forms
/// with `Origin: null`.
const HEADERS: [(&str, &str); 6] = [
    ("content-security-policy", POLICY),
    ("x-frame-options", "DENY"),
    ("cache-control", "no-store"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("permissions-policy", "camera=(), microphone=(), geolocation=()"),
];

tokio::task_local! {
    /// The issuer's path, below which browsers know the pages.
    static BASE: Arc<str>;
}

/// Has the links of pages, and redirects, lead to where browsers know them.
async fn below(State(base): State<Arc<str>>, request: Request, next: Next) -> Response {
    BASE.scope(base, next.run(request)).await
}

fn base() -> Arc<str> {
    BASE.try_with(Arc::clone).unwrap_or_default()
}

/// Whether whoever asks is a browser that wants to show a page: it names HTML first.
pub(super) fn are_wanted(headers: &HeaderMap) -> bool {
    single(headers, &header::ACCEPT).is_some_and(|accepted| accepted.trim_start().starts_with("text/html"))
}

/// The page for an address where there is none.
pub(super) async fn not_found(base: Arc<str>) -> Response {
    protect(BASE.scope(base, async { PageError::NotFound.into_response() }).await).await
}

/// The page for whoever comes from where the tenant may not be asked.
pub(super) async fn not_from_here(base: Arc<str>) -> Response {
    let made = async {
        let (title, text) = ("Not from here", "This service may not be used from where you are.");
        page(StatusCode::FORBIDDEN, &FailurePage { title, text })
    };
    protect(BASE.scope(base, made).await).await
}

async fn protect(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A page.
fn page(status: StatusCode, template: &impl Template) -> Response {
    let base: &dyn Any = &base().to_string();
    match template.render_with_values(&(BASE_VALUE, base)) {
        Ok(html) => (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be made");
            Refusal::from(Unavailable).into_response()
        }
    }
}

/// A redirect by which the browser asks for a page of this service.
fn see_other(path: &str) -> Response {
    let Ok(location) = HeaderValue::from_str(&format!("{}{path}", base())) else {
        return PageError::NotFound.into_response();
    };
    (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response()
}

/// A response with `Retry-After`, where there is a time to wait.
fn with_retry(mut response: Response, pause: Option<Duration>) -> Response {
    if let Some(pause) = pause {
        response.headers_mut().insert(header::RETRY_AFTER, retry_after(pause));
    }
    response
}

/// Status and text of a refused sign-in: one for all that can be wrong with a name, a password and a code.
fn sign_in_failure(error: SignInError) -> (StatusCode, &'static str) {
    match error {
        SignInError::Unavailable(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, "Signing in does not work at the moment. Try again shortly.")
        }
        // Told only after all that was shown was right.
        SignInError::TooWeak => (
            StatusCode::FORBIDDEN,
            "That was right, but not strong enough for this account. Sign in with a stronger factor.",
        ),
        SignInError::Refused => (
            StatusCode::BAD_REQUEST,
            "That did not work. Check the name, the password and the code, and use a new code. After too many wrong tries \
             a right one is not taken either for a while: wait an hour, use another kind of code, or ask your administrator.",
        ),
    }
}

/// A request that gets no page of its own.
#[derive(Debug)]
enum PageError {
    /// Nobody is signed in.
    NotSignedIn,
    /// The form is not one of this browser's.
    Forged,
    /// The change needs a fresh proof.
    StepUpNeeded,
    /// The change needs a proof by the person's strongest factor.
    StrongerNeeded,
    /// There is nothing here.
    NotFound,
    /// The input is not acceptable.
    Input(String),
    /// HSM or store did not do their part.
    Unavailable,
    /// The form could not be read.
    Unreadable(Box<Response>),
}

impl From<Unavailable> for PageError {
    fn from(_: Unavailable) -> Self {
        Self::Unavailable
    }
}

impl From<SelfServiceError> for PageError {
    fn from(error: SelfServiceError) -> Self {
        match error {
            SelfServiceError::StepUpNeeded => Self::StepUpNeeded,
            SelfServiceError::StrongerNeeded => Self::StrongerNeeded,
            SelfServiceError::Missing => Self::NotFound,
            SelfServiceError::SessionOver => Self::NotSignedIn,
            SelfServiceError::Input(_) | SelfServiceError::WrongCode => Self::Input(error.to_string()),
            SelfServiceError::Unavailable(_) => Self::Unavailable,
        }
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let failure = |status, title: &str, text: &str| page(status, &FailurePage { title, text });
        match self {
            Self::NotSignedIn => see_other("/login"),
            Self::Forged => failure(
                StatusCode::FORBIDDEN,
                "This form can't be used",
                "It was not made for this browser, or it is too old. Go back, load the page again, and try once more.",
            ),
            Self::StepUpNeeded => failure(
                StatusCode::FORBIDDEN,
                "A fresh sign-in is needed",
                "Changes to how you sign in need your password and a code of the last five minutes. Begin again from \
                 your account.",
            ),
            Self::StrongerNeeded => failure(
                StatusCode::FORBIDDEN,
                "A stronger sign-in is needed",
                "Changes to how you sign in need the strongest of your factors. Begin again from your account, and confirm \
                 with that one.",
            ),
            Self::NotFound => failure(StatusCode::NOT_FOUND, "Not found", "There is no such page."),
            Self::Input(text) => failure(StatusCode::BAD_REQUEST, "That did not work", &text),
            Self::Unavailable => {
                let (status, text) = (StatusCode::SERVICE_UNAVAILABLE, "Try again shortly.");
                with_retry(failure(status, "This does not work at the moment", text), Some(Unavailable::RETRY_AFTER))
            }
            Self::Unreadable(response) => *response,
        }
    }
}

/// The one value of a header; none where it is absent, given twice or no text.
fn single<'h>(headers: &'h HeaderMap, name: &header::HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}
