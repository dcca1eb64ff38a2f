//! What is listed, and verified, in the place of keys that are not there.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use webauthn_rs::prelude::Credential;

use super::MAX_KEYS;
use crate::audit::Reason;

/// The ids that are listed for a name: those of its keys, and decoys up to [`MAX_KEYS`], the same each time. `seed` is
/// derived from the name by a secret.
pub fn listed_ids(keys: &[&str], seed: &[u8; 32]) -> Vec<String> {
    let decoys = (0_u8..).map(|place| decoy_id(seed, place));
    let mut listed: Vec<String> =
        keys.iter().map(|key| (*key).to_owned()).chain(decoys).take(MAX_KEYS.max(keys.len())).collect();
    // An order that says nothing of which is which.
    listed.sort_by_cached_key(|id| block(seed, b"order", id.as_bytes()));
    listed
}

/// An id as long as those that keys give: 64 and 48 bytes are the commonest of security keys, 32 and 16 of what a key or
/// a device keeps.
fn decoy_id(seed: &[u8; 32], place: u8) -> String {
    let [choice, ..] = block(seed, b"length", &[place]);
    let length = match choice {
        0..=102 => 64,
        103..=166 => 48,
        167..=217 => 32,
        218..=255 => 16,
    };
    let bytes: Vec<u8> = [0_u8, 1].iter().flat_map(|half| block(seed, b"id", &[place, *half])).take(length).collect();
    URL_SAFE_NO_PAD.encode(bytes)
}

fn block(seed: &[u8; 32], label: &[u8], message: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(seed).chain_update(label).chain_update([0]).chain_update(message).finalize().into()
}

/// A key whose secret is 1: its point is the curve's base point (SEC 2 §2.4.2).
pub(super) fn decoy_credential(id: &[u8]) -> Result<Credential, Reason> {
    let (x, y) = ("axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY", "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU");
    let credential = json!({
        "cred_id": URL_SAFE_NO_PAD.encode(id),
        "cred": { "type_": "ES256", "key": { "EC_EC2": { "curve": "SECP256R1", "x": x, "y": y } } },
        "counter": 0,
        "transports": null,
        "user_verified": true,
        "backup_eligible": false,
        "backup_state": false,
        "registration_policy": "preferred",
        "extensions": {},
        "attestation": { "data": "None", "metadata": "None" },
        "attestation_format": "none",
    });
    serde_json::from_value(credential).map_err(|_| Reason::MalformedAssertion)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_lists_as_many_keys_and_the_same_each_time() {
        let (seed, other) = ([1; 32], [2; 32]);
        let unknown = listed_ids(&[], &seed);
        assert_eq!((unknown.len(), &listed_ids(&[], &seed)), (MAX_KEYS, &unknown));
        assert!(listed_ids(&[], &other).iter().all(|id| !unknown.contains(id)));
        let own = decoy_id(&other, 9);
        let known = listed_ids(&[&own], &seed);
        assert!(known.contains(&own) && known.len() == MAX_KEYS);
        assert_eq!(known.iter().filter(|id| unknown.contains(id)).count(), MAX_KEYS - 1);
        let places: std::collections::BTreeSet<_> = (0..=255_u8)
            .map(|first| listed_ids(&[&own], &[first; 32]).iter().position(|id| *id == own).unwrap())
            .collect();
        assert_eq!(places.len(), MAX_KEYS, "a key's place says nothing");
    }

    #[test]
    fn a_decoy_is_a_key_that_verifies_and_counts_for_nothing() {
        assert!(decoy_credential(&[1, 2, 3]).is_ok());
    }
}
