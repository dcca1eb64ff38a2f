//! Who is named at the sign-ins that are measured: people with every kind of token, and names that are nobody's.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use signet_core::audit::RequestContext;
use signet_core::keys::OtpHash;
use signet_core::mfa::enrolment::{ClockProfile, TotpParameters};
use signet_core::random::{OsRandom, Random as _};
use signet_core::secret::SecretBytes;
use signet_service::Deployment;
use signet_service::factors::enrolment::Device;
use signet_service::factors::enrolment::NewOtp;
use signet_service::factors::enrolment::YubicoKey;

use super::asker::Shown;
use crate::support::codes::{SixDigits, YubiKey};
use crate::support::crowd::Crowd;

/// A person, and what they hold.
pub(super) struct Person {
    pub(super) name: String,
    digits: Vec<SixDigits>,
    /// Where a token that counts stands.
    counter: AtomicI64,
    yubico: Option<YubiKey>,
    recovery: Vec<String>,
}

impl Person {
    /// A user without any token.
    pub(super) async fn bare(signet: Arc<Deployment>, name: String) -> Self {
        Crowd::user(&signet, &name).await;
        Self { name, digits: Vec::new(), counter: AtomicI64::new(0), yubico: None, recovery: Vec::new() }
    }

    pub(super) async fn with_totp(signet: Arc<Deployment>, name: String) -> Self {
        let mut person = Self::bare(signet.clone(), name).await;
        person.add_digits(&signet, OtpHash::Sha1, Device::Clock(ClockProfile::Synchronised)).await;
        person
    }

    pub(super) async fn with_hotp(signet: Arc<Deployment>, name: String) -> Self {
        let mut person = Self::bare(signet.clone(), name).await;
        person.add_digits(&signet, OtpHash::Sha1, Device::Counter(0)).await;
        person
    }

    pub(super) async fn with_yubico(signet: Arc<Deployment>, name: String) -> Self {
        let mut person = Self::bare(signet.clone(), name).await;
        person.add_yubico(&signet).await;
        person
    }

    pub(super) async fn with_recovery(signet: Arc<Deployment>, name: String) -> Self {
        let mut person = Self::bare(signet.clone(), name).await;
        person.add_recovery(&signet).await;
        person
    }

    /// As many tokens as a user can have of digits, a YubiKey and recovery codes.
    pub(super) async fn with_everything(signet: Arc<Deployment>, name: String) -> Self {
        let mut person = Self::bare(signet.clone(), name).await;
        for hash in [OtpHash::Sha1, OtpHash::Sha256, OtpHash::Sha512] {
            person.add_digits(&signet, hash, Device::Clock(ClockProfile::Hardware)).await;
        }
        person.add_digits(&signet, OtpHash::Sha1, Device::Counter(0)).await;
        person.add_yubico(&signet).await;
        person.add_recovery(&signet).await;
        person
    }

    pub(super) async fn disabled(signet: Arc<Deployment>, name: String) -> Self {
        let person = Self::with_totp(signet.clone(), name).await;
        signet.issuer().accounts.enable_user(&person.name, false, &RequestContext::default()).await.unwrap();
        person
    }

    async fn add_digits(&mut self, signet: &Deployment, hash: OtpHash, device: Device) {
        let parameters = TotpParameters::new(hash, 6, 30).unwrap();
        let secret = parameters.fresh_secret(&OsRandom);
        let digits = SixDigits { hash, secret: secret.expose().to_vec(), is_clock: matches!(device, Device::Clock(_)) };
        let label = format!("token {}", self.digits.len());
        let new = NewOtp { label, serial: None, parameters, device, secret: Some(secret) };
        signet.issuer().factors.enrolment.enrol_otp(&self.name, new, &RequestContext::default()).await.unwrap();
        self.digits.push(digits);
    }

    async fn add_yubico(&mut self, signet: &Deployment) {
        let key = YubiKey::new(&fresh_public_id());
        let new = YubicoKey {
            public_id: key.public_id().to_owned(),
            private_id: key.private_id,
            secret: SecretBytes::new(key.secret.to_vec()),
        };
        signet
            .issuer()
            .factors
            .enrolment
            .enrol_yubico_otp(&self.name, "key", &new, &RequestContext::default())
            .await
            .unwrap();
        self.yubico = Some(key);
    }

    async fn add_recovery(&mut self, signet: &Deployment) {
        let made =
            signet.issuer().factors.recovery.make_recovery_codes(&self.name, &RequestContext::default()).await.unwrap();
        self.recovery = made.codes.iter().map(|code| code.expose().to_owned()).collect();
    }

    /// Six digits that none of the person's tokens shows now or soon: `000000` but for one person in thousands.
    pub(super) fn wrong_digits(&self) -> Shown {
        let near: Vec<String> = self.digits.iter().flat_map(SixDigits::near).collect();
        let mut codes = (0..1_000_000).map(|number| format!("{number:06}"));
        Shown::new(&self.name, codes.find(|code| !near.contains(code)).unwrap())
    }

    /// What the person's first token shows now.
    pub(super) fn right_digits(&self) -> Shown {
        Shown::new(&self.name, self.digits[0].now())
    }

    /// What the person's token that counts shows next.
    pub(super) fn next_digits(&self) -> Shown {
        Shown::new(&self.name, self.digits[0].at(self.counter.fetch_add(1, Ordering::Relaxed)))
    }

    /// What it shows until it is spent.
    pub(super) fn same_digits(&self) -> Shown {
        Shown::new(&self.name, self.digits[0].at(self.counter.load(Ordering::Relaxed)))
    }

    /// The public id of the person's YubiKey, and a block that it did not make.
    pub(super) fn wrong_otp(&self) -> Shown {
        Shown::new(&self.name, forged(self.key().public_id()))
    }

    pub(super) fn right_otp(&self) -> Shown {
        Shown::new(&self.name, self.key().press())
    }

    pub(super) fn right_recovery(&self) -> Shown {
        Shown::new(&self.name, self.recovery[0].as_str())
    }

    fn key(&self) -> &YubiKey {
        self.yubico.as_ref().unwrap()
    }
}

/// Twelve letters that name no key yet.
pub(super) fn fresh_public_id() -> String {
    let mut bytes = [0; 6];
    OsRandom.fill(&mut bytes);
    modhex(&bytes)
}

/// An OTP of this public id whose block nobody's key made.
pub(super) fn forged(public_id: &str) -> String {
    let mut block = [0; 16];
    OsRandom.fill(&mut block);
    format!("{public_id}{}", modhex(&block))
}

fn modhex(bytes: &[u8]) -> String {
    let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    nibbles.map(|nibble| char::from(b"cbdefghijklnrtuv"[usize::from(nibble)])).collect()
}
