//! What the way through a worker costs on each make, beside the bare module in the same run.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass};
use cryptoki::session::{Session, UserType};
use signet_core::keys::Signer as _;
use signet_hsm::{HsmConfig, PinSource};
use signet_jose::Algorithm;

use crate::support::hsm::{pair, probe};
use crate::support::modules::Make;

const MEASURED: Duration = Duration::from_secs(2);
const CALLERS: usize = 32;

/// ES256 by the bare module, one session a thread. A module reads its configuration from the environment, so that this
/// runs in a process of its own.
fn bare(config: &HsmConfig, threads: u32) -> f64 {
    let PinSource::File(pin) = &config.pin else { unreachable!() };
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "hsm::modules::figure::bare_module", "--nocapture"])
        .envs(config.environment.clone())
        .env("FIGURE", format!("{}\n{}\n{threads}", config.module.display(), pin.display()))
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
    let (pin, threads) = (std::fs::read_to_string(PathBuf::from(parts[1])).unwrap(), parts[2].parse::<u32>().unwrap());
    let module = Pkcs11::new(parts[0]).unwrap();
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    let slots = module.get_slots_with_token().unwrap();
    let is_ours = |slot: &&_| module.get_token_info(**slot).is_ok_and(|info| info.label().trim_end() == "signet");
    let slot = *slots.iter().find(is_ours).unwrap();
    let anchor = module.open_ro_session(slot).unwrap();
    anchor.login(UserType::User, Some(&pin.trim().to_owned().into())).unwrap();
    let sign = |session: Session| {
        let key = session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)]).unwrap()[0];
        let key = session.copy_object(key, &[Attribute::Token(false)]).unwrap_or(key);
        let until = Instant::now() + MEASURED;
        let mut count = 0_u32;
        while Instant::now() < until {
            session.sign(&Mechanism::Ecdsa, key, &[7; 32]).unwrap();
            count += 1;
        }
        count
    };
    let sessions: Vec<_> = (0..threads).map(|_| module.open_ro_session(slot).unwrap()).collect();
    let signers: Vec<_> = sessions.into_iter().map(|session| std::thread::spawn(move || sign(session))).collect();
    let total: u32 = signers.into_iter().map(|signer| signer.join().unwrap()).sum();
    println!("RATE={}", f64::from(total) / MEASURED.as_secs_f64());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: cargo test --release --test suite -- --ignored --nocapture hsm::modules::figure::through"]
async fn through_the_worker_beside_the_bare_module() {
    println!("| module | workers | sessions of each | through the workers | bare, a thread for each session | ratio |");
    for make in [Make::SoftHsm, Make::Kryoptic, Make::P11Kit, Make::Tpm2] {
        let token = make.token();
        for (workers, sessions) in [(1, 1), (1, 2), (1, 4), (2, 1)] {
            let mut config = token.config();
            (config.workers, config.sessions) = (workers, sessions);
            let through = through(&token, config.clone()).await;
            let bare = bare(&config, workers * sessions);
            println!("| {make:?} | {workers} | {sessions} | {through:.0} | {bare:.0} | {:.2} |", through / bare);
        }
    }
}

async fn through(token: &crate::support::modules::ModuleToken, config: HsmConfig) -> f64 {
    let group = token.start(config);
    group.ready(Duration::from_secs(20)).await.unwrap();
    let key = Arc::new(pair(&group, Algorithm::Es256).await);
    drop(group.sign(&key, Algorithm::Es256, probe(&key)).await.unwrap());
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
    f64::from(total) / MEASURED.as_secs_f64()
}
