//! `signet factor`

use std::path::Path;

use clap::{Subcommand, ValueEnum};
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use serde::Serialize;

use super::output::{Output, table};
use super::wiring::{Deployment, Need};
use super::{Ended, input};
use crate::keys::OtpHash;
use crate::mfa::totp::{Enrolment, TotpParameters};
use crate::mfa::yubico_otp;
use crate::secret::{SecretBytes, SecretText};
use crate::service::enrol::YubicoKey;
use crate::store::{Factor, FactorDetail, FactorId};

pub(super) const PUBLIC_ID_FORM: &str =
    "2 to 16 modhex characters (cbdefghijklnrtuv), an even number, as the key types it first";

#[derive(Debug, Subcommand)]
pub(super) enum FactorCommand {
    /// Enrol a factor for a user.
    #[command(subcommand)]
    Add(Add),
    /// List a user's factors.
    List {
        /// The user's name.
        #[arg(long)]
        user: String,
    },
    /// Remove a factor. The user's refresh families end at once: whoever had the factor may have begun them.
    Remove {
        /// The factor's id.
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Add {
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
    },
    /// A YubiKey's OTP slot with its own AES key; no cloud is asked.
    YubicoOtp {
        /// The user's name.
        #[arg(long)]
        user: String,
        /// What the user calls it.
        #[arg(long, default_value = "yubikey")]
        label: String,
        /// The public id in modhex: what the key types first.
        #[arg(long)]
        public_id: String,
        /// The private id: 12 hex digits.
        #[arg(long)]
        private_id: String,
        /// Read the AES key from standard input: 32 hex digits.
        #[arg(long)]
        secret_key_stdin: bool,
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
pub(super) enum Hash {
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

/// A factor as printed.
#[derive(Serialize)]
pub(super) struct FactorView {
    id: String,
    kind: &'static str,
    label: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_id: Option<String>,
    created_at: String,
    last_used_at: Option<String>,
}

impl FactorView {
    pub(super) fn new(factor: &Factor) -> Self {
        let public_id = match &factor.detail {
            FactorDetail::YubicoOtp(_) | FactorDetail::YubicoRemote(_) => factor.detail.handle().map(str::to_owned),
            _ => None,
        };
        Self {
            id: factor.id.to_string(),
            kind: factor.detail.kind(),
            label: factor.label.clone(),
            public_id,
            created_at: factor.created_at.to_string(),
            last_used_at: factor.last_used_at.map(|at| at.to_string()),
        }
    }
}

pub(super) fn factor_table(factors: &[FactorView]) -> String {
    let rows: Vec<_> = factors
        .iter()
        .map(|factor| {
            let used = factor.last_used_at.clone().unwrap_or_else(|| "never".to_owned());
            [factor.kind.to_owned(), factor.label.clone(), used, factor.id.clone()]
        })
        .collect();
    table(["kind", "label", "last used", "id"], &rows)
}

/// A fresh TOTP secret as printed, this once.
#[derive(Serialize)]
struct EnrolledTotp<'e> {
    id: String,
    secret_base32: &'e str,
    otpauth_uri: &'e str,
}

impl FactorCommand {
    pub(super) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        match self {
            Self::Add(add) => add.run(config, output).await,
            Self::List { user } => {
                let deployment = Deployment::open(config, Need::Store, output).await?;
                let factors = deployment.signet.list_factors(&user).await?;
                let views: Vec<_> = factors.iter().map(FactorView::new).collect();
                output.value(&views, |views| factor_table(views))?;
                deployment.close().await
            }
            Self::Remove { id } => {
                let deployment = Deployment::open(config, Need::Store, output).await?;
                deployment.signet.remove_factor(&FactorId::new(&id), &deployment.operator()).await?;
                deployment.done(output, &format!("removed factor {id}")).await
            }
        }
    }
}

impl Add {
    async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        match self {
            Self::Totp { user, label, hash, digits, period } => {
                let parameters = TotpParameters::new(hash.into(), digits, period);
                let parameters = parameters.map_err(|error| Ended::Usage(error.to_string()))?;
                let deployment = Deployment::open(config, Need::Hsm, output).await?;
                let operator = deployment.operator();
                let (factor, enrolment) = deployment.signet.enrol_totp(&user, &label, parameters, &operator).await?;
                print_enrolled(output, &factor, &enrolment)?;
                deployment.close().await
            }
            Self::YubicoRemote { user, label, public_id } => {
                yubico_otp::public_id(&public_id)
                    .ok_or_else(|| Ended::Usage(format!("--public-id must be {PUBLIC_ID_FORM}")))?;
                let deployment = Deployment::open(config, Need::Store, output).await?;
                let operator = deployment.operator();
                let factor = deployment.signet.enrol_yubico_remote(&user, &label, &public_id, &operator).await?;
                output.value(&FactorView::new(&factor), |view| format!("added factor {} for {user}", view.id))?;
                deployment.close().await
            }
            Self::YubicoOtp { user, label, public_id, private_id, secret_key_stdin } => {
                let private_id = hex_bytes::<6>(&private_id)
                    .ok_or_else(|| Ended::Usage("--private-id must be 12 hex digits".to_owned()))?;
                yubico_otp::public_id(&public_id)
                    .ok_or_else(|| Ended::Usage(format!("--public-id must be {PUBLIC_ID_FORM}")))?;
                let secret = input::secret(secret_key_stdin, "the AES key", "--secret-key-stdin")?;
                let secret = hex_bytes::<16>(secret.expose().trim())
                    .ok_or_else(|| Ended::Usage("the AES key must be 32 hex digits".to_owned()))?;
                let key = YubicoKey { public_id, private_id, secret: SecretBytes::new(secret.to_vec()) };
                let deployment = Deployment::open(config, Need::Hsm, output).await?;
                let operator = deployment.operator();
                let factor = deployment.signet.enrol_yubico_otp(&user, &label, &key, &operator).await?;
                output.value(&FactorView::new(&factor), |view| format!("added factor {} for {user}", view.id))?;
                deployment.close().await
            }
        }
    }
}

fn print_enrolled(output: &Output, factor: &Factor, enrolment: &Enrolment) -> anyhow::Result<()> {
    let enrolled = EnrolledTotp {
        id: factor.id.to_string(),
        secret_base32: enrolment.secret_base32().expose(),
        otpauth_uri: enrolment.otpauth_uri().expose(),
    };
    let code = qr_code(enrolment.otpauth_uri())?;
    output.value(&enrolled, |enrolled| {
        format!(
            "{code}\nfactor  {}\nsecret  {}\nuri     {}\n\nThe secret is shown this once.",
            enrolled.id, enrolled.secret_base32, enrolled.otpauth_uri
        )
    })
}

/// A QR code for a terminal.
pub(super) fn qr_code(text: &SecretText) -> anyhow::Result<String> {
    let code = QrCode::new(text.expose().as_bytes())?;
    // Dark on light whatever the terminal's colours are: scanners want it so.
    Ok(code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build())
}

/// `N` bytes from exactly `2 N` hex digits.
pub(super) fn hex_bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_exact() {
        assert_eq!(hex_bytes::<2>("01fF"), Some([1, 255]));
        for text in ["01f", "01ff0", "01fg", "+1ff", "é1f"] {
            assert_eq!(hex_bytes::<2>(text), None, "{text}");
        }
    }
}
