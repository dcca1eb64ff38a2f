//! The custody report as a JWS by the audit key: signed for an auditor, and checked without anybody's help.

use serde::{Deserialize, Serialize};

use crate::audit::answering_key;
use crate::{ChangeError, Signatures};
use signet_core::audit::{AuditEvent, Event, Outcome, RequestContext};
use signet_core::keys::SignedKind;
use signet_jose::{self, Header, UnverifiedJws, VerifyingKey};

module! {
    /// Signs custody reports.
    pub struct CustodyReports {
        takes clock, directory, hsm_health, settings, audit;
        calls signatures: Signatures;
    }
}

impl CustodyReports {
    /// Signs a custody report, as it is shown, by the audit key of an HSM token that answers. `nonce` is the auditor's, so that an
    /// older report can't be shown in its place.
    /// Errors: [`ChangeError`] where no audit key signs, or the store does not take the record.
    pub async fn sign_custody(
        &self,
        report: serde_json::Value,
        nonce: Option<&str>,
        context: &RequestContext,
    ) -> Result<String, ChangeError> {
        let key = answering_key(self.directory.fresh().await?.as_ref(), self.hsm_health.as_ref())?;
        let kid = key.key.key_id.clone();
        let claims = SignedClaims {
            iss: self.settings.issuer.clone(),
            iat: self.clock.now().unix_seconds(),
            nonce: nonce.map(str::to_owned),
            jkt: kid.to_string(),
            report,
        };
        let payload = serde_json::to_vec(&claims)
            .map_err(|error| ChangeError::Input(format!("the report can't be written: {error}")))?;
        let token_type = Some(SignedKind::Report.token_type().to_owned());
        let header = Header { algorithm: key.verifying.algorithm(), key_id: Some(kid.clone()), token_type };
        let input = signet_jose::signing_input(&header, &payload);
        let (signature, entry) = self.signatures.sign_accounted(&key, SignedKind::Report, input.as_bytes()).await?;
        let tenant = self.settings.tenant.as_str();
        let mut draft = AuditEvent::new(Event::CustodyReport, Outcome::Done, tenant, context);
        draft.key = Some(kid.to_string());
        draft.detail = nonce.map(|nonce| format!("nonce {nonce}"));
        self.audit.append(vec![draft]).await?;
        entry.close();
        Ok(signet_jose::assemble(input, signature.as_bytes()))
    }
}

/// The claims of a signed custody report.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SignedClaims {
    /// The issuer whose keys these are (`iss`).
    pub iss: String,
    /// When it was signed, in seconds since 1970 (`iat`).
    pub iat: i64,
    /// What the auditor asked it to carry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// The RFC 7638 thumbprint of the audit key that signed it.
    pub jkt: String,
    /// The report.
    pub report: serde_json::Value,
}

/// Why a signed custody report is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportRefused {
    /// It is no JWS, or its signature is not the audit key's.
    #[error(transparent)]
    Jws(#[from] signet_jose::JwsError),
    /// It is another kind of JWS.
    #[error("it is no custody report: its `typ` is not {}", SignedKind::Report.token_type())]
    OtherType,
    /// None of the keys is the one that it names.
    #[error("it was signed by the key {kid}, which is none of the audit keys that were given")]
    OtherKey {
        /// The key that it names.
        kid: String,
    },
    /// What was signed can't be read.
    #[error("what was signed can't be read; use the version of the program that signed it")]
    Unreadable,
    /// It carries another nonce.
    #[error("it does not carry the nonce that was asked for: it is an older report, or another auditor's")]
    OtherNonce,
}

/// Verifies a signed custody report with the audit keys alone.
pub fn verify_custody(text: &str, keys: &[VerifyingKey], nonce: Option<&str>) -> Result<SignedClaims, ReportRefused> {
    let jws = UnverifiedJws::parse_document(text)?;
    if jws.header().token_type.as_deref() != Some(SignedKind::Report.token_type()) {
        return Err(ReportRefused::OtherType);
    }
    let named = jws.header().key_id.clone();
    let kid = named.as_ref().map(ToString::to_string).unwrap_or_default();
    let key = keys.iter().find(|key| named.as_ref() == Some(key.key_id()));
    let key = key.ok_or(ReportRefused::OtherKey { kid: kid.clone() })?;
    let verified = jws.verify(key)?;
    let claims: SignedClaims = serde_json::from_slice(verified.payload()).map_err(|_| ReportRefused::Unreadable)?;
    if claims.jkt != key.jwk().key.thumbprint().as_str() {
        return Err(ReportRefused::OtherKey { kid });
    }
    if nonce.is_some() && claims.nonce.as_deref() != nonce {
        return Err(ReportRefused::OtherNonce);
    }
    Ok(claims)
}
