//! A process that is killed with no chance to tidy up loses nothing that it acknowledged, and revives nothing.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;

use signet_core::audit::Event;
use signet_core::keys::HsmName;
use signet_core::secret::SecretHash;
use signet_store::{
    AuditLog as _, AuditOnOutcome, Clients as _, EndReason, GrantId, GrantState, Grants as _, RotateOutcome, Users as _,
};
use signet_store_sqlite::SqliteStore;

use crate::support::store::{ManualClock, NOW, Place, client, draft, grant, now, options, tenant, user, verify};

/// Where the child finds the database.
const DATABASE: &str = "SIGNET_TEST_DATABASE";
const FAMILIES: usize = 8;
/// After so many rotations a family is ended.
const LAST: i64 = 150;
/// When the parent kills: after so many acknowledgements.
const KILLED_AFTER: [usize; 4] = [1, 40, 333, 900];

fn token(family: usize, generation: i64) -> SecretHash {
    SecretHash::of(&format!("{family}-{generation}"))
}

fn family_id(family: usize) -> GrantId {
    GrantId::new(format!("family-{family}"))
}

fn told(what: &str) -> AuditOnOutcome {
    AuditOnOutcome::applied(draft(Event::TokenRefreshed).detail(what))
}

/// What the child printed.
#[derive(Default)]
struct Acknowledged {
    generations: BTreeMap<usize, i64>,
    ended: Vec<usize>,
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_and_nothing_is_revived_by_a_kill() {
    for killed_after in KILLED_AFTER {
        let place = Place::new();
        let store = place.open().await;
        store.add_user(&user("alice"), vec![]).await.unwrap();
        store.add_client(&client("app"), vec![]).await.unwrap();
        for family in 0..FAMILIES {
            let grant = grant(family_id(family).as_str(), &user("alice"), &client("app"));
            store.add_grant(&grant, &token(family, 0), 0, vec![]).await.unwrap();
        }
        store.close().await;
        let acknowledged = run_and_kill(&place, killed_after);
        let store = place.open().await;
        check(&store, &acknowledged).await;
        store.close().await;
    }
}

fn run_and_kill(place: &Place, killed_after: usize) -> Acknowledged {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::crash::rotates_until_killed", "--ignored", "--nocapture"])
        .env(DATABASE, place.database())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut acknowledged = Acknowledged::default();
    let mut count = 0;
    // What was printed before the kill was acknowledged, also where it is read after it.
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let Some((_, told)) = line.split_once("acknowledged ") else { continue };
        let mut numbers = told.split(' ').map(|number| number.parse::<i64>().unwrap());
        let (family, generation) = (numbers.next().unwrap() as usize, numbers.next().unwrap());
        if generation == LAST {
            acknowledged.ended.push(family);
        } else {
            acknowledged.generations.insert(family, generation);
        }
        count += 1;
        if count == killed_after {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(count >= killed_after, "the child ended by itself");
    acknowledged
}

async fn check(store: &SqliteStore, acknowledged: &Acknowledged) {
    verify(store).await.unwrap();
    let records = store.records(1, 100_000).await.unwrap();
    let recorded = |what: &str| records.iter().filter(|record| record.text.contains(&format!("\"{what}\""))).count();
    for family in 0..FAMILIES {
        let first = store.refresh_token(&tenant(), &token(family, 0)).await.unwrap().unwrap();
        let live = first.live_generation;
        assert!(live >= acknowledged.generations.get(&family).copied().unwrap_or(0));
        for generation in 0..=live {
            let lookup = store.refresh_token(&tenant(), &token(family, generation)).await.unwrap().unwrap();
            assert_eq!(lookup.spent_at.is_some(), generation < live, "a spent token stays spent");
            assert_eq!(recorded(&format!("{family}-{generation}")), usize::from(generation > 0));
        }
        let ended = first.grant.state != GrantState::Active;
        assert!(ended || !acknowledged.ended.contains(&family), "an ended family stays ended");
        assert_eq!(recorded(&format!("{family}-ended")), usize::from(ended));
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the child of the test above: it rotates until it is killed"]
async fn rotates_until_killed() {
    let database = std::env::var_os(DATABASE).expect("it is started by the test above");
    let store = SqliteStore::open(options(database.into()), ManualClock::at(NOW)).await.unwrap();
    let families: Vec<_> = (0..FAMILIES).map(|family| tokio::spawn(rotate(Arc::clone(&store), family))).collect();
    for family in families {
        family.await.unwrap();
    }
}

async fn rotate(store: Arc<SqliteStore>, family: usize) {
    for generation in 1..LAST {
        let hsm = HsmName::new("primary");
        let (spent, successor) = (token(family, generation - 1), token(family, generation));
        let told = told(&format!("{family}-{generation}"));
        let outcome = store.rotate(&tenant(), &spent, &successor, Some(&hsm), now(), told).await.unwrap();
        assert_eq!(outcome, RotateOutcome::Rotated);
        println!("acknowledged {family} {generation}");
    }
    let ended = told(&format!("{family}-ended"));
    assert!(store.end_grant(&tenant(), &family_id(family), EndReason::Revoked, now(), ended).await.unwrap());
    println!("acknowledged {family} {LAST}");
}
