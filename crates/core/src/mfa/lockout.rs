//! What was tried in vain at a user, and what that locks (promise 10).
//!
//! Both halves of a sign-in are always judged, and exactly one wrong half is counted; a missing half is a wrong one. So only
//! whoever holds one half of a person's proof can spend their tries, and whoever holds neither shuts nobody out. There are two
//! counts: wrong codes beside the right password, for all digits together; and wrong passwords beside a right proof, for each
//! factor by itself. Each allows [`Lockout::tries`] in [`Lockout::pause`], and [`UNANSWERED`] that the person has not answered
//! for (NIST SP 800-63B-4 §3.2.2). What can't be guessed (what a key or card signs, a Yubico OTP, a recovery code) is never
//! counted as wrong, or whoever knows the password could shut it.
//!
//! A flood of made-up sign-ins meets right codes by chance. So each raises what the second count allows by the [`Chance`] that its
//! code had: that is what somebody without the token has anyhow.
//!
//! See `docs/decisions/0021-*`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::FactorId;
use signet_jose::clock::Timestamp;

/// How many failures of one kind stand before it locks until the person answers for them or an operator unlocks the account
/// (NIST SP 800-63B-4 §3.2.2).
pub const UNANSWERED: u32 = 100;

/// The most moments that are kept of one kind: beyond, those within one of [`SPANS`] of the pause are one, at the latest of them.
const MOST_MOMENTS: usize = 64;
const SPANS: i64 = 40;

/// The rule: after so many failures, a pause.
///
/// Ten failures an hour are 240 a day, and a hundred that nobody answered for are the end of it. Who knows the password and
/// guesses six-digit codes hits one of at most forty acceptable ones (ten of each of four HOTP tokens) with a chance of 0.4 %
/// in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lockout {
    /// Failures before a pause.
    pub tries: u32,
    /// In what time they are counted, and so how long the pause lasts at most.
    pub pause: Duration,
}

impl Lockout {
    /// Ten failures an hour.
    pub const DEFAULT: Self = Self { tries: 10, pause: Duration::from_secs(3600) };
}

/// How likely a made-up code was to be right, in billionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Chance(u64);

impl Chance {
    const WHOLE: u64 = 1_000_000_000;

    /// That of a code of so many digits, of which so many would have been accepted.
    pub fn of(accepted: usize, digits: u8) -> Self {
        let codes = 10_u64.saturating_pow(u32::from(digits));
        let accepted = u64::try_from(accepted).unwrap_or(u64::MAX);
        Self(accepted.saturating_mul(Self::WHOLE).checked_div(codes).unwrap_or(0).min(Self::WHOLE))
    }
}

/// How a sign-in ended in vain, where exactly one half of it was wrong, or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Neither half was right, or there was no such user.
    Both(Chance),
    /// The password was right, and beside it was no right code, or none.
    Code,
    /// What counts for nothing: the password was right, and beside it was what nobody guesses, and not right; or the user is
    /// disabled.
    Uncounted,
    /// This factor's proof was right, and the password was not, or was missing.
    Password(FactorId, Chance),
}

/// The pause in seconds, at least one.
fn pause_of(rule: &Lockout) -> i64 {
    i64::try_from(rule.pause.as_secs()).unwrap_or(i64::MAX).max(1)
}

/// Failures of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Failures {
    /// When the latest were, in seconds since the epoch, and how many at that moment; oldest first.
    recent: Vec<(i64, u32)>,
    /// How many the person has not answered for.
    unanswered: u32,
    /// When the first and the last of those were.
    first: i64,
    last: i64,
}

impl Failures {
    fn add(&mut self, at: i64, rule: &Lockout) {
        match self.recent.last_mut() {
            Some((last, many)) if *last == at => *many = many.saturating_add(1),
            _ => self.recent.push((at, 1)),
        }
        if self.recent.len() > MOST_MOMENTS {
            let span = (pause_of(rule) / SPANS).max(1);
            self.recent.dedup_by(|(later, more), (at, many)| {
                let is_one = at.div_euclid(span) == later.div_euclid(span);
                if is_one {
                    (*at, *many) = (*later, many.saturating_add(*more));
                }
                is_one
            });
        }
        if self.unanswered == 0 {
            self.first = at;
        }
        self.last = at;
        self.unanswered = self.unanswered.saturating_add(1);
    }

    /// Until when this kind is locked, where `more` are allowed in the pause and `more_unanswered` in all.
    fn lock(&self, rule: &Lockout, more: u32, more_unanswered: u32, now: i64) -> Option<Locked> {
        if self.unanswered >= UNANSWERED.saturating_add(more_unanswered) {
            return Some(Locked::UntilAnswered);
        }
        let pause = pause_of(rule);
        // What a clock that was set back leaves in the future still counts.
        let stand = || self.recent.iter().filter(|(at, _)| at.saturating_add(pause) > now);
        let many = stand().fold(0_u32, |sum, (_, many)| sum.saturating_add(*many));
        let allowed = rule.tries.saturating_add(more);
        let mut beyond = many.checked_sub(allowed)?;
        // The pause ends with the failure after which fewer than the allowed ones stand.
        for (at, many) in stand() {
            match beyond.checked_sub(*many) {
                Some(rest) => beyond = rest,
                None => return Some(Locked::Until(Timestamp::from_unix_seconds(at.saturating_add(pause)))),
            }
        }
        None
    }

    fn forget_old(&mut self, rule: &Lockout, now: i64) {
        let pause = pause_of(rule);
        self.recent.retain(|(at, _)| at.saturating_add(pause) > now);
    }

    fn answer(&mut self) {
        (self.unanswered, self.first, self.last) = (0, 0, 0);
    }

    fn noticed(&self, of: NoticedOf, locked: Option<Locked>) -> Option<Noticed> {
        let at = |seconds| Timestamp::from_unix_seconds(seconds);
        (self.unanswered > 0).then(|| Noticed {
            of,
            failures: self.unanswered,
            first: at(self.first),
            last: at(self.last),
            locked,
        })
    }
}

/// What made-up codes raised, in billionths of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Raised {
    /// The number of the pause in which it was raised last.
    period: i64,
    /// By how much in that one, and in the one before.
    this: u64,
    before: u64,
    /// By how much since the person last answered.
    unanswered: u64,
}

impl Raised {
    fn by(&mut self, chance: Chance, rule: &Lockout, now: i64) {
        let period = now.div_euclid(pause_of(rule));
        if period > self.period {
            self.before = if period == self.period.saturating_add(1) { self.this } else { 0 };
            (self.period, self.this) = (period, 0);
        }
        self.this = self.this.saturating_add(chance.0);
        self.unanswered = self.unanswered.saturating_add(chance.0);
    }

    fn whole(billionths: u64) -> u32 {
        u32::try_from(billionths / Chance::WHOLE).unwrap_or(u32::MAX)
    }

    fn recent(&self, rule: &Lockout, now: i64) -> u32 {
        let period = now.div_euclid(pause_of(rule));
        Self::whole(match period.saturating_sub(self.period) {
            ..=0 => self.this.saturating_add(self.before),
            1 => self.this,
            _ => 0,
        })
    }
}

/// How long something is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locked {
    /// Until then.
    Until(Timestamp),
    /// Until the person, signed in by another factor, answers for the failures, or an operator unlocks the account.
    UntilAnswered,
}

/// What failures were of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoticedOf {
    /// Codes beside the right password: whoever tried knows it.
    Codes,
    /// Passwords beside this factor's right proof: whoever tried has it.
    Passwords(FactorId),
}

/// Failures that the person has not answered for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noticed {
    /// What they were of.
    pub of: NoticedOf,
    /// How many.
    pub failures: u32,
    /// When the first of them was.
    pub first: Timestamp,
    /// When the last of them was.
    pub last: Timestamp,
    /// Whether they lock it now.
    pub locked: Option<Locked>,
}

/// What was tried in vain at one user. Its spelling in the store is JSON.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UserTries {
    codes: Failures,
    passwords: BTreeMap<FactorId, Failures>,
    raised: Raised,
    /// Tokens of the stock that the person, signed in, did not show to be theirs.
    #[serde(default)]
    claims: Failures,
}

impl UserTries {
    /// Counts a failure, once; where that kind is locked already it is not counted further.
    pub fn count(&mut self, failure: &Failure, rule: &Lockout, at: Timestamp) {
        let now = at.unix_seconds();
        match failure {
            Failure::Both(chance) => self.raised.by(*chance, rule, now),
            Failure::Uncounted => {}
            Failure::Code => {
                self.codes.forget_old(rule, now);
                if self.codes.lock(rule, 0, 0, now).is_none() {
                    self.codes.add(now, rule);
                }
            }
            Failure::Password(factor, chance) => {
                self.raised.by(*chance, rule, now);
                let (more, more_unanswered) = self.allowances(rule, now);
                let failures = self.passwords.entry(factor.clone()).or_default();
                failures.forget_old(rule, now);
                if failures.lock(rule, more, more_unanswered, now).is_none() {
                    failures.add(now, rule);
                }
            }
        }
    }

    /// Whether a right password beside this factor's right proof is refused, and until when. `is_digits` says whether the proof was
    /// digits.
    pub fn lock(&self, factor: &FactorId, is_digits: bool, rule: &Lockout, at: Timestamp) -> Option<Locked> {
        let codes = if is_digits { self.codes_lock(rule, at) } else { None };
        codes.or_else(|| self.passwords_lock(factor, rule, at))
    }

    /// Whether all digits are locked.
    pub fn codes_lock(&self, rule: &Lockout, at: Timestamp) -> Option<Locked> {
        self.codes.lock(rule, 0, 0, at.unix_seconds())
    }

    fn passwords_lock(&self, factor: &FactorId, rule: &Lockout, at: Timestamp) -> Option<Locked> {
        let now = at.unix_seconds();
        let (more, more_unanswered) = self.allowances(rule, now);
        self.passwords.get(factor)?.lock(rule, more, more_unanswered, now)
    }

    fn allowances(&self, rule: &Lockout, now: i64) -> (u32, u32) {
        (self.raised.recent(rule, now), Raised::whole(self.raised.unanswered))
    }

    /// Counts a claim to a token of the stock, before it is judged.
    /// Errors: [`Locked`]: there were too many that failed, and it is not to be judged.
    pub fn claim(&mut self, rule: &Lockout, at: Timestamp) -> Result<(), Locked> {
        let now = at.unix_seconds();
        self.claims.forget_old(rule, now);
        // The person makes them, and they lock no way in: nobody has to answer for them.
        self.claims.answer();
        match self.claims.lock(rule, 0, 0, now) {
            Some(locked) => Err(locked),
            None => {
                self.claims.add(now, rule);
                Ok(())
            }
        }
    }

    /// Takes the latest claim back: it was good, or nobody knows.
    pub fn take_back_claim(&mut self) {
        match self.claims.recent.last_mut() {
            Some((_, many)) if *many > 1 => *many -= 1,
            _ => drop(self.claims.recent.pop()),
        }
    }

    /// How many failures the person has not answered for.
    pub fn unanswered(&self) -> u32 {
        let passwords = self.passwords.values().map(|failures| failures.unanswered);
        passwords.fold(self.codes.unanswered, u32::saturating_add)
    }

    /// What the person is to be told.
    pub fn noticed(&self, rule: &Lockout, at: Timestamp) -> Vec<Noticed> {
        let codes = self.codes.noticed(NoticedOf::Codes, self.codes_lock(rule, at));
        let passwords = self.passwords.iter().filter_map(|(factor, failures)| {
            failures.noticed(NoticedOf::Passwords(factor.clone()), self.passwords_lock(factor, rule, at))
        });
        codes.into_iter().chain(passwords).collect()
    }

    /// The person says that it was they, or has seen it: what stood unanswered is answered for. A pause goes on.
    pub fn answer(&mut self) {
        self.codes.answer();
        self.passwords.values_mut().for_each(Failures::answer);
        self.raised.unanswered = 0;
    }

    /// There is another password: whoever knew the old one knows nothing any more.
    pub fn forget_codes(&mut self) {
        self.codes = Failures::default();
    }

    /// The factor is gone.
    pub fn forget_factor(&mut self, factor: &FactorId) {
        self.passwords.remove(factor);
    }
}

#[cfg(test)]
#[path = "lockout_tests.rs"]
mod tests;
