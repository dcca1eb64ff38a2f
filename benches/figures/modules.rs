//! What the way through a worker costs on each make, beside the bare module in the same run.

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
fn by_bare_module(config: &HsmConfig, threads: u32) -> f64 {
    let PinSource::File(pin) = &config.pin else { unreachable!() };
    let output = Command::new(std::env::current_exe().unwrap())
        .arg("bare-module")
        .args([&config.module, pin])
        .arg(threads.to_string())
        .envs(config.environment.clone())
        .output()
        .unwrap();
    let (rate, faults) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    rate.trim().parse().unwrap_or_else(|error| panic!("{error}: {rate}{faults}"))
}

/// What that process does: prints the signatures a second.
pub(crate) fn bare(module: &str, pin_file: &str, threads: u32) {
    let pin = std::fs::read_to_string(pin_file).unwrap();
    let module = Pkcs11::new(module).unwrap();
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
    println!("{}", f64::from(total) / MEASURED.as_secs_f64());
}

/// Prints the table of docs/guides/hsm-guide.md.
pub(crate) async fn measure() {
    println!("| module | workers | sessions of each | through the workers | bare, a thread for each session | ratio |");
    for make in [Make::SoftHsm, Make::Kryoptic, Make::P11Kit, Make::Tpm2] {
        let token = make.token();
        for (workers, sessions) in [(1, 1), (1, 2), (1, 4), (2, 1)] {
            let mut config = token.config();
            (config.workers, config.sessions) = (workers, sessions);
            let through = through(&token, config.clone()).await;
            let bare = by_bare_module(&config, workers * sessions);
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
