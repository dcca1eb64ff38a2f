//! People who sign in with a password and a HOTP code on an imitated network HSM: how long one takes who comes alone, and
//! what tokens for software wait beside twenty a second.

use std::time::{Duration, Instant};

use aws_lc_rs::hmac;

use crate::deployment::{Deployment, Server};
use crate::load::{self, Times};
use crate::{Failure, paced};

/// Everybody's secret, as base32 and as it is.
pub(crate) const BASE32: &str = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";
const SECRET: [u8; 20] = *b"Hello!\xde\xad\xbe\xefHello!\xde\xad\xbe\xef";

/// Somebody with a HOTP token, and how often its button was pressed.
pub(crate) struct Person {
    pub(crate) name: String,
    pub(crate) presses: u64,
}

impl Person {
    /// Signs in once; the microseconds that it took. Anything but a token is a failure of the benchmark.
    fn sign_in(&mut self, deployment: &Deployment) -> Result<u64, Failure> {
        let code = self.press();
        let request = deployment.sign_in_request(&self.name, &code);
        let asked = Instant::now();
        let answer = load::ask_once(deployment.port, &request)?;
        if !answer.starts_with("HTTP/1.1 200") {
            return Err(answer.into());
        }
        Ok(u64::try_from(asked.elapsed().as_micros())?)
    }

    /// RFC 4226 §5.3, six digits.
    fn press(&mut self) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &SECRET);
        let mac = hmac::sign(&key, &self.presses.to_be_bytes());
        self.presses += 1;
        let offset = usize::from(mac.as_ref().last().copied().unwrap_or(0) & 0xf);
        let word = mac.as_ref().iter().skip(offset).take(4).fold(0, |word: u32, byte| (word << 8) | u32::from(*byte));
        format!("{:06}", (word & 0x7fff_ffff) % 1_000_000)
    }
}

/// Prints how long sign-ins take one after another, and tokens at a quarter of the limit without and beside sign-ins.
pub(crate) fn measure(deployment: &Deployment, server: &Server<'_>, limit: f64, time: Duration) -> Result<(), Failure> {
    let mut people = deployment.people()?;
    one_after_another(deployment, &mut people, Duration::from_millis(500))?;
    println!("\n| load | /s | p50 ms | p99 ms | CPU ms |\n|---|---|---|---|---|");
    let before = server.cpu_seconds()?;
    let alone = one_after_another(deployment, &mut people, time)?;
    let cpu = (server.cpu_seconds()? - before) * 1e3 / alone.count() as f64;
    print("sign-ins, one after another", &alone, time, &format!("{cpu:.1}"));
    let quiet = paced::run(server, limit / 4.0, 512, time)?;
    print("tokens", &quiet.granted.sorted(), time, "");
    let (tokens, sign_ins) = std::thread::scope(|scope| {
        let sign_ins = scope.spawn(|| each_once_a_second(deployment, &mut people, time));
        let tokens = paced::run(server, limit / 4.0, 512, time).map_err(|error| error.to_string());
        (tokens, sign_ins.join().unwrap_or_else(|_| Err("a thread panicked".to_owned())))
    });
    print("tokens, beside the sign-ins below", &tokens?.granted.sorted(), time, "");
    print("sign-ins, beside the tokens above", &sign_ins?, time, "");
    Ok(())
}

fn print(load: &str, times: &Times, time: Duration, cpu: &str) {
    let rate = times.count() as f64 / time.as_secs_f64();
    println!("| {load} | {rate:.0} | {:.1} | {:.1} | {cpu} |", times.millis(50), times.millis(99));
}

fn one_after_another(deployment: &Deployment, people: &mut [Person], time: Duration) -> Result<Times, Failure> {
    let (started, mut times) = (Instant::now(), Times::default());
    while started.elapsed() < time {
        for person in &mut *people {
            times.extend(vec![person.sign_in(deployment)?]);
        }
    }
    Ok(times.sorted())
}

/// Each person signs in at a moment of their own in every second.
fn each_once_a_second(deployment: &Deployment, people: &mut [Person], time: Duration) -> Result<Times, String> {
    let (started, second) = (Instant::now(), Duration::from_secs(1));
    let gap = second / u32::try_from(people.len()).map_err(|error| error.to_string())?;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..)
            .zip(people)
            .map(|(number, person)| {
                scope.spawn(move || {
                    let (mut taken, mut due) = (Vec::new(), started + gap * number);
                    while due < started + time {
                        std::thread::sleep(due.saturating_duration_since(Instant::now()));
                        taken.push(person.sign_in(deployment).map_err(|error| error.to_string())?);
                        due += second;
                    }
                    Ok::<_, String>(taken)
                })
            })
            .collect();
        let mut times = Times::default();
        for thread in threads {
            times.extend(thread.join().map_err(|_| "a thread panicked".to_owned())??);
        }
        Ok(times.sorted())
    })
}
