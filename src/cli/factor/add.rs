//! `signet factor add`

use std::path::Path;

use clap::{Args, Subcommand, ValueEnum};
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

use super::piv::AddPiv;
use crate::cli::admin::Admin;
use crate::cli::yubico_key::check_public_id;
use crate::cli::{Ended, Output, YubicoKeyOptions, input};
use crate::server::Need;
use signet_admin_api::factors::{
    Enrolled, Factor, NewFactor, NewHotp, NewRecovery, NewTotp, NewYubicoOtp, NewYubicoRemote,
};
use signet_core::keys::OtpHash;
use signet_core::mfa::enrolment::{ClockProfile, TotpParameters, from_base32};
use signet_core::secret::SecretText;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Add {
    /// A time-based code of an app or a hardware token (RFC 6238). The secret is shown this once.
    Totp {
        /// The user's name.
        #[arg(long)]
        user: String,
        /// What the user calls it.
        #[arg(long, default_value = "totp")]
        label: String,
        /// The HMAC's hash. Many apps know SHA1 alone.
        #[arg(long, value_enum, default_value_t = Hash::Sha1, ignore_case = true)]
        hash: Hash,
        /// Digits of a code: 6 or 8.
        #[arg(long, default_value_t = 6)]
        digits: u8,
        /// Seconds of a step: 30 or 60.
        #[arg(long, default_value_t = 30)]
        period: u32,
        /// What the clock is: an app's is set by the network, a hardware token's by nobody.
        #[arg(long, value_enum, default_value_t = Profile::App)]
        profile: Profile,
        #[command(flatten)]
        token: TokenOptions,
    },
    /// A counter-based code of a token with a button (RFC 4226). A fresh secret is shown this once.
    Hotp {
        /// The user's name.
        #[arg(long)]
        user: String,
        /// What the user calls it.
        #[arg(long, default_value = "hotp")]
        label: String,
        /// The HMAC's hash.
        #[arg(long, value_enum, default_value_t = Hash::Sha1, ignore_case = true)]
        hash: Hash,
        /// Digits of a code: 6 or 8.
        #[arg(long, default_value_t = 6)]
        digits: u8,
        /// The token's next counter.
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..1 << 53))]
        counter: i64,
        #[command(flatten)]
        token: TokenOptions,
    },
    /// Recovery codes: shown this once, each good for one sign-in without the token.
    Recovery {
        /// The user's name.
        #[arg(long)]
        user: String,
    },
    /// The key of a PIV card's slot 9a, e.g. of a YubiKey: it signs at each sign-in, after its PIN.
    Piv(AddPiv),
    /// A YubiKey's OTP slot with its own AES key; no cloud is asked.
    YubicoOtp {
        /// The user's name.
        #[arg(long)]
        user: String,
        /// What the user calls it.
        #[arg(long, default_value = "yubikey")]
        label: String,
        #[command(flatten)]
        key: YubicoKeyOptions,
    },
    /// A YubiKey's OTP slot whose AES key another validation server has, e.g. YubiCloud (`yubico_validation`).
    YubicoRemote {
        /// The user's name.
        #[arg(long)]
        user: String,
        /// What the user calls it.
        #[arg(long, default_value = "yubikey")]
        label: String,
        /// The public id in modhex: what the key types first.
        #[arg(long)]
        public_id: String,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(in crate::cli) enum Hash {
    #[value(name = "SHA1")]
    Sha1,
    #[value(name = "SHA256")]
    Sha256,
    #[value(name = "SHA512")]
    Sha512,
}

impl Hash {
    const fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha512 => "SHA512",
        }
    }
}

impl From<Hash> for OtpHash {
    fn from(hash: Hash) -> Self {
        match hash {
            Hash::Sha1 => Self::Sha1,
            Hash::Sha256 => Self::Sha256,
            Hash::Sha512 => Self::Sha512,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(in crate::cli) enum Profile {
    /// A phone or computer: one step either way is accepted.
    App,
    /// A hardware token: two steps either way are.
    Hardware,
}

impl From<Profile> for ClockProfile {
    fn from(profile: Profile) -> Self {
        match profile {
            Profile::App => Self::Synchronised,
            Profile::Hardware => Self::Hardware,
        }
    }
}

/// What is known of a token that exists already.
#[derive(Debug, Args)]
pub(in crate::cli) struct TokenOptions {
    /// The serial number that is printed on it.
    #[arg(long)]
    serial: Option<String>,
    /// Read the secret that it has already from standard input, in base32.
    #[arg(long)]
    secret_stdin: bool,
}

impl TokenOptions {
    fn secret(&self) -> anyhow::Result<Option<SecretText>> {
        if !self.secret_stdin {
            return Ok(None);
        }
        let text = input::secret_from_stdin("the secret")?;
        if from_base32(text.expose().trim()).is_none() {
            return Err(Ended::Usage("the secret on standard input is not base32".to_owned()).into());
        }
        Ok(Some(text))
    }
}

impl Add {
    pub(super) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        let (user, new) = match self {
            Self::Piv(add) => (add.user.clone(), NewFactor::Piv(add.read()?)),
            Self::Recovery { user } => (user, NewFactor::Recovery(NewRecovery {})),
            Self::Totp { user, label, hash, digits, period, profile, token } => {
                check_parameters(hash, digits, period)?;
                let new = NewTotp {
                    label: Some(label),
                    hash: Some(hash.name().to_owned()),
                    digits: Some(digits),
                    period: Some(period),
                    hardware: matches!(profile, Profile::Hardware),
                    secret_base32: token.secret()?,
                    serial: token.serial,
                };
                (user, NewFactor::Totp(new))
            }
            Self::Hotp { user, label, hash, digits, counter, token } => {
                check_parameters(hash, digits, 30)?;
                let new = NewHotp {
                    label: Some(label),
                    hash: Some(hash.name().to_owned()),
                    digits: Some(digits),
                    counter: Some(counter),
                    secret_base32: token.secret()?,
                    serial: token.serial,
                };
                (user, NewFactor::Hotp(new))
            }
            Self::YubicoOtp { user, label, key } => {
                let (public_id, private_id, secret_key) = key.read_texts()?;
                (user, NewFactor::YubicoOtp(NewYubicoOtp { label: Some(label), public_id, private_id, secret_key }))
            }
            Self::YubicoRemote { user, label, public_id } => {
                check_public_id(&public_id)?;
                (user, NewFactor::YubicoRemote(NewYubicoRemote { label: Some(label), public_id }))
            }
        };
        let admin = Admin::open(config, Need::Hsm, output).await?;
        let enrolled = admin.post(&["users", &user, "factors"], &new).await;
        admin.close().await?;
        tell(output, &enrolled?, &user)
    }
}

fn check_parameters(hash: Hash, digits: u8, period: u32) -> Result<(), Ended> {
    TotpParameters::new(hash.into(), digits, period).map(drop).map_err(|error| Ended::Usage(error.to_string()))
}

fn tell(output: &Output, enrolled: &Enrolled, user: &str) -> anyhow::Result<()> {
    if enrolled.codes.is_some() {
        return super::recovery::print(output, enrolled);
    }
    let id = &enrolled.factor.id;
    match (&enrolled.secret_base32, &enrolled.otpauth_uri) {
        (Some(secret), Some(uri)) => {
            let code = qr_code(uri)?;
            let (secret, uri) = (secret.expose(), uri.expose());
            output.value(enrolled, |_| {
                format!("{code}\nfactor  {id}\nsecret  {secret}\nuri     {uri}\n\nThe secret is shown this once.")
            })?;
        }
        _ => output.value(enrolled, |enrolled| format!("added factor {id} for {user}{}", proved(&enrolled.factor)))?,
    }
    tell_pending(output, &enrolled.factor);
    Ok(())
}

/// What is known of where a PIV card's key lives.
fn proved(factor: &Factor) -> String {
    match (factor.attested, &factor.serial) {
        (Some(true), Some(serial)) => format!(" (made on the YubiKey {serial})"),
        (Some(false), _) if factor.key_thumbprint.is_some() => {
            " (not attested: it may live in a file, and a sign-in with it reaches aal2)".to_owned()
        }
        _ => String::new(),
    }
}

/// Says that a factor waits for another person, where it does.
pub(super) fn tell_pending(output: &Output, factor: &Factor) {
    if factor.requested_by.is_some() {
        let id = &factor.id;
        output.note(&format!("It proves nothing until another person has run `signet factor approve {id}`"));
    }
}

/// A QR code for a terminal.
pub(in crate::cli) fn qr_code(text: &SecretText) -> anyhow::Result<String> {
    let code = QrCode::new(text.expose().as_bytes())?;
    // Dark on light whatever the terminal's colours are: scanners want it so.
    Ok(code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build())
}
