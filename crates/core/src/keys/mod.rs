//! Keys that live in an HSM: who they are, which state they are in, whether they are in custody, and the ports
//! through which the rest of Signet uses them. Nothing here knows PKCS#11.

pub mod custody;
pub mod envelope;
pub mod error;
pub mod health;
pub mod hpke;
pub mod login;
pub mod ports;
pub mod report;
pub mod ring;
pub mod sealing;
pub mod signature;
pub mod signed;

pub use custody::{Custody, CustodyFault, KeyAttributes, KeyUsage};
pub use envelope::Envelope;
pub use error::{HsmError, HsmFailure, HsmResult};
pub use health::{TokenHealth, Trial};
pub use login::{
    LoginAnswer, LoginOutcome, LoginPermit, LoginPermits, LoginQuestion, LoginRecord, PinMarker, TokenIdentity,
};
pub use ports::{Attempts, HsmHealth, KeyAdmin, Signer, Vault};
pub use report::{GeneratedKey, KeyReport, KeyTally, TokenInfo, TokenReport};
pub use ring::{
    AnnouncedKey, HandOver, HsmKey, HsmName, KeyEnd, KeyPurpose, KeyState, TenantId, WrongStage, hexadecimal,
};
pub use sealing::{OtpHash, OtpSecretKind, RowBinding, SealMode, SealedCopies};
pub use signature::{RawSignature, Signature, WrongSignatureFromHsm};
pub use signed::{SignedKind, SigningPolicy, test_signing_input};
