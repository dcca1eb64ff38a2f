//! A Yubico validation server that is asked over HTTP.

use async_trait::async_trait;
use reqwest::redirect::Policy;
use std::time::Duration;
use url::Url;

use signet_service::sign_in::validation_servers::{MAX_ANSWER, ValidationServer};

/// A server at a URL.
pub(super) struct HttpValidationServer {
    url: Url,
    http: reqwest::Client,
}

impl HttpValidationServer {
    /// A server whose answer is waited for so long.
    /// Errors: What the HTTP client says where it can't be made.
    pub(super) fn new(url: Url, timeout: Duration) -> reqwest::Result<Self> {
        // An answer comes from the server that was asked, and from no other.
        let mut http = reqwest::Client::builder().timeout(timeout).redirect(Policy::none());
        if url.scheme() == "http" {
            http = http.no_proxy();
        }
        Ok(Self { url, http: http.build()? })
    }
}

#[async_trait]
impl ValidationServer for HttpValidationServer {
    fn name(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    async fn answer(&self, pairs: Vec<(String, String)>) -> Result<String, String> {
        let told = |error: reqwest::Error| error.without_url().to_string();
        let mut url = self.url.clone();
        url.query_pairs_mut().extend_pairs(pairs);
        let mut response = self.http.get(url).send().await.map_err(told)?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(format!("status {}", response.status()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(told)? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER {
                return Err("the answer is too long".to_owned());
            }
        }
        String::from_utf8(body).map_err(|_| "the answer is no text".to_owned())
    }
}
