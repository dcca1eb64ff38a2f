//! The ports to the HSM tokens: [`Signer`] signs, [`Vault`] keeps secrets, [`KeyAdmin`] makes and lists keys, [`HsmHealth`]
//! says which tokens answer. The one implementation talks to `signet hsm-worker`.

use std::time::Instant;

use async_trait::async_trait;

use super::{
    AnnouncedKey, GeneratedKey, HsmError, HsmKey, HsmName, HsmResult, KeyPurpose, KeyReport, KeyTally, OtpHash,
    OtpSecretKind, RawSignature, RowBinding, SealedCopies, TenantId, TokenHealth, TokenReport, Trial,
};
use crate::secret::SecretBytes;
use signet_jose::{Algorithm, KeyId, PublicKey};

/// Signs with keys in HSM tokens.
#[async_trait]
pub trait Signer: Send + Sync + 'static {
    /// Signs `message` (a JWS signing input, not a digest) with a key pair of the deployment, whatever is known of its HSM
    /// token's health.
    /// Errors: [`HsmError`]: the caller answers 503.
    async fn sign(&self, key: &HsmKey, algorithm: Algorithm, message: Vec<u8>) -> HsmResult<RawSignature>;

    /// Signs with one of these keys: that of the healthy HSM token with the least to do, and with another one's where an
    /// attempt fails, within the time that one signature has. Returns which key signed, as its place among `keys`.
    ///
    /// A suspended token is tried only where none of those named is healthy, by one request at a time.
    /// Errors: [`HsmError`] of the last attempt, or why there was none: the caller answers 503.
    async fn sign_any(&self, keys: &[&HsmKey], attempts: &mut dyn Attempts) -> HsmResult<usize>;
}

/// One signature that several keys could make. What is signed names its key, so that it is made anew for each attempt.
#[async_trait]
pub trait Attempts: Send {
    /// What the key at this place signs. It is asked for right after this.
    fn begin(&mut self, index: usize) -> Vec<u8>;

    /// Judges what the attempt brought; verifies the signature.
    /// Errors: [`HsmError`] where another key is to be tried.
    async fn end(&mut self, index: usize, outcome: HsmResult<RawSignature>) -> HsmResult<()>;
}

/// Keeps secrets by keys that never leave an HSM token.
#[async_trait]
pub trait Vault: Send + Sync + 'static {
    /// Seals a secret that is opened again for a check (a password's hash), for every HSM token of the group.
    async fn seal(&self, row: &RowBinding, secret: &SecretBytes) -> HsmResult<SealedCopies>;

    /// Opens what [`seal`](Self::seal) made, by any healthy token.
    /// Errors: [`HsmFailure::DoesNotOpen`](super::HsmFailure::DoesNotOpen) for another row's seals; otherwise
    /// [`HsmError`].
    async fn open(&self, row: &RowBinding, seals: &SealedCopies) -> HsmResult<SecretBytes>;

    /// Keeps an OTP secret, wrapped where the HSM offers it and sealed where not.
    async fn wrap(&self, row: &RowBinding, cipher: OtpSecretKind, secret: &SecretBytes) -> HsmResult<SealedCopies>;

    /// The HMAC of each message under a wrapped OTP secret.
    async fn otp_hmac(
        &self,
        row: &RowBinding,
        seals: &SealedCopies,
        hash: OtpHash,
        messages: Vec<[u8; 8]>,
    ) -> HsmResult<Vec<Vec<u8>>>;

    /// The HMAC of one message of any length under a wrapped HMAC key: what an API client's answers are signed with.
    async fn message_hmac(
        &self,
        row: &RowBinding,
        seals: &SealedCopies,
        hash: OtpHash,
        message: Vec<u8>,
    ) -> HsmResult<Vec<u8>>;

    /// One AES-128 block decrypted under a wrapped Yubico OTP key.
    async fn decrypt_block(&self, row: &RowBinding, seals: &SealedCopies, block: [u8; 16]) -> HsmResult<[u8; 16]>;

    /// Opens a secret by any healthy token and seals it anew for `lacking`; gives the new seals alone, those of the
    /// tokens that answered. `wrapped` says what an OTP secret is; `None` for one that [`seal`](Self::seal) made.
    /// Errors: [`HsmError`] where no token opens it, or none of `lacking` seals it.
    async fn reseal_for(
        &self,
        row: &RowBinding,
        wrapped: Option<OtpSecretKind>,
        seals: &SealedCopies,
        lacking: &[HsmName],
    ) -> HsmResult<SealedCopies>;

    /// Binds a wrapped OTP secret to another row without showing it: a token of the stock becomes a user's factor.
    /// Of the HSM tokens that have a seal at least one must answer; what a token that is down lacks is made up for later.
    /// Errors: [`HsmFailure::DoesNotOpen`](super::HsmFailure::DoesNotOpen) for another row's seals; otherwise
    /// [`HsmError`].
    async fn rebind(
        &self,
        from: &RowBinding,
        to: &RowBinding,
        cipher: OtpSecretKind,
        seals: &SealedCopies,
    ) -> HsmResult<SealedCopies>;

    /// Opens an envelope's encrypted secret by the transport key of an HSM token that this node reaches, and seals for the same
    /// token what was in it; the secret itself stays with the token's worker. Returns the seal.
    /// Errors: [`HsmFailure::DoesNotOpen`](super::HsmFailure::DoesNotOpen) where it is another row's or was tampered with;
    /// otherwise [`HsmError`].
    async fn take_envelope(
        &self,
        transport: &HsmKey,
        row: &RowBinding,
        wrapped: Option<OtpSecretKind>,
        sealed: &[u8],
    ) -> HsmResult<Vec<u8>>;

    /// Opens the deployment's secret by a transport key that this node reaches: nothing else is opened so.
    /// Errors: as [`take_envelope`](Self::take_envelope).
    async fn open_deployment_secret(&self, transport: &HsmKey, sealed: &[u8]) -> HsmResult<SecretBytes>;

    /// Opens a secret at rest and encrypts it to the transport key of an HSM token that this node does not reach. The secret itself
    /// stays with the worker of the token that opened it.
    /// Errors: as [`reseal_for`](Self::reseal_for).
    async fn put_in_envelope(
        &self,
        row: &RowBinding,
        wrapped: Option<OtpSecretKind>,
        seals: &SealedCopies,
        to: &PublicKey,
    ) -> HsmResult<Vec<u8>>;

    /// HMAC-SHA-256 of `label ‖ 0 ‖ message` under the binding key of one HSM token: the named one, or any healthy one.
    /// The answer says which it was, because each token has its own key.
    async fn derive(&self, hsm: Option<&HsmName>, label: &str, message: &[u8]) -> HsmResult<(HsmName, [u8; 32])>;
}

/// Makes, lists and destroys the keys of HSM tokens, and asks the tokens what they are.
#[async_trait]
pub trait KeyAdmin: Send + Sync + 'static {
    /// The configured tokens, in the order of the configuration.
    fn tokens(&self) -> Vec<HsmName>;

    /// What a token is and can do.
    async fn describe(&self, hsm: &HsmName) -> HsmResult<TokenReport>;

    /// Generates a key pair inside its token, as it was written down beforehand, and checks its custody. `bits` is for
    /// RSA: 2048, 3072 or 4096.
    async fn generate_announced(&self, key: &AnnouncedKey, bits: u32) -> HsmResult<GeneratedKey>;

    /// Generates a secret key inside the token and checks its custody.
    async fn generate_secret(&self, hsm: &HsmName, purpose: KeyPurpose, tenant: &TenantId) -> HsmResult<GeneratedKey>;

    /// Every private and secret key in the token, with its attributes.
    async fn list(&self, hsm: &HsmName) -> HsmResult<Vec<KeyReport>>;

    /// Finds each of these keys that is in this token and judges it as it is judged when it is used: that it is there
    /// once, in custody, of the type and the use of its purpose, and that the mechanisms that it is for are offered.
    /// Returns those at fault; destroyed keys are not to be asked about.
    /// Errors: [`HsmError`] where the token can't be asked.
    async fn check(&self, hsm: &HsmName, keys: &[HsmKey]) -> HsmResult<Vec<(KeyId, HsmError)>>;

    /// What the workers of this token have signed, by key and kind; keys that never signed are left out.
    /// Errors: [`HsmError`] where no worker answers, or the counts can't be read.
    async fn tally(&self, hsm: &HsmName) -> HsmResult<Vec<KeyTally>>;

    /// How many signatures were asked of a second worker of this token, since this process began: the first one died,
    /// and may have signed before.
    fn asked_again(&self, hsm: &HsmName) -> u64;

    /// Destroys a key in the token.
    async fn destroy(&self, key: &HsmKey) -> HsmResult<()>;

    /// Has every worker of the token let go of its handles and its session copies of keys: a key was destroyed by another
    /// process.
    async fn forget(&self, hsm: &HsmName) -> HsmResult<()>;

    /// Tells the tokens which keys wrap, seal and bind. Called at start and after `init`.
    fn use_keys(&self, keys: Vec<HsmKey>);
}

/// Which HSM tokens answer and are trusted. Nothing here waits for a token.
pub trait HsmHealth: Send + Sync + 'static {
    /// How a token does.
    fn health(&self, hsm: &HsmName) -> TokenHealth;

    /// Whether the token answered what it was asked last; for readiness.
    /// Errors: [`HsmError`] with why it does not answer.
    fn readiness(&self, hsm: &HsmName) -> HsmResult<()>;

    /// Whether some HSM token would take one more request now: where none would, the caller is told at once, before
    /// anything is done for it.
    fn has_room(&self) -> bool;

    /// Reports a signature that was asked for at `asked_at` and verified: a token that was suspended before serves again.
    fn trust(&self, key: &HsmKey, asked_at: Instant);

    /// Reports a signature of this key that did not verify: what made it is not to be trusted further. An alarm; the
    /// token is suspended, and its workers are started again.
    fn distrust(&self, key: &HsmKey);

    /// The suspended tokens for which it is time to try whether they sign again.
    fn trials_due(&self) -> Vec<(HsmName, Trial)>;
}
