//! What is read of a name that is nobody's: as much as of somebody's (promise 5).

use signet_core::keys::{HsmName, TokenInfo};
use signet_store::{Candidates as _, Factors as _, Membership as _, UserId, Users as _};
use signet_store_sql::engine::Dialect;
use signet_store_sql::sql_texts;
use sqlx::{AssertSqlSafe, Connection as _};

use crate::support::store::{Place, now, raw, tenant, totp_factor, user, yubico_factor};

/// How many rows one statement gives: of those with this condition the one that pads what it finds, or the plain one.
async fn rows(place: &Place, condition: &str, of: &str, is_padded: bool) -> usize {
    let found = sql_texts(Dialect::Sqlite).into_iter().filter(|text| text.contains(condition));
    let texts = found.filter(|text| text.contains("UNION ALL") == is_padded).collect::<Vec<_>>();
    let [text] = texts.as_slice() else { panic!("{condition}: {} statements", texts.len()) };
    let mut connection = raw(&place.database()).await;
    let mut query = sqlx::query(AssertSqlSafe(text.clone())).bind(tenant().as_str().to_owned()).bind(of.to_owned());
    if is_padded {
        query = query.bind(vec![0_u8; 9]);
    }
    let rows = query.fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    rows.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_5_as_many_rows_are_read_of_nobody_as_of_somebody() {
    let place = Place::new();
    let store = place.open().await;
    for (name, serial) in [("a", "1"), ("b", "2")] {
        let token = TokenInfo {
            label: "signet".into(),
            manufacturer: "m".into(),
            model: "m".into(),
            serial: serial.into(),
            firmware: "1".into(),
        };
        store.bind_hsm_token(&HsmName::new(name), &token, now(), vec![]).await.unwrap();
    }
    let (alice, bare) = (user("alice"), user("bare"));
    let factors = [totp_factor("t", &alice), yubico_factor("y", "cccccccc", &alice)];
    for person in [&alice, &bare] {
        assert!(store.add_user(person, vec![]).await.unwrap());
    }
    for factor in &factors {
        assert!(store.add_factor(factor, vec![]).await.unwrap());
    }
    for name in ["alice", "bare", "nobody", ""] {
        assert_eq!(rows(&place, "u.compared_name = $2", name, true).await, 2, "{name}: one for each HSM token");
    }
    for id in [alice.id.as_str(), bare.id.as_str(), "nobody"] {
        assert_eq!(rows(&place, "f.user_id = $2", id, true).await, 16, "{id}: of eight factors for each HSM token");
    }
    // And none of it is taken for somebody.
    assert_eq!(store.sign_in_candidate(&tenant(), "alice").await.unwrap().as_ref(), Some(&alice));
    assert_eq!(store.sign_in_candidate(&tenant(), "nobody").await.unwrap(), None);
    assert_eq!(store.factors_of_candidate(&tenant(), &alice.id).await.unwrap(), factors);
    for id in [&bare.id, &UserId::new("nobody"), &UserId::new("")] {
        assert_eq!(store.factors_of_candidate(&tenant(), id).await.unwrap(), []);
    }
    // Whoever else asks reads what there is.
    assert_eq!(rows(&place, "u.compared_name = $2", "nobody", false).await, 0);
    assert_eq!(rows(&place, "f.user_id = $2", bare.id.as_str(), false).await, 0);
    assert_eq!(store.user_by_name(&tenant(), "alice").await.unwrap().as_ref(), Some(&alice));
    assert_eq!(store.factors(&tenant(), &alice.id).await.unwrap(), factors);
    store.close().await;
}
