//! Made-up names and tokens do not make the database grow without end.

use signet_core::mfa::lockout::{Chance, Failure};
use signet_store::{AuditOnOutcome, PLACES_OF_NOBODY, Settled, Settling, Tries as _, TriesOf, Users as _};
use sqlx::{Executor as _, Row as _};

use crate::support::store::{Place, raw, settling, tenant};

/// However many names are made up, so many rows stand in for them, and for the rows beside.
#[tokio::test(flavor = "multi_thread")]
async fn sign_ins_under_names_that_are_nobodys_are_settled_at_so_many_rows() {
    let place = Place::new();
    let store = place.open().await;
    for number in 0..1000_u16 {
        let (of, beside) = (TriesOf::Nobody(number % 64), number % 64 + 64);
        let at = Settling { of, beside, ..settling(Failure::Both(Chance::of(10, 6))) };
        assert_eq!(store.settle(&at, AuditOnOutcome::default()).await.unwrap(), Settled::Refused);
    }
    let mut connection = raw(&place.database()).await;
    let row = connection.fetch_one("SELECT COUNT(*) AS rows, MAX(length(tries)) AS longest FROM tries").await.unwrap();
    assert_eq!(row.get::<i64, _>("rows"), 128);
    assert!(row.get::<i64, _>("longest") < 512 && PLACES_OF_NOBODY == 4096);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_up_what_is_unknown_writes_nothing() {
    let place = Place::new();
    let store = place.open().await;
    let mut connection = raw(&place.database()).await;
    let version = async |connection: &mut sqlx::SqliteConnection| {
        connection.fetch_one("PRAGMA data_version").await.unwrap().get::<i64, _>(0)
    };
    let before = version(&mut connection).await;
    for index in 0..1000 {
        assert_eq!(store.user_by_name(&tenant(), &format!("made-up-{index}")).await.unwrap(), None);
    }
    assert_eq!(version(&mut connection).await, before);
    store.close().await;
}
