//! [`Vault`] by the workers: a secret is sealed once per HSM token, and any healthy token opens its own.

use std::sync::Arc;

use async_trait::async_trait;

use super::HsmGroup;
use super::signer::{key_ref, unexpected};
use super::token::HsmToken;
use crate::hsm::blob::{Blob, key_tag};
use crate::hsm::wire::{Answer, KeyRef, Octets, Operation, SecretKind, VaultKeys};
use crate::keys::{
    HsmError, HsmFailure, HsmKey, HsmName, KeyPurpose, OtpHash, OtpSecretKind, RowBinding, SealMode, Seals, Vault,
};
use crate::secret::SecretBytes;

#[async_trait]
impl Vault for HsmGroup {
    async fn seal(&self, row: &RowBinding, secret: &SecretBytes) -> Result<Seals, HsmError> {
        self.seal_everywhere(row, SecretKind::Opened, secret).await
    }

    async fn open(&self, row: &RowBinding, seals: &Seals) -> Result<SecretBytes, HsmError> {
        let answer = self.use_seals("open", row, seals, |keys, row, blob| Operation::Open { keys, row, blob }).await?;
        match answer {
            Answer::Bytes(secret) => Ok(SecretBytes::new(secret.take())),
            _ => Err(unexpected("open")),
        }
    }

    async fn enclose(&self, row: &RowBinding, cipher: OtpSecretKind, secret: &SecretBytes) -> Result<Seals, HsmError> {
        self.seal_everywhere(row, SecretKind::Otp(cipher), secret).await
    }

    async fn otp_hmac(
        &self,
        row: &RowBinding,
        seals: &Seals,
        hash: OtpHash,
        messages: Vec<[u8; 8]>,
    ) -> Result<Vec<Vec<u8>>, HsmError> {
        let answer = self
            .use_seals("otp hmac", row, seals, |keys, row, blob| Operation::OtpHmac {
                keys,
                row,
                blob,
                hash,
                messages: messages.clone(),
            })
            .await?;
        match answer {
            Answer::Hmacs(macs) if macs.len() == messages.len() => Ok(macs.into_iter().map(Octets::take).collect()),
            _ => Err(unexpected("otp hmac")),
        }
    }

    async fn decrypt_block(&self, row: &RowBinding, seals: &Seals, block: [u8; 16]) -> Result<[u8; 16], HsmError> {
        let answer = self
            .use_seals("decrypt block", row, seals, |keys, row, blob| Operation::DecryptBlock {
                keys,
                row,
                blob,
                block,
            })
            .await?;
        match answer {
            Answer::Block(plain) => Ok(plain),
            _ => Err(unexpected("decrypt block")),
        }
    }

    async fn rebind(
        &self,
        from: &RowBinding,
        to: &RowBinding,
        cipher: OtpSecretKind,
        seals: &Seals,
    ) -> Result<Seals, HsmError> {
        let mut rebound = Seals::default();
        let mut last_error = HsmError::new("rebind", HsmFailure::DoesNotOpen);
        for (hsm, sealed) in &seals.0 {
            let Some(keys) = self.keys_of(hsm, sealed) else { continue };
            let Ok(token) = self.token(hsm) else { continue };
            let octets = |bytes: &[u8]| Octets(bytes.to_vec());
            let (from, to, blob) = (octets(from.as_bytes()), octets(to.as_bytes()), octets(sealed));
            match token.call(Operation::Rebind { keys, from, to, kind: cipher, blob }).await {
                Ok(Answer::Bytes(blob)) => {
                    rebound.0.insert(hsm.clone(), blob.take());
                }
                Ok(_) => last_error = unexpected("rebind"),
                // A blob that was tampered with is told, not worked around.
                Err(error) if error.failure == HsmFailure::DoesNotOpen => return Err(error),
                Err(error) => {
                    tracing::warn!(%hsm, %error, "a secret is kept without this HSM token for now");
                    last_error = error;
                }
            }
        }
        if rebound.0.is_empty() { Err(last_error) } else { Ok(rebound) }
    }

    async fn derive(
        &self,
        hsm: Option<&HsmName>,
        label: &str,
        message: &[u8],
    ) -> Result<(HsmName, [u8; 32]), HsmError> {
        let fail = |failure| HsmError::new("derive", failure);
        if label.is_empty() || label.contains('\0') {
            let detail = "a derivation needs a label without NUL".to_owned();
            return Err(fail(HsmFailure::Configuration { detail }));
        }
        let token = match hsm {
            Some(name) => self.token(name).map_err(fail)?,
            None => self.by_load().into_iter().next().ok_or_else(|| fail(no_token()))?,
        };
        let key = self.active_keys(token.name()).binding.ok_or_else(|| fail(no_key("binding", token.name())))?;
        let input = Octets([label.as_bytes(), &[0], message].concat());
        match token.call(Operation::Derive { key, input }).await? {
            Answer::Bytes(mac) => {
                let mac = mac.take().try_into().map_err(|_| unexpected("derive"))?;
                Ok((token.name().clone(), mac))
            }
            _ => Err(unexpected("derive")),
        }
    }
}

impl HsmGroup {
    /// Seals for every token that answers; at least one must. A token that is down now can't open the secret later.
    async fn seal_everywhere(
        &self,
        row: &RowBinding,
        kind: SecretKind,
        secret: &SecretBytes,
    ) -> Result<Seals, HsmError> {
        let mut seals = Seals::default();
        let mut last_error = None;
        for token in &self.tokens {
            let operation = Operation::Seal {
                keys: self.active_keys(token.name()),
                row: Octets(row.as_bytes().to_vec()),
                kind,
                secret: Octets(secret.expose().to_vec()),
            };
            match token.call(operation).await {
                Ok(Answer::Bytes(blob)) => {
                    seals.0.insert(token.name().clone(), blob.take());
                }
                Ok(_) => last_error = Some(unexpected("seal")),
                Err(error) => {
                    tracing::warn!(hsm = %token.name(), %error, "a secret is kept without this HSM token");
                    last_error = Some(error);
                }
            }
        }
        match last_error {
            Some(error) if seals.0.is_empty() => Err(error),
            None if seals.0.is_empty() => Err(HsmError::new("seal", no_token())),
            _ => Ok(seals),
        }
    }

    /// Uses the seal of the token with the least to do; of the next one where that fails for its own reasons.
    async fn use_seals(
        &self,
        name: &str,
        row: &RowBinding,
        seals: &Seals,
        operation: impl Fn(VaultKeys, Octets, Octets) -> Operation + Send + Sync,
    ) -> Result<Answer, HsmError> {
        let mut last_error = HsmError::new(name, HsmFailure::DoesNotOpen);
        for token in self.by_load() {
            let Some(sealed) = seals.0.get(token.name()) else { continue };
            // A key of this token that is unknown, or gone, says nothing of the other tokens' seals.
            let Some(keys) = self.keys_of(token.name(), sealed) else { continue };
            let asked = operation(keys, Octets(row.as_bytes().to_vec()), Octets(sealed.clone()));
            match token.call(asked).await {
                Ok(answer) => return Ok(answer),
                // A blob that was tampered with is told, not worked around.
                Err(error) if error.failure == HsmFailure::DoesNotOpen => return Err(error),
                Err(error) => last_error = error,
            }
        }
        Err(last_error)
    }

    /// The tokens, those that answer first, the least loaded of them at the front.
    fn by_load(&self) -> Vec<&Arc<HsmToken>> {
        let mut tokens: Vec<_> = self.tokens.iter().collect();
        if tokens.len() > 1 {
            tokens.sort_by_key(|token| token.load().unwrap_or(usize::MAX));
        }
        tokens
    }

    /// The keys that new secrets are kept by.
    fn active_keys(&self, hsm: &HsmName) -> VaultKeys {
        let keys = self.keys.load();
        let find = |purpose| {
            keys.iter().find(|key| key.hsm == *hsm && key.purpose == purpose && key.state.is_active()).map(key_ref)
        };
        VaultKeys {
            sealing: find(KeyPurpose::Sealing),
            wrapping: find(KeyPurpose::Wrapping),
            binding: find(KeyPurpose::Binding),
        }
    }

    /// The keys that made a blob, which may have been replaced by newer ones since.
    fn keys_of(&self, hsm: &HsmName, sealed: &[u8]) -> Option<VaultKeys> {
        let blob = Blob::parse(sealed)?;
        let keys = self.keys.load();
        let of = |purpose| {
            let usable = |key: &&HsmKey| key.hsm == *hsm && key.purpose == purpose && key.state.is_published();
            keys.iter().filter(usable).map(key_ref).collect::<Vec<KeyRef>>()
        };
        match blob.mode {
            SealMode::Sealed => {
                let sealing = of(KeyPurpose::Sealing).into_iter().find(|key| key_tag(&[&key.key_id]) == blob.tag)?;
                Some(VaultKeys { sealing: Some(sealing), ..VaultKeys::default() })
            }
            SealMode::Wrapped => {
                let bindings = of(KeyPurpose::Binding);
                of(KeyPurpose::Wrapping).into_iter().find_map(|wrapping| {
                    let made = |binding: &&KeyRef| key_tag(&[&wrapping.key_id, &binding.key_id]) == blob.tag;
                    let binding = bindings.iter().find(made)?.clone();
                    Some(VaultKeys { wrapping: Some(wrapping), binding: Some(binding), sealing: None })
                })
            }
        }
    }
}

fn no_token() -> HsmFailure {
    HsmFailure::Configuration { detail: "there is no [[hsm]] in the configuration".into() }
}

fn no_key(purpose: &str, hsm: &HsmName) -> HsmFailure {
    HsmFailure::Configuration { detail: format!("the HSM token {hsm} has no {purpose} key; `signet init` makes it") }
}
