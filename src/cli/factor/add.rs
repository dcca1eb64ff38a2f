//! `signet factor add`

use std::path::Path;

use clap::{Args, Subcommand, ValueEnum};
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use serde::Serialize;

use super::FactorView;
use super::piv::AddPiv;
use crate::cli::yubico_key::check_public_id;
use crate::cli::{Ended, Output, YubicoKeyOptions, deployment, input, operator};
use crate::server::Need;
use signet_core::keys::OtpHash;
use signet_core::mfa::enrolment::{ClockProfile, Enrolment, TotpParameters, from_base32};
use signet_core::secret::{SecretBytes, SecretText};
use signet_service::factors::enrolment::{Device, NewOtp};
use signet_store::{Factor, FactorState};

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
    /// A YubiKey's OTP slot whose AES key another validation server has, e.g. YubiCloud (`mfa.yubico_validation`).
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
    fn secret(&self) -> anyhow::Result<Option<SecretBytes>> {
        if !self.secret_stdin {
            return Ok(None);
        }
        let text = input::secret_from_stdin("the secret")?;
        let secret = from_base32(text.expose().trim());
        Ok(Some(secret.ok_or_else(|| Ended::Usage("the secret on standard input is not base32".to_owned()))?))
    }
}

/// A fresh secret as printed, this once.
#[derive(Serialize)]
struct EnrolledOtp<'e> {
    id: String,
    secret_base32: &'e str,
    otpauth_uri: &'e str,
}

impl Add {
    pub(super) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        match self {
            Self::Totp { user, label, hash, digits, period, profile, token } => {
                let parameters = TotpParameters::new(hash.into(), digits, period);
                let parameters = parameters.map_err(|error| Ended::Usage(error.to_string()))?;
                let device = Device::Clock(profile.into());
                let secret = token.secret()?;
                let new = NewOtp { label, serial: token.serial, parameters, device, secret };
                add_otp(config, output, &user, new).await
            }
            Self::Hotp { user, label, hash, digits, counter, token } => {
                let parameters = TotpParameters::new(hash.into(), digits, 30);
                let parameters = parameters.map_err(|error| Ended::Usage(error.to_string()))?;
                let secret = token.secret()?;
                let device = Device::Counter(counter);
                let new = NewOtp { label, serial: token.serial, parameters, device, secret };
                add_otp(config, output, &user, new).await
            }
            Self::Recovery { user } => {
                let deployment = deployment::open(config, Need::Hsm, output).await?;
                let codes = deployment.signet.issuer().factors.recovery.make_recovery_codes(&user, &operator()).await?;
                super::recovery::print(output, &codes)?;
                deployment.close().await
            }
            Self::Piv(add) => add.run(config, output).await,
            Self::YubicoRemote { user, label, public_id } => {
                check_public_id(&public_id)?;
                let deployment = deployment::open(config, Need::Hsm, output).await?;
                let enrolment = &deployment.signet.issuer().factors.enrolment;
                let factor = enrolment.enrol_yubico_remote(&user, &label, &public_id, &operator()).await?;
                tell_added(output, &factor, &user)?;
                deployment.close().await
            }
            Self::YubicoOtp { user, label, key } => {
                let key = key.read()?;
                let deployment = deployment::open(config, Need::Hsm, output).await?;
                let enrolment = &deployment.signet.issuer().factors.enrolment;
                let factor = enrolment.enrol_yubico_otp(&user, &label, &key, &operator()).await?;
                tell_added(output, &factor, &user)?;
                deployment.close().await
            }
        }
    }
}

async fn add_otp(config: &Path, output: &Output, user: &str, new: NewOtp) -> anyhow::Result<()> {
    let is_fresh = new.secret.is_none();
    let deployment = deployment::open(config, Need::Hsm, output).await?;
    let (factor, enrolment) = deployment.signet.issuer().factors.enrolment.enrol_otp(user, new, &operator()).await?;
    if is_fresh {
        print_enrolled(output, &factor, &enrolment)?;
        tell_pending(output, &factor);
    } else {
        tell_added(output, &factor, user)?;
    }
    deployment.close().await
}

fn tell_added(output: &Output, factor: &Factor, user: &str) -> anyhow::Result<()> {
    output.value(&FactorView::new(factor), |view| format!("added factor {} for {user}", view.id))?;
    tell_pending(output, factor);
    Ok(())
}

/// Says that a factor waits for another operator, where it does.
pub(super) fn tell_pending(output: &Output, factor: &Factor) {
    if let FactorState::Pending { .. } = factor.state {
        output.note(&format!("It proves nothing until another operator has run `signet factor approve {}`", factor.id));
    }
}

fn print_enrolled(output: &Output, factor: &Factor, enrolment: &Enrolment) -> anyhow::Result<()> {
    let enrolled = EnrolledOtp {
        id: factor.id.to_string(),
        secret_base32: enrolment.secret_base32.expose(),
        otpauth_uri: enrolment.otpauth_uri.expose(),
    };
    let code = qr_code(&enrolment.otpauth_uri)?;
    output.value(&enrolled, |enrolled| {
        format!(
            "{code}\nfactor  {}\nsecret  {}\nuri     {}\n\nThe secret is shown this once.",
            enrolled.id, enrolled.secret_base32, enrolled.otpauth_uri
        )
    })
}

/// A QR code for a terminal.
pub(in crate::cli) fn qr_code(text: &SecretText) -> anyhow::Result<String> {
    let code = QrCode::new(text.expose().as_bytes())?;
    // Dark on light whatever the terminal's colours are: scanners want it so.
    Ok(code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build())
}
