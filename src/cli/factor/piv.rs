//! `signet factor add piv`

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use signet_admin_api::factors::NewPiv;

/// The longest certificate file that is read, in bytes.
const LONGEST: u64 = 256 * 1024;

/// The key of a PIV card's slot 9a, e.g. of a YubiKey.
#[derive(Debug, Args)]
#[group(id = "what", required = true, multiple = true, args = ["certificate", "public_key", "attestation"])]
pub(in crate::cli) struct AddPiv {
    /// The user's name.
    #[arg(long)]
    pub(super) user: String,
    /// What the user calls it.
    #[arg(long, default_value = "piv")]
    label: String,
    /// The certificate of the key in slot 9a, in PEM or DER.
    #[arg(long, value_name = "FILE", conflicts_with = "public_key")]
    certificate: Option<PathBuf>,
    /// The public key of slot 9a, in PEM or DER (SubjectPublicKeyInfo).
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
    /// The card's attestation of the key (`ykman piv keys attest 9a FILE`), in PEM or DER. Enough by itself.
    #[arg(long, value_name = "FILE")]
    attestation: Option<PathBuf>,
    /// Certificates between the key's or the attestation's and the root (`ykman piv certificates export f9 FILE`, and
    /// the vendor's), in PEM or DER.
    #[arg(long, value_name = "FILE")]
    intermediate: Vec<PathBuf>,
    /// The serial number that is printed on the card; an attestation tells it by itself.
    #[arg(long, conflicts_with = "attestation")]
    serial: Option<String>,
}

impl AddPiv {
    /// The factor that the files show; they are judged where it is enrolled.
    /// Errors: a file can't be read.
    pub(super) fn read(self) -> anyhow::Result<NewPiv> {
        let text = |file: Option<PathBuf>| file.as_deref().map(read).transpose();
        Ok(NewPiv {
            label: Some(self.label),
            certificate: text(self.certificate)?,
            public_key: text(self.public_key)?,
            attestation: text(self.attestation)?,
            intermediates: self.intermediate.iter().map(|file| read(file)).collect::<Result<_, _>>()?,
            serial: self.serial,
        })
    }
}

/// A file's PEM as it stands, and anything else in base64.
fn read(file: &Path) -> anyhow::Result<String> {
    use std::io::Read as _;
    let unreadable = || format!("{} can't be read", file.display());
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file).with_context(unreadable)?;
    opened.take(LONGEST + 1).read_to_end(&mut bytes).with_context(unreadable)?;
    anyhow::ensure!(bytes.len() as u64 <= LONGEST, "{} is too large for a certificate", file.display());
    Ok(String::from_utf8(signet_text_file::without_mark(&bytes).to_vec())
        .unwrap_or_else(|binary| STANDARD.encode(binary.into_bytes())))
}
