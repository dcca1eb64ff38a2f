//! The certificate of a running server, read again when its files change and on SIGHUP. One that can't be used is refused, and
//! the one before is served on.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum_server::tls_rustls::RustlsConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;
use x509_cert::der::Decode as _;

use super::hsm_events;
use super::process::load_tls;
use crate::causes::with_causes;
use crate::config::TlsConfig;
use signet_core::audit::{Event, Outcome};
use signet_jose::clock::{Clock as _, SystemClock, Timestamp};
use signet_service::Deployment;

/// How often the files are looked at.
const LOOKED_AT: Duration = Duration::from_secs(5);

/// What is served, and where it is read from.
pub(super) struct Certificates {
    files: TlsConfig,
    /// What of the configuration names them.
    section: &'static str,
    served: RustlsConfig,
    /// The files as they were read last, whether they could be used or not.
    seen: [u8; 32],
    /// SIGHUP.
    asked: Arc<Notify>,
}

impl Certificates {
    /// Follows the files of what is served now.
    pub(super) async fn new(
        files: TlsConfig,
        section: &'static str,
        served: RustlsConfig,
        asked: Arc<Notify>,
    ) -> anyhow::Result<Self> {
        let seen = content_of(&files).await?;
        Ok(Self { files, section, served, seen, asked })
    }

    /// Follows the files until the server ends. What became of new ones is on the record.
    pub(super) async fn follow(mut self, signet: Arc<Deployment>) {
        loop {
            let is_asked = tokio::select! {
                () = self.asked.notified() => true,
                () = tokio::time::sleep(LOOKED_AT) => false,
            };
            self.look(is_asked, &signet).await;
        }
    }

    /// Takes up the files where they are others than those that were looked at last, or where somebody asked.
    async fn look(&mut self, is_asked: bool, signet: &Deployment) {
        let certificate = self.files.certificate.display().to_string();
        match content_of(&self.files).await {
            Ok(content) if content == self.seen && !is_asked => {}
            Ok(content) => {
                let is_new = content != self.seen;
                self.seen = content;
                match self.take_up().await {
                    Ok(until) if is_new => {
                        tracing::info!(certificate, %until, "a new TLS certificate is served");
                        self.tell(signet, Outcome::Done, format!("served until {until}")).await;
                    }
                    Ok(until) => tracing::info!(certificate, %until, "the TLS certificate was read again"),
                    Err(error) => {
                        tracing::error!(
                            certificate,
                            "the TLS certificate is refused, and the one before is served on: {}",
                            with_causes(&error)
                        );
                        self.tell(signet, Outcome::Refused, with_causes(&error)).await;
                    }
                }
            }
            // Files that are being replaced are there again in a moment; where they stay away it is said once.
            Err(error) => {
                if self.seen != [0; 32] {
                    tracing::error!(
                        certificate,
                        "the TLS certificate is served on, but can't be read again: {}",
                        with_causes(&error)
                    );
                }
                self.seen = [0; 32];
            }
        }
    }

    async fn tell(&self, signet: &Deployment, outcome: Outcome, what: String) {
        let detail = Some(format!("{}: {what}", self.section));
        if let Err(error) = hsm_events::record(signet, Event::CertificateRead, outcome, detail).await {
            tracing::error!(%error, "the new TLS certificate could not be written to the audit log");
        }
    }

    /// Returns until when the certificate is valid.
    async fn take_up(&self) -> anyhow::Result<Timestamp> {
        let read = load_tls(Some(&self.files), self.section).await?.context("no certificate is configured")?;
        let until = valid_until(&tokio::fs::read(&self.files.certificate).await?)?;
        anyhow::ensure!(until > SystemClock.now(), "it expired on {until}: renew it");
        self.served.reload_from_config(read.get_inner());
        Ok(until)
    }
}

/// A hash over both files.
async fn content_of(files: &TlsConfig) -> anyhow::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    for file in [&files.certificate, &files.key] {
        let content = tokio::fs::read(file).await.with_context(|| format!("{} can't be read", file.display()))?;
        let content = zeroize::Zeroizing::new(content);
        hash.update(u64::try_from(content.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(content.as_slice());
    }
    Ok(hash.finalize().into())
}

/// The end of the first certificate (RFC 5280 §4.1.2.5).
fn valid_until(pem: &[u8]) -> anyhow::Result<Timestamp> {
    let leaf = CertificateDer::from_pem_slice(pem).context("it is no PEM")?;
    let certificate = x509_cert::Certificate::from_der(&leaf).context("it is no X.509 certificate")?;
    let until = certificate.tbs_certificate().validity().not_after.to_unix_duration();
    let until = i64::try_from(until.as_millis()).context("its end is out of range")?;
    Ok(Timestamp::from_unix_millis(until))
}
