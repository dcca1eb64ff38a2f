//! Asks other validation servers about Yubico OTPs whose keys they have: all of them at once, and the first answer that
//! is wholly right and says `OK` wins.
//!
//! An answer counts where its signature, OTP, nonce and time are right and no field comes twice; of those only `OK`
//! accepts. A refusal waits for the other servers: one that lags behind must not refuse what another has accepted.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use url::Url;

use signet_core::mfa::SpendableCounter;
use signet_core::mfa::yubico_validation::{ClientNumber, Query, Status};
use signet_core::random::{self, Random};
use signet_core::secret::SecretBytes;
use signet_jose::clock::Clock;

/// Questions under way at once.
const MOST_AT_ONCE: usize = 64;
/// The longest answer that is read, in bytes; an honest one has some hundred.
const LONGEST_ANSWER: usize = 8 * 1024;

/// The servers, and how they know this deployment.
pub struct ValidationServers {
    servers: Vec<(Url, reqwest::Client)>,
    client: ClientNumber,
    key: SecretBytes,
    timeout: Duration,
    admission: Semaphore,
}

/// What the servers say of an OTP.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RemoteVerdict {
    /// It is good, by these counters, which are to be spent here too.
    Accepted(SpendableCounter),
    /// It is not: [`Status::BadOtp`], [`Status::ReplayedOtp`] or [`Status::ReplayedRequest`].
    Refused(Status),
    /// No server gave an answer that is worth anything.
    Unknown,
}

impl ValidationServers {
    /// Servers at these addresses, asked as this client with this API key.
    /// Errors: What the HTTP client says where it can't be made.
    pub fn new(urls: Vec<Url>, client: ClientNumber, key: SecretBytes, timeout: Duration) -> Result<Self, String> {
        let servers = urls.into_iter().map(|url| {
            // An answer comes from the server that was asked, and from no other.
            let mut http = reqwest::Client::builder().timeout(timeout).redirect(reqwest::redirect::Policy::none());
            if url.scheme() == "http" {
                http = http.no_proxy();
            }
            http.build().map(|http| (url, http)).map_err(|error| error.to_string())
        });
        let servers = servers.collect::<Result<_, _>>()?;
        Ok(Self { servers, client, key, timeout, admission: Semaphore::new(MOST_AT_ONCE) })
    }

    /// Asks all servers about an OTP, in modhex.
    pub(crate) async fn ask(&self, otp: &str, clock: &dyn Clock, random: &dyn Random) -> RemoteVerdict {
        let Ok(_admitted) = self.admission.try_acquire() else {
            tracing::warn!("too many OTPs are being asked about at validation servers");
            return RemoteVerdict::Unknown;
        };
        let query = Arc::new(Query::new(self.client, otp, random::bytes::<20>(random), self.timeout));
        let mut asked = JoinSet::new();
        for (url, http) in &self.servers {
            let (mut url, http) = (url.clone(), http.clone());
            url.query_pairs_mut().extend_pairs(query.pairs(self.key.expose()));
            let host = url.host_str().unwrap_or_default().to_owned();
            asked.spawn(async move { (host, fetch(&http, url).await) });
        }
        let (deadline, mut verdict) = (Instant::now() + self.timeout, RemoteVerdict::Unknown);
        // Those that are still under way when the verdict is there are dropped with the set.
        while let Ok(Some(Ok((host, answer)))) = tokio::time::timeout_at(deadline, asked.join_next()).await {
            let judged = answer
                .and_then(|body| query.judge(&body, self.key.expose(), clock.now()).map_err(|fault| fault.to_string()));
            match judged {
                Ok(Ok(counter)) => return RemoteVerdict::Accepted(counter),
                Ok(Err(status @ (Status::BadOtp | Status::ReplayedOtp | Status::ReplayedRequest))) => {
                    verdict = RemoteVerdict::Refused(status);
                }
                Ok(Err(status)) => {
                    tracing::error!(host, status = status.name(), "a validation server does not verify OTPs for us");
                }
                Err(fault) => tracing::error!(host, fault, "a validation server's answer is worth nothing"),
            }
        }
        verdict
    }
}

/// The body of an answer of status 200. What goes wrong is told without the address, which holds the OTP.
async fn fetch(http: &reqwest::Client, url: Url) -> Result<String, String> {
    let told = |error: reqwest::Error| error.without_url().to_string();
    let mut response = http.get(url).send().await.map_err(told)?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(format!("status {}", response.status()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(told)? {
        body.extend_from_slice(&chunk);
        if body.len() > LONGEST_ANSWER {
            return Err("the answer is too long".to_owned());
        }
    }
    String::from_utf8(body).map_err(|_| "the answer is no text".to_owned())
}
