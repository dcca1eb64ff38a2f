//! [`Vault`] by the workers: a secret is sealed once per HSM token, and any healthy token opens its own.

use async_trait::async_trait;
use tokio::task::JoinSet;

use super::HsmGroup;
use super::signer::{key_ref, unexpected};
use crate::blob::{Blob, key_tag};
use crate::wire::{Answer, KeyRef, Octets, Operation, SealedSecret, SealingPlace, SecretKind, VaultKeys};
use signet_core::keys::{
    HsmError, HsmFailure, HsmKey, HsmName, HsmResult, KeyPurpose, OtpHash, OtpSecretKind, RowBinding, SealMode,
    SealedCopies, Vault,
};
use signet_core::secret::SecretBytes;
use signet_jose::PublicKey;

#[async_trait]
impl Vault for HsmGroup {
    async fn seal(&self, row: &RowBinding, secret: &SecretBytes) -> HsmResult<SealedCopies> {
        self.seal_everywhere(row, SecretKind::Opened, secret).await
    }

    async fn open(&self, row: &RowBinding, seals: &SealedCopies) -> HsmResult<SecretBytes> {
        match self.use_seals("open", row, seals, Operation::Open).await? {
            Answer::Bytes(secret) => Ok(SecretBytes::new(secret.take())),
            _ => Err(unexpected("open")),
        }
    }

    async fn wrap(&self, row: &RowBinding, cipher: OtpSecretKind, secret: &SecretBytes) -> HsmResult<SealedCopies> {
        self.seal_everywhere(row, SecretKind::Otp(cipher), secret).await
    }

    async fn otp_hmac(
        &self,
        row: &RowBinding,
        seals: &SealedCopies,
        hash: OtpHash,
        messages: Vec<[u8; 8]>,
    ) -> HsmResult<Vec<Vec<u8>>> {
        let messages = messages.into_iter().map(|message| Octets(message.to_vec())).collect();
        self.hmacs(row, seals, hash, messages).await
    }

    async fn message_hmac(
        &self,
        row: &RowBinding,
        seals: &SealedCopies,
        hash: OtpHash,
        message: Vec<u8>,
    ) -> HsmResult<Vec<u8>> {
        let macs = self.hmacs(row, seals, hash, vec![Octets(message)]).await?;
        macs.into_iter().next().ok_or_else(|| unexpected("otp hmac"))
    }

    async fn decrypt_block(&self, row: &RowBinding, seals: &SealedCopies, block: [u8; 16]) -> HsmResult<[u8; 16]> {
        let decrypt = |sealed| Operation::DecryptBlock { sealed, block };
        match self.use_seals("decrypt block", row, seals, decrypt).await? {
            Answer::Block(plain) => Ok(plain),
            _ => Err(unexpected("decrypt block")),
        }
    }

    async fn rebind(
        &self,
        from: &RowBinding,
        to: &RowBinding,
        cipher: OtpSecretKind,
        seals: &SealedCopies,
    ) -> HsmResult<SealedCopies> {
        let mut rebound = SealedCopies::default();
        let mut last_error = HsmError::new("rebind", HsmFailure::DoesNotOpen);
        for (hsm, sealed) in &seals.0 {
            let Some(keys) = self.keys_of(hsm, sealed) else { continue };
            let Ok(token) = self.token(hsm) else { continue };
            let octets = |bytes: &[u8]| Octets(bytes.to_vec());
            let sealed = SealedSecret { keys, row: octets(from.as_bytes()), blob: octets(sealed) };
            match token.call(Operation::Rebind { sealed, to: octets(to.as_bytes()), kind: cipher }).await {
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

    async fn derive(&self, hsm: Option<&HsmName>, label: &str, message: &[u8]) -> HsmResult<(HsmName, [u8; 32])> {
        let fail = |failure| HsmError::new("derive", failure);
        if label.is_empty() || label.contains('\0') {
            return Err(fail(HsmFailure::Configuration("a derivation needs a label without NUL".to_owned())));
        }
        let names = hsm.map_or_else(|| self.able(|keys| keys.binding.is_some()), |name| vec![name.clone()]);
        let among: Vec<&HsmName> = names.iter().collect();
        let derive = |index: usize| {
            let hsm: &HsmName = among.get(index).ok_or_else(no_token)?;
            let key = self.active_keys(hsm).binding.ok_or_else(|| no_key("binding", hsm))?;
            Ok(Operation::Derive { key, input: Octets([label.as_bytes(), &[0], message].concat()) })
        };
        match self.ask_any("derive", &among, derive).await? {
            (index, Answer::Bytes(mac)) => {
                let mac = mac.take().try_into().map_err(|_| unexpected("derive"))?;
                let hsm = names.get(index).ok_or_else(|| unexpected("derive"))?;
                Ok((hsm.clone(), mac))
            }
            _ => Err(unexpected("derive")),
        }
    }

    async fn reseal_for(
        &self,
        row: &RowBinding,
        wrapped: Option<OtpSecretKind>,
        seals: &SealedCopies,
        lacking: &[HsmName],
    ) -> HsmResult<SealedCopies> {
        let (name, kind) = match wrapped {
            None => ("open", SecretKind::Opened),
            Some(kind) => ("hand over", SecretKind::Otp(kind)),
        };
        let hand_over = |sealed| match wrapped {
            None => Operation::Open(sealed),
            Some(kind) => Operation::ExportSecret { sealed, kind },
        };
        let handed_over = self.use_seals(name, row, seals, hand_over).await?;
        let Answer::Bytes(secret) = handed_over else { return Err(unexpected(name)) };
        let secret = SecretBytes::new(secret.take());
        self.seal_for(lacking, row, kind, &secret).await
    }

    async fn take_envelope(
        &self,
        transport: &HsmKey,
        row: &RowBinding,
        wrapped: Option<OtpSecretKind>,
        sealed: &[u8],
    ) -> HsmResult<Vec<u8>> {
        let place = SealingPlace {
            keys: self.active_keys(&transport.hsm),
            row: Octets(row.as_bytes().to_vec()),
            kind: wrapped.map_or(SecretKind::Opened, SecretKind::Otp),
        };
        let operation =
            Operation::TakeEnvelope { transport: key_ref(transport), place, sealed: Octets(sealed.to_vec()) };
        self.bytes_of(&transport.hsm, operation).await
    }

    async fn open_deployment_secret(&self, transport: &HsmKey, sealed: &[u8]) -> HsmResult<SecretBytes> {
        let (key, sealed) = (key_ref(transport), Octets(sealed.to_vec()));
        let operation = Operation::OpenDeploymentSecret { transport: key, sealed };
        self.bytes_of(&transport.hsm, operation).await.map(SecretBytes::new)
    }

    async fn put_in_envelope(
        &self,
        row: &RowBinding,
        wrapped: Option<OtpSecretKind>,
        seals: &SealedCopies,
        to: &PublicKey,
    ) -> HsmResult<Vec<u8>> {
        let name = "put in envelope";
        let point = to.p256_point().ok_or_else(|| {
            HsmError::not_asked(name, HsmFailure::Configuration("a transport key is a pair of P-256".to_owned()))
        })?;
        let put = |sealed| Operation::PutInEnvelope { sealed, wrapped, to: Octets(point.to_vec()) };
        match self.use_seals(name, row, seals, put).await? {
            Answer::Bytes(sealed) => Ok(sealed.take()),
            _ => Err(unexpected(name)),
        }
    }
}

impl HsmGroup {
    /// Asks one token for bytes.
    async fn bytes_of(&self, hsm: &HsmName, operation: Operation) -> HsmResult<Vec<u8>> {
        let name = operation.name();
        let token = self.token(hsm).map_err(|failure| HsmError::not_asked(name, failure))?;
        match token.call(operation).await? {
            Answer::Bytes(bytes) => Ok(bytes.take()),
            _ => Err(unexpected(name)),
        }
    }

    async fn hmacs(
        &self,
        row: &RowBinding,
        seals: &SealedCopies,
        hash: OtpHash,
        messages: Vec<Octets>,
    ) -> HsmResult<Vec<Vec<u8>>> {
        let asked = messages.len();
        let hmac = |sealed| Operation::OtpHmac { sealed, hash, messages: messages.clone() };
        match self.use_seals("otp hmac", row, seals, hmac).await? {
            Answer::Hmacs(macs) if macs.len() == asked => Ok(macs.into_iter().map(Octets::take).collect()),
            _ => Err(unexpected("otp hmac")),
        }
    }

    /// Seals for every token that has the keys for it and answers; at least one must. What a token that is down now
    /// lacks is made up for later.
    async fn seal_everywhere(
        &self,
        row: &RowBinding,
        kind: SecretKind,
        secret: &SecretBytes,
    ) -> HsmResult<SealedCopies> {
        let able = self.able(|keys| keys.sealing.is_some() || keys.wrapping.is_some());
        self.seal_for(&able, row, kind, secret).await
    }

    /// Seals for these tokens, at once; gives the seals of those that answered, of which there must be one.
    async fn seal_for(
        &self,
        names: &[HsmName],
        row: &RowBinding,
        kind: SecretKind,
        secret: &SecretBytes,
    ) -> HsmResult<SealedCopies> {
        let mut asked = JoinSet::new();
        let mut last_error = None;
        for name in names {
            match self.token(name) {
                // Nobody waits for a token that hangs, as long as another one keeps the secret.
                Ok(token) if token.is_healthy() || names.len() == 1 => {
                    let operation = Operation::Seal {
                        keys: self.active_keys(name),
                        row: Octets(row.as_bytes().to_vec()),
                        kind,
                        secret: Octets(secret.expose().to_vec()),
                    };
                    asked.spawn(async move { (token.name().clone(), token.call(operation).await) });
                }
                Ok(token) => {
                    last_error = Some(token.readiness().err().unwrap_or_else(|| HsmError::new("seal", no_token())));
                }
                Err(failure) => last_error = Some(HsmError::new("seal", failure)),
            }
        }
        let mut seals = SealedCopies::default();
        while let Some(ended) = asked.join_next().await {
            match ended {
                Ok((name, Ok(Answer::Bytes(blob)))) => {
                    seals.0.insert(name, blob.take());
                }
                Ok((_, Ok(_))) | Err(_) => last_error = Some(unexpected("seal")),
                Ok((name, Err(error))) => {
                    tracing::warn!(hsm = %name, %error, "a secret is kept without this HSM token for now");
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

    /// Uses the seal of the token that is chosen; of another one where that fails for its own reasons.
    async fn use_seals(
        &self,
        name: &str,
        row: &RowBinding,
        seals: &SealedCopies,
        operation: impl Fn(SealedSecret) -> Operation + Send + Sync,
    ) -> HsmResult<Answer> {
        // A key of a token that is unknown, or gone, says nothing of the other tokens' seals.
        let usable = seals.0.iter().filter_map(|(hsm, sealed)| {
            let keys = self.keys_of(hsm, sealed).filter(|_| self.token(hsm).is_ok())?;
            Some((hsm, SealedSecret { keys, row: Octets(row.as_bytes().to_vec()), blob: Octets(sealed.clone()) }))
        });
        let (among, usable): (Vec<&HsmName>, Vec<SealedSecret>) = usable.unzip();
        if usable.is_empty() {
            return Err(HsmError::new(name, HsmFailure::DoesNotOpen));
        }
        let asked = |index: usize| usable.get(index).cloned().map(&operation).ok_or_else(no_token);
        self.ask_any(name, &among, asked).await.map(|(_, answer)| answer)
    }

    /// The tokens with keys that do; all of them where none has such, so that each says what is missing.
    fn able(&self, has_keys: impl Fn(&VaultKeys) -> bool) -> Vec<HsmName> {
        let names = self.tokens().into_iter().map(|token| token.name().clone());
        let (able, others): (Vec<_>, Vec<_>) = names.partition(|name| has_keys(&self.active_keys(name)));
        if able.is_empty() { others } else { able }
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
    HsmFailure::Configuration("there is no [[hsm]] in the configuration".into())
}

fn no_key(purpose: &str, hsm: &HsmName) -> HsmFailure {
    HsmFailure::Configuration(format!("the HSM token {hsm} has no {purpose} key; `signet init` makes it"))
}
