//! Where a JWKS comes from, and how much of it is believed: bounded in size, time, scheme and redirects.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use http::header::{ACCEPT, CACHE_CONTROL};
use url::{Host, Url};

use super::key_set::KeySet;
use signet_jose::JwkSet;
use signet_jose::jwk::KeyError;

/// The largest JWKS that is read, in bytes.
const MAX_DOCUMENT: usize = 1024 * 1024;
/// How long one fetch may take in all.
const FETCH_TIME: Duration = Duration::from_secs(5);
const MAX_REDIRECTS: usize = 3;

/// Where the keys come from. Parsed from text, `http://` and `https://` begin a URL and all else is a path.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum JwksSource {
    /// The document itself; it never changes.
    Text(String),
    /// A file, read again from time to time and when an unknown key is named.
    File(PathBuf),
    /// A URL, fetched again as its `Cache-Control` says and when an unknown key is named. `https`, or `http` on
    /// loopback.
    Url(Url),
}

/// Why a JWKS can't be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JwksError {
    /// The text is no URL.
    #[error("the JWKS URL is malformed: {0}")]
    Url(#[from] url::ParseError),
    /// The URL is not one that keys are fetched from.
    #[error("the JWKS URL must be https (http on loopback only) and carry no user name or password")]
    RefusedUrl,
    /// The file can't be read.
    #[error("the JWKS file {path} can't be read: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The URL can't be fetched.
    #[error("the JWKS can't be fetched from {url}: {reason}")]
    Fetch {
        /// The URL.
        url: Url,
        /// What went wrong.
        reason: String,
    },
    /// More than is read.
    #[error("the JWKS is larger than 1 MiB")]
    TooLarge,
    /// Not a JWKS.
    #[error("the document is no JWKS: {0}")]
    Document(#[from] KeyError),
    /// No key that tokens could be verified with.
    #[error("the JWKS has no key that can be used")]
    NoUsableKey,
}

impl FromStr for JwksSource {
    type Err = JwksError;

    fn from_str(location: &str) -> Result<Self, JwksError> {
        if !["http://", "https://"].iter().any(|scheme| location.starts_with(scheme)) {
            return Ok(Self::File(location.into()));
        }
        let url = Url::parse(location)?;
        if may_be_fetched(&url) { Ok(Self::Url(url)) } else { Err(JwksError::RefusedUrl) }
    }
}

fn may_be_fetched(url: &Url) -> bool {
    let is_loopback = match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    let is_private_enough = url.scheme() == "https" || (url.scheme() == "http" && is_loopback);
    is_private_enough && url.username().is_empty() && url.password().is_none()
}

/// A place that a JWKS can be read from again.
#[derive(Debug)]
pub(super) enum Place {
    File(PathBuf),
    Url(Url, reqwest::Client),
}

/// A JWKS as it was read.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) keys: KeySet,
    /// `Cache-Control: max-age`, where it was said.
    pub(super) max_age: Option<Duration>,
}

impl Place {
    pub(super) fn url(url: Url) -> Result<Self, JwksError> {
        if !may_be_fetched(&url) {
            return Err(JwksError::RefusedUrl);
        }
        let same_origin = reqwest::redirect::Policy::custom(|attempt| {
            let is_same = attempt.previous().first().is_some_and(|first| first.origin() == attempt.url().origin());
            match (is_same, attempt.previous().len() <= MAX_REDIRECTS) {
                (true, true) => attempt.follow(),
                (true, false) => attempt.error("too many redirects"),
                (false, _) => attempt.error("redirected to another host"),
            }
        });
        let mut client = reqwest::Client::builder().timeout(FETCH_TIME).redirect(same_origin);
        if url.scheme() == "http" {
            // Plain http is for loopback: a proxy would be somebody else who could answer with keys of their own.
            client = client.no_proxy();
        }
        let client = client.build();
        let client = client.map_err(|error| JwksError::Fetch { url: url.clone(), reason: causes(&error) })?;
        Ok(Self::Url(url, client))
    }

    pub(super) async fn load(&self) -> Result<Loaded, JwksError> {
        match self {
            Self::File(path) => {
                let read = tokio::task::spawn_blocking({
                    let path = path.clone();
                    move || read_file(path)
                });
                let lost = |error| JwksError::Read { path: path.clone(), error: std::io::Error::other(error) };
                let text = read.await.map_err(lost)??;
                Ok(Loaded { keys: read_document(&text)?, max_age: None })
            }
            Self::Url(url, client) => fetch(url, client).await,
        }
    }
}

/// Reads a JWKS document.
pub(super) fn read_document(json: &str) -> Result<KeySet, JwksError> {
    Ok(KeySet::new(JwkSet::from_json(json)?))
}

fn read_file(path: PathBuf) -> Result<String, JwksError> {
    use std::io::Read as _;
    let read = || {
        let mut text = String::new();
        std::fs::File::open(&path)?.take(MAX_DOCUMENT as u64 + 1).read_to_string(&mut text)?;
        Ok(text)
    };
    match read() {
        Ok(text) if text.len() > MAX_DOCUMENT => Err(JwksError::TooLarge),
        Ok(text) => Ok(text),
        Err(error) => Err(JwksError::Read { path, error }),
    }
}

async fn fetch(url: &Url, client: &reqwest::Client) -> Result<Loaded, JwksError> {
    let failed = |reason| JwksError::Fetch { url: url.clone(), reason };
    let request = client.get(url.clone()).header(ACCEPT, "application/jwk-set+json, application/json");
    let mut response = request.send().await.map_err(|error| failed(causes(&error)))?;
    if response.status() != http::StatusCode::OK {
        return Err(failed(format!("it answered {}", response.status())));
    }
    let cache_control = response.headers().get(CACHE_CONTROL).and_then(|value| value.to_str().ok());
    let max_age = cache_control.and_then(max_age);
    let mut document = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failed(causes(&error)))? {
        if document.len() + chunk.len() > MAX_DOCUMENT {
            return Err(JwksError::TooLarge);
        }
        document.extend_from_slice(&chunk);
    }
    let document = String::from_utf8(document).map_err(|_| KeyError::Malformed("JSON"))?;
    Ok(Loaded { keys: read_document(&document)?, max_age })
}

/// How long an answer stays fresh (RFC 9111 §5.2.2.1); what must not be stored is fresh for no time.
fn max_age(cache_control: &str) -> Option<Duration> {
    let directives = cache_control.split(',').map(|directive| directive.trim().to_ascii_lowercase());
    directives.into_iter().find_map(|directive| match directive.as_str() {
        "no-store" | "no-cache" => Some(Duration::ZERO),
        other => other.strip_prefix("max-age=")?.trim_matches('"').parse().ok().map(Duration::from_secs),
    })
}

/// An error with its causes: the library's own text says only that sending failed.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_over_https_or_from_this_machine() {
        for url in ["https://a.example/jwks", "http://127.0.0.1:8080/jwks", "http://[::1]/jwks", "http://localhost/"] {
            assert!(matches!(url.parse(), Ok(JwksSource::Url(_))), "{url}");
        }
        for url in ["http://a.example/", "http://10.0.0.1/", "https://user@a.example/", "http://localhost.a.example/"] {
            assert!(matches!(url.parse::<JwksSource>(), Err(JwksError::RefusedUrl)), "{url}");
        }
        assert!(matches!("https://".parse::<JwksSource>(), Err(JwksError::Url(_))));
        assert!(matches!("keys/jwks.json".parse(), Ok(JwksSource::File(_))));
    }

    #[test]
    fn cache_control_says_how_long() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(max_age("public, Max-Age=300, must-revalidate"), seconds(300));
        assert_eq!(max_age("no-store"), seconds(0));
        assert_eq!(max_age("public"), None);
        assert_eq!(max_age("max-age=-1"), None);
        assert_eq!(max_age("max-age=99999999999999999999999"), None);
    }
}
