//! Where a JWKS comes from, and how much of it is believed: bounded in size, time, scheme and redirects.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, LOCATION};
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::Full;
use tokio::time::Instant;

use super::https::{Failure, HttpsClient, is_private};
use super::key_set::{JwksError, KeySet};
use signet_jose::jwk::KeyError;

/// The largest JWKS that is read, in bytes.
const MAX_DOCUMENT: usize = 1024 * 1024;
/// How long one fetch may take in all, redirects included.
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
    Url(Uri),
}

impl FromStr for JwksSource {
    type Err = JwksError;

    fn from_str(location: &str) -> Result<Self, JwksError> {
        if !["http://", "https://"].iter().any(|scheme| location.starts_with(scheme)) {
            return Ok(Self::File(location.into()));
        }
        let url = location.parse()?;
        if is_private(&url) { Ok(Self::Url(url)) } else { Err(JwksError::RefusedUrl) }
    }
}

/// A place that a JWKS can be read from again.
#[derive(Debug)]
pub(super) enum Place {
    File(PathBuf),
    Url(Uri, Box<HttpsClient>),
}

/// A JWKS as it was read.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) keys: KeySet,
    /// `Cache-Control: max-age`, where it was said.
    pub(super) max_age: Option<Duration>,
}

impl Place {
    pub(super) fn url(url: Uri) -> Result<Self, JwksError> {
        if !is_private(&url) {
            return Err(JwksError::RefusedUrl);
        }
        let client = HttpsClient::for_origin_of(&url);
        let client = client.map_err(|reason| JwksError::Fetch { url: url.clone(), reason })?;
        Ok(Self::Url(url, Box::new(client)))
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
                Ok(Loaded { keys: KeySet::from_json(&text)?, max_age: None })
            }
            Self::Url(url, client) => fetch(url, client).await,
        }
    }
}

fn read_file(path: PathBuf) -> Result<String, JwksError> {
    use std::io::Read as _;
    let read = || {
        let mut bytes = Vec::new();
        std::fs::File::open(&path)?.take(MAX_DOCUMENT as u64 + 1).read_to_end(&mut bytes)?;
        text_of(&bytes).ok_or_else(|| std::io::Error::new(std::io::ErrorKind::InvalidData, "it is no text in UTF-8"))
    };
    match read() {
        Ok(text) if text.len() > MAX_DOCUMENT => Err(JwksError::TooLarge),
        Ok(text) => Ok(text),
        Err(error) => Err(JwksError::Read { path, error }),
    }
}

/// The text of a document, without a byte order mark (RFC 8259 §8.1); of UTF-16 too, where a mark says that it is.
fn text_of(bytes: &[u8]) -> Option<String> {
    let utf16 = |bytes: &[u8], of: fn([u8; 2]) -> u16| {
        let (units, rest) = bytes.as_chunks();
        let units: Vec<u16> = units.iter().copied().map(of).collect();
        String::from_utf16(&units).ok().filter(|_| rest.is_empty())
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] | rest => std::str::from_utf8(rest).ok().map(str::to_owned),
    }
}

async fn fetch(url: &Uri, client: &HttpsClient) -> Result<Loaded, JwksError> {
    let failed = |reason| JwksError::Fetch { url: url.clone(), reason };
    let deadline = Instant::now() + FETCH_TIME;
    let mut at = url.clone();
    for _ in 0..=MAX_REDIRECTS {
        let request = Request::get(&at).header(ACCEPT, "application/jwk-set+json, application/json");
        let request = request.body(Full::<Bytes>::default()).map_err(|error| failed(error.to_string()))?;
        let answer = client.exchange(request, MAX_DOCUMENT, deadline).await.map_err(|failure| match failure {
            Failure::TooLarge => JwksError::TooLarge,
            Failure::Failed(reason) => failed(reason),
        })?;
        if answer.status().is_redirection() {
            let to = redirected(&at, answer.headers());
            at = to.ok_or_else(|| failed("redirected to another host, or nowhere".to_owned()))?;
            continue;
        }
        if answer.status() != StatusCode::OK {
            return Err(failed(format!("it answered {}", answer.status())));
        }
        let cache_control = answer.headers().get(CACHE_CONTROL).and_then(|value| value.to_str().ok());
        let document = text_of(answer.body()).ok_or(KeyError::NotJson)?;
        return Ok(Loaded { keys: KeySet::from_json(&document)?, max_age: cache_control.and_then(max_age) });
    }
    Err(failed("too many redirects".to_owned()))
}

/// Where a redirect leads, if that is an absolute URL or path of the same origin.
fn redirected(from: &Uri, headers: &HeaderMap) -> Option<Uri> {
    let location = headers.get(LOCATION)?.to_str().ok()?;
    let to = if location.starts_with('/') && !location.starts_with("//") {
        let mut parts = from.clone().into_parts();
        parts.path_and_query = Some(location.parse().ok()?);
        Uri::from_parts(parts).ok()?
    } else {
        location.parse().ok()?
    };
    let port = |uri: &Uri| uri.port_u16().or_else(|| Some(if uri.scheme_str()? == "https" { 443 } else { 80 }));
    let is_same_host = to.host()?.eq_ignore_ascii_case(from.host()?);
    (is_same_host && to.scheme() == from.scheme() && port(&to) == port(from) && is_private(&to)).then_some(to)
}

/// How long an answer stays fresh (RFC 9111 §5.2.2.1); what must not be stored is fresh for no time.
fn max_age(cache_control: &str) -> Option<Duration> {
    let directives = cache_control.split(',').map(|directive| directive.trim().to_ascii_lowercase());
    directives.into_iter().find_map(|directive| match directive.as_str() {
        "no-store" | "no-cache" => Some(Duration::ZERO),
        other => other.strip_prefix("max-age=")?.trim_matches('"').parse().ok().map(Duration::from_secs),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_over_https_or_from_this_machine() {
        assert!(matches!("https://a.example/jwks".parse(), Ok(JwksSource::Url(_))));
        assert!(matches!("http://a.example/".parse::<JwksSource>(), Err(JwksError::RefusedUrl)));
        assert!(matches!("https://".parse::<JwksSource>(), Err(JwksError::Url(_))));
        assert!(matches!("keys/jwks.json".parse(), Ok(JwksSource::File(_))));
    }

    #[test]
    fn a_redirect_stays_within_its_origin() {
        let from = "https://a.example/jwks".parse().unwrap();
        let to = |location: &'static str| {
            let headers = [(LOCATION, location.parse().unwrap())].into_iter().collect();
            redirected(&from, &headers).map(|to| to.to_string())
        };
        for location in ["/keys?v=2", "https://a.example/keys?v=2", "https://A.example:443/keys?v=2"] {
            assert!(to(location).unwrap().ends_with("/keys?v=2"), "{location}");
        }
        for location in
            ["https://b.example/", "//b.example/", "http://a.example/", "https://a.example:8443/", "keys", "", "/ö"]
        {
            assert_eq!(to(location), None, "{location}");
        }
        assert_eq!(redirected(&from, &HeaderMap::new()), None);
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
