//! The catalogue of tables: each with its columns in order and its primary key, and what becomes of it where a deployment is
//! copied to another store or backed up. A test holds it against the real schema of both engines, so that no table and no
//! column is forgotten.

/// A table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// Its columns, in their order.
    pub columns: &'static [Column],
    /// The columns of its primary key, in their order.
    pub key: &'static [&'static str],
    /// Where its rows go.
    pub keeping: Keeping,
    /// Whether a row could get somebody a yes: each ends in `version`, `mac_key` and `mac`, by which it is authenticated. See
    /// `authority`.
    pub is_authority: bool,
}

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// What stands in it.
    pub kind: Kind,
    /// Whether anything is decided by it: only a column that nothing is decided by stays outside of its row's MAC.
    pub decides: bool,
}

/// What stands in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A number.
    Number,
    /// A text.
    Text,
    /// Bytes.
    Bytes,
}

impl Kind {
    /// Its name in a backup.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Text => "text",
            Self::Bytes => "bytes",
        }
    }
}

/// Where a table's rows go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeping {
    /// To another store, and into backups.
    InBackups,
    /// To another store, and into no backup: what is used once, or ends, would be good again out of an older copy.
    Copied,
    /// Nowhere: it says something of this store, or lasts for seconds.
    StaysHere,
}

impl Table {
    /// Whether its rows go to another store.
    pub fn is_copied(&self) -> bool {
        self.keeping != Keeping::StaysHere
    }

    /// Whether its rows go into backups.
    pub fn is_in_backups(&self) -> bool {
        self.keeping == Keeping::InBackups
    }

    /// Whether rows are only ever added and read. A serving role may do nothing else.
    pub fn is_append_only(&self) -> bool {
        ["audit_records", "audit_checkpoints"].contains(&self.name)
    }

    /// Whether a role that serves may only read it.
    pub fn is_for_owner(&self) -> bool {
        self.name == "schema_migrations"
    }
}

/// The table of this name.
pub fn table(name: &str) -> Option<&'static Table> {
    TABLES.iter().find(|table| table.name == name)
}

macro_rules! tables {
    ($($name:ident $keeping:ident $($trust:ident)? [$($key:ident),+] { $($column:ident: $kind:ident $($beside:ident)?),+ })+) => {
        /// Every table. One stands after those that it refers to.
        pub const TABLES: &[Table] = &[$(Table {
            name: stringify!($name),
            columns: &[$(column!($column $kind $($beside)?)),+],
            key: &[$(stringify!($key)),+],
            keeping: Keeping::$keeping,
            is_authority: is_authority!($($trust)?),
        }),+];
    };
}

macro_rules! is_authority {
    () => {
        false
    };
    (Authority) => {
        true
    };
}

macro_rules! column {
    ($name:ident $kind:ident) => {
        Column { name: stringify!($name), kind: Kind::$kind, decides: true }
    };
    ($name:ident $kind:ident beside) => {
        Column { name: stringify!($name), kind: Kind::$kind, decides: false }
    };
}

tables! {
    schema_migrations StaysHere [version] {
        version: Number, name: Text, hash: Bytes, applied_at: Number
    }
    store_moves StaysHere [id] {
        id: Number, move_id: Text, state: Text, peer: Text, at: Number
    }
    nodes InBackups [id] {
        id: Text, name: Text, joined_at: Number, lease: Number, process: Text, leased_until: Number, retired_at: Number,
        head_sequence: Number, head_hash: Bytes, head_at: Number
    }
    node_rates StaysHere [node, hsm] {
        node: Text, hsm: Text, most_per_second: Number, capacity: Number
    }
    halts StaysHere [id] {
        id: Number, node: Text, at: Number, restored: Number
    }
    restores InBackups [at] {
        at: Number
    }
    settings InBackups Authority [tenant, stage] {
        tenant: Text, stage: Text, document: Text, stated_by: Text, stated_at: Number,
        version: Number, mac_key: Number beside, mac: Bytes beside
    }
    declared InBackups [tenant, noun, id] {
        tenant: Text, noun: Text, id: Text
    }
    rules InBackups Authority [name] {
        name: Text, holds: Number, lowering_asked_by: Text,
        version: Number, mac_key: Number beside, mac: Bytes beside
    }
    generations InBackups [tenant, noun] {
        tenant: Text, noun: Text, value: Number
    }
    probe StaysHere [node] {
        node: Text, probed_at: Number
    }
    hsm_tokens InBackups [name] {
        name: Text, label: Text, manufacturer: Text, model: Text, serial: Text, firmware: Text,
        bound_at: Number, retired_at: Number
    }
    hsm_logins Copied [manufacturer, model, serial, label] {
        manufacturer: Text, model: Text, serial: Text, label: Text, hsm: Text, version: Number, refused_by: Text,
        refusal: Text, unknown: Number, unknown_by: Text, unknown_end: Text, closed: Number, stopped: Text,
        allowed: Text, cleared: Text, presenting: Text, presenting_allowed: Number, presenting_until: Number
    }
    users InBackups Authority [tenant, id] {
        tenant: Text, id: Text, name: Text, compared_name: Text, roles: Text, enabled: Number,
        credentials_version: Number, created_at: Number,
        version: Number, mac_key: Number beside, mac: Bytes beside
    }
    role_requests Copied Authority [tenant, user_id] {
        tenant: Text, user_id: Text, roles: Text, requested_by: Text, requested_at: Number,
        version: Number, mac_key: Number beside, mac: Bytes beside
    }
    seals InBackups [tenant, kind, row_id, hsm] {
        tenant: Text, kind: Text, row_id: Text, hsm: Text, blob: Bytes
    }
    envelopes InBackups [tenant, kind, row_id, hsm] {
        tenant: Text, kind: Text, row_id: Text, hsm: Text, envelope: Bytes
    }
    transports InBackups [hsm] {
        hsm: Text, key_id: Text, mac: Bytes, complete_at: Number
    }
    joins StaysHere [hsm] {
        hsm: Text, node: Text, label: Text, manufacturer: Text, model: Text, serial: Text, firmware: Text, cka_id: Bytes,
        public_jwk: Text, requested_at: Number, admission: Text
    }
    factors InBackups Authority [tenant, id] {
        tenant: Text, id: Text, user_id: Text, label: Text, kind: Text, created_at: Number,
        last_used_at: Number beside, totp_hash: Text, totp_digits: Number, totp_step_seconds: Number,
        totp_drift: Number, totp_last_step: Number, totp_window: Number, yubico_public_id: Text,
        yubico_private_id: Bytes, yubico_last_counter: Number, handle: Text, detail: Text, counter: Number,
        serial: Text, state: Text, requested_by: Text, valid_until: Number,
        version: Number, mac_key: Number beside, mac: Bytes beside
    }
    recovery_codes Copied Authority [tenant, factor_id, kept] {
        tenant: Text, factor_id: Text, kept: Bytes, spent_at: Number,
        version: Number, mac_key: Number beside, mac: Bytes beside
    }
    piv_nonces InBackups [tenant, id] {
        tenant: Text, id: Bytes, spent_at: Number
    }
    spent_challenges InBackups [tenant, challenge] {
        tenant: Text, challenge: Bytes, until: Number
    }
    stock InBackups Authority [tenant, id] {
        tenant: Text, id: Text, serial: Text, kind: Text, handle: Text, detail: Text, model: Text,
        imported_at: Number,
        version: Number, mac_key: Number beside, mac: Bytes beside
    }
    otp_clients InBackups Authority [tenant, id] {
        tenant: Text, id: Number, name: Text, needs_signature: Number, enabled: Number, created_at: Number,
        version: Number, mac_key: Number beside, mac: Bytes beside
    }
    otp_keys InBackups Authority [tenant, public_id] {
        tenant: Text, public_id: Text, private_id: Bytes, serial: Text, last_counter: Number,
        enabled: Number, created_at: Number, last_used_at: Number beside,
        version: Number, mac_key: Number beside, mac: Bytes beside
    }
    otp_requests Copied [tenant, public_id] {
        tenant: Text, public_id: Text, counter: Number, nonce: Text
    }
    clients InBackups Authority [tenant, id] {
        tenant: Text, id: Text, name: Text, secret_hash: Bytes, grant_types: Text, scopes: Text,
        audiences: Text, allow_from: Text, origins: Text, enabled: Number, created_at: Number,
        version: Number, mac_key: Number beside, mac: Bytes beside
    }
    grants InBackups Authority [tenant, id] {
        tenant: Text, id: Text, client_id: Text, user_id: Text, scopes: Text, audiences: Text,
        auth_time: Number, acr: Text, amr: Text, factors: Text, created_at: Number, expires_at: Number,
        ended_at: Number, end_reason: Text,
        version: Number, mac_key: Number beside, mac: Bytes beside
    }
    refresh_tokens Copied Authority [tenant, hash] {
        tenant: Text, hash: Bytes, grant_id: Text, generation: Number, spent_at: Number, successor_hsm: Text,
        version: Number, mac_key: Number beside, mac: Bytes beside
    }
    sessions Copied Authority [tenant, id] {
        tenant: Text, id: Text, user_id: Text, secret_hash: Bytes, credentials_version: Number,
        address: Text, auth_time: Number, acr: Text, amr: Text, factors: Text, created_at: Number,
        last_seen_at: Number beside, expires_at: Number,
        version: Number, mac_key: Number beside, mac: Bytes beside
    }
    keys InBackups Authority [key_id, hsm] {
        tenant: Text, key_id: Text, hsm: Text, purpose: Text, algorithm: Text, cka_id: Bytes,
        public_jwk: Text, state: Text, state_since: Number, state_until: Number, end_reason: Text,
        token_lifetime: Number beside, created_at: Number,
        version: Number, mac_key: Number beside, mac: Bytes beside
    }
    secret_renewals InBackups [id] {
        id: Number, generation: Text, began_at: Number, writes_since: Number
    }
    secret_openings StaysHere [node] {
        node: Text, generation: Text
    }
    announced_keys InBackups [cka_id] {
        cka_id: Bytes, tenant: Text, hsm: Text, purpose: Text, algorithm: Text, announced_at: Number,
        given_up: Number
    }
    leases StaysHere [name] {
        name: Text, holder: Text, expires_at: Number
    }
    tries InBackups Authority [tenant, place] {
        tenant: Text, place: Text, tries: Text, unanswered: Number,
        version: Number, mac_key: Number beside, mac: Bytes beside
    }
    revocations InBackups Authority [tenant, jti] {
        tenant: Text, jti: Text, expires_at: Number, revoked_at: Number,
        version: Number, mac_key: Number beside, mac: Bytes beside
    }
    idempotency_keys Copied [tenant, key_hash] {
        tenant: Text, key_hash: Bytes, operator: Text, operation: Text, body_hash: Bytes, node: Text,
        claimed_at: Number, kept_until: Number, status: Number, location: Text
    }
    audit_records InBackups [node, sequence] {
        node: Text, sequence: Number, tenant: Text, at: Number, text: Text, hash: Bytes
    }
    record_counts InBackups [node] {
        node: Text, sequence: Number, hash: Bytes, counts: Text
    }
    audit_checkpoints InBackups [node, sequence] {
        node: Text, sequence: Number, at: Number, jws: Text
    }
}
