//! A store in a folder of its own, and plain values to put into it.

#![expect(clippy::unwrap_used, reason = "what a test's helpers can't go on without fails the test")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use signet_core::audit::{
    AuditEvent, ChainCheck, ChainFault, ChainSummary, Checkpoint, CheckpointClaims, Event, Outcome, RequestContext,
};
use signet_core::keys::{HsmName, OtpHash, SealedCopies, TenantId};
use signet_core::mfa::lockout::{Failure, Lockout};
use signet_core::mfa::{Spending, UsedFactor};
use signet_core::oauth::{ClientAuthentication, Reach};
use signet_core::secret::SecretHash;
use signet_jose::clock::{Clock, Timestamp};
use signet_store::{
    Client, ClientId, Factor, FactorDetail, FactorId, FactorState, Grant, GrantId, GrantState, GrantType, Judged,
    ProofSpending, Settling, Store, TotpState, TriesOf, User, UserId, YubicoState,
};
use signet_store_sql::SqlStore;
use signet_store_sqlite::SqliteOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, SqliteConnection};

#[path = "own_chain.rs"]
mod own_chain;

pub(crate) use own_chain::{OwnChain, keyed, node};

/// A clock that is set by hand.
#[derive(Debug)]
pub(crate) struct ManualClock(AtomicI64);

impl ManualClock {
    pub(crate) fn at(seconds: i64) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(seconds * 1000)))
    }

    pub(crate) fn set(&self, seconds: i64) {
        self.0.store(seconds * 1000, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.0.load(Ordering::SeqCst))
    }
}

/// When the tests take place.
pub(crate) const NOW: i64 = 1_800_000_000;

pub(crate) fn now() -> Timestamp {
    Timestamp::from_unix_seconds(NOW)
}

pub(crate) fn after(seconds: u64) -> Timestamp {
    now().plus(Duration::from_secs(seconds))
}

/// A folder that is removed with its store's files.
pub(crate) struct Place {
    folder: tempfile::TempDir,
    pub(crate) clock: Arc<ManualClock>,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), clock: ManualClock::at(NOW) }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("signet.db")
    }

    pub(crate) fn anchor(&self) -> PathBuf {
        self.folder.path().join("anchor")
    }

    pub(crate) fn options(&self) -> SqliteOptions {
        options(self.database())
    }

    pub(crate) async fn open(&self) -> Arc<SqlStore> {
        keyed(signet_store_sqlite::open(self.options(), node(), self.clock.clone()).await.unwrap())
    }
}

pub(crate) fn options(path: PathBuf) -> SqliteOptions {
    SqliteOptions { path, create: true, readers: 4, busy_timeout: Duration::from_secs(4), anchor: None }
}

pub(crate) fn tenant() -> TenantId {
    TenantId::default_tenant()
}

pub(crate) fn draft(event: Event) -> AuditEvent {
    AuditEvent::new(event, Outcome::Done, "default", &RequestContext::default())
}

/// The count of tries of an account that is nobody's.
/// A sign-in of Alice that was judged so.
pub(crate) fn settling(failure: Failure) -> Settling {
    Settling {
        tenant: tenant(),
        of: TriesOf::User(UserId::new("user-alice")),
        beside: 7,
        judged: Judged::Wrong(failure),
        rule: Lockout { tries: 3, pause: Duration::from_secs(600) },
        at: now(),
    }
}

/// This, of the factor of this id.
pub(crate) fn spends(factor: &FactorId, by: Spending) -> ProofSpending {
    ProofSpending::by_id(&tenant(), factor, by, after(1))
}

pub(crate) fn seals(byte: u8) -> SealedCopies {
    SealedCopies(BTreeMap::from([(HsmName::new("a"), vec![byte; 40]), (HsmName::new("b"), vec![byte, 1])]))
}

pub(crate) fn texts(values: &[&str]) -> BTreeSet<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

pub(crate) fn user(name: &str) -> User {
    User {
        tenant: tenant(),
        id: UserId::new(format!("user-{name}")),
        name: name.to_owned(),
        roles: texts(&["reader", "writer \"quoted\", with commas"]),
        enabled: true,
        password: Some(seals(7)),
        credentials_version: 0,
        created_at: now(),
    }
}

pub(crate) fn client(name: &str) -> Client {
    Client {
        tenant: tenant(),
        id: ClientId::new(format!("client-{name}")),
        name: name.to_owned(),
        authentication: ClientAuthentication::Secret(SecretHash::of("client secret")),
        grants: BTreeSet::from(GrantType::ALL),
        scopes: texts(&["read", "write"]),
        audiences: texts(&["https://api.example"]),
        reach: Reach::default(),
        enabled: true,
        created_at: now(),
    }
}

pub(crate) fn totp_factor(id: &str, user: &User) -> Factor {
    let state = TotpState { hash: OtpHash::Sha256, digits: 8, step_seconds: 30, drift: 0, window: 1, last_step: -1 };
    factor(id, user, FactorDetail::Totp(state))
}

pub(crate) fn yubico_factor(id: &str, public_id: &str, user: &User) -> Factor {
    let state = YubicoState { public_id: public_id.to_owned(), private_id: [1, 2, 3, 4, 5, 6], last_counter: -1 };
    factor(id, user, FactorDetail::YubicoOtp(state))
}

fn factor(id: &str, user: &User, detail: FactorDetail) -> Factor {
    Factor {
        tenant: tenant(),
        id: FactorId::new(id),
        user: user.id.clone(),
        label: "a label".to_owned(),
        serial: None,
        detail,
        state: FactorState::Enabled,
        valid_until: None,
        secret: seals(9),
        created_at: now(),
        last_used_at: None,
    }
}

pub(crate) fn grant(id: &str, user: &User, client: &Client) -> Grant {
    Grant {
        tenant: tenant(),
        id: GrantId::new(id),
        client: client.id.clone(),
        user: user.id.clone(),
        scopes: texts(&["read"]),
        audiences: texts(&["https://api.example"]),
        auth_time: now(),
        acr: "urn:example:acr".to_owned(),
        amr: vec!["pwd".to_owned(), "otp".to_owned(), "mfa".to_owned()],
        factors: vec![UsedFactor::Password, "totp:a".parse().unwrap()],
        created_at: now(),
        expires_at: after(3600),
        state: GrantState::Active,
    }
}

/// A connection of somebody else's to the database.
pub(crate) async fn raw(path: &Path) -> SqliteConnection {
    SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(path)).await.unwrap()
}

/// Whatever was done, each row is as its codec wrote it: a change that forgot the MAC is found here.
pub(crate) async fn all_rows_verify(store: &SqlStore) {
    let forged = store.check_rows().await.unwrap().into_iter().filter(|table| table.forged > 0).collect::<Vec<_>>();
    assert!(forged.is_empty(), "rows that do not verify: {forged:?}");
}

/// Walks the store's whole chain with its checkpoints, as `signet audit verify` does. A checkpoint here carries its
/// payload in the place of a JWS.
pub(crate) async fn verify(store: &dyn Store) -> Result<ChainSummary, ChainFault> {
    let mut check = ChainCheck::of(node());
    let mut checkpoints = VecDeque::from(store.own_checkpoints(0, 10_000).await.unwrap());
    loop {
        let page = store.own_records(check.head().sequence + 1, 500).await.unwrap();
        if page.is_empty() {
            break;
        }
        for record in &page {
            check.record(record)?;
            while let Some(checkpoint) = checkpoints.pop_front_if(|first| first.sequence <= record.sequence) {
                check.claims(claims_of(&checkpoint))?;
            }
        }
    }
    for checkpoint in checkpoints {
        check.claims(claims_of(&checkpoint))?;
    }
    check.finish_at(store.head().await.unwrap())
}

/// A checkpoint over the store's head.
pub(crate) async fn checkpoint(store: &dyn Store) -> Checkpoint {
    let claims = CheckpointClaims {
        node: store.node().clone(),
        head: store.head().await.unwrap(),
        at: now(),
        others: Vec::new(),
    };
    let jws = format!("e30.{}.e30", URL_SAFE_NO_PAD.encode(claims.to_payload()));
    Checkpoint { node: claims.node.clone(), sequence: claims.head.sequence, at: claims.at, jws }
}

fn claims_of(checkpoint: &Checkpoint) -> CheckpointClaims {
    let payload = checkpoint.jws.split('.').nth(1).unwrap();
    CheckpointClaims::from_payload(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// The grant of a refresh token; that of [`granted`] where there is no such token.
pub(crate) async fn family_of(store: &dyn Store, token: &SecretHash) -> Grant {
    let found = store.refresh_token(&tenant(), token).await.unwrap();
    found.map_or_else(|| grant("g", &user("alice"), &client("app")), |found| found.grant)
}

/// Alice, a client, and her grant `g` with the refresh token `r0`.
pub(crate) async fn granted(store: &dyn Store) -> (User, Client, Grant) {
    let (alice, app) = (user("alice"), client("app"));
    store.add_user(&alice, vec![]).await.unwrap();
    store.add_client(&app, vec![]).await.unwrap();
    let family = grant("g", &alice, &app);
    assert!(store.add_grant(&family, &SecretHash::of("r0"), 0, vec![]).await.unwrap());
    (alice, app, family)
}
