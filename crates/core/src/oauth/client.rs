//! Clients and how they prove who they are (RFC 6749 §2.3): `client_secret_basic` and `client_secret_post`.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use webauthn_rs::prelude::Url;

use super::{OAuthError, Parameters, Scopes, parameters};
use crate::keys::TenantId;
use crate::networks::{Network, among};
use crate::secret::{SecretHash, SecretText};
use crate::words::words;
use signet_jose::clock::Timestamp;

crate::string_id! {
    /// A client's id: the `client_id` of OAuth 2.0.
    pub struct ClientId;
}

words! {
    /// A grant type that a client may be allowed (RFC 6749), with the value of `grant_type`.
    pub enum GrantType {
        /// RFC 6749 §4.3, with the second factor in the same request.
        Password = "password",
        /// RFC 6749 §4.4.
        ClientCredentials = "client_credentials",
        /// RFC 6749 §6.
        RefreshToken = "refresh_token",
    }
}

/// A name that is no grant type of Signet's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown grant type; expected password, client_credentials or refresh_token")]
pub struct UnknownGrantType;

impl FromStr for GrantType {
    type Err = UnknownGrantType;

    fn from_str(name: &str) -> Result<Self, UnknownGrantType> {
        Self::named(name).ok_or(UnknownGrantType)
    }
}

/// A piece of software that asks for tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// The tenant.
    pub tenant: TenantId,
    /// The `client_id`.
    pub id: ClientId,
    /// What people call it, unique in the tenant.
    pub name: String,
    /// How it proves who it is.
    pub authentication: ClientAuthentication,
    /// What it may ask for.
    pub grants: BTreeSet<GrantType>,
    /// The scopes that it may have.
    pub scopes: Scopes,
    /// The resource servers that its tokens are for.
    pub audiences: BTreeSet<String>,
    /// From where it may ask.
    pub reach: Reach,
    /// Whether it may ask at all.
    pub enabled: bool,
    /// When it was added.
    pub created_at: Timestamp,
}

/// From where a client may ask.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// The networks that its requests may come from; any where there are none.
    pub allow_from: BTreeSet<Network>,
    /// The web sites whose scripts may read what the token endpoint answers it (Fetch §3.1: scheme, host and port).
    pub origins: BTreeSet<String>,
}

impl Reach {
    /// Whether a request of this address may be the client's. Of one whose address nobody knows it is not known.
    pub fn admits(&self, address: Option<IpAddr>) -> bool {
        self.allow_from.is_empty() || address.is_some_and(|address| among(&self.allow_from, address))
    }
}

/// An origin in the form that browsers send it in; `None` for what is none.
pub fn origin(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let is_web = matches!(url.scheme(), "https" | "http");
    let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    (is_web && is_bare && url.password().is_none()).then(|| url.origin().ascii_serialization())
}

/// How a client proves who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// By a secret that it shares with the server, of which the hash is kept (RFC 6749 §2.3.1).
    Secret(SecretHash),
}

impl ClientAuthentication {
    /// Whether the proof is right.
    fn accepts(&self, shown: &SecretText) -> bool {
        let Self::Secret(stored) = self;
        SecretHash::of(shown.expose()) == *stored
    }
}

/// What a request shows as a client's proof, not yet judged.
#[derive(Debug)]
pub struct PresentedCredentials {
    /// Who the client says it is.
    pub client_id: ClientId,
    secret: SecretText,
}

impl PresentedCredentials {
    /// Reads the credentials from the `Authorization` header or the body (RFC 6749 §2.3.1), one way only.
    /// Errors: [`OAuthError::InvalidRequest`] where both ways are used, [`OAuthError::InvalidClient`] where none is
    /// usable.
    pub fn read(authorization: Option<&str>, body: &Parameters) -> Result<Self, OAuthError> {
        let in_body = body.optional("client_secret");
        match (authorization, in_body) {
            (Some(_), Some(_)) => {
                Err(OAuthError::InvalidRequest("two ways of client authentication are used; use one"))
            }
            (Some(header), None) => Self::from_basic(header, body.optional("client_id")),
            (None, Some(secret)) => {
                let client_id = ClientId::new(body.required("client_id", "client_id is missing")?);
                Ok(Self { client_id, secret: SecretText::new(secret.to_owned()) })
            }
            (None, None) => Err(OAuthError::InvalidClient),
        }
    }

    /// `Basic`, whose name and password are form-urlencoded first (RFC 6749 §2.3.1).
    fn from_basic(header: &str, id_in_body: Option<&str>) -> Result<Self, OAuthError> {
        let (scheme, encoded) = header.split_once(' ').ok_or(OAuthError::InvalidClient)?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return Err(OAuthError::InvalidClient);
        }
        let pair = zeroize::Zeroizing::new(STANDARD.decode(encoded.trim()).map_err(|_| OAuthError::InvalidClient)?);
        let colon = pair.iter().position(|byte| *byte == b':').ok_or(OAuthError::InvalidClient)?;
        let client_id = parameters::decode(&pair[..colon]).map_err(|_| OAuthError::InvalidClient)?;
        let secret = parameters::decode(&pair[colon + 1..]).map_err(|_| OAuthError::InvalidClient)?;
        if id_in_body.is_some_and(|other| other != client_id) {
            return Err(OAuthError::InvalidRequest("client_id in the body is not that of the Authorization header"));
        }
        Ok(Self { client_id: ClientId::new(client_id), secret: SecretText::new(secret) })
    }

    /// Judges the proof. An unknown client costs the same comparison as a known one.
    pub fn judge(&self, client: Option<Arc<Client>>) -> Option<AuthenticatedClient> {
        let nobody = ClientAuthentication::Secret(SecretHash::of("no such client"));
        let is_right = client.as_ref().map_or(&nobody, |client| &client.authentication).accepts(&self.secret);
        client.filter(|client| is_right && client.enabled).map(AuthenticatedClient)
    }
}

/// A client that has proved who it is. Nothing but [`PresentedCredentials::judge`] makes one.
#[derive(Debug, Clone)]
pub struct AuthenticatedClient(Arc<Client>);

impl AuthenticatedClient {
    /// The client.
    pub fn client(&self) -> &Client {
        &self.0
    }

    /// Whether the client may use a grant type.
    /// Errors: [`OAuthError::UnauthorizedClient`] where it may not.
    pub fn may_use(&self, grant: GrantType) -> Result<(), OAuthError> {
        if self.0.grants.contains(&grant) { Ok(()) } else { Err(OAuthError::UnauthorizedClient) }
    }

    /// The audiences of a token for this client: the requested resources, or all of the client's.
    /// Errors: [`OAuthError::InvalidTarget`] where a resource is none of the client's audiences.
    pub fn audiences(&self, resources: &BTreeSet<String>) -> Result<BTreeSet<String>, OAuthError> {
        narrowed(&self.0.audiences, resources)
    }
}

/// Of these audiences the requested ones (RFC 8707 §2); all where none is requested.
/// Errors: [`OAuthError::InvalidTarget`] where one is not among them.
pub fn narrowed(audiences: &BTreeSet<String>, resources: &BTreeSet<String>) -> Result<BTreeSet<String>, OAuthError> {
    match resources.is_empty() {
        true => Ok(audiences.clone()),
        false if resources.is_subset(audiences) => Ok(resources.clone()),
        false => Err(OAuthError::InvalidTarget),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(secret: &str) -> Arc<Client> {
        Arc::new(Client {
            tenant: TenantId::default_tenant(),
            id: ClientId::new("reports"),
            name: "reports".to_owned(),
            authentication: ClientAuthentication::Secret(SecretHash::of(secret)),
            grants: BTreeSet::from([GrantType::ClientCredentials]),
            scopes: Scopes::new(),
            audiences: BTreeSet::from(["https://api.example", "https://b.example"].map(str::to_owned)),
            reach: Reach::default(),
            enabled: true,
            created_at: Timestamp::from_unix_seconds(0),
        })
    }

    fn basic(text: &str) -> String {
        format!("Basic {}", STANDARD.encode(text))
    }

    #[test]
    fn basic_credentials_are_form_decoded() {
        let shown = PresentedCredentials::read(Some(&basic("re%70orts:a%3Ab+c")), &Parameters::default()).unwrap();
        assert_eq!(shown.client_id.as_str(), "reports");
        assert!(shown.judge(Some(client("a:b c"))).is_some());
        assert!(shown.judge(Some(client("other"))).is_none());
        assert!(shown.judge(None).is_none());
    }

    #[test]
    fn a_list_admits_its_networks_and_an_empty_one_all() {
        let reach = Reach { allow_from: BTreeSet::from(["10.0.0.0/8".parse().unwrap()]), ..Reach::default() };
        let from = |address: &str| Some(address.parse().unwrap());
        assert!(reach.admits(from("10.1.2.3")) && reach.admits(from("::ffff:10.1.2.3")));
        assert!(!reach.admits(from("11.0.0.1")) && !reach.admits(None));
        assert!(Reach::default().admits(None));
    }

    #[test]
    fn an_origin_is_a_site_and_nothing_more() {
        for (text, found) in [
            ("https://App.example", Some("https://app.example")),
            ("https://app.example:443/", Some("https://app.example")),
            ("http://localhost:5173", Some("http://localhost:5173")),
            ("https://app.example/path", None),
            ("https://user@app.example", None),
            ("app.example", None),
            ("null", None),
            ("*", None),
            ("file:///x", None),
        ] {
            assert_eq!(origin(text).as_deref(), found, "{text}");
        }
    }

    #[test]
    fn a_disabled_client_is_no_client() {
        let shown = PresentedCredentials::read(Some(&basic("reports:s")), &Parameters::default()).unwrap();
        let disabled = Client { enabled: false, ..(*client("s")).clone() };
        assert!(shown.judge(Some(Arc::new(disabled))).is_none());
    }

    #[test]
    fn two_ways_at_once_are_refused() {
        let body = Parameters::parse(b"client_id=reports&client_secret=s").unwrap();
        let both = PresentedCredentials::read(Some(&basic("reports:s")), &body);
        assert!(matches!(both, Err(OAuthError::InvalidRequest(_))));
        let other_id = Parameters::parse(b"client_id=other").unwrap();
        assert!(matches!(
            PresentedCredentials::read(Some(&basic("reports:s")), &other_id),
            Err(OAuthError::InvalidRequest(_))
        ));
    }

    #[test]
    fn malformed_headers_are_no_authentication() {
        for header in ["Basic", "Basic %%%", "Bearer abc", "Basic bm9jb2xvbg=="] {
            let refused = PresentedCredentials::read(Some(header), &Parameters::default());
            assert_eq!(refused.err(), Some(OAuthError::InvalidClient), "{header}");
        }
    }

    #[test]
    fn a_resource_must_be_one_of_the_clients_audiences() {
        let shown = PresentedCredentials::read(Some(&basic("reports:s")), &Parameters::default()).unwrap();
        let authenticated = shown.judge(Some(client("s"))).unwrap();
        let asked = |resources: &[&str]| {
            authenticated.audiences(&resources.iter().map(|resource| (*resource).to_owned()).collect())
        };
        let all = BTreeSet::from(["https://api.example".to_owned(), "https://b.example".to_owned()]);
        assert_eq!(asked(&[]), Ok(all.clone()));
        assert_eq!(asked(&["https://api.example"]).map(|found| found.len()), Ok(1));
        assert_eq!(asked(&["https://b.example", "https://api.example", "https://b.example"]), Ok(all));
        assert_eq!(asked(&["https://other.example"]), Err(OAuthError::InvalidTarget));
        assert_eq!(asked(&["https://api.example", "https://other.example"]), Err(OAuthError::InvalidTarget));
        assert_eq!(authenticated.may_use(GrantType::Password), Err(OAuthError::UnauthorizedClient));
    }
}
