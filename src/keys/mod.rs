//! Keys that live in an HSM: who they are, which state they are in, whether they are in custody, and the joints
//! through which the rest of Signet uses them. Nothing here knows PKCS#11.

pub mod custody;
pub mod joint;
pub mod ring;

pub use custody::{Custody, CustodyFault, KeyAttributes, KeyUsage};
pub use joint::{
    GeneratedKey, HsmError, HsmFailure, KeyAdmin, KeyReport, OtpHash, OtpSecretKind, RawSignature, RowBinding,
    SealMode, Seals, Signature, Signer, TokenInfo, TokenReport, Vault, WrongSignatureFromHsm,
};
pub use ring::{
    AnnouncedKey, HandOver, HsmKey, HsmName, KeyEnd, KeyPurpose, KeyState, TenantId, WrongStage, hexadecimal,
};
