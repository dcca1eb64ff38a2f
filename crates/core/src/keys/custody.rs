//! Custody: the proof, attribute by attribute, that a key was made in the HSM and cannot leave it (promise 1).

use serde::{Deserialize, Serialize};

use super::KeyPurpose;

/// What an HSM says of a private or secret key. The default is out of custody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KeyAttributes {
    /// `CKA_SENSITIVE`: its value can't be read in clear.
    pub sensitive: bool,
    /// `CKA_ALWAYS_SENSITIVE`: it could never be read in clear.
    pub always_sensitive: bool,
    /// `CKA_EXTRACTABLE`: it can be wrapped by another key and so leave.
    pub extractable: bool,
    /// `CKA_NEVER_EXTRACTABLE`: it never could be wrapped.
    pub never_extractable: bool,
    /// `CKA_LOCAL`: it was generated in this HSM token.
    pub local: bool,
    /// `CKA_ALWAYS_AUTHENTICATE`: it wants the PIN again for each operation, which a service can't give.
    pub always_authenticate: bool,
    /// The key's size in bits, where the HSM says.
    pub bits: Option<u32>,
}

/// The verdict over one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[must_use]
pub enum Custody {
    /// Every attribute is as promise 1 asks.
    Held,
    /// The key must not be used, for these reasons.
    Refused(Vec<CustodyFault>),
}

/// One reason for which a key is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum CustodyFault {
    /// `CKA_SENSITIVE` is false.
    #[error("CKA_SENSITIVE is false: the key's value can be read")]
    NotSensitive,
    /// `CKA_ALWAYS_SENSITIVE` is false.
    #[error("CKA_ALWAYS_SENSITIVE is false: the key's value could once be read")]
    NotAlwaysSensitive,
    /// `CKA_EXTRACTABLE` is true.
    #[error("CKA_EXTRACTABLE is true: the key can be wrapped and taken out")]
    Extractable,
    /// `CKA_NEVER_EXTRACTABLE` is false.
    #[error("CKA_NEVER_EXTRACTABLE is false: the key could once be taken out")]
    OnceExtractable,
    /// `CKA_LOCAL` is false.
    #[error("CKA_LOCAL is false: the key was imported, not generated in this HSM")]
    NotLocal,
    /// `CKA_ALWAYS_AUTHENTICATE` is true.
    #[error("CKA_ALWAYS_AUTHENTICATE is true: the key wants the PIN for each signature")]
    AlwaysAuthenticate,
    /// Fewer bits than Signet accepts.
    #[error("the key is shorter than Signet accepts (RSA 2048, AES 256, HMAC 256 bits)")]
    TooShort,
    /// Neither the key nor its public half says how long it is.
    #[error("the HSM does not say how long the key is")]
    SizeUnknown,
    /// `CKA_KEY_TYPE` is another than the purpose needs.
    #[error("CKA_KEY_TYPE is not that of a key of this purpose")]
    WrongType,
    /// The usage attributes do not allow what the key is for.
    #[error("the key's usage attributes do not allow what it is for")]
    UseForbidden,
    /// The usage attributes allow more than the key is for, e.g. a wrapping key with `CKA_DECRYPT`, by which what was
    /// wrapped can be had in clear.
    #[error("the key's usage attributes allow more than it is for")]
    UseTooWide,
}

/// What an HSM says of a key's use. The default allows nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyUsage {
    /// Whether `CKA_KEY_TYPE` is the one that the purpose needs.
    pub is_of_right_type: bool,
    /// `CKA_ENCRYPT`
    pub encrypts: bool,
    /// `CKA_DECRYPT`
    pub decrypts: bool,
    /// `CKA_WRAP`
    pub wraps: bool,
    /// `CKA_UNWRAP`
    pub unwraps: bool,
    /// `CKA_SIGN`
    pub signs: bool,
    /// `CKA_DERIVE`, which only a transport key is asked for.
    pub derives: bool,
}

impl KeyUsage {
    /// Judges the use. A secret key and a transport key do what they are for and nothing else; any other private key signs.
    pub fn judge(&self, purpose: KeyPurpose) -> Custody {
        let (encrypts, wraps) = (self.encrypts && self.decrypts, self.wraps && self.unwraps);
        let is_able = match purpose {
            KeyPurpose::TokenSigning | KeyPurpose::AuditSigning | KeyPurpose::Binding => self.signs,
            KeyPurpose::Wrapping => wraps,
            KeyPurpose::Sealing => encrypts,
            KeyPurpose::Transport => self.derives,
        };
        let (may_encrypt, may_wrap) = (self.encrypts || self.decrypts, self.wraps || self.unwraps);
        let is_too_wide = match purpose {
            KeyPurpose::TokenSigning | KeyPurpose::AuditSigning => false,
            KeyPurpose::Wrapping => may_encrypt || self.signs,
            KeyPurpose::Sealing => may_wrap || self.signs,
            KeyPurpose::Binding => may_encrypt || may_wrap,
            KeyPurpose::Transport => may_encrypt || may_wrap || self.signs,
        };
        verdict([
            (!self.is_of_right_type, CustodyFault::WrongType),
            (!is_able, CustodyFault::UseForbidden),
            (is_too_wide, CustodyFault::UseTooWide),
        ])
    }
}

fn verdict(judged: impl IntoIterator<Item = (bool, CustodyFault)>) -> Custody {
    let faults: Vec<CustodyFault> =
        judged.into_iter().filter_map(|(is_fault, fault)| is_fault.then_some(fault)).collect();
    if faults.is_empty() { Custody::Held } else { Custody::Refused(faults) }
}

impl KeyAttributes {
    /// Judges the attributes; `least_bits` is the shortest key that its purpose accepts.
    pub fn judge(&self, least_bits: u32) -> Custody {
        verdict([
            (!self.sensitive, CustodyFault::NotSensitive),
            (!self.always_sensitive, CustodyFault::NotAlwaysSensitive),
            (self.extractable, CustodyFault::Extractable),
            (!self.never_extractable, CustodyFault::OnceExtractable),
            (!self.local, CustodyFault::NotLocal),
            (self.always_authenticate, CustodyFault::AlwaysAuthenticate),
            (self.bits.is_some_and(|bits| bits < least_bits), CustodyFault::TooShort),
            (self.bits.is_none(), CustodyFault::SizeUnknown),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELD: KeyAttributes = KeyAttributes {
        sensitive: true,
        always_sensitive: true,
        extractable: false,
        never_extractable: true,
        local: true,
        always_authenticate: false,
        bits: Some(256),
    };

    #[test]
    fn a_key_made_in_the_hsm_is_held() {
        assert_eq!(HELD.judge(256), Custody::Held);
    }

    #[test]
    fn each_attribute_alone_refuses_the_key() {
        let cases = [
            (KeyAttributes { sensitive: false, ..HELD }, CustodyFault::NotSensitive),
            (KeyAttributes { always_sensitive: false, ..HELD }, CustodyFault::NotAlwaysSensitive),
            (KeyAttributes { extractable: true, ..HELD }, CustodyFault::Extractable),
            (KeyAttributes { never_extractable: false, ..HELD }, CustodyFault::OnceExtractable),
            (KeyAttributes { local: false, ..HELD }, CustodyFault::NotLocal),
            (KeyAttributes { always_authenticate: true, ..HELD }, CustodyFault::AlwaysAuthenticate),
            (KeyAttributes { bits: Some(255), ..HELD }, CustodyFault::TooShort),
            (KeyAttributes { bits: None, ..HELD }, CustodyFault::SizeUnknown),
        ];
        for (attributes, fault) in cases {
            assert_eq!(attributes.judge(256), Custody::Refused(vec![fault]));
        }
    }

    #[test]
    fn a_key_does_what_it_is_for_and_nothing_else() {
        let none = KeyUsage { is_of_right_type: true, ..KeyUsage::default() };
        let wrapping = KeyUsage { wraps: true, unwraps: true, ..none };
        let sealing = KeyUsage { encrypts: true, decrypts: true, ..none };
        let signing = KeyUsage { signs: true, ..none };
        assert_eq!(wrapping.judge(KeyPurpose::Wrapping), Custody::Held);
        assert_eq!(sealing.judge(KeyPurpose::Sealing), Custody::Held);
        assert_eq!(signing.judge(KeyPurpose::Binding), Custody::Held);
        assert_eq!(signing.judge(KeyPurpose::TokenSigning), Custody::Held);
        let deriving = KeyUsage { derives: true, ..none };
        assert_eq!(deriving.judge(KeyPurpose::Transport), Custody::Held);
        let refused = |usage: KeyUsage, purpose, fault| assert_eq!(usage.judge(purpose), Custody::Refused(vec![fault]));
        refused(KeyUsage { unwraps: false, ..wrapping }, KeyPurpose::Wrapping, CustodyFault::UseForbidden);
        refused(KeyUsage { decrypts: true, ..wrapping }, KeyPurpose::Wrapping, CustodyFault::UseTooWide);
        refused(KeyUsage { unwraps: true, ..sealing }, KeyPurpose::Sealing, CustodyFault::UseTooWide);
        refused(KeyUsage { wraps: true, ..signing }, KeyPurpose::Binding, CustodyFault::UseTooWide);
        refused(none, KeyPurpose::AuditSigning, CustodyFault::UseForbidden);
        refused(none, KeyPurpose::Transport, CustodyFault::UseForbidden);
        refused(KeyUsage { signs: true, ..deriving }, KeyPurpose::Transport, CustodyFault::UseTooWide);
        refused(KeyUsage { decrypts: true, ..deriving }, KeyPurpose::Transport, CustodyFault::UseTooWide);
        refused(KeyUsage { is_of_right_type: false, ..sealing }, KeyPurpose::Sealing, CustodyFault::WrongType);
    }
}
