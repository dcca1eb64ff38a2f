//! The keys by which the store's rows are authenticated: derived from the deployment's secret, one for each table and each
//! generation of the secret. The secret itself never reaches the store's code.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::{hkdf, hmac};

use crate::secret::SecretBytes;

/// What sets these derivations apart from every other one of the same secret (RFC 5869, 3.1).
const SALT: &[u8] = b"signet authority rows";

/// What the keys of all tables are derived from: of the newest generation of the secret, which writes, and of those before it
/// whose rows still hold.
#[derive(Clone)]
pub struct RowKeys {
    newest: u8,
    generations: Arc<BTreeMap<u8, hkdf::Prk>>,
}

impl RowKeys {
    /// The keys of one generation of the deployment's secret.
    pub fn of(generation: u8, secret: &SecretBytes) -> Self {
        let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(secret.expose());
        Self { newest: generation, generations: Arc::new(BTreeMap::from([(generation, extracted)])) }
    }

    /// These keys, and those of another generation: the higher one writes.
    #[must_use]
    pub fn and(self, other: &Self) -> Self {
        let both = self.generations.iter().chain(other.generations.iter());
        let generations = both.map(|(generation, extracted)| (*generation, extracted.clone())).collect();
        Self { newest: self.newest.max(other.newest), generations: Arc::new(generations) }
    }

    /// The generation that rows are written by.
    pub fn newest(&self) -> u8 {
        self.newest
    }

    /// Every generation whose rows hold.
    pub fn generations(&self) -> impl Iterator<Item = u8> {
        self.generations.keys().copied()
    }

    /// The key of a table, of a generation. `None` where there is no such generation.
    pub fn of_table(&self, generation: u8, table: &str) -> Option<RowKey> {
        let extracted = self.generations.get(&generation)?;
        // The generation has a fixed length: no two pairs give one text.
        let info: [&[u8]; 2] = [&[generation], table.as_bytes()];
        extracted.expand(&info, hmac::HMAC_SHA256).ok().map(|derived| RowKey(hmac::Key::from(derived)))
    }
}

impl fmt::Debug for RowKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RowKeys").field("newest", &self.newest).finish_non_exhaustive()
    }
}

/// The key of one table.
#[derive(Clone)]
pub struct RowKey(hmac::Key);

impl RowKey {
    /// HMAC-SHA-256 of a row, as it is spelt for that.
    pub fn mac(&self, row: &[u8]) -> [u8; 32] {
        let mut mac = [0; 32];
        mac.copy_from_slice(hmac::sign(&self.0, row).as_ref());
        mac
    }

    /// Whether this is the MAC of a row, in constant time.
    pub fn verifies(&self, row: &[u8], mac: &[u8]) -> bool {
        hmac::verify(&self.0, row, mac).is_ok()
    }
}

impl fmt::Debug for RowKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("RowKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_secret_generation_and_table_has_a_key_of_its_own() {
        let keys = |generation, byte| RowKeys::of(generation, &SecretBytes::new(vec![byte; 32]));
        let mac = |keys: &RowKeys, table| keys.of_table(keys.newest(), table).unwrap().mac(b"row");
        let all = [
            mac(&keys(1, 1), "users"),
            mac(&keys(1, 2), "users"),
            mac(&keys(2, 1), "users"),
            mac(&keys(1, 1), "clients"),
        ];
        assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), all.len());
        assert_eq!(mac(&keys(1, 1), "users"), all[0]);
        assert!(keys(1, 1).of_table(2, "users").is_none());
        let both = keys(2, 1).and(&keys(1, 1));
        assert_eq!((both.newest(), both.of_table(1, "users").unwrap().mac(b"row")), (2, all[0]));
        assert_eq!(mac(&both, "users"), all[2]);
        let key = keys(1, 1).of_table(1, "users").unwrap();
        assert!(
            key.verifies(b"row", &all[0]) && !key.verifies(b"raw", &all[0]) && !key.verifies(b"row", &all[0][..31])
        );
    }
}
