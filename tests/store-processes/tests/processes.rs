//! The store as processes of their own meet it: one that is killed with no chance to tidy up loses nothing that it
//! acknowledged, and revives nothing; one whose disk takes no more tells nothing and keeps nothing.

#![expect(clippy::unwrap_used, reason = "a test that can't go on says so by panicking")]

#[path = "../src/families.rs"]
mod families;
#[path = "../../support/skipped.rs"]
mod skipped;
#[expect(dead_code, reason = "what the child uses of it")]
#[path = "../../support/store.rs"]
mod store;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use signet_store::{Clients as _, GrantState, Grants as _, Users as _};
use signet_store_sql::SqlStore;

use self::families::{FAMILIES, LAST, family_id, token};
use self::skipped::skipped;
use self::store::{Place, client, grant, tenant, user, verify};
use store::OwnChain as _;

/// The program that is run.
const CHILD: &str = env!("CARGO_BIN_EXE_store-child");
/// When the parent kills: after so many acknowledgements.
const KILLED_AFTER: [usize; 4] = [1, 40, 333, 900];

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
    let mut child =
        Command::new(CHILD).arg("rotate-until-killed").arg(place.database()).stdout(Stdio::piped()).spawn().unwrap();
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

async fn check(store: &SqlStore, acknowledged: &Acknowledged) {
    verify(store).await.unwrap();
    let records = store.own_records(1, 100_000).await.unwrap();
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

/// A limit on the size of a file makes each write beyond it fail as a disk's does. It holds for a whole process, which
/// ignores the signal that comes with it.
#[test]
fn a_disk_that_takes_no_more_denies_and_recovers() {
    let place = Place::new();
    let mut command = Command::new("sh");
    command.args(["-c", r#"trap "" XFSZ; exec "$0" "$@""#, CHILD, "write-to-a-limited-file"]);
    ends_well(command.arg(place.database()));
}

/// A file system of one megabyte, which fills up.
#[test]
fn a_full_file_system_denies_and_recovers() {
    let unshare = ["--map-root-user", "--mount"];
    if !Command::new("unshare").args(unshare).arg("true").status().is_ok_and(|status| status.success()) {
        return skipped("nobody but the system's root can mount a disk here");
    }
    let place = Place::new();
    let mut command = Command::new("unshare");
    command.args(unshare).args(["sh", "-c", r#"mount -t tmpfs -o size=1m none "$0" && exec "$@""#]);
    ends_well(command.arg(place.folder()).args([CHILD, "fill-the-file-system"]).arg(place.database()));
}

fn ends_well(command: &mut Command) {
    let ended = command.output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}
