//! Keys that live in an HSM: who they are, which state they are in, whether they are in custody, and the joints
//! through which the rest of Signet uses them. Nothing here knows PKCS#11.

pub mod admin;
pub mod choice;
pub mod custody;
pub mod joint;
pub mod ring;
pub mod signed;

pub use admin::{GeneratedKey, KeyAdmin, KeyReport, KeyTally, TokenInfo, TokenReport};
pub use choice::{Choice, Standing, Trial};
pub use custody::{Custody, CustodyFault, KeyAttributes, KeyUsage};
pub use joint::{
    HsmError, HsmFailure, OtpHash, OtpSecretKind, RawSignature, RowBinding, SealMode, Seals, Signature, Signer, Vault,
    WrongSignatureFromHsm,
};
pub use ring::{
    AnnouncedKey, HandOver, HsmKey, HsmName, KeyEnd, KeyPurpose, KeyState, TenantId, WrongStage, hexadecimal,
};
pub use signed::{SignedKind, SigningPolicy, test_signing_input};
