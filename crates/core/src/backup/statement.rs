//! What is signed of a backup, as a JWS of a type of its own: it can't be taken for a checkpoint, nor a checkpoint for it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::audit::{Head, NodeId};
use crate::keys::SignedKind;
use signet_jose::clock::Timestamp;
use signet_jose::{KeyId, UnverifiedJws, VerifyingKey};

/// How many rows of a table there are, and a hash over them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSum {
    /// The table.
    pub table: String,
    /// Its rows.
    pub rows: u64,
    /// SHA-256 over the lines of its rows.
    pub hash: [u8; 32],
}

/// What a backup's last line states, once its signature verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The backup's name.
    pub id: String,
    /// The issuer.
    pub issuer: String,
    /// When it was signed.
    pub signed_at: Timestamp,
    /// The moment that the backup shows.
    pub at: String,
    /// Each table, in the file's order.
    pub tables: Vec<TableSum>,
    /// SHA-256 over all of the file before the last line.
    pub hash: [u8; 32],
    /// Where the audit chain of each node ends.
    pub heads: Vec<(NodeId, Head)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    v: u32,
    id: String,
    iss: String,
    iat: i64,
    at: String,
    tables: Vec<(String, u64, String)>,
    rows: u64,
    hash: String,
    heads: Vec<(NodeId, i64, String)>,
}

/// Why a statement is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatementRefused {
    /// It is no JWS, or its signature is not the audit key's.
    #[error("its statement is forged: {0}")]
    Jws(#[from] signet_jose::JwsError),
    /// It is another kind of JWS.
    #[error("its statement is another kind of signature: its `typ` is not {}", SignedKind::Backup.token_type())]
    OtherType,
    /// None of the keys is the one that it names.
    #[error("its statement was signed by the key {0}, which is none of the audit keys that were given")]
    OtherKey(KeyId),
    /// What was signed can't be read.
    #[error("its statement can't be read: use the version of the program that made it")]
    Unreadable,
}

/// A chain's end as it is written.
fn named((node, head): &(NodeId, Head)) -> (NodeId, i64, String) {
    (node.clone(), head.sequence, URL_SAFE_NO_PAD.encode(head.hash))
}

impl Statement {
    /// All rows together.
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|table| table.rows).sum()
    }

    /// The payload to sign as a JWS of the type [`SignedKind::Backup`].
    /// Errors: never, for what can be stated.
    pub fn to_payload(&self) -> Result<Vec<u8>, serde_json::Error> {
        let tables = self.tables.iter().map(|sum| (sum.table.clone(), sum.rows, URL_SAFE_NO_PAD.encode(sum.hash)));
        serde_json::to_vec(&Payload {
            v: 1,
            id: self.id.clone(),
            iss: self.issuer.clone(),
            iat: self.signed_at.unix_seconds(),
            at: self.at.clone(),
            tables: tables.collect(),
            rows: self.rows(),
            hash: URL_SAFE_NO_PAD.encode(self.hash),
            heads: self.heads.iter().map(named).collect(),
        })
    }

    /// Verifies a statement's signature with the audit keys and reads it.
    /// Errors: [`StatementRefused`] with what to do.
    pub fn open(jws: &str, keys: &[VerifyingKey]) -> Result<Self, StatementRefused> {
        let jws = UnverifiedJws::parse_document(jws)?;
        if jws.header().token_type.as_deref() != Some(SignedKind::Backup.token_type()) {
            return Err(StatementRefused::OtherType);
        }
        let named = jws.header().key_id.clone().unwrap_or_else(|| KeyId::new(""));
        let key = keys.iter().find(|key| named == *key.key_id()).ok_or(StatementRefused::OtherKey(named))?;
        Self::from_payload(jws.verify(key)?.payload()).ok_or(StatementRefused::Unreadable)
    }

    fn from_payload(payload: &[u8]) -> Option<Self> {
        let read: Payload = serde_json::from_slice(payload).ok()?;
        let hash = |text: &str| URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok();
        let table = |(table, rows, sum): &(String, u64, String)| {
            Some(TableSum { table: table.clone(), rows: *rows, hash: hash(sum)? })
        };
        let head = |(node, sequence, sum): &(NodeId, i64, String)| {
            Some((node.clone(), Head { sequence: *sequence, hash: hash(sum)? }))
        };
        let statement = Self {
            id: read.id,
            issuer: read.iss,
            signed_at: Timestamp::from_unix_seconds(read.iat),
            at: read.at,
            tables: read.tables.iter().map(table).collect::<Option<_>>()?,
            hash: hash(&read.hash)?,
            heads: read.heads.iter().map(head).collect::<Option<_>>()?,
        };
        (read.v == 1 && read.rows == statement.rows()).then_some(statement)
    }
}
