//! `[mfa]`: what protects sign-in. The bounds are such that nobody can configure the protection away.

use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use super::ConfigError;
use super::section::Section;
use super::server::PublicUrl;
use super::webauthn::{self, WebAuthnConfig};
use super::yubico_validation::{self, YubicoValidationConfig};
use signet_core::mfa::Lockout;

pub(super) const KEYS: &[&str] =
    &["issuer_name", "tries", "pause", "password_concurrency", "four_eyes", "piv", "yubico_validation", "webauthn"];
pub(super) const PIV_KEYS: &[&str] = &["attestation_roots", "require_attestation", "roots"];

/// At most ten tries an hour: a pause of six minutes for each try.
const MIN_PAUSE_PER_TRY: Duration = Duration::from_secs(6 * 60);
const MAX_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);

/// `[mfa]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MfaConfig {
    /// `issuer_name`: what authenticator apps show above the account's name.
    pub issuer_name: String,
    /// `tries` and `pause`: tries of an account that are judged, and how long none is judged then.
    pub lockout: Lockout,
    /// `password_concurrency`: password hashes computed at once, 19 MiB of memory and a core each.
    pub password_concurrency: usize,
    /// `[mfa.webauthn]`: security keys; `None` where the public URL is an IP address, which no key is bound to.
    pub webauthn: Option<WebAuthnConfig>,
    /// `four_eyes`: a factor that an operator adds for somebody proves nothing until another person has approved it.
    pub four_eyes: bool,
    /// `[mfa.piv]`.
    pub piv: PivConfig,
    /// `[mfa.yubico_validation]`: servers that verify Yubico OTPs whose keys are elsewhere.
    pub yubico_validation: Option<YubicoValidationConfig>,
}

/// `[mfa.piv]`: what the key of a PIV card must come with when it is enrolled. The files are read then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PivConfig {
    /// `attestation_roots`: files with the root certificates of attestations, in PEM.
    pub attestation_roots: Vec<PathBuf>,
    /// `require_attestation`: whether a key without an attestation is refused.
    pub require_attestation: bool,
    /// `roots`: files with the root certificates of the cards' own certificates, in PEM; none is asked where empty.
    pub roots: Vec<PathBuf>,
}

impl PivConfig {
    fn read(section: &Section<'_>) -> Result<Self, ConfigError> {
        let files = |key| section.texts(key, "a list of paths of PEM files", |path| Some(section.resolve(path)));
        let piv = Self {
            attestation_roots: files("attestation_roots")?,
            require_attestation: section.flag("require_attestation")?.unwrap_or(false),
            roots: files("roots")?,
        };
        if piv.require_attestation && piv.attestation_roots.is_empty() {
            return Err(section.unusable("require_attestation", "it needs `mfa.piv.attestation_roots`"));
        }
        Ok(piv)
    }
}

impl MfaConfig {
    pub(super) fn read(mut section: Section<'_>, public_url: &PublicUrl) -> Result<Self, ConfigError> {
        let piv = PivConfig::read(&section.section("piv", PIV_KEYS)?)?;
        let expected = "a name of at most 64 bytes without a colon";
        let read = |name: &str| (name.len() <= 64 && !name.contains(':')).then(|| name.to_owned());
        let issuer_name = section.parsed("issuer_name", expected, read)?.unwrap_or_else(|| "Signet".to_owned());
        let tries = section.integer("tries", 1..=10, Lockout::DEFAULT.tries)?;
        let pause = section.duration("pause", MIN_PAUSE_PER_TRY..=MAX_PAUSE, Lockout::DEFAULT.pause)?;
        if pause < MIN_PAUSE_PER_TRY * tries {
            return Err(section.unusable("pause", "it lasts at least six minutes for each of `mfa.tries`"));
        }
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let yubico_validation = match section.has("yubico_validation") {
            true => Some(section.section("yubico_validation", yubico_validation::KEYS)?),
            false => None,
        };
        let webauthn = match section.has("webauthn") {
            true => Some(WebAuthnConfig::read(&section.section("webauthn", webauthn::KEYS)?, public_url)?),
            false => WebAuthnConfig::default_of(public_url),
        };
        Ok(Self {
            webauthn,
            issuer_name,
            lockout: Lockout { tries, pause },
            password_concurrency: section.integer("password_concurrency", 1..=256, cores)?,
            four_eyes: section.flag("four_eyes")?.unwrap_or(false),
            piv,
            yubico_validation: yubico_validation.as_ref().map(YubicoValidationConfig::read).transpose()?,
        })
    }
}
