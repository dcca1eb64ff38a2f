use super::*;

const RULE: Lockout = Lockout::DEFAULT;
const NEVER: Chance = Chance(0);

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix_seconds(1_800_000_000).plus(Duration::from_secs(seconds))
}

fn key(name: &str) -> FactorId {
    FactorId::new(name)
}

fn failed(tries: &mut UserTries, failure: &Failure, times: u32, seconds: u64) {
    for _ in 0..times {
        tries.count(failure, &RULE, at(seconds));
    }
}

#[test]
fn ten_wrong_codes_an_hour_lock_the_digits_and_nothing_else() {
    let mut tries = UserTries::default();
    failed(&mut tries, &Failure::Code, 9, 0);
    assert_eq!(tries.lock(&key("totp"), true, &RULE, at(1)), None);
    failed(&mut tries, &Failure::Code, 1, 60);
    assert_eq!(tries.lock(&key("totp"), true, &RULE, at(61)), Some(Locked::Until(at(3600))));
    assert_eq!(tries.lock(&key("key"), false, &RULE, at(61)), None, "what is not digits goes on");
    assert_eq!(tries.lock(&key("totp"), true, &RULE, at(3599)), Some(Locked::Until(at(3600))));
    assert_eq!(tries.lock(&key("totp"), true, &RULE, at(3600)), None);
    // The tenth was a minute later: one more may fail, and then it is locked until that one is an hour old.
    failed(&mut tries, &Failure::Code, 9, 3600);
    assert_eq!(tries.lock(&key("totp"), true, &RULE, at(3600)), Some(Locked::Until(at(3660))));
}

#[test]
fn what_is_locked_is_not_counted_further() {
    let mut tries = UserTries::default();
    failed(&mut tries, &Failure::Code, 1000, 0);
    assert_eq!((tries.unanswered(), tries.codes_lock(&RULE, at(3600))), (10, None));
}

#[test]
fn wrong_passwords_lock_the_factor_that_was_shown_alone() {
    let mut tries = UserTries::default();
    failed(&mut tries, &Failure::Password(key("one"), NEVER), 10, 0);
    assert!(
        tries.lock(&key("one"), false, &RULE, at(1)).is_some() && tries.lock(&key("one"), true, &RULE, at(1)).is_some()
    );
    assert_eq!(tries.lock(&key("two"), false, &RULE, at(1)), None);
    assert_eq!(tries.codes_lock(&RULE, at(1)), None);
}

#[test]
fn a_hundred_unanswered_lock_until_somebody_answers() {
    let mut tries = UserTries::default();
    for hour in 0..9 {
        failed(&mut tries, &Failure::Code, 10, hour * 3600);
    }
    assert_eq!(tries.codes_lock(&RULE, at(20 * 3600)), None);
    failed(&mut tries, &Failure::Code, 10, 20 * 3600);
    assert_eq!(tries.codes_lock(&RULE, at(1000 * 3600)), Some(Locked::UntilAnswered));
    let noticed = tries.noticed(&RULE, at(1000 * 3600));
    let [noticed] = noticed.as_slice() else { panic!("{noticed:?}") };
    assert_eq!((noticed.failures, noticed.first, noticed.last), (100, at(0), at(20 * 3600)));
    tries.answer();
    assert_eq!((tries.codes_lock(&RULE, at(1000 * 3600)), tries.noticed(&RULE, at(1000 * 3600))), (None, vec![]));
}

#[test]
fn an_answer_does_not_end_a_pause_and_another_password_does() {
    let mut tries = UserTries::default();
    failed(&mut tries, &Failure::Code, 10, 0);
    tries.answer();
    assert!(tries.codes_lock(&RULE, at(1)).is_some());
    tries.forget_codes();
    assert_eq!(tries.codes_lock(&RULE, at(1)), None);
    failed(&mut tries, &Failure::Password(key("one"), NEVER), 10, 0);
    tries.forget_codes();
    assert!(tries.lock(&key("one"), false, &RULE, at(1)).is_some(), "who has the token still has it");
    tries.forget_factor(&key("one"));
    assert_eq!((tries.lock(&key("one"), false, &RULE, at(1)), tries.unanswered()), (None, 0));
}

#[test]
fn whoever_holds_neither_half_locks_nothing() {
    let mut tries = UserTries::default();
    for seconds in 0..10_000 {
        tries.count(&Failure::Both(Chance::of(10, 6)), &RULE, at(seconds));
        tries.count(&Failure::Uncounted, &RULE, at(seconds));
    }
    assert_eq!((tries.unanswered(), tries.codes_lock(&RULE, at(10_000))), (0, None));
    assert_eq!(tries.lock(&key("totp"), true, &RULE, at(10_000)), None);
}

/// Four hours of 5,000 sign-ins a minute, each hundredth of which has a right code by chance.
#[test]
fn right_codes_that_a_flood_meets_by_chance_lock_nobody() {
    let (mut tries, chance) = (UserTries::default(), Chance::of(1, 2));
    for number in 1..=1_200_000_u64 {
        let failure = if number % 100 == 0 { Failure::Password(key("hotp"), chance) } else { Failure::Both(chance) };
        let now = at(number * 3600 / 300_000);
        tries.count(&failure, &RULE, now);
        assert_eq!(tries.lock(&key("hotp"), true, &RULE, now), None, "after {number}");
    }
    assert!(serde_json::to_vec(&tries).unwrap().len() < 4096, "however many there were, they are few bytes");
    // A day after the flood a thief of the token has ten tries an hour, as ever.
    failed(&mut tries, &Failure::Password(key("hotp"), NEVER), 10, 90_000);
    assert!(tries.lock(&key("hotp"), true, &RULE, at(90_000)).is_some());
}

#[test]
fn a_chance_is_of_what_would_have_been_accepted() {
    assert_eq!(Chance::of(40, 6), Chance(40_000));
    assert_eq!(Chance::of(3, 8), Chance(30));
    assert_eq!(Chance::of(0, 6), NEVER);
}

#[test]
fn a_clock_that_goes_back_gives_no_tries_back() {
    let mut tries = UserTries::default();
    failed(&mut tries, &Failure::Code, 10, 7200);
    assert!(tries.codes_lock(&RULE, at(0)).is_some());
    tries.count(&Failure::Code, &RULE, at(0));
    assert!(tries.codes_lock(&RULE, at(0)).is_some());
}

#[test]
fn ten_claims_an_hour_are_judged_and_good_ones_are_taken_back() {
    let mut tries = UserTries::default();
    for _ in 0..20 {
        tries.claim(&RULE, at(0)).unwrap();
        tries.take_back_claim();
    }
    for hour in 0..20 {
        for _ in 0..10 {
            tries.claim(&RULE, at(hour * 3600)).unwrap();
        }
        assert_eq!(tries.claim(&RULE, at(hour * 3600)), Err(Locked::Until(at((hour + 1) * 3600))));
    }
    assert_eq!((tries.unanswered(), tries.codes_lock(&RULE, at(0))), (0, None));
}
