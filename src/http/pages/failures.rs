//! How a person is told of sign-ins that failed where one half of their proof was right.

use crate::ui::{FailureNotice, Moment};
use signet_core::mfa::lockout::{Locked, Noticed, NoticedOf};
use signet_store::Factor;

/// What a person is told of failures. `factors` are the person's.
pub(super) fn notice(of: &Noticed, factors: &[Factor]) -> FailureNotice {
    let times = if of.failures == 1 { "Once".to_owned() } else { format!("{} times", of.failures) };
    let (text, locked, advice) = match &of.of {
        NoticedOf::Codes => (
            format!("Somebody knows your password. {times} it was typed with a wrong one-time code."),
            "One-time codes of six or eight digits",
            "change your password, and tell your administrator.",
        ),
        NoticedOf::Passwords(id) => {
            let factor = factors.iter().find(|factor| factor.id == *id);
            let called = factor.map_or("a factor", |factor| factor.label.as_str());
            (
                format!(
                    "Somebody may have your token. {times} \u{201c}{called}\u{201d} was used with a wrong password."
                ),
                "It",
                "look whether you still have it. If not, remove it here, and tell your administrator.",
            )
        }
    };
    let locked = of.locked.map(|until| match until {
        Locked::Until(until) => format!("{locked} sign nobody in until {}.", Moment::of(until).text),
        Locked::UntilAnswered => format!("{locked} sign nobody in until you answer here."),
    });
    FailureNotice { text, last: Moment::of(of.last), locked, advice }
}
