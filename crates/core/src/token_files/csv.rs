//! Lines of comma-separated values: OATH's, Yubico's, the personalization tool's log, and the list that Entra ID takes.
//!
//! No fault repeats a value before its line is understood: what stands in the place of a serial number may be a secret.

use super::{LineFault, ReadToken, hash_of, natural, unused_totp};
use crate::keys::OtpHash;
use crate::mfa::enrolment::{ClockProfile, check_secret, from_base32};
use crate::mfa::{FactorDetail, HotpState, Validity, YubicoState, yubico_otp};
use crate::secret::SecretBytes;

/// A serial number that has only so many hex digits, and no others, is a key in the wrong column.
const KEY_DIGITS: usize = 32;

/// A line that says something, taken apart.
pub(super) struct Line<'b> {
    pub(super) number: u64,
    pub(super) cells: Vec<&'b str>,
}

impl<'b> Line<'b> {
    fn cell(&self, place: usize) -> &'b str {
        self.cells.get(place).copied().unwrap_or_default()
    }

    /// Checks that there are so many values; empty ones at the end count as none.
    fn expect(&self, values: std::ops::RangeInclusive<usize>, names: &str) -> Result<(), LineFault> {
        let count = self.cells.iter().rposition(|cell| !cell.is_empty()).map_or(0, |last| last + 1);
        let told = match count {
            _ if values.contains(&count) => return Ok(()),
            1 => "one value; values are parted by commas".to_owned(),
            count => format!("{count} values"),
        };
        Err(self.unread(format!("{told}: {names} are expected")))
    }

    /// A line whose secret is not known yet: nothing of it is repeated.
    fn unread(&self, reason: impl Into<String>) -> LineFault {
        LineFault::at(self.number, reason)
    }

    /// A line that was understood.
    fn fault(&self, serial: &str, reason: &str) -> LineFault {
        LineFault::of(self.number, serial, reason)
    }

    /// The secret of a line, by its length too.
    fn secret(&self, secret: Option<SecretBytes>, otherwise: &str) -> Result<SecretBytes, LineFault> {
        let secret = secret.ok_or_else(|| self.unread(otherwise))?;
        check_secret(&secret).map_err(|error| self.unread(error.to_string()))?;
        Ok(secret)
    }

    /// What is printed on a token.
    fn serial(&self, place: usize) -> Result<&'b str, LineFault> {
        let serial = self.cell(place);
        if serial.len() >= KEY_DIGITS && serial.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(
                self.unread("what stands for its serial number looks like a key: are the values in another order?")
            );
        }
        Ok(serial)
    }
}

/// The lines but for empty ones, comments and a headline that says nothing that is needed.
pub(super) fn lines(bytes: &[u8]) -> impl Iterator<Item = Result<Line<'_>, LineFault>> + Send {
    let is_headline = |line: &Line<'_>| {
        let begin = line.cell(0).get(..6);
        line.number == 1 && begin.is_some_and(|begin| begin.eq_ignore_ascii_case("serial"))
    };
    all_lines(bytes).filter(move |line| !line.as_ref().is_ok_and(is_headline))
}

/// The lines but for empty ones and comments.
pub(super) fn all_lines(bytes: &[u8]) -> impl Iterator<Item = Result<Line<'_>, LineFault>> + Send {
    (1..).zip(bytes.split(|byte| *byte == b'\n')).filter_map(|(number, line)| {
        let Ok(text) = std::str::from_utf8(line) else {
            return Some(Err(LineFault::at(number, "the line is not UTF-8")));
        };
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            return None;
        }
        // An otpauth URI may hold a comma.
        if text.get(..8).is_some_and(|begin| begin.eq_ignore_ascii_case("otpauth:")) {
            return Some(Ok(Line { number, cells: vec![text] }));
        }
        let cells: Option<Vec<&str>> = text.split(',').map(bare).collect();
        let unclosed = || LineFault::at(number, "a quote is not closed, or stands within a value");
        Some(cells.map(|cells| Line { number, cells }).ok_or_else(unclosed))
    })
}

/// A value without the quotes around it; none where there is another one.
fn bare(cell: &str) -> Option<&str> {
    let cell = cell.trim();
    let inner = match cell.strip_prefix('"') {
        Some(opened) => opened.strip_suffix('"')?,
        None => cell,
    };
    (!inner.contains('"')).then_some(inner)
}

/// `serial,seed in hex,hotp or totp,6 or 8,counter or step[,hash]`; what is left out is HOTP, 6, 0 or 30, SHA-1.
pub(super) fn oath(line: &Line<'_>, profile: ClockProfile) -> Result<ReadToken, LineFault> {
    line.expect(2..=6, "serial number, seed, kind, digits, counter or step, and hash")?;
    let secret = line.secret(SecretBytes::from_hex(line.cell(1)), "its seed is not written in hex digits")?;
    let serial = line.serial(0)?;
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
    Ok(token(line, serial.to_owned(), detail, None, secret))
}

/// `serial,public id,private id,AES key,,time,`: a Yubico OTP; with a private id of `0` an OATH-HOTP of 6 digits.
pub(super) fn yubico(line: &Line<'_>) -> Result<ReadToken, LineFault> {
    line.expect(4..=7, "serial number, public id, private id and AES key")?;
    let secret = line.secret(SecretBytes::from_hex(line.cell(3)), "its key is not written in hex digits")?;
    let serial = line.serial(0)?;
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
    match line.cell(0).to_ascii_lowercase().as_str() {
        "logging start" => Ok(None),
        kind @ ("yubico otp" | "oath-hotp") => {
            let secret = line.secret(SecretBytes::from_hex(line.cell(5)), "its key is not written in hex digits")?;
            let name = line.serial(3)?;
            if name.is_empty() {
                return Err(line.unread("it has no public id: nothing names it"));
            }
            if kind == "yubico otp" {
                return key(line, name, name, line.cell(4), secret).map(Some);
            }
            let digits = if line.cell(11) == "8" { 8 } else { 6 };
            Ok(Some(button(line, name.to_owned(), digits, secret)))
        }
        other if is_log(other) => Err(line.unread("only Yubico OTP and OATH-HOTP slots are factors")),
        _ => yubico(line).map(Some),
    }
}

/// The columns of the list that Entra ID takes, by its first line; a column may stand anywhere.
pub(super) struct EntraColumns {
    serial: usize,
    secret: usize,
    interval: usize,
    manufacturer: Option<usize>,
    model: Option<usize>,
    count: usize,
}

impl EntraColumns {
    /// `upn,serial number,secret key,time interval,manufacturer,model`; none for another line.
    pub(super) fn read(line: &Line<'_>) -> Option<Self> {
        let column = |name: &str| line.cells.iter().position(|cell| cell.eq_ignore_ascii_case(name));
        Some(Self {
            serial: column("serial number")?,
            secret: column("secret key")?,
            interval: column("time interval")?,
            manufacturer: column("manufacturer"),
            model: column("model"),
            count: line.cells.len(),
        })
    }

    /// A TOTP of 6 digits by SHA-1; its secret is base32. Whose it is to be (`upn`) is the operator's to say.
    pub(super) fn token(&self, line: &Line<'_>, profile: ClockProfile) -> Result<ReadToken, LineFault> {
        if line.cells.len() != self.count {
            return Err(line.unread(format!("it has not the {} values that the first line names", self.count)));
        }
        let secret = line.secret(from_base32(line.cell(self.secret)), "its secret key is not base32")?;
        let serial = line.serial(self.serial)?;
        let interval = natural(line.cell(self.interval));
        let interval = interval.ok_or_else(|| line.fault(serial, "its time interval is no number"))?;
        let words = [self.manufacturer, self.model].into_iter().flatten().map(|place| line.cell(place));
        let model = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        let detail = unused_totp(OtpHash::Sha1, 6, interval, profile);
        Ok(token(line, serial.to_owned(), detail, Some(model).filter(|model| !model.is_empty()), secret))
    }
}

fn key(
    line: &Line<'_>,
    serial: &str,
    public_id: &str,
    private_id: &str,
    secret: SecretBytes,
) -> Result<ReadToken, LineFault> {
    if secret.expose().len() != 16 {
        return Err(line.unread("its key is not the 32 hex digits of AES-128"));
    }
    let public_id =
        yubico_otp::public_id(public_id).ok_or_else(|| line.fault(serial, "its public id is not modhex"))?;
    let private_id = SecretBytes::from_hex(private_id).and_then(|bytes| bytes.expose().try_into().ok());
    let private_id = private_id.ok_or_else(|| line.fault(serial, "its private id is not 12 hex digits"))?;
    let detail = FactorDetail::YubicoOtp(YubicoState { public_id, private_id, last_counter: -1 });
    Ok(token(line, serial.to_owned(), detail, Some("YubiKey".to_owned()), secret))
}

fn button(line: &Line<'_>, serial: String, digits: u8, secret: SecretBytes) -> ReadToken {
    let detail = FactorDetail::Hotp(HotpState { hash: OtpHash::Sha1, digits, next_counter: 0 });
    token(line, serial, detail, Some("YubiKey".to_owned()), secret)
}

fn token(
    line: &Line<'_>,
    serial: String,
    detail: FactorDetail,
    model: Option<String>,
    secret: SecretBytes,
) -> ReadToken {
    ReadToken { line: line.number, serial, detail, model, validity: Validity::default(), secret }
}
