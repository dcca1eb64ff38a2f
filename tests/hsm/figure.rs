//! What the way through a worker costs, beside the bare module in the same run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass};
use cryptoki::session::UserType;
use signet::jose::Algorithm;
use signet::keys::Signer as _;

use crate::support::hsm::{SoftToken, pair, probe, started};

const MEASURED: Duration = Duration::from_secs(3);
const CALLERS: usize = 64;

/// Signatures a second by the bare module, one session a thread, on a session copy as the worker does it. The module
/// reads its configuration from this process's environment, so that this runs in a process of its own.
fn bare(token: &SoftToken, threads: usize) -> f64 {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "hsm::figure::bare_module", "--nocapture"])
        .env("SOFTHSM2_CONF", token.configuration())
        .env("FIGURE", format!("{}\n{}\n{threads}", token.module().display(), token.pin()))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.split("RATE=").nth(1)).unwrap_or_else(|| panic!("{text}"));
    line.trim().parse().unwrap()
}

#[test]
#[ignore = "run by the figure below, in a process of its own"]
fn bare_module() {
    let Ok(figure) = std::env::var("FIGURE") else { return };
    let parts: Vec<&str> = figure.lines().collect();
    let threads: usize = parts[2].parse().unwrap();
    let module = Pkcs11::new(parts[0]).unwrap();
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    let slot = module.get_slots_with_initialized_token().unwrap()[0];
    let anchor = module.open_ro_session(slot).unwrap();
    anchor.login(UserType::User, Some(&parts[1].to_owned().into())).unwrap();
    let signers: Vec<_> = (0..threads)
        .map(|_| {
            let session = module.open_ro_session(slot).unwrap();
            std::thread::spawn(move || {
                let key = session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)]).unwrap()[0];
                let key = session.copy_object(key, &[Attribute::Token(false)]).unwrap();
                let until = Instant::now() + MEASURED;
                let mut count = 0_u32;
                while Instant::now() < until {
                    session.sign(&Mechanism::Ecdsa, key, &[7; 32]).unwrap();
                    count += 1;
                }
                count
            })
        })
        .collect();
    let total: u32 = signers.into_iter().map(|signer| signer.join().unwrap()).sum();
    println!("RATE={}", f64::from(total) / MEASURED.as_secs_f64());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: cargo test --release -- --ignored --nocapture hsm::figure::through"]
async fn through_the_group_beside_the_bare_module() {
    for (workers, sessions) in [(1, 1), (1, 2), (2, 1)] {
        let token = SoftToken::new();
        let mut config = token.config();
        (config.workers, config.sessions) = (workers, sessions);
        let (group, _events) = started(config).await;
        let key = Arc::new(pair(&group, Algorithm::Es256).await);
        tokio::time::sleep(Duration::from_millis(500)).await;
        let until = Instant::now() + MEASURED;
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                let (group, key) = (Arc::clone(&group), Arc::clone(&key));
                tokio::spawn(async move {
                    let mut count = 0_u32;
                    while Instant::now() < until {
                        // Not checked: what is measured is the way there and back.
                        let _unchecked = group.sign(&key, Algorithm::Es256, probe(&key)).await.unwrap();
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        let mut total = 0;
        for caller in callers {
            total += caller.await.unwrap();
        }
        group.shutdown().await;
        let through = f64::from(total) / MEASURED.as_secs_f64();
        let threads = usize::try_from(workers * sessions).unwrap();
        let bare = bare(&token, threads);
        println!("{workers} workers x {sessions} sessions: {through:.0} a second through the group, {bare:.0} bare");
    }
}
