//! Makes, lists and destroys keys: one thread, one at a time, since modules are known to crash when keys are generated
//! concurrently.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

use cryptoki::error::RvError;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType as ModuleKeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

use super::error::{Fault, Remedy, Result};
use super::find_key::{
    ED25519_OID, P256_OID, P384_OID, class_of, find_key, judge, of_class, read_attributes, read_public, search,
    shortest,
};
use super::request_queue::Job;
use super::session_place::SessionPlace;
use super::session_thread::Shared;
use super::single_part::SinglePartSession;
use crate::wire::{Answer, CheckedKey, KeyRef, Octets, Operation};
use signet_core::keys::{HsmFailure, KeyPurpose, KeyReport, KeyUsage};
use signet_core::random::{self, OsRandom};
use signet_jose::algorithm::KeyType;

/// Beside another process that looks for objects, some generations fail.
const ATTEMPTS: u32 = 5;

/// 65537.
const PUBLIC_EXPONENT: &[u8] = b"\x01\x00\x01";

/// The thread that manages keys.
pub(super) struct Manager {
    shared: Arc<Shared>,
    session: SessionPlace,
}

impl Manager {
    /// With a session of its own, which may write.
    pub(super) fn new(shared: Arc<Shared>, session: SinglePartSession) -> Self {
        Self { shared, session: SessionPlace::new(session) }
    }

    /// Works until the conversation ends.
    pub(super) fn work(mut self, jobs: &Receiver<Box<Job>>) {
        while let Ok(job) = jobs.recv() {
            if let Some(failure) = job.expired() {
                self.shared.responses.send(job.id, Err(failure));
                continue;
            }
            match self.perform(&job.operation) {
                Ok(answer) => self.shared.responses.send(job.id, Ok(answer)),
                Err(fault) => {
                    let refused = matches!(fault, Fault::Failure(HsmFailure::PinRefused(_)));
                    let restarts = refused || fault.remedy() == Remedy::Restart;
                    let renewed = fault.remedy() == Remedy::Answer || restarts || self.renew(&fault).is_ok();
                    if restarts || !renewed {
                        return self.shared.end(job.id, fault.into_unavailable());
                    }
                    self.shared.responses.send(job.id, Err(fault.into_failure()));
                }
            }
        }
    }

    fn renew(&mut self, fault: &Fault) -> Result<()> {
        self.session.renew(fault, || self.shared.token.management_session())
    }

    fn session(&self) -> Result<&Session> {
        self.session.held().map(|session| &**session)
    }

    /// One operation; again after a stale session, and again after a logout, each mended once.
    fn perform(&mut self, operation: &Operation) -> Result<Answer> {
        let (mut is_renewed, mut is_logged_in) = (false, false);
        loop {
            let logins = self.shared.token.logins();
            let fault = match self.attempt(operation) {
                Ok(answer) => return Ok(answer),
                Err(fault) => fault,
            };
            match self.shared.token.remedy(&fault, self.session().ok(), logins) {
                Remedy::Retry if !is_renewed => is_renewed = true,
                Remedy::Login if !is_logged_in => {
                    is_logged_in = true;
                    self.shared.log_in_again(self.session()?)?;
                }
                _ => return Err(fault),
            }
            self.renew(&fault)?;
        }
    }

    fn attempt(&self, operation: &Operation) -> Result<Answer> {
        let _alone = self.shared.token.objects.lock();
        match operation {
            Operation::Describe => Ok(Answer::Report(self.shared.token.report())),
            Operation::List => self.list(),
            Operation::Tally => Ok(Answer::Tally(self.shared.guard.counter.sum()?)),
            Operation::Check { keys } => self.check(keys),
            Operation::GeneratePair { purpose, tenant, key_type, bits, cka_id } => {
                self.persist(|| self.generate_pair(*purpose, tenant, *key_type, *bits, &cka_id.0))
            }
            Operation::GenerateSecret { purpose, tenant } => self.persist(|| self.generate_secret(*purpose, tenant)),
            Operation::Destroy { key } => self.destroy(key),
            Operation::Forget => {
                self.shared.epoch.fetch_add(1, Ordering::Release);
                Ok(Answer::Done)
            }
            _ => Err(refuse("the managing thread was asked to use a key")),
        }
    }

    /// Judges each key as it will be judged when it is used; what is no verdict over a key ends it.
    fn check(&self, keys: &[CheckedKey]) -> Result<Answer> {
        let judge = |CheckedKey { key, algorithm }: &CheckedKey| {
            find_key(self.session()?, key)?;
            self.shared.token.mechanisms.require_for(key.purpose, *algorithm)
        };
        let outcomes = keys.iter().map(|checked| match judge(checked) {
            Ok(()) => Ok(None),
            Err(Fault::Failure(failure)) => Ok(Some(failure)),
            Err(fault) => Err(fault),
        });
        outcomes.collect::<Result<_>>().map(Answer::Checked)
    }

    fn persist(&self, generate: impl Fn() -> Result<Answer>) -> Result<Answer> {
        let mut attempt = 1;
        loop {
            match generate() {
                Err(fault) if fault.is_general_error() && attempt < ATTEMPTS => attempt += 1,
                // A full token is no reason to start the worker again: its keys sign on.
                Err(fault) if fault.is_of_a_full_token() => return Err(fault.answered()),
                done => return done,
            }
        }
    }

    fn generate_pair(
        &self,
        purpose: KeyPurpose,
        tenant: &str,
        key_type: KeyType,
        bits: u32,
        cka_id: &[u8],
    ) -> Result<Answer> {
        if !purpose.is_pair() {
            return Err(refuse("a key of this purpose is no pair"));
        }
        self.shared.token.mechanisms.require_to_generate(key_type, bits)?;
        let label = format!("signet/{tenant}/{}", purpose.name());
        let mut public = common(ObjectClass::PUBLIC_KEY, &label, cka_id);
        let mut private = common(ObjectClass::PRIVATE_KEY, &label, cka_id);
        private.extend(kept());
        let derives = purpose == KeyPurpose::Transport;
        private.push(if derives { Attribute::Derive(true) } else { Attribute::Sign(true) });
        if derives {
            self.shared.token.mechanisms.require_for(purpose, None)?;
            // Some modules let a pair sign unless they are told.
            private.push(Attribute::Sign(false));
        }
        let mechanism = match key_type {
            KeyType::P256 => elliptic(&mut public, P256_OID, Mechanism::EccKeyPairGen),
            KeyType::P384 => elliptic(&mut public, P384_OID, Mechanism::EccKeyPairGen),
            KeyType::Ed25519 => elliptic(&mut public, ED25519_OID, Mechanism::EccEdwardsKeyPairGen),
            KeyType::Rsa => {
                if ![2048, 3072, 4096].contains(&bits) {
                    return Err(refuse("an RSA key has 2048, 3072 or 4096 bits"));
                }
                public.push(Attribute::ModulusBits(u64::from(bits).into()));
                public.push(Attribute::PublicExponent(PUBLIC_EXPONENT.to_vec()));
                Mechanism::RsaPkcsKeyPairGen
            }
        };
        let generate = |public: &[Attribute], private: &[Attribute]| {
            let made = self.session()?.generate_key_pair(&mechanism, public, private).map_err(Fault::from).and_then(
                |(public, private)| self.accept_pair(purpose, key_type, bits, cka_id, (public, private), &label),
            );
            if made.is_err() {
                self.sweep(cka_id);
            }
            made
        };
        let open_half = [&public[..], &[Attribute::Private(false), Attribute::Verify(!derives)]].concat();
        let narrowed = [&private[..], &[Attribute::Decrypt(false), Attribute::Unwrap(false)]].concat();
        match generate(&open_half, &narrowed) {
            // Some modules want none of what narrows a pair's use (tpm2-pkcs11 answers CKR_GENERAL_ERROR), or no public
            // half that can be seen without a login (AWS CloudHSM, by its documents).
            Err(fault) if fault.may_be_of_the_template() => generate(&public, &private),
            made => made,
        }
    }

    /// Judges a new pair as it will be judged each time it is found.
    fn accept_pair(
        &self,
        purpose: KeyPurpose,
        key_type: KeyType,
        bits: u32,
        cka_id: &[u8],
        (public_handle, private_handle): (ObjectHandle, ObjectHandle),
        label: &str,
    ) -> Result<Answer> {
        let unreadable = || refuse("the new key's public half can't be read back, or is not what was asked for");
        let (public, made_bits) = read_public(self.session()?, public_handle)?.ok_or_else(unreadable)?;
        if public.key_type() != key_type || (key_type == KeyType::Rsa && made_bits != bits) {
            return Err(unreadable());
        }
        let key_id = public.thumbprint().as_str().to_owned();
        let mut attributes = read_attributes(self.session()?, private_handle)?;
        attributes.bits = Some(made_bits);
        judge(&attributes, shortest(key_type), &key_id)?;
        let key = KeyRef { cka_id: Octets(cka_id.to_vec()), key_id: key_id.clone(), purpose };
        find_key(self.session()?, &key)?;
        let full_label = [Attribute::Label(format!("{label}/{key_id}").into_bytes())];
        for handle in [public_handle, private_handle] {
            // The label is for people: a module that lets no attribute be changed keeps the shorter one.
            let _ = self.session()?.update_attributes(handle, &full_label);
        }
        Ok(Answer::Generated { key_id, cka_id: key.cka_id, public: Some(Octets(public.to_spki_der())) })
    }

    fn generate_secret(&self, purpose: KeyPurpose, tenant: &str) -> Result<Answer> {
        let cka_id = random::bytes::<16>(&OsRandom);
        let key_id = random::url_text::<16>(&OsRandom);
        let label = format!("signet/{tenant}/{}/{key_id}", purpose.name());
        let mut template = common(ObjectClass::SECRET_KEY, &label, &cka_id);
        template.extend(kept());
        template.push(Attribute::ValueLen(32.into()));
        let none = KeyUsage::default();
        let (mechanism, usage) = match purpose {
            KeyPurpose::Wrapping => (Mechanism::AesKeyGen, KeyUsage { wraps: true, unwraps: true, ..none }),
            KeyPurpose::Sealing => (Mechanism::AesKeyGen, KeyUsage { encrypts: true, decrypts: true, ..none }),
            KeyPurpose::Binding => (Mechanism::GenericSecretKeyGen, KeyUsage { signs: true, ..none }),
            KeyPurpose::TokenSigning | KeyPurpose::AuditSigning | KeyPurpose::Transport => {
                return Err(refuse("a key of this purpose is a pair"));
            }
        };
        self.shared.token.mechanisms.require_to_keep(purpose)?;
        template.extend([
            Attribute::Encrypt(usage.encrypts),
            Attribute::Decrypt(usage.decrypts),
            Attribute::Wrap(usage.wraps),
            Attribute::Unwrap(usage.unwraps),
            Attribute::Sign(usage.signs),
            Attribute::Verify(false),
        ]);
        let key = KeyRef { cka_id: Octets(cka_id.to_vec()), key_id, purpose };
        let made = self
            .session()?
            .generate_key(&mechanism, &template)
            .map_err(|error| match Fault::from(error) {
                // tpm2-pkcs11 lists mechanisms for it all the same.
                Fault::Module(RvError::FunctionNotSupported, _) => {
                    HsmFailure::MechanismMissing("C_GenerateKey".to_owned()).into()
                }
                fault => fault,
            })
            .and_then(|_| find_key(self.session()?, &key))
            .map(|_| Answer::Generated { key_id: key.key_id.clone(), cka_id: key.cka_id.clone(), public: None });
        if made.is_err() {
            self.sweep(&cka_id);
        }
        made
    }

    /// Removes what a failed generation left behind.
    fn sweep(&self, cka_id: &[u8]) {
        let Ok(session) = self.session() else { return };
        let left = search(session, &[Attribute::Token(true), Attribute::Id(cka_id.to_vec())]).unwrap_or_default();
        for handle in left {
            if let Err(error) = session.destroy_object(handle) {
                eprintln!("a half-made key is left in the token: {error}");
            }
        }
    }

    fn destroy(&self, key: &KeyRef) -> Result<Answer> {
        match find_key(self.session()?, key) {
            // A key out of custody may go, where it is clear which one it is.
            Ok(_) | Err(Fault::Failure(HsmFailure::CustodyRefused { .. })) => {}
            Err(fault) => return Err(fault),
        }
        let of_class = |class| of_class(self.session()?, class, &key.cka_id.0);
        let private = of_class(class_of(key.purpose))?;
        if private.len() != 1 {
            return Err(refuse("several objects carry the key's CKA_ID, and it is not clear which one is meant"));
        }
        let public = if key.purpose.is_pair() { of_class(ObjectClass::PUBLIC_KEY)? } else { Vec::new() };
        for handle in private.into_iter().chain(public) {
            self.session()?.destroy_object(handle)?;
        }
        self.shared.epoch.fetch_add(1, Ordering::Release);
        Ok(Answer::Done)
    }

    fn list(&self) -> Result<Answer> {
        let mut reports: Vec<KeyReport> = Vec::new();
        for class in [ObjectClass::PRIVATE_KEY, ObjectClass::SECRET_KEY] {
            let first = reports.len();
            for handle in search(self.session()?, &[Attribute::Token(true), Attribute::Class(class)])? {
                reports.push(self.describe(handle, class)?);
            }
            let of_class = reports.get_mut(first..).unwrap_or_default();
            let ids: Vec<Vec<u8>> = of_class.iter().map(|report| report.cka_id.clone()).collect();
            for report in of_class {
                let copies = ids.iter().filter(|id| **id == report.cka_id).count();
                report.copies = u32::try_from(copies).unwrap_or(u32::MAX);
            }
        }
        Ok(Answer::Keys(reports))
    }

    fn describe(&self, handle: ObjectHandle, class: ObjectClass) -> Result<KeyReport> {
        let (mut cka_id, mut label, mut kind) = (Vec::new(), String::new(), None);
        let asked = [AttributeType::Id, AttributeType::Label, AttributeType::KeyType];
        for attribute in self.session()?.get_attributes(handle, &asked)? {
            match attribute {
                Attribute::Id(value) => cka_id = value,
                Attribute::Label(value) => label = String::from_utf8_lossy(&value).into_owned(),
                Attribute::KeyType(value) => kind = Some(value),
                _ => {}
            }
        }
        let mut attributes = read_attributes(self.session()?, handle)?;
        let mut least_bits = 256;
        let mut thumbprint = None;
        if class == ObjectClass::PRIVATE_KEY {
            let public = match of_class(self.session()?, ObjectClass::PUBLIC_KEY, &cka_id)?.as_slice() {
                [half] => read_public(self.session()?, *half)?,
                _ => None,
            };
            attributes.bits = public.as_ref().map(|(_, bits)| *bits);
            least_bits = public.as_ref().map_or(2048, |(key, _)| shortest(key.key_type()));
            thumbprint = public.as_ref().map(|(key, _)| key.thumbprint().to_string());
        }
        let kind = kind_name(kind, attributes.bits);
        let custody = attributes.judge(least_bits);
        Ok(KeyReport { cka_id, label, kind, attributes, custody, copies: 1, thumbprint })
    }
}

fn elliptic(public: &mut Vec<Attribute>, oid: &[u8], mechanism: Mechanism<'static>) -> Mechanism<'static> {
    public.push(Attribute::EcParams(oid.to_vec()));
    mechanism
}

fn common(class: ObjectClass, label: &str, cka_id: &[u8]) -> Vec<Attribute> {
    vec![
        Attribute::Class(class),
        Attribute::Token(true),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Id(cka_id.to_vec()),
    ]
}

/// What keeps a key in the HSM.
fn kept() -> [Attribute; 3] {
    [Attribute::Private(true), Attribute::Sensitive(true), Attribute::Extractable(false)]
}

fn kind_name(kind: Option<ModuleKeyType>, bits: Option<u32>) -> String {
    let name = match kind {
        Some(ModuleKeyType::EC) => "EC P-",
        Some(ModuleKeyType::EC_EDWARDS) => return "Ed25519".to_owned(),
        Some(ModuleKeyType::RSA) => "RSA ",
        Some(ModuleKeyType::AES) => "AES ",
        Some(ModuleKeyType::GENERIC_SECRET) => "HMAC ",
        _ => "unknown ",
    };
    bits.map_or_else(|| format!("{name}?"), |bits| format!("{name}{bits}"))
}

fn refuse(detail: &str) -> Fault {
    HsmFailure::Configuration(detail.to_owned()).into()
}
