//! A client of token introspection (RFC 7662): the issuer says what a token is worth now, revocation included, where a
//! verifier in process knows only what was signed. Each question is a request of its own; no answer is kept.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::Full;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::Refusal;
use super::claim::{audiences, date, scopes, text};
use super::https::{Failure, HttpsClient, is_private};
use signet_jose::clock::Timestamp;
use signet_jose::{UnverifiedJws, strict_json};

/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 * 1024;
/// How long one question may take in all.
const MAX_TIME: Duration = Duration::from_secs(5);

/// Asks one introspection endpoint, as one client. Cloning shares the connections.
#[derive(Clone)]
pub struct IntrospectionClient {
    endpoint: Uri,
    authorization: HeaderValue,
    client: HttpsClient,
}

/// What a token is worth now.
#[derive(Debug, Clone, PartialEq)]
pub enum Introspection {
    /// Nothing: it is unknown, expired, revoked, not for this client, or no token at all. Which, is not told (RFC 7662 §2.2).
    Inactive,
    /// It is in force, and this is what it stands for.
    Active(Box<ActiveToken>),
}

/// What the issuer says of a token in force (RFC 7662 §2.2). Whether the token may do what is asked for is for the caller
/// to judge: at least whom it is meant for ([`is_for`](Self::is_for)), and its scopes.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ActiveToken {
    /// `scope`; empty where nothing is said.
    pub scopes: BTreeSet<String>,
    /// `client_id`: who asked for the token.
    pub client_id: Option<String>,
    /// `username`: a person's name, for people.
    pub username: Option<String>,
    /// `token_type`, e.g. `Bearer`; Signet says `refresh_token` of those.
    pub token_type: Option<String>,
    /// `exp`.
    pub expires_at: Option<Timestamp>,
    /// `iat`.
    pub issued_at: Option<Timestamp>,
    /// `nbf`.
    pub not_before: Option<Timestamp>,
    /// `sub`.
    pub subject: Option<String>,
    /// `aud`, as a list also where a string is said; empty where nothing is.
    pub audiences: Vec<String>,
    /// `iss`.
    pub issuer: Option<String>,
    /// `jti`.
    pub token_id: Option<String>,
    /// Every other member, as it stands: from Signet e.g. `roles`, `auth_time`, `acr` and `amr`.
    pub others: Map<String, Value>,
}

/// Why there is no answer. Who can't tell what a token is worth must refuse it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IntrospectionError {
    /// The endpoint's address is no URL.
    #[error("the introspection endpoint is no URL: {0}")]
    Url(#[from] http::uri::InvalidUri),
    /// The endpoint's address is not one that secrets are sent to.
    #[error("the introspection endpoint must be https (http on loopback only) and carry no user name or password")]
    RefusedUrl,
    /// The endpoint can't be asked, or gives no whole answer within 5 seconds.
    #[error("{endpoint} can't be asked: {reason}")]
    Request {
        /// The endpoint.
        endpoint: Uri,
        /// What went wrong.
        reason: String,
    },
    /// The issuer does not take this client's id and secret.
    #[error("the introspection endpoint refuses this client's credentials")]
    Credentials,
    /// The endpoint answers something else than 200; a redirect is not followed.
    #[error("the introspection endpoint answered {0}")]
    Status(StatusCode),
    /// The answer is longer than is read.
    #[error("the introspection endpoint's answer is longer than 64 KiB")]
    TooLarge,
    /// The answer is not one strict JSON object in which `active` is true or false.
    #[error("the introspection endpoint's answer is not one JSON object that says whether the token is active")]
    Malformed,
    /// A member of the answer is not of its type or out of range.
    #[error("in the introspection endpoint's answer: {0}")]
    Member(#[from] Refusal),
}

impl IntrospectionClient {
    /// A client that shows its id and secret by HTTP Basic (RFC 6749 §2.3.1). The endpoint is `https`, or `http` on
    /// loopback; the issuer's metadata names it `introspection_endpoint`.
    ///
    /// # Errors
    ///
    /// [`IntrospectionError`] where the endpoint is none that secrets are sent to, or this system's TLS roots can't be read.
    pub fn new(endpoint: &str, client_id: &str, client_secret: &str) -> Result<Self, IntrospectionError> {
        let endpoint: Uri = endpoint.parse()?;
        if !is_private(&endpoint) {
            return Err(IntrospectionError::RefusedUrl);
        }
        let failed = |reason| IntrospectionError::Request { endpoint: endpoint.clone(), reason };
        let credentials = format!("{}:{}", form_encoded(client_id), form_encoded(client_secret));
        let authorization = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(credentials)));
        let mut authorization = authorization.map_err(|error| failed(error.to_string()))?;
        authorization.set_sensitive(true);
        let client = HttpsClient::for_origin_of(&endpoint).map_err(failed)?;
        Ok(Self { endpoint, authorization, client })
    }

    /// Asks what a token is worth now. One longer than any token ([`UnverifiedJws::MAX_LENGTH`]) is inactive unasked.
    ///
    /// # Errors
    ///
    /// [`IntrospectionError`]: then nothing is known, and the token must be refused.
    pub async fn introspect(&self, token: &str) -> Result<Introspection, IntrospectionError> {
        if token.len() > UnverifiedJws::MAX_LENGTH {
            return Ok(Introspection::Inactive);
        }
        let failed = |reason| IntrospectionError::Request { endpoint: self.endpoint.clone(), reason };
        let request = Request::post(&self.endpoint)
            .header(AUTHORIZATION, self.authorization.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .body(Full::new(Bytes::from(format!("token={}", form_encoded(token)))))
            .map_err(|error| failed(error.to_string()))?;
        let answer = self.client.exchange(request, MAX_ANSWER, Instant::now() + MAX_TIME).await;
        let answer = answer.map_err(|failure| match failure {
            Failure::TooLarge => IntrospectionError::TooLarge,
            Failure::Failed(reason) => failed(reason),
        })?;
        match answer.status() {
            StatusCode::OK => Introspection::from_json(answer.body()),
            StatusCode::UNAUTHORIZED => Err(IntrospectionError::Credentials),
            other => Err(IntrospectionError::Status(other)),
        }
    }
}

impl fmt::Debug for IntrospectionClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("IntrospectionClient").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Introspection {
    fn from_json(json: &[u8]) -> Result<Self, IntrospectionError> {
        let mut members = strict_json::object(json).map_err(|_| IntrospectionError::Malformed)?;
        match members.remove("active") {
            Some(Value::Bool(false)) => Ok(Self::Inactive),
            Some(Value::Bool(true)) => Ok(Self::Active(Box::new(ActiveToken::read(members)?))),
            _ => Err(IntrospectionError::Malformed),
        }
    }
}

impl ActiveToken {
    /// Whether the token is meant for this audience, compared byte for byte.
    pub fn is_for(&self, audience: &str) -> bool {
        self.audiences.iter().any(|meant| meant == audience)
    }

    fn read(mut members: Map<String, Value>) -> Result<Self, Refusal> {
        Ok(Self {
            scopes: scopes(text(&mut members, "scope")?),
            client_id: text(&mut members, "client_id")?,
            username: text(&mut members, "username")?,
            token_type: text(&mut members, "token_type")?,
            expires_at: date(&mut members, "exp")?,
            issued_at: date(&mut members, "iat")?,
            not_before: date(&mut members, "nbf")?,
            subject: text(&mut members, "sub")?,
            audiences: if members.contains_key("aud") { audiences(&mut members)? } else { Vec::new() },
            issuer: text(&mut members, "iss")?,
            token_id: text(&mut members, "jti")?,
            others: members,
        })
    }
}

/// A value of a form, in which every byte but RFC 3986's unreserved ones is escaped.
fn form_encoded(value: &str) -> String {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn active(json: &str) -> ActiveToken {
        match Introspection::from_json(json.as_bytes()).unwrap() {
            Introspection::Active(token) => *token,
            Introspection::Inactive => panic!("it is inactive"),
        }
    }

    #[test]
    fn an_active_token_tells_what_it_stands_for() {
        // RFC 7662 §2.2.
        let token = active(
            r#"{"active":true,"client_id":"l238j323ds-23ij4","username":"jdoe","scope":"read write dolphin",
                "sub":"Z5O3upPC88QrAjx00dis","aud":"https://protected.example.net/resource",
                "iss":"https://server.example.com/","exp":1419356238,"iat":1419350238,"extension_field":"twenty-seven"}"#,
        );
        assert_eq!(token.scopes.iter().collect::<Vec<_>>(), ["dolphin", "read", "write"]);
        assert_eq!((token.username.as_deref(), token.subject.as_deref()), (Some("jdoe"), Some("Z5O3upPC88QrAjx00dis")));
        assert!(
            token.is_for("https://protected.example.net/resource") && !token.is_for("https://protected.example.net")
        );
        assert_eq!(token.expires_at, Some(Timestamp::from_unix_seconds(1_419_356_238)));
        assert_eq!((token.token_id, &token.others["extension_field"]), (None, &json!("twenty-seven")));
    }

    #[test]
    fn what_says_little_is_still_active_and_for_nobody() {
        let token = active(r#"{"active":true}"#);
        assert!(token.scopes.is_empty() && token.audiences.is_empty() && !token.is_for(""));
    }

    #[test]
    fn only_a_plain_true_is_active() {
        let read = |json: &str| Introspection::from_json(json.as_bytes());
        assert_eq!(read(r#"{"active":false,"sub":7}"#).unwrap(), Introspection::Inactive);
        for json in [
            "",
            "true",
            "{}",
            r#"{"active":"true"}"#,
            r#"{"active":1}"#,
            r#"{"active":null}"#,
            r#"{"active":false,"active":true}"#,
            r#"{"active":true} {}"#,
        ] {
            assert!(matches!(read(json), Err(IntrospectionError::Malformed)), "{json}");
        }
        for (member, value) in [("scope", "[]"), ("aud", "7"), ("aud", "[7]"), ("exp", "\"1\""), ("sub", "null")] {
            let answer = read(&format!(r#"{{"active":true,"{member}":{value}}}"#));
            assert!(matches!(answer, Err(IntrospectionError::Member(Refusal::Malformed(name))) if name == member));
        }
    }

    #[test]
    fn the_secret_is_sent_to_nobody_by_plain_http_and_shown_to_nobody() {
        for endpoint in ["http://a.example/introspect", "https://user@a.example/", "/introspect"] {
            let client = IntrospectionClient::new(endpoint, "id", "secret");
            assert!(matches!(client, Err(IntrospectionError::RefusedUrl)), "{endpoint}");
        }
        assert!(matches!(IntrospectionClient::new("", "id", "secret"), Err(IntrospectionError::Url(_))));
        let client = IntrospectionClient::new("http://127.0.0.1/introspect", "a:b", "s e+c").unwrap();
        assert!(client.authorization.is_sensitive() && !format!("{client:?}").contains("Basic"));
        // `a%3Ab:s%20e%2Bc`, so that a colon in the id parts nothing.
        assert_eq!(client.authorization, "Basic YSUzQWI6cyUyMGUlMkJj");
    }
}
