//! What the store's tests run as processes of their own: one that is killed, and two whose disk takes no more. The first
//! argument says which, the second where the database is. A child that finds fault panics.

#![expect(clippy::unwrap_used, reason = "a child that can't go on says so by panicking")]

#[path = "families.rs"]
mod families;
#[expect(dead_code, reason = "what the parents use of it")]
#[path = "../../support/store.rs"]
mod store;

use std::path::PathBuf;
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signet_core::audit::Event;
use signet_core::keys::HsmName;
use signet_core::secret::SecretHash;
use signet_store::{
    AuditLog as _, AuditOnOutcome, EndReason, Grants as _, Membership as _, RotateOutcome, StoreError, StoreFailure,
    Users as _,
};
use signet_store_sql::SqlStore;

use self::families::{FAMILIES, LAST, family_id, token};
use self::store::{ManualClock, NOW, draft, granted, now, options, tenant, user, verify};
use store::{OwnChain as _, client, grant, keyed, node};

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, database] = arguments.as_slice() else { panic!("store-child WHAT DATABASE: {arguments:?}") };
    let database = PathBuf::from(database);
    match what.as_str() {
        "rotate-until-killed" => rotate_until_killed(database).await,
        "write-to-a-limited-file" => write_to_a_limited_file(database).await,
        "fill-the-file-system" => fill_the_file_system(database).await,
        _ => panic!("store-child knows no {what}"),
    }
}

fn told(what: &str) -> AuditOnOutcome {
    AuditOnOutcome::applied(draft(Event::TokenRefreshed).detail(what))
}

/// Rotates families, and says of each rotation that it was acknowledged.
async fn rotate_until_killed(database: PathBuf) {
    let store = keyed(signet_store_sqlite::open(options(database), node(), ManualClock::at(NOW)).await.unwrap());
    let families: Vec<_> =
        (0..FAMILIES).map(|family| tokio::spawn(rotate_family(Arc::clone(&store), family))).collect();
    for family in families {
        family.await.unwrap();
    }
}

async fn rotate_family(store: Arc<SqlStore>, family: usize) {
    let grant = store.grant(&tenant(), &family_id(family)).await.unwrap().unwrap();
    for generation in 1..LAST {
        let hsm = HsmName::new("primary");
        let (spent, successor) = (token(family, generation - 1), token(family, generation));
        let told = told(&format!("{family}-{generation}"));
        let outcome = store.rotate(&grant, &spent, &successor, Some(&hsm), now(), told).await.unwrap();
        assert_eq!(outcome, RotateOutcome::Rotated);
        println!("acknowledged {family} {generation}");
    }
    let ended = told(&format!("{family}-ended"));
    assert!(store.end_grant(&tenant(), &family_id(family), EndReason::Revoked, now(), ended).await.unwrap());
    println!("acknowledged {family} {LAST}");
}

fn is_unavailable(error: &StoreError) -> bool {
    matches!(error.failure, StoreFailure::Unavailable(_))
}

async fn rotate(store: &SqlStore) -> Result<RotateOutcome, StoreError> {
    let told = AuditOnOutcome::applied(draft(Event::TokenRefreshed));
    let (spent, successor) = (SecretHash::of("r0"), SecretHash::of("r1"));
    let family = grant("g", &user("alice"), &client("app"));
    store.rotate(&family, &spent, &successor, Some(&HsmName::new("primary")), now(), told).await
}

fn limit_files_to(bytes: Option<u64>) {
    let Rlimit { maximum, .. } = getrlimit(Resource::Fsize);
    setrlimit(Resource::Fsize, Rlimit { current: bytes.or(maximum), maximum }).unwrap();
}

/// Limits what its process may write, and is denied everything until the limit is lifted.
async fn write_to_a_limited_file(database: PathBuf) {
    let store =
        keyed(signet_store_sqlite::open(options(database.clone()), node(), ManualClock::at(NOW)).await.unwrap());
    granted(store.as_ref()).await;
    let log = database.with_extension("db-wal");
    limit_files_to(Some(std::fs::metadata(log).unwrap().len() + 2000));

    let before = store.head().await.unwrap();
    assert!(is_unavailable(&rotate(&store).await.unwrap_err()));
    assert!(is_unavailable(&store.append(vec![draft(Event::SignIn)]).await.unwrap_err()));
    assert!(is_unavailable(&store.probe(now()).await.unwrap_err()));
    assert!(is_unavailable(&store.add_user(&user("bob"), vec![]).await.unwrap_err()));
    assert_eq!(store.head().await.unwrap(), before, "no record");
    let kept = store.refresh_token(&tenant(), &SecretHash::of("r0")).await.unwrap().unwrap();
    assert_eq!((kept.spent_at, kept.live_generation), (None, 0), "no token");

    limit_files_to(None);
    assert_eq!(rotate(&store).await.unwrap(), RotateOutcome::Rotated);
    assert_eq!(verify(store.as_ref()).await.unwrap().head.sequence, before.sequence + 1);
    store.close().await;
}

/// Fills the file system that the database is on, and is denied everything until there is room.
async fn fill_the_file_system(database: PathBuf) {
    let filler = database.with_extension("filler");
    std::fs::write(&filler, vec![0; 300_000]).unwrap();
    let store = keyed(signet_store_sqlite::open(options(database), node(), ManualClock::at(NOW)).await.unwrap());
    granted(store.as_ref()).await;
    let mut told = 0;
    let full = loop {
        match store.append(vec![draft(Event::SignIn).detail("x".repeat(1000))]).await {
            Ok(_) => told += 1,
            Err(error) => break error,
        }
        assert!(told < 10_000, "it never filled up");
    };
    assert!(full.to_string().contains("the disk is full: free some space"), "{full}");
    assert!(is_unavailable(&rotate(&store).await.unwrap_err()));
    assert_eq!(verify(store.as_ref()).await.unwrap().head.sequence, told, "what was acknowledged, and no more");
    std::fs::remove_file(filler).unwrap();
    assert_eq!(rotate(&store).await.unwrap(), RotateOutcome::Rotated);
    assert_eq!(verify(store.as_ref()).await.unwrap().head.sequence, told + 1);
    store.close().await;
}
