//! Lines of comma-separated values: OATH's, Yubico's, and the personalization tool's log.

use super::{LineFault, ReadToken, hash_of, natural, unused_totp};
use crate::keys::OtpHash;
use crate::mfa::enrolment::ClockProfile;
use crate::mfa::{FactorDetail, HotpState, YubicoState, yubico_otp};
use crate::secret::SecretBytes;

/// A line that says something, taken apart.
pub(super) struct Line<'b> {
    pub(super) number: u64,
    pub(super) cells: Vec<&'b str>,
}

impl<'b> Line<'b> {
    fn cell(&self, place: usize) -> &'b str {
        self.cells.get(place).copied().unwrap_or_default()
    }

    fn fault(&self, serial: &str, reason: &str) -> LineFault {
        LineFault::new(self.number, serial, reason)
    }
}

/// The lines but for empty ones, comments and a headline.
pub(super) fn lines(bytes: &[u8]) -> impl Iterator<Item = Result<Line<'_>, LineFault>> + Send {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    (1..).zip(bytes.split(|byte| *byte == b'\n')).filter_map(|(number, line)| {
        let Ok(text) = std::str::from_utf8(line) else {
            return Some(Err(LineFault::new(number, "", "the line is not UTF-8")));
        };
        let text = text.trim();
        let is_headline = number == 1 && text.to_ascii_lowercase().starts_with("serial");
        if text.is_empty() || text.starts_with('#') || is_headline {
            return None;
        }
        // An otpauth URI may hold a comma.
        let cells = if text.starts_with("otpauth:") { vec![text] } else { text.split(',').map(bare).collect() };
        Some(Ok(Line { number, cells }))
    })
}

fn bare(cell: &str) -> &str {
    let cell = cell.trim();
    cell.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(cell)
}

/// `serial,seed in hex,hotp or totp,6 or 8,counter or step[,hash]`; what is left out is HOTP, 6, 0 or 30, SHA-1.
pub(super) fn oath(line: &Line<'_>, profile: ClockProfile) -> Result<ReadToken, LineFault> {
    let serial = line.cell(0);
    let secret = SecretBytes::from_hex(line.cell(1))
        .ok_or_else(|| line.fault(serial, "its seed is not written in hex digits"))?;
    let number = |place: usize, default: i64, what: &str| match line.cell(place) {
        "" => Ok(default),
        text => natural(text).ok_or_else(|| line.fault(serial, what)),
    };
    let digits = u8::try_from(number(3, 6, "its number of digits is no number")?).unwrap_or(0);
    let hash = match line.cell(5) {
        "" => OtpHash::Sha1,
        name => hash_of(name).ok_or_else(|| line.fault(serial, "its hash is not SHA1, SHA256 or SHA512"))?,
    };
    let detail = match line.cell(2).to_ascii_lowercase().as_str() {
        "" | "hotp" => {
            FactorDetail::Hotp(HotpState { hash, digits, next_counter: number(4, 0, "its counter is no number")? })
        }
        "totp" => unused_totp(hash, digits, number(4, 30, "its step is no number")?, profile),
        _ => return Err(line.fault(serial, "its kind is neither hotp nor totp")),
    };
    Ok(ReadToken { line: line.number, serial: serial.to_owned(), detail, model: None, secret })
}

/// `serial,public id,private id,AES key,,time,`: a Yubico OTP; with a private id of `0` an OATH-HOTP of 6 digits.
pub(super) fn yubico(line: &Line<'_>) -> Result<ReadToken, LineFault> {
    let serial = line.cell(0);
    let secret = SecretBytes::from_hex(line.cell(3))
        .ok_or_else(|| line.fault(serial, "its key is not written in hex digits"))?;
    match (line.cell(1), line.cell(2)) {
        ("", "0") => Ok(button(line, format!("{serial}/hotp"), 6, secret)),
        (_, "") => Err(line.fault(serial, "a static password is no factor")),
        (public_id, private_id) => key(line, serial, public_id, private_id, secret),
    }
}

/// Whether a line is one of the personalization tool's log.
pub(super) fn is_log(first_cell: &str) -> bool {
    let name = first_cell.to_ascii_lowercase();
    matches!(name.as_str(), "logging start" | "yubico otp" | "oath-hotp" | "static password")
        || name.starts_with("challenge-response")
}

/// `Yubico OTP,time,slot,public id,private id,AES key,...` or `OATH-HOTP,time,slot,token id,,key,,,,,,digits,...`; the
/// token is named by its public id. `None` for a line that tells of no token. A line in the other form is read as that.
pub(super) fn log(line: &Line<'_>) -> Result<Option<ReadToken>, LineFault> {
    let name = line.cell(3);
    match line.cell(0).to_ascii_lowercase().as_str() {
        "logging start" => Ok(None),
        kind @ ("yubico otp" | "oath-hotp") => {
            let secret = SecretBytes::from_hex(line.cell(5))
                .ok_or_else(|| line.fault(name, "its key is not written in hex digits"))?;
            if name.is_empty() {
                return Err(line.fault("", "it has no public id: nothing names it"));
            }
            if kind == "yubico otp" {
                return key(line, name, name, line.cell(4), secret).map(Some);
            }
            let digits = if line.cell(11) == "8" { 8 } else { 6 };
            Ok(Some(button(line, name.to_owned(), digits, secret)))
        }
        other if is_log(other) => Err(line.fault(name, "only Yubico OTP and OATH-HOTP slots are factors")),
        _ => yubico(line).map(Some),
    }
}

fn key(
    line: &Line<'_>,
    serial: &str,
    public_id: &str,
    private_id: &str,
    secret: SecretBytes,
) -> Result<ReadToken, LineFault> {
    let public_id =
        yubico_otp::public_id(public_id).ok_or_else(|| line.fault(serial, "its public id is not modhex"))?;
    let private_id = SecretBytes::from_hex(private_id).and_then(|bytes| bytes.expose().try_into().ok());
    let private_id = private_id.ok_or_else(|| line.fault(serial, "its private id is not 12 hex digits"))?;
    let detail = FactorDetail::YubicoOtp(YubicoState { public_id, private_id, last_counter: -1 });
    Ok(ReadToken { line: line.number, serial: serial.to_owned(), detail, model: Some("YubiKey".to_owned()), secret })
}

fn button(line: &Line<'_>, serial: String, digits: u8, secret: SecretBytes) -> ReadToken {
    let detail = FactorDetail::Hotp(HotpState { hash: OtpHash::Sha1, digits, next_counter: 0 });
    ReadToken { line: line.number, serial, detail, model: Some("YubiKey".to_owned()), secret }
}
