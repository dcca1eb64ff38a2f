//! One row that does not verify keeps nobody from the others: lists leave it out, the key ring goes on beside it, and whoever asks
//! hears of it until it is gone.

use signet_core::keys::{HsmKey, HsmName, KeyState};
use signet_core::secret::SecretHash;
use signet_jose::KeyId;
use signet_store::{
    Beside, ClientNumber, Clients as _, FactorId, FactorLife as _, Factors as _, KeyAddition, Keys as _,
    Membership as _, OtpKey, OtpValidation as _, RefusedRow, SecretsAtRest as _, Sessions as _, Stock as _, StockId,
    StockToken, StoreFailure, UserId, Users as _,
};
use signet_store_sql::SqlStore;

use super::forged_rows::{Written, audit_key, filled, on_every_engine, otp_client, otp_key, session, stocked};
use crate::support::store::{after, client, now, tenant, totp_factor, user};

on_every_engine!(lists_leave_out_a_forged_row_and_go_on_with_those_after_it, the_key_ring_goes_on_beside_a_forged_key,);

/// A second row in each table that is listed.
async fn second(store: &SqlStore) {
    let alice = user("alice");
    assert!(store.add_user(&user("adam"), vec![]).await.unwrap());
    assert!(store.add_client(&client("zapp"), vec![]).await.unwrap());
    assert!(store.add_factor(&totp_factor("z", &alice), vec![]).await.unwrap());
    let other = signet_store::Session { id: signet_store::SessionId::new("two"), ..session(&alice) };
    assert!(store.add_session(&other, &SecretHash::of("other cookie"), vec![]).await.unwrap());
    let other = StockToken { id: StockId::new("z"), serial: "9999".to_owned(), ..stocked() };
    assert_eq!(store.add_stock(vec![other], vec![]).await.unwrap(), ["9999"]);
    let other = signet_store::OtpClient { id: ClientNumber::new(2).unwrap(), name: "wlan".to_owned(), ..otp_client() };
    assert!(store.add_otp_client(&other, vec![]).await.unwrap());
    let other = OtpKey { public_id: "vvvvvvvv".to_owned(), ..otp_key() };
    assert!(store.add_otp_key(&other, vec![]).await.unwrap());
}

async fn lists_leave_out_a_forged_row_and_go_on_with_those_after_it(database: Written) {
    let store = database.open().await;
    filled(&store).await;
    second(&store).await;
    let tables = [
        ("users", "compared_name", "adam"),
        ("clients", "name", "app"),
        ("factors", "id", "f"),
        ("sessions", "id", "one"),
        ("stock", "serial", "4712"),
        ("otp_clients", "name", "vpn"),
        ("otp_keys", "public_id", "dddddddd"),
        ("keys", "key_id", "k"),
    ];
    for (table, column, first) in tables {
        database.run(&format!("UPDATE {table} SET version = version + 1 WHERE {column} = '{first}'")).await;
    }
    let (tenant, alice) = (tenant(), UserId::new("user-alice"));
    // Pages of one: the first row of each is left out, and the page holds the one after it.
    let named: Vec<String> = store.users(&tenant, None, 1).await.unwrap().into_iter().map(|user| user.name).collect();
    assert_eq!(named, ["alice"]);
    let listed: Vec<String> = store.clients(&tenant, None, 1).await.unwrap().into_iter().map(|of| of.name).collect();
    assert_eq!(listed, ["zapp"]);
    let ids = |factors: Vec<signet_store::Factor>| factors.into_iter().map(|of| of.id).collect::<Vec<_>>();
    let of_all = store.all_factors(&tenant, None, 1).await.unwrap().into_iter().map(|of| of.factor).collect();
    assert_eq!(ids(of_all), [FactorId::new("z")]);
    assert_eq!(ids(store.factors(&tenant, &alice).await.unwrap()), [FactorId::new("z")]);
    let before = now().minus(std::time::Duration::from_secs(1));
    let sessions = store.sessions(&tenant, &alice, now(), before).await.unwrap();
    assert_eq!(sessions.iter().map(|of| of.id.as_str()).collect::<Vec<_>>(), ["two"]);
    let serials: Vec<String> = store.stock(&tenant, None, 1).await.unwrap().into_iter().map(|of| of.serial).collect();
    assert_eq!(serials, ["9999"]);
    let numbers = store.otp_clients(&tenant, None, 1).await.unwrap();
    assert_eq!(numbers.iter().map(|of| of.name.as_str()).collect::<Vec<_>>(), ["wlan"]);
    let keys = store.otp_keys(&tenant, None, 1).await.unwrap();
    assert_eq!(keys.iter().map(|of| of.public_id.as_str()).collect::<Vec<_>>(), ["vvvvvvvv"]);
    assert_eq!(store.keys().await.unwrap(), []);
    // Behind the last one there is nothing, and all of them are told of until they are gone.
    assert_eq!(store.users(&tenant, Some("alice"), 1).await.unwrap(), []);
    let refused = store.refused_rows().await.unwrap();
    let mut expected = tables.map(|(table, ..)| table);
    expected.sort_unstable();
    assert_eq!(refused.iter().map(|row| row.table).collect::<Vec<_>>(), expected);
    for (table, column, first) in tables {
        database.run(&format!("UPDATE {table} SET version = version - 1 WHERE {column} = '{first}'")).await;
    }
    assert_eq!(store.refused_rows().await.unwrap(), []);
    assert_eq!(store.users(&tenant, None, 2).await.unwrap().len(), 2);
    store.close().await;
}

/// A planted key keeps nobody from the others and their places; and one that can't be understood keeps nobody from the ring.
async fn the_key_ring_goes_on_beside_a_forged_key(database: Written) {
    let store = database.open().await;
    filled(&store).await;
    let info = signet_core::keys::TokenInfo::default();
    store.bind_hsm_token(&audit_key().hsm, &info, now(), vec![]).await.unwrap();
    let planted = "INSERT INTO keys SELECT tenant, key_id, 'b', purpose, algorithm, cka_id, public_jwk, state, state_since, state_until,
            end_reason, token_lifetime, created_at, version, mac_key, mac FROM keys;
        INSERT INTO keys SELECT tenant, 'senseless', hsm, 'sealing', algorithm, cka_id, public_jwk, 'elsewhere', state_since,
            state_until, end_reason, token_lifetime, created_at, version, mac_key, mac FROM keys WHERE hsm = 'a'";
    database.run(planted).await;
    assert_eq!(store.keys().await.unwrap(), [audit_key()]);
    // The one with its own row moves on, though another row has its id.
    let (from, until) = (audit_key().state, after(60));
    assert!(
        store.move_key(&KeyId::new("k"), &from, &KeyState::Retiring { since: now(), until }, vec![]).await.unwrap()
    );
    database.run("UPDATE keys SET state = 'active', state_until = NULL WHERE hsm = 'a' AND key_id = 'k'").await;
    assert_eq!(store.keys().await.unwrap(), []);
    // Its place is told to be in its hands; any other one is filled.
    let next = HsmKey { key_id: KeyId::new("next"), cka_id: b"next".to_vec(), ..audit_key() };
    let refused = store.add_key(&next, Beside::Nobody, vec![]).await.unwrap_err();
    assert_eq!(refused.failure, StoreFailure::Forged { table: "keys", id: "k a".to_owned() });
    let next = HsmKey { hsm: HsmName::new("c"), ..next };
    assert_eq!(store.add_key(&next, Beside::Nobody, vec![]).await.unwrap(), KeyAddition::Added);
    assert_eq!(store.keys().await.unwrap(), [next]);
    let told = |id: &str| RefusedRow { table: "keys", id: id.to_owned() };
    assert_eq!(store.refused_rows().await.unwrap(), [told("k a"), told("k b"), told("senseless a")]);
    store.close().await;
}
