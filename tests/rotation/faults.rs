//! Rotation meets what goes wrong: a process that dies between HSM and store, a token that is full, keys that are gone.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::{cka_id, in_hsm, in_stage, quick, ring, told, wait_long};
use crate::support::application::{ALL_GRANTS, Application};
use crate::support::caller::Caller;
use crate::support::commands::text;
use crate::support::fault::FaultModule;

/// Half of a pair's making: it is in the HSM, and the process died before the store had it.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_making_was_cut_short_is_told_of_and_removed() {
    let deployment = Application::new(&quick("never"));
    let id = "0102030405060708090a0b0c0d0e0f10";
    deployment.hsm_token().pkcs11_tool(&["--keypairgen", "--key-type", "EC:prime256v1", "--id", id, "--sensitive"]);
    // Somebody else's key, of a like label, is left alone.
    let foreign = "aa02030405060708090a0b0c0d0e0f10";
    let label = "signet/default/token_signing";
    deployment.hsm_token().pkcs11_tool(&[
        "--keypairgen",
        "--key-type",
        "EC:prime256v1",
        "--id",
        foreign,
        "--label",
        label,
    ]);
    let announce = |age_ms: i64| {
        format!(
            "INSERT INTO announced_keys (cka_id, tenant, hsm, purpose, algorithm, announced_at) VALUES (x'{id}', 'default', \
             'primary', 'token_signing', 'ES256', unixepoch() * 1000 - {age_ms})"
        )
    };
    deployment.sql(&announce(0));
    let unfinished = ring(&deployment).into_iter().find(|key| key["state"] == "unfinished").unwrap();
    assert!(text(&unfinished, "what_follows").contains(id), "{unfinished}");
    let server = deployment.serve();
    // A young one may be another process's that is about to finish.
    let holder = || (!deployment.sql("SELECT holder FROM leases").is_empty()).then_some(());
    tokio::task::block_in_place(|| wait_long("the lease", holder));
    assert!(in_hsm(&deployment).contains(id));
    deployment.sql("DELETE FROM announced_keys");
    deployment.sql(&announce(601_000));
    tokio::task::block_in_place(|| wait_long("its removal", || (!in_hsm(&deployment).contains(id)).then_some(())));
    assert!(in_hsm(&deployment).contains(foreign));
    tokio::task::block_in_place(|| {
        wait_long("its record", || in_stage(&deployment, "unfinished").is_empty().then_some(()))
    });
    server.stop();
    assert!(told(&deployment, "key.destroyed").iter().any(|record| record["reason"] == "left_behind"));
}

/// The process died after the key left the JWKS, before or after the HSM destroyed it: either is finished by the next.
#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_key_is_destroyed_by_whoever_comes_next() {
    let deployment = Application::new(&quick("never"));
    let mut made = Vec::new();
    for _ in 0..2 {
        made.push(text(&deployment.json(&["key", "generate"]), "kid"));
    }
    for kid in &made {
        deployment.sql(&format!("UPDATE keys SET state = 'withdrawn', end_reason = 'expired' WHERE key_id = '{kid}'"));
    }
    let ids: Vec<String> = made.iter().map(|kid| cka_id(&deployment, kid)).collect();
    for kind in ["privkey", "pubkey"] {
        deployment.hsm_token().pkcs11_tool(&["--delete-object", "--type", kind, "--id", &ids[0]]);
    }
    let server = deployment.serve();
    tokio::task::block_in_place(|| {
        wait_long("both ends", || (in_stage(&deployment, "destroyed").len() == 2).then_some(()))
    });
    assert!(!in_hsm(&deployment).contains(&ids[1]));
    server.stop();
}

/// A token that shows less than it holds is not one in which to destroy anything.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_destroyed_while_an_active_key_is_missing() {
    let deployment = Application::new(&quick("never"));
    let spare = text(&deployment.json(&["key", "generate"]), "kid");
    let spare_id = cka_id(&deployment, &spare);
    let server = deployment.serve();
    let audit = deployment.json(&["key", "list"]);
    let audit = audit.as_array().unwrap().iter().find(|key| key["purpose"] == "audit_signing").unwrap().clone();
    let audit_id = cka_id(&deployment, &text(&audit, "kid"));
    deployment.hsm_token().pkcs11_tool(&["--delete-object", "--type", "privkey", "--id", &audit_id]);
    let withdrawn = "UPDATE keys SET state = 'withdrawn', end_reason = 'expired'";
    deployment.sql(&format!("{withdrawn} WHERE key_id = '{spare}'"));
    let alarms = || told(&deployment, "key.rotated");
    let alarm = tokio::task::block_in_place(|| wait_long("the alarm", || alarms().into_iter().next()));
    assert_eq!((&alarm["outcome"], &alarm["reason"]), (&"failed".into(), &"key_missing".into()), "{alarm}");
    assert!(in_hsm(&deployment).contains(&spare_id));
    assert_eq!(in_stage(&deployment, "withdrawn"), [spare]);
    server.stop();
}

/// A next key that its HSM token does not have never signs: it is withdrawn, and another one is made.
#[tokio::test(flavor = "multi_thread")]
async fn a_next_key_that_is_lost_never_signs() {
    let deployment = Application::new(&quick("3s"));
    let credentials = deployment.add_client("app", ALL_GRANTS, "read write");
    let next = text(&deployment.json(&["key", "generate"]), "kid");
    let id = cka_id(&deployment, &next);
    deployment.hsm_token().pkcs11_tool(&["--delete-object", "--type", "privkey", "--id", &id]);
    let server = deployment.serve();
    tokio::task::block_in_place(|| {
        wait_long("its end", || in_stage(&deployment, "destroyed").contains(&next).then_some(()))
    });
    tokio::task::block_in_place(|| wait_long("another one", || (ring(&deployment).len() > 2).then_some(())));
    assert_eq!(Caller::new(&server, &credentials).client_credentials().await.unwrap().status, 200);
    server.stop();
    let lost = ring(&deployment).into_iter().find(|key| text(key, "kid") == next).unwrap();
    assert_eq!(lost["end"], "lost");
}

/// No key can be made, and all that are there sign on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hazard_69_a_full_token_fails_the_rotation_and_the_old_key_signs_on() {
    let module = FaultModule::new();
    let deployment = Application::with_faults(&module, "sessions = 2\ndeadline = \"12s\"", &quick("3s"));
    let credentials = deployment.add_client("app", ALL_GRANTS, "read write");
    let first = in_stage(&deployment, "active").remove(0);
    let fill = || module.order("C_GenerateKeyPair nth 1 before return 0x31");
    fill();
    let server = deployment.serve();
    let caller = Caller::new(&server, &credentials);
    let worker = server.workers();
    // The key signs on while the rotation fails, and after.
    let mut alarm = None;
    for round in 0..400 {
        let answer = caller.client_credentials().await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        if round % 10 == 0 {
            alarm = tokio::task::block_in_place(|| told(&deployment, "key.rotated").into_iter().next());
        }
        if alarm.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let alarm = alarm.unwrap();
    assert_eq!((&alarm["outcome"], &alarm["reason"]), (&"failed".into(), &"hsm_token_full".into()), "{alarm}");
    assert_eq!(server.workers(), worker, "no worker is started again for it");
    let log = std::fs::read_to_string(deployment.file("server.log")).unwrap();
    assert!(log.contains("ALARM") && log.contains("CKR_DEVICE_MEMORY"), "{log}");
    // There is room again: the rotation is tried again by itself.
    tokio::task::block_in_place(|| {
        wait_long("the rotation", || (!in_stage(&deployment, "active").contains(&first)).then_some(()))
    });
    assert_eq!(caller.client_credentials().await.unwrap().status, 200);
    server.stop();

    // The same by hand, said at once.
    fill();
    deployment.run(&["key", "rotate"]).fails(1, &["CKR_DEVICE_MEMORY", "the old key signs on"]);
}

/// Killed again and again at whatever moment of its rotations: every key in the HSM is one that the store knows of, and the
/// ring goes on.
#[tokio::test(flavor = "multi_thread")]
async fn kill_9_at_any_moment_of_a_rotation_leaves_nothing_unknown() {
    let deployment = Application::new(&quick("2s"));
    let known = || -> BTreeSet<String> {
        let sql = "SELECT lower(hex(cka_id)) FROM keys WHERE public_jwk IS NOT NULL AND state <> 'destroyed'
            UNION SELECT lower(hex(cka_id)) FROM announced_keys";
        deployment.sql(sql).lines().map(str::to_owned).collect()
    };
    // The lease of a killed server lasts for seconds, and a key whose making it did not finish is waited for for minutes:
    // it is as if both had run out.
    let time_passes =
        || deployment.sql("DELETE FROM leases; UPDATE announced_keys SET announced_at = announced_at - 601000");
    for round in 0..8_u64 {
        time_passes();
        let mut server = deployment.serve();
        let lives = Duration::from_millis(150 + round * 370);
        tokio::time::sleep(lives).await;
        server.kill();
        // The worker ends when it reads that its server is gone; what it does until then counts.
        let unknown = || in_hsm(&deployment).difference(&known()).cloned().collect::<Vec<_>>();
        assert_eq!(unknown(), Vec::<String>::new(), "after {lives:?}");
    }
    time_passes();
    let before = ring(&deployment).len();
    let server = deployment.serve();
    // Beside a fault, the log of the last server says what it was busy with.
    let log = || {
        std::fs::read_to_string(deployment.file("server.log"))
            .unwrap()
            .lines()
            .rev()
            .take(30)
            .fold(String::new(), |later, line| format!("{line}\n{later}"))
    };
    tokio::task::block_in_place(|| {
        let until = Instant::now() + Duration::from_secs(180);
        while ring(&deployment).len() <= before + 1 {
            assert!(Instant::now() < until, "no two rotations: {:#?}\n{}", ring(&deployment), log());
            std::thread::sleep(Duration::from_millis(200));
        }
    });
    assert_eq!(in_stage(&deployment, "active").len(), 1);
    server.stop();
}
