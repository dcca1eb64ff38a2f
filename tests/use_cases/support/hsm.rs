//! HSM tokens in memory: each makes, keeps and destroys keys, signs with every algorithm, and counts what it signs. A test has one
//! fail or lie, takes keys from it, and holds signatures back until it lets them go.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use async_trait::async_trait;
use aws_lc_rs::agreement;
use signet_core::keys::{
    AnnouncedKey, Attempts, Custody, GeneratedKey, HsmError, HsmFailure, HsmHealth, HsmKey, HsmName, KeyAdmin,
    KeyAttributes, KeyPurpose, KeyReport, KeyTally, RawSignature, SealMode, SignedKind, Signer, TenantId, TokenHealth,
    TokenInfo, TokenReport, Trial,
};
use signet_jose::algorithm::KeyType;
use signet_jose::clock::Clock as _;
use signet_jose::{Algorithm, KeyId, PublicKey, UnverifiedJws};
use tokio::sync::Notify;

use super::hand::HandClock;
use super::pair::Pair;

/// What a key that was made in its token says of itself.
const IN_CUSTODY: KeyAttributes = KeyAttributes {
    sensitive: true,
    always_sensitive: true,
    extractable: false,
    never_extractable: true,
    local: true,
    always_authenticate: false,
    bits: Some(256),
};

/// HSM tokens, all of them configured.
pub(crate) struct SoftwareHsms {
    tokens: Vec<(HsmName, Mutex<Token>)>,
    clock: Arc<HandClock>,
    /// The deployment's keys, as it tells them.
    pub(super) keys: Mutex<Vec<HsmKey>>,
    asked: Mutex<Vec<&'static str>>,
    held_back: Mutex<Option<Arc<HeldBack>>>,
    made: AtomicU64,
    /// A token that is not configured yet.
    hidden: Mutex<Option<HsmName>>,
    /// Whether they can have transport keys.
    takes_envelopes: AtomicBool,
}

/// One token.
pub(super) struct Token {
    serial: String,
    keys: Vec<HeldKey>,
    tallies: BTreeMap<KeyId, KeyTally>,
    /// The operation that fails, or all of them, and how.
    fault: Option<(Option<&'static str>, HsmFailure)>,
    signs_wrongly: bool,
    /// Whether it can't keep secrets.
    only_signs: bool,
    /// Whether it keeps the secrets of factors in the mode `wrapped`.
    pub(super) wraps: bool,
    is_suspended: bool,
}

struct HeldKey {
    cka_id: Vec<u8>,
    key_id: KeyId,
    purpose: KeyPurpose,
    attributes: KeyAttributes,
    material: Material,
}

enum Material {
    Pair(Pair),
    Transport(agreement::PrivateKey),
    Secret([u8; 32]),
}

impl Token {
    fn new(serial: String) -> Self {
        Self {
            serial,
            keys: Vec::new(),
            tallies: BTreeMap::new(),
            fault: None,
            signs_wrongly: false,
            only_signs: false,
            wraps: false,
            is_suspended: false,
        }
    }

    fn key(&self, cka_id: &[u8], name: &KeyId) -> Result<&HeldKey, HsmError> {
        let missing = || HsmError::new("find", HsmFailure::KeyMissing(name.to_string()));
        self.keys.iter().find(|key| key.cka_id == cka_id).ok_or_else(missing)
    }

    /// The value of a secret key.
    pub(super) fn secret(&self, key: &HsmKey) -> Result<[u8; 32], HsmError> {
        match self.key(&key.cka_id, &key.key_id)?.material {
            Material::Secret(secret) => Ok(secret),
            Material::Pair(_) | Material::Transport(_) => {
                Err(HsmError::new("find", HsmFailure::MechanismMissing("none".into())))
            }
        }
    }

    /// What the private half of a transport key makes of a point.
    pub(super) fn agree(&self, key: &HsmKey, point: &[u8]) -> Result<Vec<u8>, HsmError> {
        let missing = || HsmError::new("find", HsmFailure::DoesNotOpen);
        let Material::Transport(private) = &self.key(&key.cka_id, &key.key_id)?.material else { return Err(missing()) };
        let point = agreement::UnparsedPublicKey::new(&agreement::ECDH_P256, point);
        agreement::agree(private, point, missing(), |shared| Ok(shared.to_vec()))
    }

    fn tally(&mut self, key: &KeyId) -> &mut KeyTally {
        self.tallies.entry(key.clone()).or_insert_with(|| KeyTally::new(key.clone()))
    }
}

/// Signatures that wait until the test lets them go.
#[derive(Default)]
pub(crate) struct HeldBack {
    asked: Notify,
    go: Notify,
}

impl HeldBack {
    /// Returns once a signature waits.
    pub(crate) async fn is_asked(&self) {
        self.asked.notified().await;
    }

    /// Lets the one that waits go.
    pub(crate) fn let_go(&self) {
        self.go.notify_one();
    }
}

/// What a test does to the tokens.
impl SoftwareHsms {
    pub(super) fn new(names: &[&str], clock: Arc<HandClock>) -> Self {
        let token = |name: &&str| (HsmName::new(*name), Mutex::new(Token::new(format!("serial of {name}"))));
        Self {
            tokens: names.iter().map(token).collect(),
            clock,
            keys: Mutex::default(),
            asked: Mutex::default(),
            held_back: Mutex::default(),
            made: AtomicU64::new(0),
            hidden: Mutex::default(),
            takes_envelopes: AtomicBool::new(false),
        }
    }

    /// From now on transport keys are made in them.
    pub(crate) fn take_envelopes(&self) {
        self.takes_envelopes.store(true, Ordering::Relaxed);
    }

    /// Takes a token out of the configuration.
    pub(crate) fn hide(&self, name: &str) {
        *self.hidden.lock().unwrap() = Some(HsmName::new(name));
    }

    /// Configures all tokens.
    pub(crate) fn show_all(&self) {
        *self.hidden.lock().unwrap() = None;
    }

    pub(super) fn token(&self, name: &str) -> MutexGuard<'_, Token> {
        self.tokens.iter().find(|(known, _)| known.as_str() == name).unwrap().1.lock().unwrap()
    }

    /// Has a token fail at everything.
    pub(crate) fn go_away(&self, name: &str) {
        let gone = HsmFailure::Unavailable("a test took it away".to_owned());
        self.token(name).fault = Some((None, gone));
    }

    /// Has a token fail at one operation: `sign`, `answer` (it signs, and nobody hears of it), `generate`, `destroy`, ...
    pub(crate) fn fail_at(&self, name: &str, operation: &'static str, failure: HsmFailure) {
        self.token(name).fault = Some((Some(operation), failure));
    }

    /// Has a token work again.
    pub(crate) fn recover(&self, name: &str) {
        let mut token = self.token(name);
        (token.fault, token.signs_wrongly) = (None, false);
    }

    /// Has a token answer with signatures that do not verify.
    pub(crate) fn sign_wrongly(&self, name: &str) {
        self.token(name).signs_wrongly = true;
    }

    /// Makes a token one that keeps no secrets.
    pub(crate) fn only_sign(&self, name: &str) {
        self.token(name).only_signs = true;
    }

    /// Makes a token one that can use secrets without their leaving it.
    pub(crate) fn wrap(&self, name: &str) {
        self.token(name).wraps = true;
    }

    /// Puts another token in its place.
    pub(crate) fn exchange(&self, name: &str) {
        *self.token(name) = Token::new(format!("another serial of {name}"));
    }

    /// Gives a token the serial number of another one.
    pub(crate) fn copy_serial(&self, from: &str, to: &str) {
        let serial = self.token(from).serial.clone();
        self.token(to).serial = serial;
    }

    /// Takes a key out of its token.
    pub(crate) fn lose(&self, key: &HsmKey) {
        self.token(key.hsm.as_str()).keys.retain(|held| held.cka_id != key.cka_id);
    }

    /// Makes a key one that can leave its token.
    pub(crate) fn make_extractable(&self, key: &HsmKey) {
        let mut token = self.token(key.hsm.as_str());
        let held = token.keys.iter_mut().find(|held| held.cka_id == key.cka_id).unwrap();
        held.attributes.extractable = true;
    }

    /// Whether a token holds a key.
    pub(crate) fn holds(&self, key: &HsmKey) -> bool {
        self.token(key.hsm.as_str()).keys.iter().any(|held| held.cka_id == key.cka_id)
    }

    /// Signs behind the deployment's back, as somebody else with the PIN does.
    pub(crate) fn sign_in_secret(&self, key: &HsmKey, kind: SignedKind) {
        *self.token(key.hsm.as_str()).tally(&key.key_id).signed_mut(kind) += 1;
    }

    /// Puts the counts of a token back to nothing.
    pub(crate) fn reset_counts(&self, name: &str) {
        self.token(name).tallies.clear();
    }

    /// Holds every signature back from now on.
    pub(crate) fn hold_back(&self) -> Arc<HeldBack> {
        let held_back = Arc::<HeldBack>::default();
        *self.held_back.lock().unwrap() = Some(held_back.clone());
        held_back
    }

    /// Holds no further signature back.
    pub(crate) fn hold_nothing_back(&self) {
        *self.held_back.lock().unwrap() = None;
    }

    /// What the tokens were asked since the last call.
    pub(crate) fn take_asked(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    /// Asks a token for something: it may fail, and the question is written down.
    pub(super) fn ask(&self, hsm: &HsmName, operation: &'static str) -> Result<MutexGuard<'_, Token>, HsmError> {
        self.asked.lock().unwrap().push(operation);
        let token = self.token(hsm.as_str());
        match &token.fault {
            Some((only, failure)) if only.is_none_or(|only| only == operation) => {
                Err(HsmError::new(operation, failure.clone()))
            }
            _ => Ok(token),
        }
    }

    /// A number that was never given out before.
    pub(super) fn fresh_number(&self) -> u64 {
        self.made.fetch_add(1, Ordering::Relaxed)
    }

    /// `key_type` is a pair's that signs.
    fn generate(
        &self,
        hsm: &HsmName,
        purpose: KeyPurpose,
        key_type: KeyType,
        cka_id: Vec<u8>,
    ) -> Result<GeneratedKey, HsmError> {
        let mut token = self.ask(hsm, "generate")?;
        let (material, public) = if purpose == KeyPurpose::Transport {
            let private = agreement::PrivateKey::generate(&agreement::ECDH_P256).unwrap();
            let point = private.compute_public_key().unwrap();
            let public = PublicKey::from_ec_point(KeyType::P256, point.as_ref()).unwrap();
            (Material::Transport(private), Some(public))
        } else if purpose.is_pair() {
            let pair = Pair::generate(key_type);
            let public = pair.public();
            (Material::Pair(pair), Some(public))
        } else {
            let mut secret = [hsm.as_str().as_bytes()[0]; 32];
            secret[..8].copy_from_slice(&self.fresh_number().to_be_bytes());
            (Material::Secret(secret), None)
        };
        let name = || KeyId::new(format!("{} in {hsm}", purpose.name()));
        let key_id = public.as_ref().map_or_else(name, PublicKey::thumbprint);
        let attributes = IN_CUSTODY;
        token.keys.push(HeldKey { cka_id: cka_id.clone(), key_id: key_id.clone(), purpose, attributes, material });
        Ok(GeneratedKey { key_id, cka_id, public })
    }
}

#[async_trait]
impl Signer for SoftwareHsms {
    async fn sign(&self, key: &HsmKey, algorithm: Algorithm, message: Vec<u8>) -> Result<RawSignature, HsmError> {
        let held_back = self.held_back.lock().unwrap().clone();
        if let Some(held_back) = held_back {
            held_back.asked.notify_one();
            held_back.go.notified().await;
        }
        let signature = {
            let mut token = self.ask(&key.hsm, "sign")?;
            let held = token.key(&key.cka_id, &key.key_id)?;
            let signed = match &held.material {
                Material::Pair(pair) => pair.sign(algorithm, &message),
                Material::Transport(_) | Material::Secret(_) => None,
            };
            let missing = || HsmError::new("sign", HsmFailure::MechanismMissing(algorithm.name().to_owned()));
            let mut signature = signed.ok_or_else(missing)?;
            let at = Some(self.clock.now());
            let tally = token.tally(&key.key_id);
            *tally.signed_mut(kind_of(&message)) += 1;
            (tally.first_at, tally.last_at) = (tally.first_at.or(at), at);
            signature[0] ^= u8::from(token.signs_wrongly);
            signature
        };
        self.ask(&key.hsm, "answer").map(|_| RawSignature::from_hsm(signature))
    }

    /// By the first healthy token by name, and by the next where that fails; by one that is suspended or away where there
    /// is no other.
    async fn sign_any(&self, keys: &[&HsmKey], attempts: &mut dyn Attempts) -> Result<usize, HsmError> {
        let is_healthy = |index: &usize| self.health(&keys[*index].hsm) == TokenHealth::Serving;
        let mut left: Vec<usize> = (0..keys.len()).collect();
        left.sort_by_key(|index| &keys[*index].hsm);
        let healthy: Vec<usize> = left.iter().copied().filter(is_healthy).collect();
        let mut outcome = Err(HsmError::not_asked("sign", HsmFailure::Overloaded));
        for index in if healthy.is_empty() { left.into_iter().take(1).collect() } else { healthy } {
            let message = attempts.begin(index);
            let signed = self.sign(keys[index], keys[index].public.as_ref().unwrap().algorithm, message).await;
            outcome = attempts.end(index, signed).await.map(|()| index);
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }
}

/// What is signed, by the header's type: the worker counts by it.
fn kind_of(message: &[u8]) -> SignedKind {
    let text = format!("{}.AAAA", std::str::from_utf8(message).unwrap());
    let jws = UnverifiedJws::parse_document(&text).unwrap();
    SignedKind::from_token_type(jws.header().token_type.as_deref().unwrap()).unwrap()
}

#[async_trait]
impl KeyAdmin for SoftwareHsms {
    fn tokens(&self) -> Vec<HsmName> {
        let hidden = self.hidden.lock().unwrap();
        self.tokens.iter().map(|(name, _)| name.clone()).filter(|name| hidden.as_ref() != Some(name)).collect()
    }

    async fn describe(&self, hsm: &HsmName) -> Result<TokenReport, HsmError> {
        let token = self.ask(hsm, "describe")?;
        Ok(TokenReport {
            token: TokenInfo {
                label: "signet".to_owned(),
                manufacturer: "A test".to_owned(),
                model: "memory".to_owned(),
                serial: token.serial.clone(),
                firmware: "1.0".to_owned(),
            },
            library: "none".to_owned(),
            algorithms: Algorithm::ALL.to_vec(),
            seal_modes: match (token.only_signs, token.wraps) {
                (true, _) => Vec::new(),
                (false, true) => vec![SealMode::Wrapped, SealMode::Sealed],
                (false, false) => vec![SealMode::Sealed],
            },
            takes_envelopes: self.takes_envelopes.load(Ordering::Relaxed),
            pin_count_low: false,
            confined: Vec::new(),
            not_confined: Vec::new(),
        })
    }

    async fn generate_announced(&self, key: &AnnouncedKey, _: u32) -> Result<GeneratedKey, HsmError> {
        let generated = self.generate(&key.hsm, key.purpose, key.algorithm.key_type(), key.cka_id.clone())?;
        self.ask(&key.hsm, "generated").map(|_| generated)
    }

    async fn generate_secret(
        &self,
        hsm: &HsmName,
        purpose: KeyPurpose,
        _: &TenantId,
    ) -> Result<GeneratedKey, HsmError> {
        self.generate(hsm, purpose, KeyType::P256, self.fresh_number().to_be_bytes().to_vec())
    }

    async fn list(&self, hsm: &HsmName) -> Result<Vec<KeyReport>, HsmError> {
        let report = |key: &HeldKey| KeyReport {
            cka_id: key.cka_id.clone(),
            label: format!("signet {}", key.purpose.name()),
            kind: match &key.material {
                Material::Pair(pair) => format!("{:?}", pair.key_type()),
                Material::Transport(_) => "EC P-256".to_owned(),
                Material::Secret(_) => "AES 256".to_owned(),
            },
            attributes: key.attributes,
            custody: key.attributes.judge(256),
            copies: 1,
            thumbprint: key.purpose.is_pair().then(|| key.key_id.to_string()),
        };
        Ok(self.ask(hsm, "list")?.keys.iter().map(report).collect())
    }

    async fn check(&self, hsm: &HsmName, keys: &[HsmKey]) -> Result<Vec<(KeyId, HsmError)>, HsmError> {
        let token = self.ask(hsm, "check")?;
        let fault = |key: &HsmKey| match token.key(&key.cka_id, &key.key_id) {
            Err(error) => Some((key.key_id.clone(), error)),
            Ok(held) if held.attributes.judge(256) != Custody::Held => {
                let (key_id, reasons) = (key.key_id.to_string(), "it can leave the token".to_owned());
                let refused = HsmFailure::CustodyRefused { key_id, reasons };
                Some((key.key_id.clone(), HsmError::new("check", refused)))
            }
            Ok(_) => None,
        };
        Ok(keys.iter().filter(|key| key.hsm == *hsm).filter_map(fault).collect())
    }

    async fn tally(&self, hsm: &HsmName) -> Result<Vec<KeyTally>, HsmError> {
        Ok(self.ask(hsm, "tally")?.tallies.values().cloned().collect())
    }

    async fn destroy(&self, key: &HsmKey) -> Result<(), HsmError> {
        let mut token = self.ask(&key.hsm, "destroy")?;
        token.key(&key.cka_id, &key.key_id)?;
        token.keys.retain(|held| held.cka_id != key.cka_id);
        Ok(())
    }

    fn asked_again(&self, _: &HsmName) -> u64 {
        0
    }

    async fn forget(&self, hsm: &HsmName) -> Result<(), HsmError> {
        self.ask(hsm, "forget").map(drop)
    }

    fn use_keys(&self, keys: Vec<HsmKey>) {
        *self.keys.lock().unwrap() = keys;
    }
}

impl HsmHealth for SoftwareHsms {
    fn distrust(&self, key: &HsmKey) {
        self.token(key.hsm.as_str()).is_suspended = true;
    }

    fn trust(&self, key: &HsmKey, _: Instant) {
        self.token(key.hsm.as_str()).is_suspended = false;
    }

    fn has_room(&self) -> bool {
        true
    }

    fn trials_due(&self) -> Vec<(HsmName, Trial)> {
        let is_suspended = |(_, token): &&(HsmName, Mutex<Token>)| token.lock().unwrap().is_suspended;
        self.tokens.iter().filter(is_suspended).map(|(name, _)| (name.clone(), Trial::new(()))).collect()
    }

    fn health(&self, hsm: &HsmName) -> TokenHealth {
        let token = self.token(hsm.as_str());
        match &token.fault {
            Some((None, failure)) => TokenHealth::Away(failure.clone()),
            _ if token.is_suspended => {
                TokenHealth::Suspended { reason: HsmFailure::Unavailable("it signed wrongly".to_owned()) }
            }
            _ => TokenHealth::Serving,
        }
    }

    fn readiness(&self, hsm: &HsmName) -> Result<(), HsmError> {
        match &self.token(hsm.as_str()).fault {
            Some((None, failure)) => Err(HsmError::new("health", failure.clone())),
            _ => Ok(()),
        }
    }
}
