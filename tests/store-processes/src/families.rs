//! What the killed child and its parent both know of the families.

use signet_core::secret::SecretHash;
use signet_store::GrantId;

/// How many families the child rotates at once.
pub(crate) const FAMILIES: usize = 8;
/// After so many rotations a family is ended.
pub(crate) const LAST: i64 = 150;

pub(crate) fn token(family: usize, generation: i64) -> SecretHash {
    SecretHash::of(&format!("{family}-{generation}"))
}

pub(crate) fn family_id(family: usize) -> GrantId {
    GrantId::new(format!("family-{family}"))
}
