//! The bare module: single-part signatures with a token key, handles found once, one session a thread. It runs in a
//! process of its own, so that its CPU time is that of the signatures alone.

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use serde_json::{Value, json};

use crate::deployment::Deployment;
use crate::load::Times;
use crate::{Failure, Measured, processes};

const MARK: &str = "SIGNET_BENCH_BARE";

/// Whether this process is the one that measures the bare module.
pub(crate) fn is_child() -> bool {
    std::env::var_os(MARK).is_some()
}

/// As many signatures as the sessions make.
pub(crate) fn measure(
    deployment: &Deployment,
    algorithm: &str,
    sessions: u64,
    time: Duration,
) -> Result<Measured, Failure> {
    let told = run(deployment, algorithm, sessions, time, 0.0)?;
    let number = |name: &str| told[name].as_f64().ok_or("the child told no number");
    let (count, seconds, cpu) = (number("count")?, number("seconds")?, number("cpu")?);
    Ok(Measured { rate: count / seconds, cpu_micros: cpu * 1e6 / count })
}

/// So many signatures a second, each due at its time: how long they took since then.
pub(crate) fn paced(
    deployment: &Deployment,
    algorithm: &str,
    sessions: u64,
    time: Duration,
    per_second: f64,
) -> Result<Times, Failure> {
    let told = run(deployment, algorithm, sessions, time, per_second)?;
    let mut times = Times::default();
    times.extend(serde_json::from_value(told["micros"].clone())?);
    Ok(times.sorted())
}

/// Starts the child and reads what it measured.
fn run(
    deployment: &Deployment,
    algorithm: &str,
    sessions: u64,
    time: Duration,
    per_second: f64,
) -> Result<Value, Failure> {
    let task = json!({
        "per_second": per_second,
        "module": deployment.loaded,
        "pin_file": deployment.path("pin"),
        "algorithm": algorithm,
        "sessions": sessions,
        "seconds": time.as_secs(),
    });
    let mut child = Command::new(std::env::current_exe()?);
    child.env(MARK, task.to_string()).env("SOFTHSM2_CONF", deployment.path("softhsm2.conf"));
    child.envs(deployment.environment.iter().cloned());
    let output = child.output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// When the next signature is due, where they are paced.
struct Pace {
    per_second: f64,
    started: Instant,
    next: AtomicU64,
}

impl Pace {
    /// Waits for the moment and gives it; without a pace that is now.
    fn wait(&self) -> Instant {
        if self.per_second <= 0.0 {
            return Instant::now();
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let due = self.started + Duration::from_secs_f64(number as f64 / self.per_second);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        due
    }
}

/// Signs with all sessions for the time asked for, and prints count, seconds and CPU seconds; the microseconds of each
/// signature too where they are paced.
pub(crate) fn child() -> Result<(), Failure> {
    let task: Value = serde_json::from_str(&std::env::var(MARK)?)?;
    let text = |name: &str| task[name].as_str().ok_or("the task lacks a text");
    let pin = std::fs::read_to_string(text("pin_file")?)?;
    let context = Pkcs11::new(text("module")?)?;
    context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))?;
    let slot = *context.get_slots_with_initialized_token()?.first().ok_or("no token")?;
    let anchor = context.open_ro_session(slot)?;
    anchor.login(UserType::User, Some(&AuthPin::new(pin.trim().to_owned().into())))?;
    let is_rsa = text("algorithm")? == "RS256";
    let sessions: Vec<Session> =
        (0..task["sessions"].as_u64().unwrap_or(1)).map(|_| context.open_ro_session(slot)).collect::<Result<_, _>>()?;
    let time = Duration::from_secs(task["seconds"].as_u64().unwrap_or(1));
    let is_over = &AtomicBool::new(false);
    let (before, started) = (processes::own_cpu_seconds()?, Instant::now());
    let per_second = task["per_second"].as_f64().unwrap_or(0.0);
    let pace = &Pace { per_second, started, next: AtomicU64::new(0) };
    let micros: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = sessions
            .into_iter()
            .map(|session| {
                scope.spawn(move || sign_until(&session, is_rsa, pace, is_over).map_err(|error| error.to_string()))
            })
            .collect();
        std::thread::sleep(time);
        is_over.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for thread in threads {
            all.extend(thread.join().map_err(|_| "a thread panicked".to_owned())??);
        }
        Ok::<_, String>(all)
    })?;
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), processes::own_cpu_seconds()? - before);
    let count = micros.len();
    let micros = if per_second > 0.0 { micros } else { Vec::new() };
    println!("{}", json!({ "count": count, "seconds": seconds, "cpu": cpu, "micros": micros }));
    Ok(())
}

fn sign_until(
    session: &Session,
    is_rsa: bool,
    pace: &Pace,
    is_over: &AtomicBool,
) -> Result<Vec<u64>, cryptoki::error::Error> {
    let key = find(session, if is_rsa { KeyType::RSA } else { KeyType::EC })?;
    let mechanism = if is_rsa { Mechanism::Sha256RsaPkcs } else { Mechanism::Ecdsa };
    let (digest, message) = ([7_u8; 32], [7_u8; 500]);
    let data: &[u8] = if is_rsa { &message } else { &digest };
    let mut micros = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        let due = pace.wait();
        session.sign(&mechanism, key, data)?;
        micros.push(u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    Ok(micros)
}

fn find(session: &Session, kind: KeyType) -> Result<ObjectHandle, cryptoki::error::Error> {
    let template = [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::KeyType(kind), Attribute::Sign(true)];
    let found = session.find_objects(&template)?;
    found.first().copied().ok_or(cryptoki::error::Error::NotSupported)
}
