//! What proves a person: the rules of each factor, the lockout, and the [`Authentication`] that results.
//!
//! Nothing here reads a store, a clock or an HSM. A check is three steps, and the types keep them in order:
//! a shown code is matched ([`policy::DigitCodes`], [`yubico_otp::Reading`]) and becomes a [`Spendable`]; the caller spends
//! it by one conditional write; the spendable value and the write's verdict make a [`FactorProof`].
//! [`Authentication::from_proofs`] takes that and a [`PasswordProof`], and is the only way to an authentication.
//!
//! | module | decides | source |
//! |---|---|---|
//! | [`password`] | hashing and what a new password must be | RFC 9106, RFC 8265 §4, NIST SP 800-63B-4 §3.1.1 |
//! | [`totp`] | candidates, matching, drift, two codes in a row | RFC 4226 §5.3, RFC 6238 |
//! | [`hotp`] | look-ahead, matching, two codes in a row | RFC 4226 |
//! | [`enrolment`] | new secrets and their parameters | RFC 4226 §4, RFC 6238 §5.1 |
//! | [`recovery`] | recovery codes | NIST SP 800-63B-4 §4.2 |
//! | [`yubico_otp`] | parsing, the decrypted block, counters | Yubico's OTP specification |
//! | [`piv`] | the nonce that a card signs, and the signature | NIST SP 800-73-4 |
//! | [`piv_attestation`] | whether the key was made on the card | Yubico's PIV attestation |
//! | [`yubico_remote`] | what is kept of a key that another server has | |
//! | [`yubico_validation`] | requests and answers of the validation protocol, both ways | Yubico's validation protocol 2.0 |
//! | [`yubico_export`] | the files that a YK-KSM and a YK-VAL export | their own tools |
//! | [`webauthn`] | what security keys are asked for, what their answers prove | W3C WebAuthn Level 3 |
//! | [`webauthn::attestation_roots`] | by which roots a key proves its make | FIDO Metadata Service 3.1 |
//! | [`lockout`] | how many tries an account has | NIST SP 800-63B-4 §3.2.2 |
//! | [`policy`] | which factors a shown code is tried on, always with the same work | |
//! | [`authentication`] | what was proved, as `amr` and `acr` | RFC 8176, RFC 9470 |
//! | [`assurance`] | what must have been proved for a client, a scope, a role | NIST SP 800-63B-4, RFC 9470 |
//! | [`credentials`] | what a person shows, before it is judged | |
//! | [`kind`] | which kinds of factor there are: one table; and how a used one is named | |
//! | [`validity`] | from when to when a token may be used | RFC 6030 §5 |
//! | [`identity`] | who a user and a factor are | |

pub mod assurance;
pub mod authentication;
mod common_passwords;
pub mod credentials;
pub mod enrolment;
pub mod hotp;
pub mod identity;
pub mod kind;
pub mod lockout;
pub mod password;
pub mod piv;
pub mod piv_attestation;
pub mod piv_offer;
pub mod policy;
pub mod recovery;
pub mod totp;
pub mod validity;
pub mod webauthn;
pub mod yubico_export;
pub mod yubico_otp;
pub mod yubico_remote;
pub mod yubico_validation;

pub use assurance::{AssurancePolicy, Proved, Requirement};
pub use authentication::{Authentication, FactorProof, PasswordProof, Spendable, Spending};
pub use credentials::{Credentials, SecondFactor};
pub use hotp::HotpState;
pub use identity::{FactorId, UserId};
pub use kind::{FactorDetail, FactorKind, FactorRef, UnknownFactor, UsedFactor};
pub use lockout::Lockout;
pub use piv::PivState;
pub use policy::OtpText;
pub use recovery::RecoveryState;
pub use totp::TotpState;
pub use validity::Validity;
pub use webauthn::WebAuthnState;
pub use yubico_otp::YubicoState;
pub use yubico_remote::YubicoRemoteState;
