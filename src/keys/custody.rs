//! Custody: the proof, attribute by attribute, that a key was made in the HSM and cannot leave it (promise 1).

use serde::{Deserialize, Serialize};

/// What an HSM says of a private or secret key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
}

impl KeyAttributes {
    /// Judges the attributes; `least_bits` is the shortest key that its purpose accepts.
    pub fn judge(&self, least_bits: u32) -> Custody {
        let faults: Vec<CustodyFault> = [
            (!self.sensitive, CustodyFault::NotSensitive),
            (!self.always_sensitive, CustodyFault::NotAlwaysSensitive),
            (self.extractable, CustodyFault::Extractable),
            (!self.never_extractable, CustodyFault::OnceExtractable),
            (!self.local, CustodyFault::NotLocal),
            (self.always_authenticate, CustodyFault::AlwaysAuthenticate),
            (self.bits.is_some_and(|bits| bits < least_bits), CustodyFault::TooShort),
        ]
        .into_iter()
        .filter_map(|(is_fault, fault)| is_fault.then_some(fault))
        .collect();
        if faults.is_empty() { Custody::Held } else { Custody::Refused(faults) }
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
        ];
        for (attributes, fault) in cases {
            assert_eq!(attributes.judge(256), Custody::Refused(vec![fault]));
        }
    }
}
