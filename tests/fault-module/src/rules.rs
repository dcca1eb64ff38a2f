//! The rules file: one rule a line, `#` begins a comment.
//!
//! ```text
//! C_Sign      nth 3               before return CKR_DEVICE_ERROR
//! C_Sign      chance 0.01 seed 7  after  flip
//! C_OpenSession every             before delay 50
//! limit sessions 16
//! limit operation-ms 4
//! hide 0x1041
//! log calls
//! ```

use std::fmt;

use cryptoki_sys::CK_RV;

use crate::codes;
use crate::forward::{FUNCTIONS, has_output, takes_key};

/// A rules file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rules {
    /// What is injected, in the order of the file.
    pub injections: Vec<Injection>,
    /// How many sessions a process may have open; one more is `CKR_SESSION_COUNT`.
    pub most_sessions: Option<usize>,
    /// How long each cryptographic operation takes at least.
    pub operation_ms: Option<u64>,
    /// Mechanisms that are not listed.
    pub hidden: Vec<u64>,
    /// Whether every call is logged.
    pub logs_calls: bool,
}

/// One fault to inject.
#[derive(Debug, Clone, PartialEq)]
pub struct Injection {
    /// The function, e.g. `C_Sign`.
    pub function: &'static str,
    /// Which of its calls.
    pub when: When,
    /// Before the real call or after it.
    pub phase: Phase,
    /// What happens.
    pub what: What,
    /// The line as it is logged.
    pub text: String,
    /// Where it stands in the file, from 1.
    pub line: usize,
}

/// Which calls are hit. Each process counts its own calls, from when it read the file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum When {
    /// The nth call, once: of all processes that read this file, one.
    Nth(u64),
    /// Every call.
    Every,
    /// Every call from the nth on.
    From(u64),
    /// Every kth call.
    Each(u64),
    /// Each call with this probability. Processes draw differently from the same seed, so that one in the place of
    /// another does not meet the same fate.
    Chance {
        /// Between 0 and 1.
        probability: f64,
        /// The same seed hits the same calls of the same process.
        seed: u64,
    },
}

/// On which side of the real call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The real module may not be asked at all.
    Before,
    /// The real module has done its work.
    After,
}

/// What is done to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Answers this code.
    Return(CK_RV),
    /// Answers `CKR_BUFFER_TOO_SMALL`, and that so many bytes are wanted.
    TooSmall(u64),
    /// Takes so many milliseconds longer.
    Delay(u64),
    /// Never comes back.
    Hang,
    /// Dies of SIGSEGV.
    Segv,
    /// Dies of SIGABRT.
    Abort,
    /// Leaves with status 0.
    Exit,
    /// Flips one bit of the output.
    Flip,
    /// Halves the output.
    Truncate,
    /// Fills the output with zeros.
    Zero,
    /// Uses, or finds, another key than the one that was meant.
    OtherKey,
    /// Gives the first handle that was found twice.
    Duplicate,
    /// Writes to standard output.
    Garbage,
    /// Logs the token out.
    Logout,
    /// Enters a state that lasts.
    Latch(Latch),
}

/// A state that lasts until it is undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Latch {
    /// Whatever needs the user is refused until the next `C_Login`.
    LoggedOut,
    /// The token is away until the latch file goes.
    Removed,
    /// `C_Login` answers `CKR_PIN_LOCKED` until the latch file goes.
    PinLocked,
}

impl Latch {
    /// Its word in rules and in the latch file.
    pub const fn word(self) -> &'static str {
        match self {
            Self::LoggedOut => "logged-out",
            Self::Removed => "removed",
            Self::PinLocked => "pin-locked",
        }
    }

    /// The state of a word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::LoggedOut, Self::Removed, Self::PinLocked].into_iter().find(|latch| latch.word() == word)
    }
}

/// A line that is no rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleError {
    /// The line's number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for RuleError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "rule {}: {}", self.line, self.reason)
    }
}

impl std::error::Error for RuleError {}

impl Rules {
    /// Reads a rules file.
    ///
    /// # Errors
    ///
    /// [`RuleError`] of the first line that is no rule.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        let mut rules = Self::default();
        for (at, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            let words: Vec<&str> = line.split_whitespace().collect();
            rules.add(&words, at + 1).map_err(|reason| RuleError { line: at + 1, reason })?;
        }
        Ok(rules)
    }

    fn add(&mut self, words: &[&str], line: usize) -> Result<(), String> {
        match words {
            [] => {}
            ["limit", "sessions", most] => {
                self.most_sessions = Some(parsed(most, "a number of sessions")?);
            }
            ["limit", "operation-ms", milliseconds] => {
                self.operation_ms = Some(parsed(milliseconds, "a number of milliseconds")?);
            }
            ["hide", mechanism] => {
                let number = codes::number(mechanism).ok_or_else(|| format!("`{mechanism}` is no mechanism's number"));
                self.hidden.push(number?);
            }
            ["log", "calls"] => self.logs_calls = true,
            [function, rest @ ..] => self.injections.push(injection(function, rest, line)?),
        }
        Ok(())
    }
}

fn injection(name: &str, rest: &[&str], line: usize) -> Result<Injection, String> {
    let function = FUNCTIONS.iter().find(|known| **known == name);
    let function = function.ok_or_else(|| format!("`{name}` is no function of PKCS#11 2.40"))?;
    let (when, rest) = when(rest)?;
    let (phase, rest) = match rest {
        ["before", rest @ ..] => (Phase::Before, rest),
        ["after", rest @ ..] => (Phase::After, rest),
        _ => return Err("after the call's number comes `before` or `after`".to_owned()),
    };
    let what = what(rest)?;
    check(function, phase, what)?;
    let side = if phase == Phase::Before { "before" } else { "after" };
    let text = format!("{function} {side} {}", rest.join(" "));
    Ok(Injection { function, when, phase, what, text, line })
}

fn when<'a, 'b>(words: &'a [&'b str]) -> Result<(When, &'a [&'b str]), String> {
    let positive = |text: &str| match parsed::<u64>(text, "a number of calls")? {
        0 => Err("calls are counted from 1".to_owned()),
        number => Ok(number),
    };
    match words {
        ["every", rest @ ..] => Ok((When::Every, rest)),
        ["nth", number, rest @ ..] => Ok((When::Nth(positive(number)?), rest)),
        ["from", number, rest @ ..] => Ok((When::From(positive(number)?), rest)),
        ["each", number, rest @ ..] => Ok((When::Each(positive(number)?), rest)),
        ["chance", probability, "seed", seed, rest @ ..] => {
            let probability = parsed::<f64>(probability, "a probability")?;
            if !(0.0..=1.0).contains(&probability) {
                return Err(format!("{probability} is no probability"));
            }
            Ok((When::Chance { probability, seed: parsed(seed, "a seed")? }, rest))
        }
        _ => Err("after the function comes `nth N`, `every`, `from N`, `each N` or `chance P seed N`".to_owned()),
    }
}

fn what(words: &[&str]) -> Result<What, String> {
    Ok(match words {
        ["return", code] => What::Return(codes::code(code).ok_or_else(|| format!("`{code}` is no return code"))?),
        ["too-small", bytes] => What::TooSmall(parsed(bytes, "a number of bytes")?),
        ["delay", milliseconds] => What::Delay(parsed(milliseconds, "a number of milliseconds")?),
        ["hang"] => What::Hang,
        ["segv"] => What::Segv,
        ["abort"] => What::Abort,
        ["exit"] => What::Exit,
        ["flip"] => What::Flip,
        ["truncate"] => What::Truncate,
        ["zero"] => What::Zero,
        ["other-key"] => What::OtherKey,
        ["duplicate"] => What::Duplicate,
        ["garbage"] => What::Garbage,
        ["logout"] => What::Logout,
        ["latch", state] => What::Latch(Latch::parse(state).ok_or_else(|| format!("`{state}` is no state"))?),
        _ => return Err(format!("`{}` is nothing that can happen to a call", words.join(" "))),
    })
}

/// A rule that could never take effect is a mistake.
fn check(function: &str, phase: Phase, what: What) -> Result<(), String> {
    let possible = match what {
        What::Flip | What::Truncate | What::Zero => phase == Phase::After && has_output(function),
        What::TooSmall(_) => phase == Phase::Before && has_output(function),
        What::Duplicate => phase == Phase::After && function == "C_FindObjects",
        What::OtherKey => {
            (phase == Phase::Before && takes_key(function)) || (phase == Phase::After && function == "C_FindObjects")
        }
        _ => true,
    };
    if possible { Ok(()) } else { Err(format!("that can't happen {phase:?} {function}")) }
}

fn parsed<T: std::str::FromStr>(text: &str, meaning: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is not {meaning}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_rule_is_read() {
        let text = "
            # a comment
            C_Sign nth 3 before return CKR_DEVICE_ERROR   # and why
            C_Sign chance 0.01 seed 7 after flip
            C_FindObjects each 2 after duplicate
            C_Login every before latch pin-locked
            C_SignInit from 4 before other-key
            C_OpenSession every after delay 50
            limit sessions 16
            limit operation-ms 4
            hide 0x1041
            log calls";
        let rules = Rules::parse(text).unwrap();
        assert_eq!((rules.most_sessions, rules.operation_ms), (Some(16), Some(4)));
        assert_eq!((rules.hidden.as_slice(), rules.logs_calls), ([0x1041].as_slice(), true));
        let read: Vec<_> = rules.injections.iter().map(|rule| (rule.when, rule.phase, rule.what)).collect();
        let expected = [
            (When::Nth(3), Phase::Before, What::Return(0x30)),
            (When::Chance { probability: 0.01, seed: 7 }, Phase::After, What::Flip),
            (When::Each(2), Phase::After, What::Duplicate),
            (When::Every, Phase::Before, What::Latch(Latch::PinLocked)),
            (When::From(4), Phase::Before, What::OtherKey),
            (When::Every, Phase::After, What::Delay(50)),
        ];
        assert_eq!(read, expected);
        assert_eq!(rules.injections[0].text, "C_Sign before return CKR_DEVICE_ERROR");
        assert_eq!(rules.injections[0].line, 3);
    }

    #[test]
    fn what_is_no_rule_is_an_error_with_its_line() {
        for wrong in [
            "C_Sing every before hang",
            "C_Sign",
            "C_Sign sometimes before hang",
            "C_Sign nth 0 before hang",
            "C_Sign nth x before hang",
            "C_Sign every during hang",
            "C_Sign every before explode",
            "C_Sign every before return CKR_NOTHING",
            "C_Sign every before hang twice",
            "C_Sign chance 2 seed 1 after flip",
            "C_Sign chance 0.5 after flip",
            "C_Login every before latch open",
            "limit sessions many",
            "limit speed 3",
            "hide CKM_ECDSA",
            "log",
        ] {
            let error = Rules::parse(&format!("log calls\n{wrong}")).unwrap_err();
            assert_eq!(error.line, 2, "{wrong}: {error}");
        }
    }

    #[test]
    fn a_rule_that_could_never_take_effect_is_an_error() {
        for wrong in [
            "C_Sign every before flip",
            "C_SignInit every after flip",
            "C_Sign every after duplicate",
            "C_Sign every after too-small 600",
            "C_Sign every before other-key",
            "C_SignInit every after other-key",
        ] {
            assert!(Rules::parse(wrong).is_err(), "{wrong}");
        }
        assert!(Rules::parse("C_FindObjects every after other-key").is_ok());
    }
}
