//! What the command line is told of a YubiKey's OTP slot, whether the key is a user's factor or nobody's.

use clap::Args;

use super::{Ended, input};
use signet_core::keys::hexadecimal;
use signet_core::mfa::yubico_otp;
use signet_core::secret::{SecretBytes, SecretText};
use signet_service::factors::enrolment::YubicoKey;

/// A YubiKey's OTP slot with its own AES key.
#[derive(Debug, Args)]
pub(super) struct YubicoKeyOptions {
    /// The public id in modhex: what the key types first.
    #[arg(long)]
    public_id: String,
    /// The private id: 12 hex digits.
    #[arg(long)]
    private_id: String,
    /// Read the AES key from standard input: 32 hex digits.
    #[arg(long)]
    secret_key_stdin: bool,
}

impl YubicoKeyOptions {
    /// Public id, private id and AES key, as the admin API takes them: judged as [`read`](Self::read) does.
    pub(super) fn read_texts(self) -> anyhow::Result<(String, SecretText, SecretText)> {
        let private_id = SecretText::new(self.private_id.clone());
        let key = self.read()?;
        let secret = hexadecimal(key.secret.expose());
        Ok((key.public_id, private_id, SecretText::new(secret)))
    }

    /// The key, with its secret from standard input or a prompt: asked for after all else was found right.
    pub(super) fn read(self) -> anyhow::Result<YubicoKey> {
        let private_id = SecretBytes::from_hex(&self.private_id)
            .and_then(|private_id| private_id.expose().try_into().ok())
            .ok_or_else(|| Ended::Usage("--private-id must be 12 hex digits".to_owned()))?;
        check_public_id(&self.public_id)?;
        let secret = input::secret(self.secret_key_stdin, "the AES key", "--secret-key-stdin")?;
        let secret = SecretBytes::from_hex(secret.expose().trim())
            .filter(|secret| secret.expose().len() == 16)
            .ok_or_else(|| Ended::Usage("the AES key must be 32 hex digits".to_owned()))?;
        Ok(YubicoKey { public_id: self.public_id, private_id, secret })
    }
}

/// Refuses a `--public-id` that no key types.
pub(super) fn check_public_id(text: &str) -> Result<(), Ended> {
    match yubico_otp::public_id(text) {
        Some(_) => Ok(()),
        None => Err(Ended::Usage(
            "--public-id must be 2 to 16 modhex characters (cbdefghijklnrtuv), an even number, as the key types it first"
                .to_owned(),
        )),
    }
}
