//! The pages: their templates, what they are filled with, and the style sheet. Every value is escaped by the template
//! engine; pages work without JavaScript but for security keys, by
//! keyboard, in light and dark.

use askama::Template;
use qrcode::render::svg;
use qrcode::{EcLevel, QrCode};

use signet_jose::clock::Timestamp;

/// The style sheet of all pages.
pub(crate) const STYLE: &str = include_str!("assets/signet.css");
/// The one script: what carries options and answers between the server and a security key.
pub(crate) const KEY_SCRIPT: &str = include_str!("assets/webauthn.js");

/// The name of the value that pages are rendered with: the path below which browsers know them.
pub(crate) const BASE_VALUE: &str = "base";

/// What templates say beside the engine's own filters.
#[expect(unreachable_pub, reason = "the engine makes a public type of each filter")]
mod filters {
    use std::fmt::Display;

    use askama::{Result, Values, get_value};

    /// The address of a page or asset, where browsers know it.
    #[askama::filter_fn]
    pub(super) fn below(path: impl Display, values: &dyn Values) -> Result<String> {
        // Where nothing is said they are below the host.
        let base = get_value::<String>(values, super::BASE_VALUE).map_or("", String::as_str);
        Ok(format!("{base}{path}"))
    }
}

/// The sign-in page.
#[derive(Template)]
#[template(path = "login.html")]
pub(crate) struct LoginPage<'p> {
    pub(crate) token: &'p str,
    pub(crate) notice: Option<&'static str>,
    pub(crate) error: Option<&'p str>,
    pub(crate) offers_keys: bool,
}

/// Who is signed in, as every page of theirs begins.
pub(crate) struct SignedIn {
    /// What the page's forms carry.
    pub(crate) token: String,
    pub(crate) user: String,
    pub(crate) failures: Vec<FailureNotice>,
    /// How many sign-ins failed in all, as a form carries it.
    pub(crate) failed: u32,
}

/// Sign-ins that failed where one half was right, for the person to answer for.
pub(crate) struct FailureNotice {
    pub(crate) text: String,
    pub(crate) last: Moment,
    pub(crate) locked: Option<String>,
    pub(crate) advice: &'static str,
}

/// Asks once more for the password and a code.
#[derive(Template)]
#[template(path = "step_up.html")]
pub(crate) struct StepUpPage<'p> {
    pub(crate) who: &'p SignedIn,
    pub(crate) next: &'p str,
    /// Whether a proof by the person's strongest factor is asked for.
    pub(crate) is_stronger: bool,
    pub(crate) error: Option<&'p str>,
    pub(crate) offers_keys: bool,
}

/// A factor as its owner sees it.
pub(crate) struct FactorRow {
    pub(crate) id: String,
    pub(crate) kind: &'static str,
    pub(crate) label: String,
    pub(crate) serial: Option<String>,
    /// What else its owner is to know of it.
    pub(crate) note: Option<String>,
    pub(crate) created: Moment,
    pub(crate) last_used: Option<Moment>,
}

/// A session as its owner sees it.
pub(crate) struct SessionRow {
    pub(crate) id: String,
    pub(crate) address: String,
    pub(crate) created: Moment,
    pub(crate) last_seen: Moment,
    pub(crate) is_this: bool,
}

/// A person's factors and sessions.
#[derive(Template)]
#[template(path = "account.html")]
pub(crate) struct AccountPage<'p> {
    pub(crate) who: &'p SignedIn,
    pub(crate) notice: Option<&'static str>,
    pub(crate) factors: Vec<FactorRow>,
    pub(crate) sessions: Vec<SessionRow>,
    pub(crate) offers_keys: bool,
    /// Whether the person came in by a recovery code.
    pub(crate) is_recovered: bool,
}

/// A TOTP secret to scan, and the field for its first code.
#[derive(Template)]
#[template(path = "totp.html")]
pub(crate) struct TotpPage<'p> {
    pub(crate) who: &'p SignedIn,
    pub(crate) error: Option<&'p str>,
    pub(crate) label: &'p str,
    pub(crate) carried: &'p str,
    pub(crate) secret: String,
    pub(crate) uri: &'p str,
    pub(crate) image: String,
}

/// Asks for a new security key.
#[derive(Template)]
#[template(path = "key.html")]
pub(crate) struct KeyPage<'p> {
    pub(crate) who: &'p SignedIn,
    pub(crate) error: Option<&'p str>,
    pub(crate) label: &'p str,
}

/// Recovery codes: to make them, or as they were made.
#[derive(Template)]
#[template(path = "recovery.html")]
pub(crate) struct RecoveryPage<'p> {
    pub(crate) who: &'p SignedIn,
    pub(crate) error: Option<&'p str>,
    pub(crate) codes: &'p [&'p str],
}

/// Asks for a token of the stock.
#[derive(Template)]
#[template(path = "token.html")]
pub(crate) struct TokenPage<'p> {
    pub(crate) who: &'p SignedIn,
    pub(crate) error: Option<&'p str>,
    pub(crate) serial: &'p str,
    pub(crate) label: &'p str,
}

/// One factor: to name it, or to remove it.
#[derive(Template)]
#[template(path = "factor.html")]
pub(crate) struct FactorPage<'p> {
    pub(crate) who: &'p SignedIn,
    pub(crate) error: Option<&'p str>,
    pub(crate) factor: FactorRow,
}

/// Asks for a new password.
#[derive(Template)]
#[template(path = "password.html")]
pub(crate) struct PasswordPage<'p> {
    pub(crate) who: &'p SignedIn,
    pub(crate) error: Option<&'p str>,
}

/// Asks whether a factor is to go.
#[derive(Template)]
#[template(path = "remove.html")]
pub(crate) struct RemovePage<'p> {
    pub(crate) who: &'p SignedIn,
    pub(crate) error: Option<&'p str>,
    pub(crate) factor: FactorRow,
}

/// Something did not go as it should.
#[derive(Template)]
#[template(path = "failure.html")]
pub(crate) struct FailurePage<'p> {
    pub(crate) title: &'p str,
    pub(crate) text: &'p str,
}

/// A moment for people and for machines.
pub(crate) struct Moment {
    pub(crate) text: String,
    pub(crate) machine: String,
}

impl Moment {
    /// To the minute, in UTC.
    pub(crate) fn of(at: Timestamp) -> Self {
        let machine = at.to_string();
        let text = match machine.split_once('T') {
            Some((day, time)) => format!("{day} {} UTC", time.get(..5).unwrap_or(time)),
            None => machine.clone(),
        };
        Self { text, machine }
    }
}

/// A QR code as an SVG image; empty where the text is too long for one, which the page then shows as text alone.
pub(crate) fn qr_image(text: &str) -> String {
    let Ok(code) = QrCode::with_error_correction_level(text, EcLevel::M) else { return String::new() };
    let image = code.render::<svg::Color<'_>>().min_dimensions(240, 240).quiet_zone(true).build();
    // Within a page there is no XML declaration.
    image.find("<svg").map_or_else(String::new, |at| image[at..].to_owned())
}

/// A secret in groups of four, as people read it.
pub(crate) fn in_groups(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let groups: Vec<String> = characters.chunks(4).map(|group| group.iter().collect()).collect();
    groups.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_filled_in_is_escaped() {
        let text = "<script>alert(1)</script>\" onload=\"x";
        let page = FailurePage { title: text, text }.render().unwrap();
        assert!(!page.contains("<script") && !page.contains("\" onload"), "{page}");
    }

    #[test]
    fn moments_are_to_the_minute() {
        let moment = Moment::of(Timestamp::from_unix_millis(1_769_847_300_250));
        assert_eq!(
            (moment.text.as_str(), moment.machine.as_str()),
            ("2026-01-31 08:15 UTC", "2026-01-31T08:15:00.250Z")
        );
    }

    #[test]
    fn a_qr_code_is_an_image_within_the_page() {
        assert!(qr_image("otpauth://totp/x").starts_with("<svg"));
        assert_eq!(qr_image(&"x".repeat(10_000)), "");
        assert_eq!(in_groups("ABCDEFGHIJ"), "ABCD EFGH IJ");
    }
}
