//! The custody report (promise 1): every key that the deployment depends on, as its HSM token describes it.

use serde::Serialize;

use super::{ChangeError, Signet};
use crate::jose::Algorithm;
use crate::keys::{Custody, HsmKey, HsmName, KeyAttributes, KeyPurpose, KeyReport, TokenInfo};

/// All HSM tokens with their keys.
#[derive(Debug, Clone, Serialize)]
pub struct CustodyReport {
    /// Whether every key that the deployment depends on is held.
    pub held: bool,
    /// Each HSM token.
    pub tokens: Vec<TokenCustody>,
    /// Keys that no HSM holds, and why.
    pub exceptions: Vec<String>,
}

/// One HSM token with its keys.
#[derive(Debug, Clone, Serialize)]
pub struct TokenCustody {
    /// Its configured name.
    pub hsm: HsmName,
    /// The token.
    pub token: TokenInfo,
    /// The library that serves it.
    pub library: String,
    /// The keys that the deployment depends on.
    pub keys: Vec<KeyCustody>,
    /// Private and secret keys in the token that the deployment does not know, by label.
    pub unknown: Vec<String>,
}

/// One key.
#[derive(Debug, Clone, Serialize)]
pub struct KeyCustody {
    /// Its name.
    pub kid: String,
    /// What it is for.
    pub purpose: KeyPurpose,
    /// Its algorithm, where it signs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<Algorithm>,
    /// Type and size, e.g. `EC P-256`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its stage: `next`, `active`, `retiring` or `destroyed`.
    pub stage: &'static str,
    /// What the HSM says of it; absent where the HSM does not have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attributes: Option<KeyAttributes>,
    /// Whether it is held.
    pub held: bool,
    /// What is wrong, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
}

impl Signet {
    /// Asks every HSM token for its keys and judges them.
    ///
    /// # Errors
    ///
    /// [`ChangeError`] where a token or the store does not answer: custody that can't be seen is not claimed.
    pub async fn custody(&self, has_tls_key: bool) -> Result<CustodyReport, ChangeError> {
        let keys = self.adapters.store.keys().await?;
        let mut tokens = Vec::new();
        for hsm in self.adapters.key_admin.tokens() {
            let description = self.adapters.key_admin.describe(&hsm).await?;
            let found = self.adapters.key_admin.list(&hsm).await?;
            let ours: Vec<&HsmKey> = keys.iter().filter(|key| key.hsm == hsm && key.state.is_published()).collect();
            let is_unknown = |report: &&KeyReport| !ours.iter().any(|key| key.cka_id == report.cka_id);
            tokens.push(TokenCustody {
                unknown: found.iter().filter(is_unknown).map(|report| report.label.clone()).collect(),
                keys: ours.iter().map(|key| judge(key, &found)).collect(),
                token: description.token,
                library: description.library,
                hsm,
            });
        }
        let is_held = |token: &TokenCustody| token.keys.iter().all(|key| key.held) && !token.keys.is_empty();
        let tls = "the server's TLS key is read from a file: it authenticates the server and signs no token";
        Ok(CustodyReport {
            held: !tokens.is_empty() && tokens.iter().all(is_held),
            tokens,
            exceptions: if has_tls_key { vec![tls.to_owned()] } else { Vec::new() },
        })
    }
}

fn judge(key: &HsmKey, found: &[KeyReport]) -> KeyCustody {
    let reports: Vec<&KeyReport> = found.iter().filter(|report| report.cka_id == key.cka_id).collect();
    let faults = match reports.as_slice() {
        [] => vec!["the key is not in the HSM token".to_owned()],
        [report] if report.copies != 1 => vec![format!("{} keys carry the same CKA_ID", report.copies)],
        // The id alone proves nothing: whoever can write to the token chooses it.
        [report] if key.purpose.is_pair() && report.thumbprint.as_deref() != Some(key.key_id.as_str()) => {
            vec!["its public half in the HSM token is missing or another key's".to_owned()]
        }
        [report] => match &report.custody {
            Custody::Held => Vec::new(),
            Custody::Refused(faults) => faults.iter().map(ToString::to_string).collect(),
        },
        several => vec![format!("{} keys carry the same CKA_ID", several.len())],
    };
    KeyCustody {
        kid: key.key_id.to_string(),
        purpose: key.purpose,
        algorithm: key.public.as_ref().map(|jwk| jwk.algorithm),
        kind: reports.first().map(|report| report.kind.clone()),
        stage: key.state.name(),
        attributes: reports.first().map(|report| report.attributes),
        held: faults.is_empty(),
        faults,
    }
}
