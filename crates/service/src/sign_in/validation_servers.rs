//! Asks other validation servers about Yubico OTPs whose keys they have: all of them at once, and the first answer that
//! is wholly right and says `OK` wins.
//!
//! An answer counts where its signature, OTP, nonce and time are right and no field comes twice; of those only `OK`
//! accepts. A refusal waits for the other servers: one that lags behind must not refuse what another has accepted.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use signet_core::mfa::Spendable;
use signet_core::mfa::yubico_validation::{ClientNumber, Query, Status};
use signet_core::random::{self, Random};
use signet_core::secret::SecretBytes;
use signet_jose::clock::Clock;

/// Questions under way at once.
const MAX_AT_ONCE: usize = 64;
/// The longest answer that is read, in bytes; an honest one has some hundred.
pub const MAX_ANSWER: usize = 8 * 1024;

/// A validation server, as it is asked.
#[async_trait]
pub trait ValidationServer: Send + Sync {
    /// What the log calls it: nothing of what it is asked.
    fn name(&self) -> &str;

    /// The body of its answer of status 200 to these parameters, not judged; of at most [`MAX_ANSWER`] bytes.
    /// Errors: What did not work, without the parameters, which hold the OTP.
    async fn answer(&self, pairs: Vec<(String, String)>) -> Result<String, String>;
}

/// The servers, and how they know this deployment.
pub struct ValidationServers {
    servers: Vec<Arc<dyn ValidationServer>>,
    client: ClientNumber,
    key: SecretBytes,
    timeout: Duration,
    admission: Semaphore,
}

/// What the servers say of an OTP.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RemoteVerdict {
    /// It is good, by these counters, which are to be spent here too.
    Accepted(Spendable),
    /// It is not: [`Status::BadOtp`], [`Status::ReplayedOtp`] or [`Status::ReplayedRequest`].
    Refused(Status),
    /// No server gave an answer that is worth anything.
    Unknown,
}

impl ValidationServers {
    /// These servers, asked as this client with this API key.
    pub fn new(
        servers: Vec<Arc<dyn ValidationServer>>,
        client: ClientNumber,
        key: SecretBytes,
        timeout: Duration,
    ) -> Self {
        Self { servers, client, key, timeout, admission: Semaphore::new(MAX_AT_ONCE) }
    }

    /// Asks all servers about an OTP, in modhex.
    pub(crate) async fn ask(&self, otp: &str, clock: &dyn Clock, random: &dyn Random) -> RemoteVerdict {
        let Ok(_admitted) = self.admission.try_acquire() else {
            tracing::warn!("too many OTPs are being asked about at validation servers");
            return RemoteVerdict::Unknown;
        };
        let query = Arc::new(Query::new(self.client, otp, random::bytes::<20>(random), self.timeout));
        let mut asked = JoinSet::new();
        for server in &self.servers {
            let (server, pairs) = (server.clone(), query.pairs(self.key.expose()));
            asked.spawn(async move { (server.name().to_owned(), server.answer(pairs).await) });
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
