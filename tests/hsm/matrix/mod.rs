//! The fault matrix: return codes and behaviours, by the functions that a worker calls, before and after the real call.
//!
//! Each case has one fault happen to one request, and asserts what the asker gets, whether the worker stayed, that what
//! was released verifies, and that the token does its work again without anybody's help. [`expected`] says what is right;
//! it knows nothing of the product. A group of cases shares a token, so that a case that leaves something broken fails
//! the next one too.

mod expected;
mod finding;
mod keeping;
mod logging_in;
mod over_http;
mod signing;
mod soak;
mod starting;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use signet_core::keys::{
    HsmFailure, HsmKey, KeyPurpose, OtpHash, OtpSecretKind, RowBinding, SealedCopies, Signer as _, Vault as _,
};
use signet_core::secret::SecretBytes;
use signet_hsm::HsmGroup;
use signet_jose::{Algorithm, VerifyingKey};

use self::expected::Expected;
use crate::support::fault::FaultModule;
use crate::support::hsm::{Events, hsm, pair, probe, started, tenant, vault_keys};

/// By when a token does its work again after a fault; on a machine that is busy with other tests.
const RECOVERY: Duration = Duration::from_secs(5);

const DEADLINE: Duration = Duration::from_secs(5);

const SECRET: &[u8; 20] = b"twenty bytes of seed";
const AES_KEY: &[u8; 16] = b"sixteen bytes ..";

/// What is asked of the token in a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// A signature by a key whose handle is known.
    Sign,
    /// A signature by a key that must be found first.
    SignAnew,
    Seal,
    Open,
    Enclose,
    OtpHmac,
    DecryptBlock,
    Derive,
}

/// A token whose module fails on order, and what is needed to ask for anything.
struct Scene {
    module: FaultModule,
    group: Arc<HsmGroup>,
    _events: Events,
    key: HsmKey,
    row: RowBinding,
    sealed: SealedCopies,
    wrapped: SealedCopies,
    enclosed_aes: SealedCopies,
    results: Results,
}

/// What a group of cases showed.
#[derive(Default)]
struct Results {
    cases: u32,
    recoveries: BTreeMap<Expected, Vec<Duration>>,
}

impl Scene {
    async fn new(deadline: Duration) -> Self {
        let module = FaultModule::new();
        let mut config = module.config();
        (config.sessions, config.deadline) = (1, deadline);
        let (group, events) = started(config).await;
        let key = pair(&group, Algorithm::Es256).await;
        vault_keys(&group, &[KeyPurpose::Wrapping, KeyPurpose::Sealing, KeyPurpose::Binding]).await;
        let row = RowBinding::new(&tenant(), "factors", "a", "secret");
        let secret = SecretBytes::new(SECRET.to_vec());
        let sealed = group.seal(&row, &secret).await.unwrap();
        let wrapped = group.wrap(&row, OtpSecretKind::Hmac(OtpHash::Sha1), &secret).await.unwrap();
        let aes_key = SecretBytes::new(AES_KEY.to_vec());
        let enclosed_aes = group.wrap(&row, OtpSecretKind::Aes128, &aes_key).await.unwrap();
        let results = Results::default();
        let scene = Self { module, group, _events: events, key, row, sealed, wrapped, enclosed_aes, results };
        for asked in [Asked::Sign, Asked::Seal, Asked::Open, Asked::OtpHmac, Asked::DecryptBlock, Asked::Derive] {
            scene.ask(asked).await.unwrap_or_else(|failure| panic!("{asked:?}: {failure}"));
        }
        scene
    }

    /// Asks, and checks the answer by what is known of it.
    async fn ask(&self, asked: Asked) -> Result<(), HsmFailure> {
        match asked {
            Asked::Sign => self.sign(&self.key).await?,
            Asked::SignAnew => unreachable!("the key is made first"),
            Asked::Seal => {
                self.group.seal(&self.row, &SecretBytes::new(SECRET.to_vec())).await.map_err(|error| error.failure)?;
            }
            Asked::Open => {
                let opened = self.group.open(&self.row, &self.sealed).await.map_err(|error| error.failure)?;
                assert_eq!(opened.expose(), SECRET);
            }
            Asked::Enclose => {
                let kind = OtpSecretKind::Hmac(OtpHash::Sha1);
                let secret = SecretBytes::new(SECRET.to_vec());
                self.group.wrap(&self.row, kind, &secret).await.map_err(|error| error.failure)?;
            }
            Asked::OtpHmac => {
                let asked = self.group.otp_hmac(&self.row, &self.wrapped, OtpHash::Sha1, vec![[0; 8]]).await;
                let macs = asked.map_err(|error| error.failure)?;
                let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, SECRET);
                assert_eq!(macs, [aws_lc_rs::hmac::sign(&key, &[0; 8]).as_ref()]);
            }
            Asked::DecryptBlock => {
                let asked = self.group.decrypt_block(&self.row, &self.enclosed_aes, [7; 16]).await;
                asked.map_err(|error| error.failure)?;
            }
            Asked::Derive => {
                self.group.derive(None, "test", b"message").await.map_err(|error| error.failure)?;
            }
        }
        Ok(())
    }

    /// A signature, verified as everything that is released is. One that does not verify is as good as none.
    async fn sign(&self, key: &HsmKey) -> Result<(), HsmFailure> {
        let public = key.public.clone().unwrap();
        let message = probe(key);
        let asked = self.group.sign(key, public.algorithm, message.clone()).await;
        let checked = asked.map_err(|error| error.failure)?.check(&VerifyingKey::new(public), &message);
        checked.map(drop).map_err(|_| withheld())
    }

    fn worker(&self) -> Option<u32> {
        self.group.worker_process_ids(&hsm()).first().copied()
    }

    /// One case. The rules must hit the next request.
    async fn case(&mut self, asked: Asked, rules: &str, expected: Expected) {
        let name = format!("{} while asked to {asked:?}", rules.replace('\n', "; "));
        let key = if asked == Asked::SignAnew { pair(&self.group, Algorithm::Es256).await } else { self.key.clone() };
        let worker = self.worker();
        self.module.order(rules);
        let begun = Instant::now();
        let outcome = if asked == Asked::SignAnew { self.sign(&key).await } else { self.ask(asked).await };
        expected.check(&outcome, &name);
        assert!(self.module.is_done(), "{name}: the fault did not happen");
        let took = self.recovered(asked, begun, &name).await;
        let has_stayed = self.worker() == worker;
        assert_eq!(has_stayed, expected.worker_stays(), "{name}: whether the worker stays; {outcome:?}");
        self.results.cases += 1;
        self.results.recoveries.entry(expected).or_default().push(took);
        self.module.calm();
    }

    /// Waits until the same is done again; gives how long after the fault that was.
    async fn recovered(&self, asked: Asked, begun: Instant, name: &str) -> Duration {
        let asked = if asked == Asked::SignAnew { Asked::Sign } else { asked };
        loop {
            let Err(failure) = self.ask(asked).await else { return begun.elapsed() };
            assert!(begun.elapsed() < RECOVERY, "{name}: {failure}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Tells what the group showed, and stops it.
    async fn end(self, name: &str, at_least: u32) {
        self.results.tell(name);
        assert!(self.results.cases >= at_least, "{} cases, not {at_least}", self.results.cases);
        self.group.shutdown().await;
    }
}

/// Goes through the same cases before and after the real call, side by side on two tokens.
async fn both_phases(name: &str, at_least: u32, cases: impl AsyncFn(&mut Scene, &str)) {
    let phase = async |phase: &str| {
        let mut scene = Scene::new(DEADLINE).await;
        cases(&mut scene, phase).await;
        scene.end(&format!("{name}, {phase} the call"), at_least).await;
    };
    let [before, after] = expected::PHASES;
    tokio::join!(phase(before), phase(after));
}

impl Results {
    fn tell(&self, name: &str) {
        eprintln!("fault matrix, {name}: {} cases", self.cases);
        for (expected, times) in &self.recoveries {
            let mut times = times.clone();
            times.sort_unstable();
            let (median, most) = (times[times.len() / 2], times[times.len() - 1]);
            eprintln!(
                "  {expected:?}: {} cases, working again after {median:.0?} (median), {most:.0?} (most)",
                times.len()
            );
        }
    }

    /// The median time to recover from faults of a class.
    fn median(&self, expected: Expected) -> Duration {
        let mut times = self.recoveries.get(&expected).cloned().unwrap_or_default();
        times.sort_unstable();
        times[times.len() / 2]
    }
}

/// What stands for a signature that was not released.
fn withheld() -> HsmFailure {
    HsmFailure::Module { function: "C_Sign".into(), code: "a signature that does not verify".into() }
}
