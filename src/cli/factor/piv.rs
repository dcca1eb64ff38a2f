//! `signet factor add piv`

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use x509_cert::Certificate;

use super::tell_pending;
use crate::cli::{Ended, Output, deployment, operator};
use crate::config::PivConfig;
use crate::server::api::factor_view;
use crate::server::{Need, Runtime};
use signet_admin_api::factors::Factor;
use signet_core::mfa::piv_attestation::{self, Attested, key_of, read_certificates};
use signet_jose::clock::Timestamp;
use signet_jose::jwk::PublicKey;
use signet_service::sign_in::piv::PivKey;

/// The longest certificate file that is read, in bytes.
const LONGEST: u64 = 256 * 1024;

/// The key of a PIV card's slot 9a, e.g. of a YubiKey.
#[derive(Debug, Args)]
#[group(id = "what", required = true, multiple = true, args = ["certificate", "public_key", "attestation"])]
pub(in crate::cli) struct AddPiv {
    /// The user's name.
    #[arg(long)]
    user: String,
    /// What the user calls it.
    #[arg(long, default_value = "piv")]
    label: String,
    /// The certificate of the key in slot 9a, in PEM or DER.
    #[arg(long, value_name = "FILE", conflicts_with = "public_key")]
    certificate: Option<PathBuf>,
    /// The public key of slot 9a, in PEM or DER (SubjectPublicKeyInfo).
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
    /// The card's attestation of the key (`ykman piv keys attest 9a FILE`), in PEM or DER. Enough by itself.
    #[arg(long, value_name = "FILE")]
    attestation: Option<PathBuf>,
    /// Certificates between the key's or the attestation's and the root (`ykman piv certificates export f9 FILE`, and
    /// the vendor's), in PEM or DER.
    #[arg(long, value_name = "FILE")]
    intermediate: Vec<PathBuf>,
    /// The serial number that is printed on the card; an attestation tells it by itself.
    #[arg(long, conflicts_with = "attestation")]
    serial: Option<String>,
}

/// A PIV factor as printed.
#[derive(Serialize)]
struct Added {
    #[serde(flatten)]
    factor: Factor,
    needs_touch: Option<bool>,
}

impl AddPiv {
    pub(super) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        let deployment = deployment::open(config, Need::Hsm, output).await?;
        let added = self.add(&deployment, output).await;
        deployment.close().await?;
        added
    }

    async fn add(&self, deployment: &Runtime, output: &Output) -> anyhow::Result<()> {
        let piv = self.judge(&deployment.config.mfa.piv, deployment.signet.now())?;
        let factor =
            deployment.signet.issuer().factors.enrolment.enrol_piv(&self.user, &self.label, &piv, &operator()).await?;
        let added = Added {
            needs_touch: piv.attested.as_ref().map(|attested| attested.needs_touch),
            factor: factor_view(&factor),
        };
        output.value(&added, |added| {
            let what = match &piv.attested {
                Some(attested) => format!("made on the YubiKey {}", attested.serial),
                None => "not attested: it may live in a file, and a sign-in with it reaches aal2".to_owned(),
            };
            format!("added factor {} for {} ({what})", added.factor.id, self.user)
        })?;
        tell_pending(output, &added.factor);
        Ok(())
    }

    /// Reads the files and judges what they prove of the key.
    fn judge(&self, trust: &PivConfig, now: Timestamp) -> anyhow::Result<PivKey> {
        let mut intermediates = Vec::new();
        for file in &self.intermediate {
            intermediates.extend(certificates(file, "intermediate certificate")?);
        }
        let attestation = self.attestation.as_deref().map(|file| one(file, "attestation")).transpose()?;
        let certificate = self.certificate.as_deref().map(|file| one(file, "certificate")).transpose()?;
        let key = match (&certificate, &self.public_key, &attestation) {
            (Some(certificate), _, _) => key_of(certificate)?,
            (None, Some(file), _) => public_key(file)?,
            (None, None, Some(attestation)) => key_of(attestation)?,
            (None, None, None) => {
                return Err(Ended::Usage("--certificate, --public-key or --attestation is needed".to_owned()).into());
            }
        };
        if !trust.roots.is_empty() {
            let certificate = certificate.as_ref().context(
                "`mfa.piv.roots` is set: give the card's certificate with --certificate, so that it can be checked",
            )?;
            let chained = piv_attestation::judge_chain(certificate, &intermediates, &roots(&trust.roots)?, now);
            chained.context("the certificate is refused")?;
        }
        let attested = attestation.map(|attestation| attest(&key, &attestation, &intermediates, trust, now));
        if attested.is_none() && trust.require_attestation {
            anyhow::bail!("`mfa.piv.require_attestation` is set: give the key's attestation with --attestation");
        }
        Ok(PivKey { key, attested: attested.transpose()?, serial: self.serial.clone() })
    }
}

fn attest(
    key: &PublicKey,
    attestation: &Certificate,
    intermediates: &[Certificate],
    trust: &PivConfig,
    now: Timestamp,
) -> anyhow::Result<Attested> {
    if trust.attestation_roots.is_empty() {
        anyhow::bail!(
            "`mfa.piv.attestation_roots` names no root certificate to check the attestation with: fetch Yubico's from \
             https://developers.yubico.com/PKI/ and name the file there"
        );
    }
    let roots = roots(&trust.attestation_roots)?;
    piv_attestation::judge(key, attestation, intermediates, &roots, now).context("the attestation is refused")
}

fn roots(files: &[PathBuf]) -> anyhow::Result<Vec<Certificate>> {
    let mut roots = Vec::new();
    for file in files {
        roots.extend(certificates(file, "root certificate")?);
    }
    Ok(roots)
}

fn one(file: &Path, what: &'static str) -> anyhow::Result<Certificate> {
    let first = certificates(file, what)?.into_iter().next();
    first.with_context(|| format!("there is no certificate in {}", file.display()))
}

fn certificates(file: &Path, what: &'static str) -> anyhow::Result<Vec<Certificate>> {
    read_certificates(&read(file)?, what).with_context(|| format!("{} can't be used", file.display()))
}

fn public_key(file: &Path) -> anyhow::Result<PublicKey> {
    use x509_cert::der::Decode as _;
    let bytes = read(file)?;
    let unusable = || format!("{} is not a public key in PEM or DER (SubjectPublicKeyInfo)", file.display());
    if bytes.starts_with(&[0x30]) {
        return PublicKey::from_spki_der(&bytes).with_context(unusable);
    }
    let (label, der) = x509_cert::der::pem::decode_vec(&bytes).map_err(|_| anyhow::anyhow!(unusable()))?;
    match label {
        "PUBLIC KEY" => PublicKey::from_spki_der(&der).with_context(unusable),
        "CERTIFICATE" => Ok(key_of(&Certificate::from_der(&der).with_context(unusable)?)?),
        _ => Err(anyhow::anyhow!(unusable())),
    }
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file).with_context(|| format!("{} can't be read", file.display()))?;
    opened.take(LONGEST + 1).read_to_end(&mut bytes).with_context(|| format!("{} can't be read", file.display()))?;
    anyhow::ensure!(bytes.len() as u64 <= LONGEST, "{} is too large for a certificate", file.display());
    Ok(bytes)
}
