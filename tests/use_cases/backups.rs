//! What is stated of a backup, and what is found of one that is not whole.

use std::collections::BTreeMap;

use signet_core::audit::RequestContext;
use signet_core::backup::{BackupReader, Closing, Header, Section, Statement, line};
use signet_core::keys::{HsmFailure, KeyPurpose};
use signet_jose::VerifyingKey;
use signet_store::Keys as _;
use signet_store_sql::backup::BackupOf;
use signet_store_sql::tables::TABLES;

use crate::custody::reconcile;
use crate::support::InProcess;
use crate::support::own_chain::{OwnChain as _, node};

async fn keys(app: &InProcess, purpose: KeyPurpose) -> Vec<VerifyingKey> {
    let keys = app.store.keys().await.unwrap().into_iter().filter(|key| key.purpose == purpose);
    keys.map(|key| VerifyingKey::new(key.public.unwrap())).collect()
}

/// A backup, as the command makes it.
async fn backup(app: &InProcess, id: &str) -> Vec<u8> {
    let issuer = app.issuer.settings.issuer.clone();
    let of = BackupOf { id: id.to_owned(), issuer, at: app.signet.now() };
    let mut file = Vec::new();
    let (header, written) = app.store.back_up(of, &mut file).await.unwrap();
    let (tables, hash, heads) = (written.tables, written.hash, written.heads);
    let context = RequestContext::default();
    let statement = app.signet.backups.sign_backup(&header, tables, hash, heads, &context).await.unwrap();
    file.extend(line(&Closing { statement }).unwrap());
    file
}

/// What a check says.
fn check(file: &[u8], keys: &[VerifyingKey]) -> Result<Statement, String> {
    BackupReader::new(file).verify(keys, &mut |_| ()).map(|(_, statement)| statement).map_err(|fault| fault.to_string())
}

fn lines(file: &[u8]) -> Vec<String> {
    String::from_utf8(file.to_vec()).unwrap().lines().map(str::to_owned).collect()
}

fn joined(lines: &[String]) -> Vec<u8> {
    lines.iter().flat_map(|line| format!("{line}\n").into_bytes()).collect()
}

/// The place of the first row of a table.
fn rows_of(lines: &[String], table: &str) -> usize {
    lines.iter().position(|line| line.starts_with(&format!("{{\"table\":\"{table}\""))).unwrap() + 1
}

async fn inhabited() -> InProcess {
    let app = InProcess::new().await;
    for name in ["ann", "bob"] {
        let person = app.person(name).await;
        app.session(&person).await;
    }
    app.client("app").await;
    app
}

#[tokio::test]
async fn a_backup_is_whole_by_a_statement_that_only_the_audit_key_signs() {
    let app = inhabited().await;
    let head = app.store.head().await.unwrap();
    let (file, audit) = (backup(&app, "one").await, keys(&app, KeyPurpose::AuditSigning).await);
    let statement = check(&file, &audit).unwrap();
    assert_eq!((statement.id.as_str(), &statement.issuer), ("one", &app.issuer.settings.issuer));
    assert_eq!(statement.heads, [(node(), head)], "up to the record before it");
    let rows: BTreeMap<&str, u64> = statement.tables.iter().map(|sum| (sum.table.as_str(), sum.rows)).collect();
    assert_eq!((rows["users"], rows["clients"], rows["audit_records"]), (2, 1, head.sequence.cast_unsigned()));
    assert_eq!(app.details("store.backed_up").await.len(), 1);
    assert!(reconcile(&app).await.accounts.iter().all(|account| account.is_well()), "its signature has its record");
    let other = keys(&app, KeyPurpose::TokenSigning).await;
    assert!(check(&file, &other).unwrap_err().contains("none of the audit keys"));
    app.hsms.fail_at("a", "sign", HsmFailure::Overloaded);
    let header = Header::new("two".to_owned(), String::new(), app.signet.now(), vec![]);
    let unsigned = app.signet.backups.sign_backup(&header, vec![], [0; 32], vec![], &RequestContext::default()).await;
    unsigned.unwrap_err();
    app.hsms.recover("a");
    app.signet.backups.can_sign().await.unwrap();
    app.hsms.go_away("a");
    app.signet.backups.can_sign().await.unwrap_err();
}

#[tokio::test]
async fn what_is_used_once_or_ends_is_in_no_backup() {
    let app = inhabited().await;
    let (file, audit) = (backup(&app, "one").await, keys(&app, KeyPurpose::AuditSigning).await);
    let mut tables = Vec::new();
    let mut visit = |section: Section<'_>| {
        if let Section::Table(header) = section {
            tables.push(header.table.clone());
        }
    };
    BackupReader::new(&*file).verify(&audit, &mut visit).unwrap();
    let expected: Vec<_> = TABLES.iter().filter(|table| table.is_in_backups()).map(|table| table.name).collect();
    assert_eq!(tables, expected);
    let guide = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/guides/backup.md")).unwrap();
    for table in TABLES.iter().filter(|table| !table.is_in_backups()) {
        assert!(guide.contains(&format!("`{}`", table.name)), "the guide does not say why {} is left out", table.name);
    }
    for left_out in ["sessions", "refresh_tokens", "recovery_codes", "otp_requests", "leases", "probe", "store_moves"] {
        assert!(!expected.contains(&left_out), "{left_out}");
    }
}

#[tokio::test]
async fn a_shortened_mixed_reordered_or_altered_backup_is_refused_each_in_its_own_words() {
    let app = inhabited().await;
    let (file, audit) = (backup(&app, "one").await, keys(&app, KeyPurpose::AuditSigning).await);
    app.client("another").await;
    let later = backup(&app, "two").await;
    let (one, two) = (lines(&file), lines(&later));
    let last = one.len() - 1;
    let users = rows_of(&one, "users");
    let changed = |change: &dyn Fn(&mut Vec<String>)| {
        let mut lines = one.clone();
        change(&mut lines);
        check(&joined(&lines), &audit).unwrap_err()
    };
    let says = |text: String, words: &str| assert!(text.contains(words), "{words}: {text}");

    says(check(&file[..file.len() / 2], &audit).unwrap_err(), "shortened: it ends at line");
    says(check(&joined(&one[..last]), &audit).unwrap_err(), "without the signed statement");
    says(changed(&|lines| drop(lines.remove(users))), "shortened: the table users has 1 rows, and 2 were signed");
    let records = rows_of(&one, "audit_records");
    says(changed(&|lines| drop(lines.drain(records..last))), "shortened: the table audit_records has 0 rows");
    says(changed(&|lines| lines.swap(users, users + 1)), "reordered: line");
    says(changed(&|lines| lines.insert(users, one[users].clone())), "reordered: line");
    says(
        changed(&|lines| lines[users] = lines[users].replace("\"ann\"", "\"eve\"")),
        "altered: the rows of the table users",
    );
    let twice = |lines: &mut Vec<String>| {
        lines[users + 1] = lines[users + 1].replacen("[\"default\",\"", "[\"default\",\"z", 1)
    };
    says(changed(&twice), "altered: the rows of the table users");
    let added = |lines: &mut Vec<String>| {
        lines.insert(users + 2, one[users + 1].replacen("[\"default\",\"", "[\"default\",\"z", 1))
    };
    says(changed(&added), "rows were added to it: the table users has 3 rows, and 2 were signed");
    // A table of the later one, as it is and with the name of this one.
    let clients = (rows_of(&one, "clients") - 1, rows_of(&two, "clients") - 1);
    says(changed(&|lines| lines[clients.0] = two[clients.1].clone()), "mixed: line");
    says(
        changed(&|lines| {
            drop(lines.splice(clients.0 + 1..=clients.0 + 1, two[clients.1 + 1..clients.1 + 3].iter().cloned()))
        }),
        "rows were added",
    );
    says(changed(&|lines| lines[last] = two.last().unwrap().clone()), "mixed: line");
    says(changed(&|lines| lines[0] = lines[0].replace("\"at\":\"", "\"at\":\"1")), "what stands beside the rows");
    says(changed(&|lines| lines.push("[]".to_owned())), "goes on after the statement");
    says(changed(&|lines| lines[0] = lines[0].replace("\"signet_backup\":1", "\"signet_backup\":9")), "format 9");
    says(check(b"PK\x03\x04", &audit).unwrap_err(), "no backup of Signet's");
    says(check(b"", &audit).unwrap_err(), "no backup of Signet's");
    check(&file, &audit).unwrap();
    check(&later, &audit).unwrap();
}

#[tokio::test]
async fn a_statement_and_a_checkpoint_can_not_be_taken_for_each_other() {
    let app = inhabited().await;
    let (file, audit) = (backup(&app, "one").await, keys(&app, KeyPurpose::AuditSigning).await);
    let checkpoint = app.signet.checkpoints.checkpoint().await.unwrap().unwrap();
    let mut closed_otherwise = lines(&file);
    *closed_otherwise.last_mut().unwrap() = serde_json::json!({ "statement": checkpoint.jws }).to_string();
    let refused = check(&joined(&closed_otherwise), &audit).unwrap_err();
    assert!(refused.contains("another kind of signature"), "{refused}");
    let statement: Closing = serde_json::from_str(lines(&file).last().unwrap()).unwrap();
    let forged = signet_core::audit::Checkpoint { jws: statement.statement, ..checkpoint };
    assert!(signet_core::audit::chain::open_checkpoint(&forged, &audit).is_err());
    // One whose signature is another one.
    let mut forged = lines(&file);
    let (signed, signature) = forged.last().unwrap().rsplit_once('.').unwrap();
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    let changed = format!("{signed}.{first}{}", &signature[1..]);
    *forged.last_mut().unwrap() = changed;
    let refused = check(&joined(&forged), &audit).unwrap_err();
    assert!(refused.contains("its statement is forged"), "{refused}");
}
