//! TOTP against the tables of RFC 4226 and RFC 6238, and against another implementation.

use aws_lc_rs::hmac;

use super::*;
use crate::mfa::{FactorId, UserId};
use crate::random::OsRandom;

fn state() -> TotpState {
    TotpState { hash: OtpHash::Sha1, digits: 6, step_seconds: 30, drift: 0, window: 1, last_step: -1 }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(seconds)
}

/// What the HSM does.
fn hmacs(secret: &[u8], hash: OtpHash, steps: &[i64]) -> Vec<Vec<u8>> {
    let algorithm = match hash {
        OtpHash::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        OtpHash::Sha256 => hmac::HMAC_SHA256,
        OtpHash::Sha512 => hmac::HMAC_SHA512,
    };
    let key = hmac::Key::new(algorithm, secret);
    steps.iter().map(|&step| hmac::sign(&key, &counter_message(step)).as_ref().to_vec()).collect()
}

/// The step and the drift that are to be spent.
fn show(secret: &[u8], text: &str, now: i64, state: &TotpState) -> Result<(i64, i32), Reason> {
    let steps = state.candidates(at(now));
    let code = Code::parse(text, state.digits).unwrap();
    state.match_code(&code, at(now), &steps, &hmacs(secret, state.hash, &steps)).map(|shown| step_of(&shown))
}

fn step_of(shown: &Spendable) -> (i64, i32) {
    let Spending::TotpStep { step, drift } = *shown.by() else { unreachable!() };
    (step, drift)
}

const RFC_SECRET: &[u8] = b"12345678901234567890";

#[test]
fn truncates_as_rfc_4226_appendix_d() {
    let table = [755_224, 287_082, 359_152, 969_429, 338_314, 254_676, 287_922, 162_583, 399_871, 520_489];
    for (counter, expected) in (0..).zip(table) {
        let hmac = &hmacs(RFC_SECRET, OtpHash::Sha1, &[counter])[0];
        assert_eq!(truncate(hmac, 6), Some(expected), "counter {counter}");
    }
    let first = &hmacs(RFC_SECRET, OtpHash::Sha1, &[0])[0];
    assert_eq!(first[..4], [0xcc, 0x93, 0xcf, 0x18], "the table's HMAC for count 0");
}

#[test]
fn truncates_nothing_short_or_of_other_digits() {
    assert_eq!(truncate(&[], 6), None);
    assert_eq!(truncate(&[0xff; 19], 6), None);
    assert_eq!(truncate(&[0xff; 20], 7), None);
    assert_eq!(truncate(&[0xff; 20], 8), Some(0x7fff_ffff % 100_000_000));
}

#[test]
fn matches_the_codes_of_rfc_6238_appendix_b() {
    let keys: [(OtpHash, &[u8]); 3] = [
        (OtpHash::Sha1, RFC_SECRET),
        (OtpHash::Sha256, b"12345678901234567890123456789012"),
        (OtpHash::Sha512, b"1234567890123456789012345678901234567890123456789012345678901234"),
    ];
    let table = [
        (59, ["94287082", "46119246", "90693936"]),
        (1_111_111_109, ["07081804", "68084774", "25091201"]),
        (1_111_111_111, ["14050471", "67062674", "99943326"]),
        (1_234_567_890, ["89005924", "91819424", "93441116"]),
        (2_000_000_000, ["69279037", "90698825", "38618901"]),
        (20_000_000_000, ["65353130", "77737706", "47863826"]),
    ];
    for (now, codes) in table {
        for ((hash, secret), code) in keys.into_iter().zip(codes) {
            let state = TotpState { hash, digits: 8, ..state() };
            let matched = show(secret, code, now, &state).unwrap();
            assert_eq!(matched, (now / 30, 0), "{code} at {now}");
        }
    }
}

#[test]
fn agrees_with_another_implementation() {
    for (hash, digits, step_seconds) in
        [(OtpHash::Sha1, 6, 30), (OtpHash::Sha256, 8, 60), (OtpHash::Sha512, 8, 30), (OtpHash::Sha512, 6, 60)]
    {
        let parameters = TotpParameters::new(hash, digits, step_seconds).unwrap();
        let enrolment = Enrolment::new("Signet & Co", "ann@example.org", parameters, &OsRandom).unwrap();
        let other = totp_rs::Totp::from_url(enrolment.otpauth_uri.expose()).unwrap();
        assert_eq!(other.secret().as_ref(), enrolment.secret.expose());
        assert_eq!(other.secret().to_base32(), enrolment.secret_base32.expose());
        assert_eq!((other.issuer(), other.account_name()), (Some("Signet & Co"), "ann@example.org"));
        for now in [90_i64, 1_769_847_300] {
            let code = other.generate(u64::try_from(now).unwrap()).to_string();
            let matched =
                show(enrolment.secret.expose(), &code, now, &parameters.state(ClockProfile::default())).unwrap();
            assert_eq!(matched.0, now / i64::from(step_seconds));
        }
    }
}

#[test]
fn codes_are_exactly_ascii_digits() {
    for text in
        ["12345", "1234567", " 12345", "12345 ", "123 45", "+12345", "-12345", "１２３４５６", "١٢٣", "12345a", ""]
    {
        assert!(Code::parse(text, 6).is_none(), "{text}");
    }
    assert!(Code::parse("000000", 6).is_some());
    assert!(Code::parse("00000000", 8).is_some());
    assert!(Code::parse("1234567", 7).is_none());
    assert_eq!(format!("{:?}", Code::parse("123456", 6).unwrap()), "Code(..)");
}

#[test]
fn the_number_of_candidates_never_depends_on_what_is_spent() {
    for last_step in [-1, 99, 100, 101, i64::MAX] {
        let state = TotpState { last_step, ..state() };
        assert_eq!(state.candidates(at(3000)), [99, 100, 101]);
        assert_eq!(TotpState { window: 2, ..state.clone() }.candidates(at(3000)).len(), 5);
    }
    assert_eq!(TotpState { drift: -4, ..state() }.candidates(at(3000)), [95, 96, 97]);
    assert_eq!(state().candidates(Timestamp::from_unix_millis(i64::MAX)).len(), 3);
    assert_eq!(TotpState { step_seconds: 0, ..state() }.candidates(at(0)).len(), 3);
}

#[test]
fn a_spent_step_and_those_below_are_replays() {
    let code = |step: i64| format!("{:06}", truncate(&hmacs(RFC_SECRET, OtpHash::Sha1, &[step])[0], 6).unwrap());
    for step in [99, 100, 101] {
        assert_eq!(show(RFC_SECRET, &code(step), 3000, &state()).unwrap().0, step);
    }
    let spent = TotpState { last_step: 100, ..state() };
    assert_eq!(show(RFC_SECRET, &code(99), 3000, &spent), Err(Reason::ReplayedCode));
    assert_eq!(show(RFC_SECRET, &code(100), 3000, &spent), Err(Reason::ReplayedCode));
    assert_eq!(show(RFC_SECRET, &code(101), 3000, &spent).unwrap().0, 101);
    assert_eq!(show(RFC_SECRET, &code(98), 3000, &state()), Err(Reason::WrongCode));
    assert_eq!(show(RFC_SECRET, &code(102), 3000, &state()), Err(Reason::WrongCode));
    // A clock that went back an hour does not make a spent step count again.
    assert_eq!(show(RFC_SECRET, &code(1), 30, &spent), Err(Reason::ReplayedCode));
}

#[test]
fn drift_is_learned_and_capped() {
    let code = |step: i64| format!("{:06}", truncate(&hmacs(RFC_SECRET, OtpHash::Sha1, &[step])[0], 6).unwrap());
    let ahead = show(RFC_SECRET, &code(101), 3000, &state()).unwrap();
    assert_eq!(ahead.1, 1);
    let learned = TotpState { drift: 1, ..state() };
    assert_eq!(show(RFC_SECRET, &code(102), 3000, &learned).unwrap().1, 2);
    let edge = TotpState { drift: DRIFT_CAP, ..state() };
    assert_eq!(show(RFC_SECRET, &code(111), 3000, &edge).unwrap().1, DRIFT_CAP);
    let behind = TotpState { drift: -DRIFT_CAP, ..state() };
    assert_eq!(show(RFC_SECRET, &code(89), 3000, &behind).unwrap().1, -DRIFT_CAP);
}

#[test]
fn steps_before_the_epoch_and_missing_hmacs_match_nothing() {
    let minus = format!("{:06}", truncate(&hmacs(RFC_SECRET, OtpHash::Sha1, &[-1])[0], 6).unwrap());
    let broken = TotpState { last_step: -5, ..state() };
    assert_eq!(show(RFC_SECRET, &minus, 0, &broken), Err(Reason::ReplayedCode));
    let code = Code::parse("755224", 6).unwrap();
    let one = hmacs(RFC_SECRET, OtpHash::Sha1, &[0]);
    assert!(state().match_code(&code, at(0), &[0], &one).is_ok());
    assert_eq!(state().match_code(&code, at(0), &[0, 1], &one), Err(Reason::WrongCode));
    assert_eq!(state().match_code(&code, at(0), &[], &[]), Err(Reason::WrongCode));
    assert_eq!(state().match_code(&code, at(0), &[0], &[vec![]]), Err(Reason::WrongCode));
    let eight = TotpState { digits: 8, ..state() };
    assert_eq!(eight.match_code(&code, at(0), &[0], &one), Err(Reason::WrongCode));
}

#[test]
fn only_the_winner_has_a_proof() {
    let (user, factor) = (UserId::new("u"), FactorId::new("f"));
    let step = || spendable(1, 0);
    assert!(step().spent(&user, &factor, false).is_none());
    let proof = step().spent(&user, &factor, true).unwrap();
    assert_eq!((proof.user(), proof.factor().to_string().as_str()), (&user, "totp:f"));
}

#[test]
fn parameters_and_names_are_judged() {
    assert_eq!(TotpParameters::new(OtpHash::Sha1, 7, 30), Err(EnrolmentError::Digits(7)));
    assert_eq!(TotpParameters::new(OtpHash::Sha1, 6, 0), Err(EnrolmentError::Step(0)));
    let enrol = |issuer, account| Enrolment::new(issuer, account, TotpParameters::DEFAULT, &OsRandom).map(|_| ());
    assert_eq!(enrol("a:b", "c"), Err(EnrolmentError::Name("issuer name")));
    assert_eq!(enrol("a", ""), Err(EnrolmentError::Name("account name")));
    let lengths = [(OtpHash::Sha1, 20), (OtpHash::Sha256, 32), (OtpHash::Sha512, 64)];
    for (hash, length) in lengths {
        let parameters = TotpParameters::new(hash, 6, 30).unwrap();
        assert_eq!(Enrolment::new("i", "a", parameters, &OsRandom).unwrap().secret.expose().len(), length);
    }
}

proptest::proptest! {
    #[test]
    fn no_state_time_or_hmac_panics(
        text in "[0-9]{6}|[0-9]{8}",
        millis in proptest::arbitrary::any::<i64>(),
        (digits, step_seconds, drift, last_step) in proptest::arbitrary::any::<(u8, u32, i32, i64)>(),
        window in 0_u8..4,
        hmac in proptest::arbitrary::any::<Vec<u8>>(),
    ) {
        let state = TotpState { hash: OtpHash::Sha1, digits, step_seconds, drift, window, last_step };
        let now = Timestamp::from_unix_millis(millis);
        let steps = state.candidates(now);
        proptest::prop_assert_eq!(steps.len(), 2 * usize::from(window) + 1);
        let code = Code::parse(&text, u8::try_from(text.len()).unwrap()).unwrap();
        if let Ok(matched) = state.match_code(&code, now, &steps, &vec![hmac; steps.len()]) {
            let (step, shown_drift) = step_of(&matched);
            proptest::prop_assert!(step > last_step && shown_drift.unsigned_abs() <= drift.unsigned_abs().max(DRIFT_CAP.unsigned_abs()));
        }
    }
}
