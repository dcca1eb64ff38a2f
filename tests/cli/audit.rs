//! `signet audit`: what was changed, removed, reordered or cut off is found, in the store and in an export.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};

use crate::support::application::{ALL_GRANTS, Application};
use crate::support::hsm::PROGRAM;
use crate::support::process::feed;

/// A deployment with some history, all of it covered by checkpoints.
fn with_history() -> Arc<Application> {
    let deployment = Application::new("");
    for name in ["one", "two", "three"] {
        deployment.add_client(name, ALL_GRANTS, "read write");
    }
    deployment.add_user("ann", "reader");
    deployment
}

fn head(deployment: &Application) -> i64 {
    deployment.sql("SELECT MAX(sequence) FROM audit_records").parse().unwrap()
}

/// Whoever can write to the database makes the head fit to what is left.
const FIX_HEAD: &str = "UPDATE nodes SET (head_sequence, head_hash) =
    (SELECT sequence, hash FROM audit_records ORDER BY sequence DESC LIMIT 1);";

#[test]
fn promise_3_every_kind_of_tampering_with_the_store_is_found() {
    let deployment = with_history();
    let (database, last) = (deployment.file("signet.db"), head(&deployment));
    let whole = fs::read(&database).unwrap();
    let intact = deployment.json(&["audit", "verify"]);
    assert_eq!(
        (&intact["intact"], &intact["records"], &intact["signed_up_to"]),
        (&true.into(), &last.into(), &last.into())
    );
    for (what, sql) in [
        (
            "changed text",
            "UPDATE audit_records SET text = replace(text, 'two', 'six') WHERE text LIKE '%: two%'".to_owned(),
        ),
        ("changed hash", "UPDATE audit_records SET hash = randomblob(32) WHERE sequence = 3".to_owned()),
        ("removed row", "DELETE FROM audit_records WHERE sequence = 4".to_owned()),
        (
            "removed and renumbered",
            format!(
                "DELETE FROM audit_records WHERE sequence = 4;
                 UPDATE audit_records SET sequence = -sequence WHERE sequence > 4;
                 UPDATE audit_records SET sequence = -sequence - 1 WHERE sequence < 0; {FIX_HEAD}"
            ),
        ),
        (
            "swapped rows",
            "UPDATE audit_records SET sequence = -9 - sequence WHERE sequence IN (4, 5);
             UPDATE audit_records SET sequence = CASE sequence WHEN -13 THEN 5 ELSE 4 END WHERE sequence < 0"
                .to_owned(),
        ),
        ("cut end", format!("DELETE FROM audit_records WHERE sequence > {}", last - 2)),
        ("cut end with the head fixed", format!("DELETE FROM audit_records WHERE sequence > {}; {FIX_HEAD}", last - 2)),
        (
            "cut end with head and checkpoints fixed",
            format!(
                "DELETE FROM audit_records WHERE sequence > {cut}; DELETE FROM audit_checkpoints WHERE sequence > {cut};
                 {FIX_HEAD}",
                cut = last - 2
            ),
        ),
        ("everything gone", "DELETE FROM audit_records; DELETE FROM audit_checkpoints".to_owned()),
        ("checkpoint changed", "UPDATE audit_checkpoints SET jws = replace(jws, '.', '.A')".to_owned()),
        ("checkpoint moved", format!("UPDATE audit_checkpoints SET sequence = 2 WHERE sequence = {last}")),
    ] {
        assert_ne!(deployment.sql(&format!("{sql}; SELECT total_changes();")), "0", "{what}");
        let ran = deployment.run(&["audit", "verify"]);
        assert_eq!(ran.code, Some(1), "{what}: {ran:?}");
        assert!(!ran.stderr.is_empty() && !ran.stderr.contains("panicked"), "{what}: {ran:?}");
        fs::write(&database, &whole).unwrap();
    }
    assert_eq!(deployment.json(&["audit", "verify"])["intact"], true);
}

/// Hashes alone anybody can compute anew: it is the signed checkpoints that hold.
#[test]
fn promise_3_a_chain_that_was_computed_anew_is_found() {
    let deployment = with_history();
    let texts = deployment.sql("SELECT text FROM audit_records ORDER BY sequence");
    let mut hash = vec![0; 32];
    let mut sql = String::new();
    for (index, text) in texts.lines().enumerate() {
        let text = text.replace(": two", ": six");
        hash = digest(&SHA256, &[hash.as_slice(), text.as_bytes()].concat()).as_ref().to_vec();
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let text = text.replace('\'', "''");
        sql.push_str(&format!("UPDATE audit_records SET text='{text}', hash=x'{hex}' WHERE sequence={};", index + 1));
    }
    deployment.sql(&format!("{sql} {FIX_HEAD}"));
    deployment.run(&["audit", "verify"]).fails(1, &["checkpoint"]);
    // With the checkpoints gone as well the links hold, and the anchor outside of the database does not.
    deployment.sql("DELETE FROM audit_checkpoints");
    deployment.run(&["audit", "verify"]).fails(1, &["checkpoint"]);
}

#[test]
fn another_or_no_audit_key_verifies_nothing() {
    let (deployment, other) = (with_history(), Application::with_own_keys());
    let key = other.file("audit.jwk");
    deployment.run(&["audit", "verify", "--key", key.to_str().unwrap()]).fails(1, &["checkpoint"]);
    deployment.run(&["audit", "verify", "--key", "/nowhere.jwk"]).fails(1, &["/nowhere.jwk", "--key"]);
    fs::write(deployment.file("audit.jwk"), "{}").unwrap();
    deployment.run(&["audit", "verify"]).fails(1, &["audit.jwk", "public key"]);
    fs::remove_file(deployment.file("audit.jwk")).unwrap();
    deployment.run(&["audit", "verify"]).fails(1, &["audit.jwk", "--key"]);
    deployment.json(&["init"]);
    assert_eq!(deployment.json(&["audit", "verify"])["intact"], true, "init writes it anew");
}

/// Elsewhere, with the public key and nothing else.
fn verify_file(deployment: &Application, file: &str) -> crate::support::process::Ran {
    let elsewhere = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(PROGRAM);
    command.args(["--json", "audit", "verify", "--file"]).arg(deployment.file(file));
    command.arg("--key").arg(deployment.file("audit.jwk")).env_remove("SIGNET_CONFIG").current_dir(elsewhere.path());
    feed(command, "")
}

#[test]
fn promise_3_an_export_is_verified_offline_and_a_cut_one_is_refused() {
    let deployment = with_history();
    let ran = deployment.run(&["audit", "export", "--output", "export.jsonl"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""), "{ran:?}");
    let whole = fs::read_to_string(deployment.file("export.jsonl")).unwrap();
    let mode = fs::metadata(deployment.file("export.jsonl")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "who signed in from where is for nobody else on the machine");
    assert_eq!(deployment.run(&["audit", "export"]).stdout, whole);
    assert_eq!(verify_file(&deployment, "export.jsonl").json()["records"], head(&deployment));
    let lines: Vec<&str> = whole.lines().collect();
    let without = |index: usize| [&lines[..index], &lines[index + 1..]].concat().join("\n");
    let swapped = || {
        let mut lines = lines.clone();
        lines.swap(1, 2);
        lines.join("\n")
    };
    let before_last = lines.len() - 1;
    for (what, text) in [
        ("its last line cut", lines[..before_last].join("\n")),
        ("half of it cut", lines[..lines.len() / 2].join("\n")),
        ("the last byte cut", whole.trim_end()[..whole.trim_end().len() - 1].to_owned()),
        ("its beginning cut", lines[1..].join("\n")),
        ("a line removed", without(3)),
        ("lines swapped", swapped()),
        ("a word changed", whole.replacen(": two", ": six", 1)),
        ("nothing", String::new()),
        ("no export", "hello\n".to_owned()),
    ] {
        assert_ne!(text, whole.trim_end(), "{what}");
        fs::write(deployment.file("tampered.jsonl"), text).unwrap();
        let ran = verify_file(&deployment, "tampered.jsonl");
        assert_eq!(ran.code, Some(1), "{what}: {ran:?}");
        assert!(!ran.stderr.contains("panicked"), "{ran:?}");
    }
    verify_file(&deployment, "nowhere.jsonl").fails(1, &["nowhere.jsonl"]);
    deployment.run(&["audit", "export", "--output", "/nowhere/export"]).fails(1, &["/nowhere/export"]);
}

#[test]
fn the_audit_log_is_verified_and_exported_while_the_server_runs() {
    let deployment = with_history();
    let server = deployment.serve();
    assert_eq!(deployment.json(&["audit", "verify"])["intact"], true);
    let ran = deployment.run(&["audit", "export", "--output", "export.jsonl"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(verify_file(&deployment, "export.jsonl").json()["intact"], true);
    server.stop();
}

/// An export that was cut can't end with a checkpoint from inside, because there is none.
#[test]
fn an_export_holds_one_checkpoint_and_tells_how_far_it_reaches() {
    let deployment = with_history();
    deployment.run(&["audit", "export", "--output", "older.jsonl"]);
    let covered = head(&deployment);
    let older = fs::read_to_string(deployment.file("older.jsonl")).unwrap();
    assert_eq!(older.matches(r#"{"checkpoint":"#).count(), 1);
    let signed = deployment.sql("SELECT COUNT(*) FROM audit_checkpoints").parse::<i64>().unwrap();
    assert!(signed > 1, "there were some that could have been written inside");
    deployment.add_user("bob", "reader");
    let now = head(&deployment);
    let verified = deployment.json(&["audit", "verify", "--file", "older.jsonl"]);
    assert_eq!((&verified["signed_up_to"], &verified["anchored_up_to"]), (&covered.into(), &now.into()));
    assert!(verified["signed_at"].as_str().unwrap().ends_with('Z'));
    let ran = deployment.run(&["audit", "verify", "--file", "older.jsonl"]);
    assert!(ran.stdout.contains(&format!("records 1 to {covered}, signed at ")), "{ran:?}");
    assert!(ran.stdout.contains(&format!("the anchor reaches record {now}")), "{ran:?}");
    let least = |sequence: i64| sequence.to_string();
    deployment.json(&["audit", "verify", "--file", "older.jsonl", "--at-least", &least(covered)]);
    let short = ["audit", "verify", "--file", "older.jsonl", "--at-least", &least(covered + 1)];
    deployment.run(&short).fails(1, &["--at-least"]);
    deployment.json(&["audit", "verify", "--at-least", &least(now)]);
    deployment.run(&["audit", "verify", "--at-least", &least(now + 1)]).fails(1, &["--at-least"]);
}

/// A chain that was rewritten to the same length, and an anchor that is gone, empty or garbled: no server starts, and no command makes
/// an anchor anew, until an operator has decided.
#[tokio::test]
async fn hazard_104_a_store_that_the_anchor_does_not_vouch_for_issues_nothing_until_somebody_decides() {
    let deployment = with_history();
    let (anchor, aside) = (deployment.file("audit.anchor"), deployment.file("kept"));
    let kept = fs::read_to_string(&anchor).unwrap();
    for content in [None, Some(""), Some("garbled\n"), Some("{}\n")] {
        fs::rename(&anchor, &aside).unwrap();
        if let Some(content) = content {
            fs::write(&anchor, content).unwrap();
        }
        deployment.run(&["serve"]).fails(1, &["the anchor", "audit.anchor", "signet restore --in-place"]);
        deployment.run(&["client", "add", &format!("after {content:?}"), "--grant", "client_credentials"]);
        assert_eq!(fs::read_to_string(&anchor).ok().as_deref(), content, "nothing vouches for what may be an old copy");
        fs::rename(&aside, &anchor).unwrap();
    }
    assert_eq!(fs::read_to_string(&anchor).unwrap(), kept);
    // With the anchor, the chain must go through what it holds.
    let (sequence, hash) = deployment
        .sql("SELECT sequence || ' ' || hex(hash) FROM audit_records WHERE sequence = (SELECT max(sequence) FROM audit_checkpoints)")
        .trim()
        .split_once(' ')
        .map(|(sequence, hash)| (sequence.to_owned(), hash.to_owned()))
        .unwrap();
    deployment.sql(&format!("UPDATE audit_records SET hash = zeroblob(32) WHERE sequence = {sequence}"));
    deployment
        .run(&["serve"])
        .fails(1, &["does not go through the checkpoint that the anchor holds", "signet restore"]);
    deployment.sql(&format!("UPDATE audit_records SET hash = x'{hash}' WHERE sequence = {sequence}"));
    deployment.serve().stop();
    // Where it is gone for good, a person decides, and what nobody can know the state of ends.
    fs::remove_file(&anchor).unwrap();
    let in_place = ["restore", "--in-place", "--why", "the anchor's disk is lost"];
    deployment.json(&in_place);
    deployment.run(&in_place).fails(1, &["nothing to decide"]);
    deployment.json(&["restore", "--ended", "nothing had ended"]);
    deployment.serve().stop();
    assert!(deployment.audit().await.iter().any(|record| record["event"] == "store.restored"));
}

/// A checkpoint beyond the head says that the chain was cut, whatever else was made to fit.
#[test]
fn a_checkpoint_beyond_the_head_is_found_without_the_anchor() {
    let deployment = with_history();
    fs::remove_file(deployment.file("audit.anchor")).unwrap();
    let cut = head(&deployment) - 2;
    deployment.sql(&format!("DELETE FROM audit_records WHERE sequence > {cut}; {FIX_HEAD}"));
    deployment.run(&["audit", "verify"]).fails(1, &["cut off"]);
}

#[test]
fn the_store_verifies_again_and_again_beside_a_busy_server() {
    let deployment = with_history();
    let server = deployment.serve();
    for name in ["n1", "n2", "n3", "n4"] {
        deployment.add_client(name, ALL_GRANTS, "read write");
        assert_eq!(deployment.json(&["audit", "verify"])["intact"], true);
    }
    server.stop();
}

/// An older copy of the database under the newer anchor is not opened at all.
#[test]
fn hazard_78_an_old_copy_of_the_store_is_refused() {
    let deployment = with_history();
    let old = fs::read(deployment.file("signet.db")).unwrap();
    deployment.add_user("bob", "reader");
    fs::write(deployment.file("signet.db"), old).unwrap();
    for arguments in [["serve"].as_slice(), &["user", "list"], &["audit", "export"], &["doctor"], &["init"]] {
        deployment.run(arguments).fails(1, &["an old copy of the store"]);
    }
    deployment.run(&["audit", "verify"]).fails(1, &["checkpoint"]);
}
