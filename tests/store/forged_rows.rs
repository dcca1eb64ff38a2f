//! What somebody writes to the database past Signet gives nobody anything: each row of an authority table is checked where it is
//! read, by the MAC that stands in it.

use signet_core::mfa::lockout::Failure;
use std::sync::Arc;

use signet_core::audit::NodeId;
use signet_core::keys::{HsmKey, HsmName, KeyPurpose, KeyState, OtpHash};
use signet_core::mfa::{HotpState, RecoveryState, UsedFactor};
use signet_core::secret::SecretHash;
use signet_jose::{Jwk, KeyId};
use signet_store::{
    AuditOnOutcome, Beside, ClientId, ClientNumber, Clients as _, Factor, FactorDetail, FactorId, Factors as _,
    GrantId, Grants as _, KeyAddition, Keys as _, OtpClient, OtpKey, OtpValidation as _, RecoveryCodes as _,
    Revocations as _, RoleRequest, RoleRequests as _, Rule, Rules as _, Session, SessionId, Sessions as _,
    SettingStatement, SettingStatements as _, Settled, Stock as _, StockId, StockToken, StoreError, StoreFailure,
    Tries as _, User, UserEdit, UserId, Users as _,
};
use signet_store_sql::SqlStore;
use signet_store_sql::tables::{Column, Kind, TABLES, Table};
use sqlx::{AssertSqlSafe, Executor as _};

use crate::support::postgres::Database;
use crate::support::store::{
    Place, after, client, granted, keyed, node, now, raw, seals, settling, tenant, totp_factor, user,
};

/// A database, and somebody who writes to it past Signet and past what it enforces.
pub(super) enum Written {
    Sqlite(Place),
    Postgres(Database),
}

impl Written {
    pub(super) async fn open(&self) -> Arc<SqlStore> {
        match self {
            Self::Sqlite(place) => place.open().await,
            Self::Postgres(database) => database.open().await,
        }
    }

    /// Opens it as another node.
    pub(super) async fn open_as(&self, node: NodeId) -> Arc<SqlStore> {
        let store = match self {
            Self::Sqlite(place) => signet_store_sqlite::open(place.options(), node, place.clock.clone()).await,
            Self::Postgres(database) => {
                signet_store_postgres::open(database.options(), node, database.clock.clone()).await
            }
        };
        keyed(store.unwrap())
    }

    pub(super) async fn run(&self, sql: &str) {
        match self {
            Self::Sqlite(place) => {
                let text = format!("PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON; {sql}");
                raw(&place.database()).await.execute(AssertSqlSafe(text)).await.unwrap();
            }
            Self::Postgres(database) => {
                database.sql(&format!("SET session_replication_role = replica; {sql}"));
            }
        }
    }

    /// Another value of the same kind than stands in a column, and as long.
    fn other(&self, column: &Column) -> String {
        let name = column.name;
        match (column.kind, self) {
            (Kind::Number, _) => format!("COALESCE({name}, 0) + 1"),
            (Kind::Text, _) => format!("COALESCE({name}, '') || 'x'"),
            (Kind::Bytes, Self::Sqlite(_)) => format!("randomblob(length({name}))"),
            (Kind::Bytes, Self::Postgres(_)) => {
                format!("COALESCE(set_byte({name}, 0, 255 - get_byte({name}, 0)), '\\x01')")
            }
        }
    }
}

macro_rules! on_every_engine {
    ($($case:ident),+ $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $case() {
                    super::$case($crate::store::forged_rows::Written::Sqlite($crate::support::store::Place::new())).await;
                }
            )+
        }
        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $case() {
                    super::$case($crate::store::forged_rows::Written::Postgres($crate::support::postgres::Database::new())).await;
                }
            )+
        }
    };
}

pub(super) use on_every_engine;

on_every_engine!(
    a_row_that_was_altered_in_any_column_is_found_and_gives_nothing,
    a_row_under_another_id_gives_nothing,
    a_row_without_a_mac_of_ours_gives_nothing,
    a_row_that_was_put_back_verifies,
    without_keys_no_row_is_written,
);

/// A store with a row in each authority table.
pub(super) async fn filled(store: &SqlStore) {
    let (alice, ..) = granted(store).await;
    assert!(store.add_session(&session(&alice), &SecretHash::of("cookie"), vec![]).await.unwrap());
    let detail = FactorDetail::Recovery(RecoveryState { made: 1 });
    let recovery = Factor { detail, ..totp_factor("f", &alice) };
    assert!(store.add_recovery(None, &recovery, &[SecretHash::of("code")], vec![]).await.unwrap());
    assert_eq!(store.add_stock(vec![stocked()], vec![]).await.unwrap(), ["4712"]);
    assert!(store.add_otp_client(&otp_client(), vec![]).await.unwrap());
    assert!(store.add_otp_key(&otp_key(), vec![]).await.unwrap());
    assert_eq!(store.add_key(&audit_key(), Beside::Any, vec![]).await.unwrap(), KeyAddition::Added);
    store.revoke_token(&tenant(), "jti", after(60), now(), vec![]).await.unwrap();
    let asked = UserEdit { waiting: Some(Some(role_request("ann"))), ..UserEdit::default() };
    assert!(store.change_user(&alice, &asked, now(), vec![]).await.unwrap());
    let rule = Rule { holds: true, lowering_asked_by: None };
    assert!(store.decide_rule("four_eyes", None, &rule, vec![]).await.unwrap());
    assert!(store.state_settings(&tenant(), None, &statement(), vec![]).await.unwrap());
    assert_eq!(store.settle(&settling(Failure::Code), AuditOnOutcome::default()).await.unwrap(), Settled::Refused);
}

fn statement() -> SettingStatement {
    SettingStatement { document: "{}".to_owned(), stated_by: Some("ann".to_owned()), stated_at: now() }
}

fn role_request(requested_by: &str) -> RoleRequest {
    RoleRequest { roles: ["chief".to_owned()].into(), requested_by: requested_by.to_owned(), requested_at: now() }
}

pub(super) fn stocked() -> StockToken {
    StockToken {
        tenant: tenant(),
        id: StockId::new("s"),
        serial: "4712".to_owned(),
        detail: FactorDetail::Hotp(HotpState { hash: OtpHash::Sha1, digits: 6, next_counter: 0 }),
        model: None,
        validity: signet_core::mfa::Validity::default(),
        secret: seals(5),
        imported_at: now(),
    }
}

pub(super) fn otp_client() -> OtpClient {
    OtpClient {
        tenant: tenant(),
        id: ClientNumber::new(1).unwrap(),
        name: "vpn".to_owned(),
        key: seals(3),
        needs_signature: false,
        enabled: true,
        created_at: now(),
    }
}

pub(super) fn otp_key() -> OtpKey {
    OtpKey {
        tenant: tenant(),
        public_id: "dddddddd".to_owned(),
        private_id: [1, 2, 3, 4, 5, 6],
        serial: None,
        last_counter: -1,
        secret: seals(4),
        enabled: true,
        created_at: now(),
        last_used_at: None,
    }
}

pub(super) fn audit_key() -> HsmKey {
    HsmKey {
        tenant: tenant(),
        hsm: HsmName::new("a"),
        purpose: KeyPurpose::AuditSigning,
        key_id: KeyId::new("k"),
        cka_id: b"k".to_vec(),
        public: Some(Jwk::from_json(PUBLIC_KEY).unwrap()),
        state: KeyState::Active { since: now() },
        created_at: now(),
    }
}

/// RFC 7515 appendix A.3's key.
const PUBLIC_KEY: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","alg":"ES256"}"#;

pub(super) fn session(user: &User) -> Session {
    Session {
        tenant: user.tenant.clone(),
        id: SessionId::new("one"),
        user: user.id.clone(),
        credentials_version: user.credentials_version,
        address: None,
        auth_time: now(),
        acr: "urn:signet:aal2".to_owned(),
        amr: vec!["pwd".to_owned()],
        factors: vec![UsedFactor::Password],
        created_at: now(),
        last_seen_at: now(),
        expires_at: after(3600),
    }
}

/// Reads the row of a table where it gives authority; whether anything was found.
async fn read(store: &SqlStore, table: &str) -> Result<bool, StoreError> {
    Ok(match table {
        "users" => {
            let by_id = store.user(&tenant(), &UserId::new("user-alice")).await;
            let by_name = store.user_by_name(&tenant(), "alice").await;
            by_id?.is_some() && by_name?.is_some()
        }
        "clients" => store.client(&tenant(), &ClientId::new("client-app")).await?.is_some(),
        "factors" => store.factor(&tenant(), &FactorId::new("f")).await?.is_some(),
        "recovery_codes" => {
            let code = SecretHash::of("code");
            store.recovery_code(&tenant(), &FactorId::new("f"), &code).await?.is_some()
        }
        "stock" => store.stock_token(&tenant(), "4712").await?.is_some(),
        "otp_clients" => store.otp_client(&tenant(), ClientNumber::new(1).unwrap()).await?.is_some(),
        "otp_keys" => store.otp_key(&tenant(), "dddddddd").await?.is_some(),
        "grants" => store.grant(&tenant(), &GrantId::new("g")).await?.is_some(),
        "refresh_tokens" => store.refresh_token(&tenant(), &SecretHash::of("r0")).await?.is_some(),
        "sessions" => {
            let before = now().minus(std::time::Duration::from_secs(1));
            store.session(&tenant(), &SecretHash::of("cookie"), now(), before).await?.is_some()
        }
        "keys" => store.keys().await?.iter().any(|key| key.key_id == KeyId::new("k") && key.state.is_published()),
        "revocations" => store.is_revoked(&tenant(), "jti").await?,
        "role_requests" => store.role_request(&tenant(), &UserId::new("user-alice")).await?.is_some(),
        "tries" => store.tries(&tenant(), &UserId::new("user-alice")).await?.unanswered() > 0,
        "rules" => store.rule("four_eyes").await?.is_some(),
        "settings" => store.settings(&tenant()).await?.is_some(),
        other => panic!("nothing reads {other}"),
    })
}

fn authority_tables() -> impl Iterator<Item = &'static Table> {
    TABLES.iter().filter(|table| table.is_authority)
}

/// The tables with rows that do not verify, and how many.
async fn found(store: &SqlStore) -> Vec<(&'static str, u64)> {
    let checked = store.check_rows().await.unwrap();
    checked.into_iter().filter(|table| table.forged > 0).map(|table| (table.table, table.forged)).collect()
}

async fn a_row_that_was_altered_in_any_column_is_found_and_gives_nothing(database: Written) {
    let store = database.open().await;
    filled(&store).await;
    for table in authority_tables() {
        let name = table.name;
        assert!(read(&store, name).await.unwrap(), "{name}");
        database.run(&format!("CREATE TABLE kept AS SELECT * FROM {name}")).await;
        for column in table.columns {
            let altered = format!("UPDATE {name} SET {} = {}", column.name, database.other(column));
            database.run(&altered).await;
            let (read, found) = (read(&store, name).await, found(&store).await);
            if column.decides || column.name.starts_with("mac") {
                assert!(found.iter().any(|(table, _)| *table == name), "{altered}");
                match read {
                    // What is found by the column is not found under the old value.
                    Ok(is_found) => assert!(!is_found, "{altered}"),
                    Err(StoreError { failure: StoreFailure::Forged { table, .. }, .. }) => assert_eq!(table, name),
                    Err(other) => panic!("{altered}: {other}"),
                }
            } else {
                assert!(found.is_empty() && read.unwrap(), "{altered}");
            }
            database.run(&format!("DELETE FROM {name}; INSERT INTO {name} SELECT * FROM kept")).await;
        }
        database.run("DROP TABLE kept").await;
        assert_eq!(found(&store).await, []);
    }
    store.close().await;
}

async fn a_row_under_another_id_gives_nothing(database: Written) {
    let store = database.open().await;
    filled(&store).await;
    let eve = "INSERT INTO users SELECT tenant, 'eve', 'eve', 'eve', roles, enabled, credentials_version, created_at, version,
        mac_key, mac FROM users";
    database.run(eve).await;
    let refused = store.user_by_name(&tenant(), "eve").await.unwrap_err();
    assert_eq!(refused.failure, StoreFailure::Forged { table: "users", id: "default eve".to_owned() });
    assert!(!refused.to_string().contains("roles"), "what stands in it is not told: {refused}");
    assert_eq!(store.user_by_name(&tenant(), "alice").await.unwrap().map(|user| user.name), Some("alice".to_owned()));
    store.close().await;
}

async fn a_row_without_a_mac_of_ours_gives_nothing(database: Written) {
    let store = database.open().await;
    filled(&store).await;
    let roles = "UPDATE users SET roles = '[\"admin\"]', version = version + 1";
    let planted =
        "INSERT INTO clients SELECT tenant, 'planted', 'planted', secret_hash, grant_types, scopes, audiences, allow_from, origins, 1,
        created_at, 1, mac_key, secret_hash FROM clients";
    for sql in [roles, planted] {
        database.run(sql).await;
    }
    let id = ClientId::new("planted");
    let refused = [
        store.user(&tenant(), &UserId::new("user-alice")).await.err(),
        store.client(&tenant(), &id).await.err(),
        // Nor is a forged row taken for a beginning: a change would give it a MAC.
        store.set_client_secret(&tenant(), &id, &SecretHash::of("new"), vec![]).await.err(),
        store.set_user_enabled(&tenant(), &UserId::new("user-alice"), true, now(), vec![]).await.err(),
    ];
    for refused in refused {
        assert!(matches!(refused.unwrap().failure, StoreFailure::Forged { .. }));
    }
    assert_eq!(found(&store).await, [("users", 1), ("clients", 1)]);
    // What does not verify can be removed.
    assert!(store.remove_client(&tenant(), &id, vec![]).await.unwrap());
    assert!(store.remove_user(&tenant(), &UserId::new("user-alice"), vec![]).await.unwrap());
    assert_eq!(found(&store).await, []);
    store.close().await;
}

/// The limit of a MAC: it says that Signet wrote the row once, not that it is the newest. The threat model says so.
async fn a_row_that_was_put_back_verifies(database: Written) {
    let store = database.open().await;
    filled(&store).await;
    database.run("CREATE TABLE kept AS SELECT * FROM users").await;
    let alice = UserId::new("user-alice");
    assert!(store.set_user_enabled(&tenant(), &alice, false, now(), vec![]).await.unwrap());
    assert_eq!(store.user(&tenant(), &alice).await.unwrap().map(|user| user.enabled), Some(false));
    database.run("DELETE FROM users; INSERT INTO users SELECT * FROM kept").await;
    assert_eq!(store.user(&tenant(), &alice).await.unwrap().map(|user| user.enabled), Some(true));
    assert_eq!(found(&store).await, []);
    store.close().await;
}

async fn without_keys_no_row_is_written(database: Written) {
    let store = database.open().await;
    filled(&store).await;
    store.close().await;
    let store = match &database {
        Written::Sqlite(place) => signet_store_sqlite::open(place.options(), node(), place.clock.clone()).await,
        Written::Postgres(database) => {
            signet_store_postgres::open(database.options(), node(), database.clock.clone()).await
        }
    };
    let store = store.unwrap();
    let bob = user("bob");
    let refused = [
        store.add_user(&bob, vec![]).await.err(),
        store.add_client(&client("other"), vec![]).await.err(),
        store.set_user_enabled(&tenant(), &UserId::new("user-alice"), false, now(), vec![]).await.err(),
        store.check_rows().await.err(),
    ];
    for refused in refused {
        assert_eq!(refused.unwrap().failure, StoreFailure::NoRowKeys);
    }
    assert_eq!(store.user(&tenant(), &bob.id).await.unwrap(), None);
    assert!(store.user(&tenant(), &UserId::new("user-alice")).await.unwrap().is_some(), "what is there is read");
    store.close().await;
}
