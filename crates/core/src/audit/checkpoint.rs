//! Checkpoints: signed statements of how far a chain reached, and how far the other nodes' chains did.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::chain::{ChainFault, moment};
use super::{Checkpoint, Head, NodeId};
use crate::keys::SignedKind;
use signet_jose::clock::Timestamp;
use signet_jose::{UnverifiedJws, VerifyingKey};

/// The `typ` of a checkpoint's JWS.
pub const CHECKPOINT_TYPE: &str = SignedKind::Checkpoint.token_type();

/// What a checkpoint states, once its signature verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointClaims {
    /// Whose chain it is.
    pub node: NodeId,
    /// The end of the chain when it was signed.
    pub head: Head,
    /// When it was signed.
    pub at: Timestamp,
    /// How far the chains of the other nodes reached that had records then, as the signing node saw them.
    pub others: Vec<(NodeId, Head)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    v: u32,
    node: NodeId,
    seq: i64,
    hash: String,
    at: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    others: Vec<OtherHead>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OtherHead {
    node: NodeId,
    seq: i64,
    hash: String,
}

impl CheckpointClaims {
    /// The payload to sign as a JWS of `typ` [`CHECKPOINT_TYPE`].
    #[expect(
        clippy::expect_used,
        clippy::missing_panics_doc,
        reason = "serde_json fails on keys that are no text and on failing Serialize alone; these have neither"
    )]
    pub fn to_payload(&self) -> String {
        let text = |hash: &[u8; 32]| URL_SAFE_NO_PAD.encode(hash);
        let other = |(node, head): &(NodeId, Head)| OtherHead {
            node: node.clone(),
            seq: head.sequence,
            hash: text(&head.hash),
        };
        let payload = Payload {
            v: 1,
            node: self.node.clone(),
            seq: self.head.sequence,
            hash: text(&self.head.hash),
            at: self.at.to_string(),
            others: self.others.iter().map(other).collect(),
        };
        serde_json::to_string(&payload).expect("a payload is plain data")
    }

    /// Reads the payload of a JWS that verified.
    pub fn from_payload(payload: &[u8]) -> Option<Self> {
        let Payload { v: 1, node, seq, hash, at, others } = serde_json::from_slice(payload).ok()? else { return None };
        let head = |sequence: i64, hash: &str| {
            let hash = URL_SAFE_NO_PAD.decode(hash).ok()?.try_into().ok()?;
            Some(Head { sequence, hash })
        };
        let others = others.into_iter().map(|other| Some((other.node, head(other.seq, &other.hash)?)));
        Some(Self { node, head: head(seq, &hash)?, at: moment(&at)?, others: others.collect::<Option<_>>()? })
    }
}

/// What a checkpoint says of the chain's end, unverified: enough to see that another chain stands in the place of the one that was
/// signed, and good for nothing else. `None` for what is no checkpoint.
pub fn stated_end(checkpoint: &Checkpoint) -> Option<Head> {
    let payload = URL_SAFE_NO_PAD.decode(checkpoint.jws.split('.').nth(1)?).ok()?;
    let claims = CheckpointClaims::from_payload(&payload)?;
    (claims.node == checkpoint.node && claims.head.sequence == checkpoint.sequence).then_some(claims.head)
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
    let is_what_it_says =
        claims.node == checkpoint.node && claims.head.sequence == checkpoint.sequence && claims.at == checkpoint.at;
    if is_what_it_says { Ok(claims) } else { Err(forged) }
}

#[cfg(test)]
mod tests {
    use p256::ecdsa::SigningKey;
    use p256::ecdsa::signature::Signer as _;

    use super::super::chain::tests::{claims_of, node, unsigned_checkpoint};
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
        Checkpoint { node: claims.node.clone(), sequence: claims.head.sequence, at: claims.at, jws }
    }

    #[test]
    fn only_the_audit_keys_open_a_checkpoint() {
        let (ours, theirs) = (audit_key(1), audit_key(2));
        let claims = claims_of(&unsigned_checkpoint(Head { sequence: 3, hash: [9; 32] }));
        let good = signed(&ours, CHECKPOINT_TYPE, &claims);
        let keys = [audit_key(3).1, ours.1];
        assert_eq!(open_checkpoint(&good, &keys), Ok(claims.clone()));
        let forged = Err(ChainFault::ForgedCheckpoint(3));
        assert_eq!(open_checkpoint(&signed(&theirs, CHECKPOINT_TYPE, &claims), &keys), forged);
        let imposter = (theirs.0, audit_key(1).1);
        assert_eq!(open_checkpoint(&signed(&imposter, CHECKPOINT_TYPE, &claims), &keys), forged);
        let ours = audit_key(1);
        assert_eq!(open_checkpoint(&signed(&ours, "at+jwt", &claims), &keys), forged);
        assert_eq!(open_checkpoint(&Checkpoint { jws: "a.b.c".to_owned(), ..good.clone() }, &keys), forged);
        let later = Checkpoint { at: Timestamp::from_unix_seconds(1), ..good.clone() };
        assert_eq!(open_checkpoint(&later, &keys), forged);
        let of_another = Checkpoint { node: NodeId::new("two"), ..good.clone() };
        assert_eq!(open_checkpoint(&of_another, &keys), forged);
        let moved = Checkpoint { sequence: 4, ..good };
        assert_eq!(open_checkpoint(&moved, &keys), Err(ChainFault::ForgedCheckpoint(4)));
    }

    #[test]
    fn a_payload_reads_back_and_others_do_not() {
        let claims = claims_of(&unsigned_checkpoint(Head { sequence: 7, hash: [5; 32] }));
        assert_eq!(
            claims,
            CheckpointClaims {
                node: node(),
                head: Head { sequence: 7, hash: [5; 32] },
                at: Timestamp::from_unix_millis(1_800_000_000_130),
                others: Vec::new(),
            }
        );
        let others = vec![(NodeId::new("two"), Head { sequence: 9, hash: [6; 32] })];
        let naming = CheckpointClaims { others, ..claims };
        assert_eq!(CheckpointClaims::from_payload(naming.to_payload().as_bytes()), Some(naming));
        for bad in [
            "{}",
            "",
            r#"{"v":2,"node":"one","seq":1,"hash":"","at":""}"#,
            r#"{"v":1,"node":"one","seq":1,"hash":"AA","at":"x"}"#,
        ] {
            assert_eq!(CheckpointClaims::from_payload(bad.as_bytes()), None, "{bad}");
        }
    }
}
