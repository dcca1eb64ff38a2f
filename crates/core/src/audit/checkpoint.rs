//! Checkpoints: signed statements of how far the chain reached.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::chain::{ChainFault, moment};
use super::{Checkpoint, Head};
use crate::keys::SignedKind;
use signet_jose::clock::Timestamp;
use signet_jose::{UnverifiedJws, VerifyingKey};

/// The `typ` of a checkpoint's JWS.
pub const CHECKPOINT_TYPE: &str = SignedKind::Checkpoint.token_type();

/// What a checkpoint states, once its signature verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointClaims {
    /// The end of the chain when it was signed.
    pub head: Head,
    /// When it was signed.
    pub at: Timestamp,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckpointPayload {
    v: u32,
    seq: i64,
    hash: String,
    at: String,
}

impl CheckpointClaims {
    /// The payload to sign as a JWS of `typ` [`CHECKPOINT_TYPE`].
    pub fn to_payload(&self) -> String {
        let hash = URL_SAFE_NO_PAD.encode(self.head.hash);
        format!(r#"{{"v":1,"seq":{},"hash":"{hash}","at":"{}"}}"#, self.head.sequence, self.at)
    }

    /// Reads the payload of a JWS that verified.
    pub fn from_payload(payload: &[u8]) -> Option<Self> {
        let CheckpointPayload { v: 1, seq, hash, at } = serde_json::from_slice(payload).ok()? else { return None };
        let hash = URL_SAFE_NO_PAD.decode(hash).ok()?.try_into().ok()?;
        Some(Self { head: Head { sequence: seq, hash }, at: moment(&at)? })
    }
}

/// Verifies a checkpoint's signature with the audit keys and reads it.
/// Errors: [`ChainFault::ForgedCheckpoint`] where no key verifies it, or where it says other than what is kept beside
/// it.
pub fn open_checkpoint(checkpoint: &Checkpoint, keys: &[VerifyingKey]) -> Result<CheckpointClaims, ChainFault> {
    let forged = ChainFault::ForgedCheckpoint(checkpoint.sequence);
    let jws = UnverifiedJws::parse(&checkpoint.jws).map_err(|_| forged)?;
    if jws.header().token_type.as_deref() != Some(CHECKPOINT_TYPE) {
        return Err(forged);
    }
    let key = keys.iter().find(|key| jws.header().key_id.as_ref() == Some(key.key_id())).ok_or(forged)?;
    let verified = jws.verify(key).map_err(|_| forged)?;
    let claims = CheckpointClaims::from_payload(verified.payload()).ok_or(forged)?;
    if claims.head.sequence == checkpoint.sequence && claims.at == checkpoint.at { Ok(claims) } else { Err(forged) }
}

#[cfg(test)]
mod tests {
    use p256::ecdsa::SigningKey;
    use p256::ecdsa::signature::Signer as _;

    use super::super::chain::tests::{claims_of, unsigned_checkpoint};
    use super::*;
    use signet_jose::algorithm::KeyType;
    use signet_jose::{Algorithm, Jwk, PublicKey};

    fn audit_key(seed: u8) -> (SigningKey, VerifyingKey) {
        let signing = SigningKey::from_slice(&[seed; 32]).unwrap();
        let point = signing.verifying_key().to_sec1_point(false);
        let public = PublicKey::from_ec_point(KeyType::P256, point.as_bytes()).unwrap();
        (signing, VerifyingKey::new(Jwk::new(public, Algorithm::Es256).unwrap()))
    }

    fn signed(key: &(SigningKey, VerifyingKey), token_type: &str, claims: &CheckpointClaims) -> Checkpoint {
        let header = format!(r#"{{"alg":"ES256","kid":"{}","typ":"{token_type}"}}"#, key.1.key_id());
        let input = [header, claims.to_payload()].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
        let signature: p256::ecdsa::Signature = key.0.sign(input.as_bytes());
        let jws = format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()));
        Checkpoint { sequence: claims.head.sequence, at: claims.at, jws }
    }

    #[test]
    fn only_the_audit_keys_open_a_checkpoint() {
        let (ours, theirs) = (audit_key(1), audit_key(2));
        let claims = claims_of(&unsigned_checkpoint(Head { sequence: 3, hash: [9; 32] }));
        let good = signed(&ours, CHECKPOINT_TYPE, &claims);
        let keys = [audit_key(3).1, ours.1];
        assert_eq!(open_checkpoint(&good, &keys), Ok(claims));
        let forged = Err(ChainFault::ForgedCheckpoint(3));
        assert_eq!(open_checkpoint(&signed(&theirs, CHECKPOINT_TYPE, &claims), &keys), forged);
        let imposter = (theirs.0, audit_key(1).1);
        assert_eq!(open_checkpoint(&signed(&imposter, CHECKPOINT_TYPE, &claims), &keys), forged);
        let ours = audit_key(1);
        assert_eq!(open_checkpoint(&signed(&ours, "at+jwt", &claims), &keys), forged);
        assert_eq!(open_checkpoint(&Checkpoint { jws: "a.b.c".to_owned(), ..good.clone() }, &keys), forged);
        let later = Checkpoint { at: Timestamp::from_unix_seconds(1), ..good.clone() };
        assert_eq!(open_checkpoint(&later, &keys), forged);
        let moved = Checkpoint { sequence: 4, ..good };
        assert_eq!(open_checkpoint(&moved, &keys), Err(ChainFault::ForgedCheckpoint(4)));
    }

    #[test]
    fn a_payload_reads_back_and_others_do_not() {
        let claims = claims_of(&unsigned_checkpoint(Head { sequence: 7, hash: [5; 32] }));
        assert_eq!(
            claims,
            CheckpointClaims {
                head: Head { sequence: 7, hash: [5; 32] },
                at: Timestamp::from_unix_millis(1_800_000_000_130)
            }
        );
        for bad in ["{}", "", r#"{"v":2,"seq":1,"hash":"","at":""}"#, r#"{"v":1,"seq":1,"hash":"AA","at":"x"}"#] {
            assert_eq!(CheckpointClaims::from_payload(bad.as_bytes()), None, "{bad}");
        }
    }
}
