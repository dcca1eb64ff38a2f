//! Who asks for a page, and whether a form is the browser's own.
//!
//! A browser holds one cookie: a session's secret, or before the sign-in a random text that stands for nothing in the
//! store. Each form carries a token that is derived from it; a form from elsewhere has none, or another's. Where the
//! browser says where a form comes from (`Sec-Fetch-Site`, `Origin`), that must be this site too.

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use cookie::time::Duration;
use cookie::{Cookie, CookieBuilder, SameSite};

use super::login::step_up_at;
use super::{PageError, failures, see_other, single};
use crate::http::{Context, Form, HttpState};
use crate::ui::SignedIn;
use signet_core::audit::RequestContext;
use signet_core::oauth::Parameters;
use signet_core::secret::SecretText;
use signet_service::Issuer;
use signet_service::factors::own::SelfServiceError;
use signet_service::sessions::LiveSession;

/// The length of a secret: 32 bytes in base64url.
const SECRET_LENGTH: usize = 43;
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Who asks for a page, and whom.
pub(super) struct Visitor {
    pub(super) state: HttpState,
    pub(super) context: RequestContext,
    /// What the browser holds; new where it held nothing.
    pub(super) secret: SecretText,
    /// Whether the browser does not hold the secret yet.
    pub(super) is_new: bool,
    /// The session, where one holds.
    pub(super) live: Option<LiveSession>,
}

impl Visitor {
    /// The issuer whose page it is.
    pub(super) fn issuer(&self) -> &Issuer {
        self.state.issuer()
    }

    /// What a form of this browser carries.
    pub(super) async fn form_token(&self) -> Result<String, PageError> {
        Ok(self.issuer().sessions.form_token(&self.secret).await?)
    }

    /// Who is signed in, as every page of theirs begins: with the sign-ins that failed and that they have not answered for.
    pub(super) async fn who(&self) -> Result<SignedIn, PageError> {
        let live = self.signed_in()?;
        let noticed = self.issuer().sign_in.tries.noticed(&live.user.id).await?;
        let failed = noticed.iter().fold(0_u32, |all, of| all.saturating_add(of.failures));
        let factors = if noticed.is_empty() { Vec::new() } else { self.issuer().factors.own.own_factors(live).await? };
        let failures = noticed.iter().map(|of| failures::notice(of, &factors)).collect();
        Ok(SignedIn { token: self.form_token().await?, user: live.user.name.clone(), failures, failed })
    }

    /// What leads to the proof that a form will need, before the form is shown.
    pub(super) async fn step_up_first(&self, next: &str) -> Result<Option<Response>, PageError> {
        match self.issuer().factors.own.may_change(self.signed_in()?).await {
            Ok(()) => Ok(None),
            Err(SelfServiceError::StepUpNeeded) => Ok(Some(see_other(&step_up_at(next, false)))),
            Err(SelfServiceError::StrongerNeeded) => Ok(Some(see_other(&step_up_at(next, true)))),
            Err(error) => Err(error.into()),
        }
    }

    /// The session of a page that is for those who are signed in.
    pub(super) fn signed_in(&self) -> Result<&LiveSession, PageError> {
        self.live.as_ref().ok_or(PageError::NotSignedIn)
    }
}

impl FromRequestParts<HttpState> for Visitor {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, state: &HttpState) -> Result<Self, PageError> {
        let (state, Context(context)) = (state.clone(), Context::of(&parts.extensions));
        let sessions = &state.issuer().sessions;
        let (secret, is_new, live) = match secret_of(&parts.headers, state.is_https()) {
            Some(secret) => {
                let live = sessions.live_session(&secret).await?;
                (secret, false, live)
            }
            None => (sessions.new_session_secret(), true, None),
        };
        Ok(Self { state, context, secret, is_new, live })
    }
}

/// A form that this browser was given by this site.
pub(super) struct OwnForm {
    pub(super) visitor: Visitor,
    pub(super) parameters: Parameters,
}

impl OwnForm {
    /// A field as it was typed; empty where it is absent.
    pub(super) fn field(&self, name: &str) -> &str {
        self.parameters.optional(name).unwrap_or_default()
    }

    /// A field that must not be printed, as it was typed; empty where it is absent.
    pub(super) fn secret_field(&self, name: &str) -> SecretText {
        SecretText::new(self.field(name).to_owned())
    }
}

impl FromRequest<HttpState> for OwnForm {
    type Rejection = PageError;

    async fn from_request(request: Request, state: &HttpState) -> Result<Self, PageError> {
        let (mut parts, body) = request.into_parts();
        let visitor = Visitor::from_request_parts(&mut parts, state).await?;
        let is_own = is_same_site(&parts.headers, parts.uri.authority().map(ToString::to_string), state.is_https());
        let form = Form::from_request(Request::from_parts(parts, body), state).await;
        let parameters = form.map_err(|bad| PageError::Unreadable(Box::new(bad.into_response())))?.parameters;
        let shown = parameters.optional("form_token").unwrap_or_default();
        if visitor.is_new || !is_own || !state.issuer().sessions.is_form_token(&visitor.secret, shown).await? {
            return Err(PageError::Forged);
        }
        Ok(Self { visitor, parameters })
    }
}

/// Whether the browser says that a form comes from this site, as far as it says anything.
fn is_same_site(headers: &HeaderMap, authority: Option<String>, https: bool) -> bool {
    if headers.contains_key(&FETCH_SITE) && single(headers, &FETCH_SITE) != Some("same-origin") {
        return false;
    }
    if !headers.contains_key(header::ORIGIN) {
        return true;
    }
    // The host was judged before: it is one of this service's own.
    let host = single(headers, &header::HOST).map(str::to_owned).or(authority);
    let scheme = if https { "https" } else { "http" };
    let own = host.map(|host| format!("{scheme}://{host}"));
    single(headers, &header::ORIGIN).zip(own).is_some_and(|(origin, own)| origin.eq_ignore_ascii_case(&own))
}

/// The name keeps other hosts of the domain, and plain http, from setting the cookie. Without TLS, which there is on
/// loopback alone, no browser would take it.
const fn cookie_name(https: bool) -> &'static str {
    if https { "__Host-signet" } else { "signet" }
}

/// The secret that the browser holds: none where the cookie is not one of Signet's, or is there twice.
fn secret_of(headers: &HeaderMap, https: bool) -> Option<SecretText> {
    let texts = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut own = texts.flat_map(Cookie::split_parse).flatten().filter(|cookie| cookie.name() == cookie_name(https));
    let (Some(cookie), None) = (own.next(), own.next()) else { return None };
    let (value, is_word) = (cookie.value(), |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    (value.len() == SECRET_LENGTH && value.bytes().all(is_word)).then(|| SecretText::new(value.to_owned()))
}

/// A cookie of a secret that scripts can't read and other sites' forms don't send.
fn cookie(state: &HttpState, secret: &str) -> CookieBuilder<'static> {
    let cookie = Cookie::build((cookie_name(state.is_https()), secret.to_owned())).path("/").http_only(true);
    cookie.same_site(SameSite::Lax).secure(state.is_https())
}

/// The answer with the cookie of a secret.
pub(super) fn holding(response: Response, state: &HttpState, secret: &SecretText) -> Response {
    with_cookie(response, &cookie(state, secret.expose()))
}

/// The answer by which the browser forgets its secret.
pub(super) fn forgetting(response: Response, state: &HttpState) -> Response {
    with_cookie(response, &cookie(state, "").max_age(Duration::ZERO))
}

fn with_cookie(mut response: Response, cookie: &CookieBuilder<'_>) -> Response {
    if let Ok(value) = HeaderValue::from_str(&cookie.inner().to_string()) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        pairs.collect()
    }

    const SECRET: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    #[test]
    fn a_form_of_another_site_is_told_from_an_own_one() {
        let own = |pairs: &[(&'static str, &'static str)]| is_same_site(&headers(pairs), None, true);
        assert!(own(&[("host", "id.example")]));
        assert!(own(&[("host", "id.example"), ("origin", "https://id.example"), ("sec-fetch-site", "same-origin")]));
        for (name, value) in [
            ("origin", "https://evil.example"),
            ("origin", "http://id.example"),
            ("origin", "null"),
            ("origin", "https://id.example.evil.example"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("sec-fetch-site", "none"),
        ] {
            assert!(!own(&[("host", "id.example"), (name, value)]), "{name}: {value}");
        }
    }

    #[test]
    fn only_a_cookie_of_this_service_is_read() {
        let read = |text: String| {
            let mut headers = HeaderMap::new();
            headers.insert(header::COOKIE, text.parse().unwrap());
            secret_of(&headers, true).map(|secret| secret.expose().to_owned())
        };
        assert_eq!(read(format!("a=b; __Host-signet={SECRET}; c=d")).as_deref(), Some(SECRET));
        for other in [
            format!("signet={SECRET}"),
            format!("__Host-signet={SECRET}; __Host-signet={SECRET}"),
            format!("__Host-signet={SECRET}A"),
            format!("__Host-signet={}", &SECRET[1..]),
            format!("__Host-signet={}!", &SECRET[1..]),
            String::new(),
        ] {
            assert_eq!(read(other.clone()), None, "{other}");
        }
    }
}
