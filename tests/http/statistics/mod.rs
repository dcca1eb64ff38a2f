//! Promise 5 as a figure: whether refused sign-ins can be told apart by the time that they take.
//!
//! Each test asks a real server for tokens in several ways that are all refused, each way so many times
//! (`SIGNET_SAMPLES`, 10,000 where it is not set), one after the other on one connection and in random order, and compares
//! the times of every two ways by Welch's t. docs/evidence/security-figures.md has the method and the figures.
//!
//! What was typed decides how much work a sign-in is, so the ways of one test type the same kind of code.
//! An account has ten tries: so many accounts are made that none has more.

pub(super) mod asker;
mod people;
mod report;
pub(super) mod welch;

use std::sync::Arc;

use signet_core::random::{OsRandom, Random as _};
use signet_service::Deployment;

use self::asker::{Asker, Shown};
use self::people::Person;
use super::Stage;
use crate::support::crowd::Crowd;

/// The tries of each account; one more would be the tenth, and the next is refused for another reason.
const TRIES: usize = 9;
const SAMPLES: usize = 10_000;

/// A way to be refused.
struct Way {
    what: &'static str,
    /// What is typed at the try of this number.
    shown: Box<dyn FnMut(usize) -> Shown>,
}

impl Way {
    fn new(what: &'static str, shown: impl FnMut(usize) -> Shown + 'static) -> Self {
        Self { what, shown: Box::new(shown) }
    }

    /// Each of these people in turn, again and again.
    fn of(what: &'static str, people: Vec<Person>, mut shown: impl FnMut(&Person) -> Shown + 'static) -> Self {
        Self::new(what, move |number| shown(&people[number % people.len()]))
    }

    /// As many names that are nobody's as there are people, each tried as often.
    fn of_nobody(prefix: &'static str, mut code: impl FnMut() -> String + 'static) -> Self {
        let count = accounts();
        Self::new("unknown name", move |number| Shown::new(&format!("{prefix}{:06}", number % count), code()))
    }
}

fn samples() -> usize {
    std::env::var("SIGNET_SAMPLES").map_or(SAMPLES, |text| text.parse().expect("SIGNET_SAMPLES is no number"))
}

fn accounts() -> usize {
    samples().div_ceil(TRIES)
}

/// The deployment, and how people come into it.
struct Field {
    stage: Stage,
    crowd: Crowd,
}

impl Field {
    async fn new() -> Self {
        let stage = Stage::new("");
        let crowd = Crowd::of(&stage).await;
        Self { stage, crowd }
    }

    /// As many people as a way needs.
    async fn people<F>(&self, prefix: &str, make: impl Fn(Arc<Deployment>, String) -> F) -> Vec<Person>
    where
        F: Future<Output = Person> + Send + 'static,
    {
        self.crowd.make(prefix, accounts(), make).await
    }

    /// Asks in every way, in random order, and compares the times.
    async fn measure(self, title: &str, status: u16, mut ways: Vec<Way>) {
        self.crowd.close().await;
        let mut asker = Asker::new(&self.stage);
        warm_up(&mut asker, &mut ways);
        let mut times: Vec<Vec<f64>> = ways.iter().map(|_| Vec::with_capacity(samples())).collect();
        let mut body = None;
        for number in 0..samples() {
            for place in shuffled(ways.len()) {
                let shown = (ways[place].shown)(number);
                let (took, answered, told) = asker.ask(&shown);
                assert_eq!(answered, status, "{}: {told}", ways[place].what);
                assert_eq!(&told, body.get_or_insert_with(|| told.clone()), "{}", ways[place].what);
                times[place].push(took);
            }
            if number % 1000 == 999 {
                eprintln!("{title}: {} of {}", number + 1, samples());
            }
        }
        let named: Vec<_> = ways.iter().map(|way| way.what).zip(times).collect();
        report::print_and_judge(title, &named);
    }
}

/// Sign-ins that are not measured, of names that nothing else uses.
fn warm_up(asker: &mut Asker, ways: &mut [Way]) {
    for number in 0..50 {
        let shown = Shown { name: format!("warm{number:06}"), ..(ways[0].shown)(0) };
        asker.ask(&shown);
    }
}

/// The numbers below `count`, in random order.
fn shuffled(count: usize) -> Vec<usize> {
    let mut order: Vec<(u64, usize)> = (0..count)
        .map(|place| {
            let mut random = [0; 8];
            OsRandom.fill(&mut random);
            (u64::from_le_bytes(random), place)
        })
        .collect();
    order.sort_unstable();
    order.into_iter().map(|(_, place)| place).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: see docs/evidence/security-figures.md"]
async fn promise_5_refusals_by_six_digits_take_as_long() {
    let field = Field::new().await;
    let ways = vec![
        Way::of_nobody("na", || "000000".to_owned()),
        Way::of("wrong password, right code", field.people("pa", Person::with_totp).await, |person| {
            person.right_digits().with_wrong_password()
        }),
        Way::of("right password, wrong code", field.people("ca", Person::with_totp).await, Person::wrong_digits),
        Way::of("right password, no factor", field.people("fa", Person::bare).await, Person::wrong_digits),
        Way::of("right password, wrong code, HOTP", field.people("ha", Person::with_hotp).await, Person::wrong_digits),
    ];
    field.measure("six digits", 400, ways).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: see docs/evidence/security-figures.md"]
async fn promise_5_refusals_of_many_factors_and_of_the_disabled_take_as_long() {
    let field = Field::new().await;
    let ways = vec![
        Way::of_nobody("nb", || "000000".to_owned()),
        Way::of("six factors, wrong code", field.people("eb", Person::with_everything).await, Person::wrong_digits),
        Way::of("disabled, all right", field.people("db", Person::disabled).await, Person::right_digits),
    ];
    field.measure("six digits, other people", 400, ways).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: see docs/evidence/security-figures.md"]
async fn promise_5_refusals_by_a_yubico_otp_take_as_long() {
    let field = Field::new().await;
    let nobodys = || people::forged(&people::fresh_public_id());
    let ways = vec![
        Way::of_nobody("nc", nobodys),
        Way::of("wrong password, right OTP", field.people("pc", Person::with_yubico).await, |person| {
            person.right_otp().with_wrong_password()
        }),
        Way::of("right password, wrong OTP", field.people("cc", Person::with_yubico).await, Person::wrong_otp),
        Way::of("right password, nobody's key", field.people("kc", Person::with_totp).await, move |person| {
            Shown::new(&person.name, nobodys())
        }),
    ];
    field.measure("Yubico OTP", 400, ways).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: see docs/evidence/security-figures.md"]
async fn promise_5_refusals_by_a_recovery_code_take_as_long() {
    const WRONG: &str = "0000-0000-0000-0000";
    let field = Field::new().await;
    let ways = vec![
        Way::of_nobody("nd", || WRONG.to_owned()),
        Way::of("wrong password, right code", field.people("pd", Person::with_recovery).await, |person| {
            person.right_recovery().with_wrong_password()
        }),
        Way::of("right password, wrong code", field.people("cd", Person::with_recovery).await, |person| {
            Shown::new(&person.name, WRONG)
        }),
        Way::of("right password, no codes", field.people("kd", Person::with_totp).await, |person| {
            Shown::new(&person.name, WRONG)
        }),
    ];
    field.measure("recovery code", 400, ways).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: see docs/evidence/security-figures.md"]
async fn promise_5_refusals_without_a_code_take_as_long() {
    let field = Field::new().await;
    let ways = vec![
        Way::of_nobody("ne", String::new),
        Way::of("wrong password", field.people("pe", Person::with_totp).await, |person| {
            Shown::new(&person.name, "").with_wrong_password()
        }),
        Way::of("right password", field.people("ce", Person::with_totp).await, |person| Shown::new(&person.name, "")),
    ];
    field.measure("no code", 400, ways).await;
}

/// Some people whose digits are locked, because somebody knows their password.
async fn locked(field: &Field, prefix: &str) -> Vec<Person> {
    const EACH: usize = 20;
    let people = field.crowd.make(prefix, EACH, Person::with_hotp).await;
    let mut asker = Asker::new(&field.stage);
    for _ in 0..=TRIES {
        for shown in people.iter().map(Person::wrong_digits) {
            assert_eq!(asker.ask(&shown).1, 400);
        }
    }
    people
}

/// Whoever has one half, or both, learns not from a locked factor whether the other half was right.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: see docs/evidence/security-figures.md"]
async fn promise_5_a_locked_factor_tells_nothing_by_time() {
    let field = Field::new().await;
    let ways = vec![
        Way::of_nobody("nf", || "000000".to_owned()),
        Way::of("locked, all right", locked(&field, "ff").await, Person::next_digits),
        Way::of("locked, wrong code", locked(&field, "fg").await, Person::wrong_digits),
        Way::of("locked, wrong password", locked(&field, "fh").await, |person| {
            person.same_digits().with_wrong_password()
        }),
    ];
    field.measure("a locked factor", 400, ways).await;
}
