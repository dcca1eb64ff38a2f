//! What a sign-in costs with few users and with many: measured side by side, and judged.

use std::sync::Arc;

use signet_core::audit::RequestContext;
use signet_core::keys::OtpHash;
use signet_core::mfa::enrolment::{ClockProfile, TotpParameters};
use signet_core::random::OsRandom;
use signet_service::Deployment;
use signet_service::factors::enrolment::Device;
use signet_service::factors::enrolment::NewOtp;

use super::Stage;
use super::statistics::asker::{Asker, Shown};
use super::statistics::welch;
use crate::support::codes::SixDigits;
use crate::support::crowd::{Crowd, OneHash};

const FEW: usize = 100;
const MANY: usize = 100_000;
/// Sign-ins at each of the two.
const SIGN_INS: usize = 600;
/// How far the two costs may be apart: the spread of a machine that does other things too.
const ABOUT_THE_SAME: std::ops::Range<f64> = 0.87..1.15;

/// A user with a TOTP and a HOTP token, and how often the latter was used.
struct Person {
    name: String,
    hotp: SixDigits,
    used: i64,
}

impl Person {
    async fn new(signet: Arc<Deployment>, one_hash: OneHash, name: String) -> Self {
        one_hash.user(&name).await;
        let parameters = TotpParameters::DEFAULT;
        let mut hotp = None;
        for device in [Device::Clock(ClockProfile::Synchronised), Device::Counter(0)] {
            let secret = parameters.fresh_secret(&OsRandom);
            hotp = Some(SixDigits { hash: OtpHash::Sha1, secret: secret.expose().to_vec(), is_clock: false });
            let label = if device == Device::Counter(0) { "counter" } else { "clock" };
            let new = NewOtp { label: label.to_owned(), serial: None, parameters, device, secret: Some(secret) };
            signet.issuer().factors.enrolment.enrol_otp(&name, new, &RequestContext::default()).await.unwrap();
        }
        Self { name, hotp: hotp.unwrap(), used: 0 }
    }

    fn next(&mut self) -> Shown {
        self.used += 1;
        Shown::new(&self.name, self.hotp.at(self.used - 1))
    }
}

/// A deployment of so many users.
struct Town {
    stage: Stage,
    asker: Asker,
    people: Vec<Person>,
    times: Vec<f64>,
}

impl Town {
    async fn new(count: usize) -> Self {
        let stage = Stage::new("");
        let crowd = Crowd::of(&stage).await;
        let one_hash = crowd.of_one_hash();
        let make = |signet, name| Person::new(signet, one_hash.clone(), name);
        let people = crowd.make("person", count, make).await;
        crowd.close().await;
        assert_eq!(stage.rows("factors").await, i64::try_from(2 * count).unwrap());
        let asker = Asker::new(&stage);
        Self { stage, asker, people, times: Vec::new() }
    }

    /// One sign-in, of people who are far from each other.
    fn sign_in(&mut self, number: usize) -> f64 {
        let place = number * 7919 % self.people.len();
        let (took, status, body) = self.asker.ask(&self.people[place].next());
        assert_eq!(status, 200, "{body}");
        took
    }

    /// CPU seconds of the server and its workers so far.
    fn cpu(&self) -> f64 {
        self.stage.workers().into_iter().chain([self.stage.id()]).map(cpu_of).sum()
    }
}

/// By the kernel's books, in ticks of 10 ms.
fn cpu_of(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    rest.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap() / 100.0).sum()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: see docs/evidence/performance.md"]
async fn a_sign_in_costs_as_much_with_a_hundred_thousand_users_as_with_a_hundred() {
    let many = std::env::var("SIGNET_USERS").map_or(MANY, |text| text.parse().expect("SIGNET_USERS is no number"));
    let mut towns = [Town::new(FEW).await, Town::new(many).await];
    for town in &mut towns {
        (0..20).for_each(|number| {
            town.sign_in(number);
        });
    }
    let before = towns.each_ref().map(Town::cpu);
    for number in 20..SIGN_INS + 20 {
        // Whichever is first has the other one's cold caches before it.
        let mut order = towns.each_mut();
        if number % 2 == 0 {
            order.reverse();
        }
        for town in order {
            let took = town.sign_in(number);
            town.times.push(took);
        }
    }
    println!("| users | factors | p50 ms | p99 ms | mean ms | CPU ms a sign-in |\n|---|---|---|---|---|---|");
    let figures = [0, 1].map(|place| {
        let (town, count) = (&towns[place], f64::from(u32::try_from(SIGN_INS).unwrap()));
        let cpu = (town.cpu() - before[place]) / count * 1e3;
        let mut sorted = town.times.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let [p50, p99] = [0.5, 0.99].map(|share| welch::percentile(&sorted, share) * 1e3);
        let (users, mean) = (town.people.len(), welch::mean(&town.times) * 1e3);
        println!("| {users} | {} | {p50:.2} | {p99:.2} | {mean:.2} | {cpu:.2} |", 2 * users);
        [p50, cpu]
    });
    let ratios = [figures[1][0] / figures[0][0], figures[1][1] / figures[0][1]];
    println!("ratio of the medians {:.3}, of the CPU time {:.3}", ratios[0], ratios[1]);
    assert!(ratios.iter().all(|ratio| ABOUT_THE_SAME.contains(ratio)), "{ratios:?}");
}
