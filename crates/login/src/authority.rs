//! The issuer as a client sees it: discovery, the password grant, refresh and revocation, with errors that say what to do.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use serde_json::Value;
use signet_jose::clock::{Clock as _, SystemClock};
use signet_secret::SecretText;
use url::Url;

use crate::error::{LoginError, Result, because};
use crate::keep::Kept;
use crate::step_up::Wanted;
use crate::tokens::Tokens;

/// The longest answer that is read, in bytes.
const LONGEST: usize = 256 * 1024;
const REQUEST_TIME: Duration = Duration::from_secs(60);
/// From here on a clock is worth a word: one-time codes last 30 seconds.
const CLOCK_SUSPECT: Duration = Duration::from_secs(30);

/// What is shown beside the password.
pub(crate) enum SecondFactor {
    Code(SecretText),
    #[cfg(feature = "piv")]
    Piv(String),
}

/// An issuer, and the client that asks.
pub(crate) struct Authority {
    issuer: String,
    client_id: String,
    client_secret: SecretText,
    token_endpoint: Url,
    revocation_endpoint: Option<Url>,
    #[cfg_attr(not(feature = "piv"), expect(dead_code, reason = "only a card asks for it"))]
    challenge_endpoint: Option<Url>,
    http: reqwest::Client,
}

/// An answer, read whole.
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Authority {
    /// Finds the issuer's endpoints (OpenID Connect Discovery 1.0 §4).
    pub(crate) async fn discover(
        issuer: &str,
        client_id: &str,
        client_secret: SecretText,
        ca: Option<&Path>,
    ) -> Result<Self> {
        let issuer_url = safe_url(issuer, "--issuer").map_err(|error| LoginError::Usage(error.to_string()))?;
        let http = http_client(&issuer_url, ca)?;
        let document = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let answer = send(http.get(&document).header(ACCEPT, "application/json"), &document).await?;
        if answer.status != 200 {
            return issuer_fault(format!("{document} answered {}: is this the issuer's URL?", answer.status));
        }
        let told = answer.body["issuer"].as_str().unwrap_or_default();
        if told != issuer.trim_end_matches('/') && told != issuer {
            return issuer_fault(format!(
                "{document} speaks for another issuer; give --issuer exactly as the issuer names itself"
            ));
        }
        let endpoint =
            |name: &str| answer.body[name].as_str().map(|text| endpoint(&issuer_url, text, name)).transpose();
        let Some(token_endpoint) = endpoint("token_endpoint")? else {
            return issuer_fault("the issuer has no token endpoint".to_owned());
        };
        Ok(Self {
            issuer: told.to_owned(),
            client_id: client_id.to_owned(),
            client_secret,
            token_endpoint,
            revocation_endpoint: endpoint("revocation_endpoint")?,
            challenge_endpoint: endpoint("piv_challenge_endpoint")?,
            http,
        })
    }

    /// The issuer and client of a sign-in that is kept.
    pub(crate) fn of(kept: &Kept) -> Result<Self> {
        let issuer = safe_url(&kept.issuer, "the issuer")?;
        let token_endpoint = endpoint(&issuer, &kept.token_endpoint, "token_endpoint")?;
        let revocation = kept.revocation_endpoint.as_deref();
        Ok(Self {
            issuer: kept.issuer.clone(),
            client_id: kept.client_id.clone(),
            client_secret: SecretText::new(kept.client_secret.clone()),
            http: http_client(&token_endpoint, kept.ca.as_deref())?,
            token_endpoint,
            revocation_endpoint: revocation.map(|text| endpoint(&issuer, text, "revocation_endpoint")).transpose()?,
            challenge_endpoint: None,
        })
    }

    /// What is kept of a sign-in here.
    pub(crate) fn kept(self, user: String, tokens: Tokens, ca: Option<PathBuf>, in_keyring: bool) -> Result<Kept> {
        let absolute = ca.map(std::path::absolute).transpose();
        let ca = absolute.map_err(because(LoginError::Keeping, "the CA's file can't be found"))?;
        Ok(Kept {
            issuer: self.issuer,
            client_id: self.client_id,
            client_secret: self.client_secret.expose().to_owned(),
            token_endpoint: self.token_endpoint.into(),
            revocation_endpoint: self.revocation_endpoint.map(Into::into),
            user,
            ca,
            in_keyring,
            tokens,
        })
    }

    /// RFC 6749 §4.3, with the second factor in the same request.
    pub(crate) async fn sign_in(
        &self,
        user: &str,
        password: &SecretText,
        factor: &SecondFactor,
        scope: Option<&str>,
        wanted: &Wanted,
    ) -> Result<Tokens> {
        let (name, shown) = match factor {
            SecondFactor::Code(code) => ("otp", code.expose().trim()),
            #[cfg(feature = "piv")]
            SecondFactor::Piv(signed) => ("piv", signed.as_str()),
        };
        let mut fields =
            vec![("grant_type", "password"), ("username", user), ("password", password.expose()), (name, shown)];
        let acr_values = wanted.acr_values();
        fields.extend(scope.map(|scope| ("scope", scope)));
        fields.extend(acr_values.as_deref().map(|values| ("acr_values", values)));
        let answer = self.post(&self.token_endpoint, &fields).await?;
        if answer.body["error"] == "invalid_grant" {
            let clock = clock_hint(&answer.headers).unwrap_or_default();
            return Err(LoginError::Refused(format!(
                "not accepted: name, password or second factor is wrong, the code was used before, or there were too many \
                 wrong tries: then wait an hour, use another kind of factor, or ask an operator. The server does not say \
                 which.{clock}"
            )));
        }
        if answer.body["error"] == "unmet_authentication_requirements" {
            return Err(LoginError::Refused(format!(
                "name, password and second factor are right, but {} is asked for: sign in by a stronger factor, e.g. a \
                 PIV card with an attested key (`--piv`)",
                wanted.text()
            )));
        }
        tokens_of(&answer)
    }

    /// RFC 6749 §6.
    pub(crate) async fn refresh(&self, refresh_token: &str) -> Result<Tokens> {
        let fields = [("grant_type", "refresh_token"), ("refresh_token", refresh_token)];
        let answer = self.post(&self.token_endpoint, &fields).await?;
        if answer.body["error"] == "invalid_grant" {
            let text = "the sign-in has ended (it expired or was revoked): run `signet login` again";
            return Err(LoginError::Refused(text.to_owned()));
        }
        tokens_of(&answer)
    }

    /// RFC 7009: the access token, and the refresh token with its family.
    pub(crate) async fn revoke(&self, tokens: &Tokens) -> Result<()> {
        let Some(endpoint) = &self.revocation_endpoint else {
            return issuer_fault("the issuer has no revocation endpoint".to_owned());
        };
        for token in tokens.refresh_token.iter().chain([&tokens.access_token]) {
            let answer = self.post(endpoint, &[("token", token)]).await?;
            if answer.status != 200 {
                return Err(refusal(&answer));
            }
        }
        Ok(())
    }

    /// A nonce for a card to sign.
    #[cfg(feature = "piv")]
    pub(crate) async fn challenge(&self) -> Result<String> {
        let Some(endpoint) = &self.challenge_endpoint else {
            return issuer_fault("this issuer takes no PIV cards".to_owned());
        };
        let answer = self.post(endpoint, &[]).await?;
        match (answer.status, answer.body["nonce"].as_str()) {
            (200, Some(nonce)) => Ok(nonce.to_owned()),
            _ => Err(refusal(&answer)),
        }
    }

    /// What a card signs for this issuer, client and user.
    #[cfg(feature = "piv")]
    pub(crate) fn text_to_sign(&self, user: &str, nonce: &str) -> Vec<u8> {
        crate::card::text_to_sign(&self.issuer, &self.client_id, user, nonce)
    }

    async fn post(&self, endpoint: &Url, fields: &[(&str, &str)]) -> Result<Answer> {
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let credentials = format!("{}:{}", encoded(&self.client_id), encoded(self.client_secret.expose()));
        let basic = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(credentials)));
        let mut basic = basic.map_err(because(LoginError::Usage, "the client's credentials can't be sent"))?;
        basic.set_sensitive(true);
        let request = self.http.post(endpoint.clone()).header(AUTHORIZATION, basic).header(ACCEPT, "application/json");
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form);
        send(request, endpoint.as_str()).await
    }
}

async fn send(request: reqwest::RequestBuilder, url: &str) -> Result<Answer> {
    let mut response = request.send().await.map_err(|error| unreachable_server(&error, url))?;
    let (status, headers, mut body) = (response.status().as_u16(), response.headers().clone(), Vec::new());
    while let Some(chunk) = response.chunk().await.map_err(|error| unreachable_server(&error, url))? {
        if body.len() + chunk.len() > LONGEST {
            return issuer_fault(format!("{url} answered with more than {LONGEST} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, headers, body: serde_json::from_slice(&body).unwrap_or(Value::Null) })
}

fn unreachable_server(error: &reqwest::Error, url: &str) -> LoginError {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    let causes = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
    let advice = if causes.contains("certificate") {
        "; the server's certificate is not trusted: give its CA with --ca, and look at this machine's clock"
    } else if error.is_timeout() {
        "; it did not answer in time: try again"
    } else {
        "; is the server running, and is the URL right?"
    };
    LoginError::Issuer(format!("{url} can't be asked: {causes}{advice}"))
}

fn issuer_fault<T>(text: String) -> Result<T> {
    Err(LoginError::Issuer(text))
}

fn tokens_of(answer: &Answer) -> Result<Tokens> {
    let text = |name: &str| answer.body[name].as_str().map(str::to_owned);
    let (200, Some(access_token), Some(lasts)) =
        (answer.status, text("access_token"), answer.body["expires_in"].as_u64())
    else {
        return Err(refusal(answer));
    };
    let expires_at = SystemClock.now().plus(Duration::from_secs(lasts)).unix_seconds();
    let scope = text("scope").unwrap_or_default();
    // They are printed as they are: visible ASCII, as a Bearer header takes it (RFC 6750 §2.1).
    let is_token = |token: &str| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_token(&access_token) || !text("refresh_token").as_deref().is_none_or(is_token) {
        let text = "the server's answer holds a token with characters that no token has; nothing is kept";
        return issuer_fault(text.to_owned());
    }
    Ok(Tokens { access_token, refresh_token: text("refresh_token"), scope, expires_at })
}

/// What a refusal means for the person who asked.
fn refusal(answer: &Answer) -> LoginError {
    let error = answer.body["error"].as_str().unwrap_or_default();
    let described = answer.body["error_description"].as_str().unwrap_or("no reason is given");
    let wait = answer.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    LoginError::Refused(match (answer.status, error, wait) {
        (429, _, Some(seconds)) => {
            let at = SystemClock.now().plus(Duration::from_secs(seconds));
            format!("the server is asked too often: try again at {at} (in {seconds} s)")
        }
        (401, "invalid_client", _) => "the client's id or secret is wrong, or the client is disabled".to_owned(),
        (_, "unauthorized_client", _) => {
            "this client may not do that: its grants must hold `password` (`signet client \
                                          add --grant password,refresh_token`)"
                .to_owned()
        }
        (503, _, wait) => {
            let when = wait.map_or_else(|| "later".to_owned(), |seconds| format!("in {seconds} s"));
            format!("the server can't issue tokens at the moment: try again {when}")
        }
        (status, "", _) => {
            return LoginError::Issuer(format!("the server answered {status}, and not as an issuer does"));
        }
        (status, error, _) => format!("refused ({status} {error}): {described}"),
    })
}

/// A word about this machine's clock, where it is far from the server's.
fn clock_hint(headers: &HeaderMap) -> Option<String> {
    let date = headers.get(DATE)?.to_str().ok()?;
    let theirs = jiff::fmt::rfc2822::parse(date).ok()?.timestamp().as_second();
    let apart = SystemClock.now().unix_seconds().abs_diff(theirs);
    (apart > CLOCK_SUSPECT.as_secs())
        .then(|| format!(" This machine's clock is {apart} s from the server's: set it, if the codes are made here."))
}

/// A URL over TLS, or on this machine.
fn safe_url(text: &str, what: &str) -> Result<Url> {
    let url = Url::parse(text).map_err(because(LoginError::Issuer, format!("{what} is not a URL")))?;
    let is_local = match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    };
    if url.scheme() != "https" && !(url.scheme() == "http" && is_local) {
        return issuer_fault(format!("{what} must begin with https://: passwords are sent there"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return issuer_fault(format!("{what} must not hold credentials"));
    }
    Ok(url)
}

/// An endpoint's URL: an issuer that is reached over TLS sends nobody to where there is none.
fn endpoint(issuer: &Url, text: &str, name: &str) -> Result<Url> {
    let what = format!("the issuer's {name}");
    let url = safe_url(text, &what)?;
    if url.scheme() != "https" && issuer.scheme() != "http" {
        return issuer_fault(format!("{what} must begin with https://, as the issuer does"));
    }
    Ok(url)
}

fn http_client(url: &Url, ca: Option<&Path>) -> Result<reqwest::Client> {
    // Credentials are never sent on to where somebody redirects to.
    let mut builder = reqwest::Client::builder().timeout(REQUEST_TIME).redirect(reqwest::redirect::Policy::none());
    if url.scheme() == "http" {
        builder = builder.no_proxy();
    }
    if let Some(file) = ca {
        let unreadable = because(LoginError::Keeping, format!("{} can't be read", file.display()));
        let pem = std::fs::read(file).map_err(unreadable)?;
        let certificates = reqwest::Certificate::from_pem_bundle(&pem);
        let unusable = because(LoginError::Keeping, format!("{} holds no PEM certificate", file.display()));
        for certificate in certificates.map_err(unusable)? {
            builder = builder.add_root_certificate(certificate);
        }
    }
    builder.build().map_err(because(LoginError::Issuer, "the HTTP client can't be made"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_over_tls_has_no_endpoint_without_it() {
        let (safe, local) = (Url::parse("https://id.example").unwrap(), Url::parse("http://127.0.0.1:1").unwrap());
        let (over_tls, plain) = ("https://id.example/token", "http://127.0.0.1:1/token");
        assert!(endpoint(&safe, over_tls, "it").is_ok() && endpoint(&local, plain, "it").is_ok());
        assert!(endpoint(&safe, plain, "it").is_err() && endpoint(&local, "http://id.example/token", "it").is_err());
    }

    #[test]
    fn passwords_go_over_tls_or_to_this_machine() {
        for good in ["https://id.example", "http://127.0.0.1:8080", "http://[::1]:80", "http://localhost:1"] {
            assert!(safe_url(good, "it").is_ok(), "{good}");
        }
        for bad in ["http://id.example", "http://localhost.example", "ftp://localhost", "https://u:p@id.example", "id"]
        {
            assert!(safe_url(bad, "it").is_err(), "{bad}");
        }
    }
}
