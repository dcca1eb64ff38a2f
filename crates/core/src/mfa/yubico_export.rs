//! What the tools of the old servers export: `ykksm-export` (keys), `ykval-export` (counters) and
//! `ykval-export-clients` (API clients). Lines of values separated by commas; `#` begins a comment.
//!
//! A file is read whole or refused whole, so that nothing is half-imported because of a line that can't be read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use data_encoding::HEXLOWER_PERMISSIVE;

use super::yubico_otp;
use super::yubico_validation::ClientNumber;
use crate::secret::{SecretBytes, SecretText};

/// A line that can't be read, and what is wrong with it. The line itself, which may hold a key, is not repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct BadLine {
    /// From 1.
    pub line: usize,
    /// What is expected.
    pub problem: &'static str,
}

/// A key of a YK-KSM: `serial,publicid,privateid,aeskey,...`.
#[derive(Debug)]
pub struct ExportedKey {
    /// The serial number, where there is one.
    pub serial: Option<String>,
    /// The public id in modhex.
    pub public_id: String,
    /// The private id.
    pub private_id: [u8; 6],
    /// The AES-128 key.
    pub secret: SecretBytes,
}

/// How far a YK-VAL saw a key's counters: `active,created,modified,publicid,counter,use,...`.
#[derive(Debug)]
pub struct ExportedCounter {
    /// The public id in modhex.
    pub public_id: String,
    /// `useCtr << 8 | sessionUse`; -1 for a key that was never used.
    pub counter: i64,
    /// Whether the old server verified the key's OTPs.
    pub active: bool,
}

/// A client of a YK-VAL: `id,active,created,secret,email,notes,otp`.
#[derive(Debug)]
pub struct ExportedClient {
    /// Its number.
    pub id: ClientNumber,
    /// Whether it might ask.
    pub active: bool,
    /// Its API key in base64: 16 to 64 bytes.
    pub key: SecretText,
}

/// Reads the export of a YK-KSM, and the CSV of Yubico's programming tools, which has the same columns.
pub fn keys(text: &str) -> Result<Vec<ExportedKey>, BadLine> {
    read(text, |cells| {
        let [serial, public_id, private_id, secret, ..] = cells else {
            return Err("serial, public id, private id and AES key are expected, separated by commas");
        };
        Ok(ExportedKey {
            serial: serial_of(serial).ok_or("the serial number must have at most 128 characters, none of control")?,
            public_id: yubico_otp::public_id(public_id).ok_or("the second value must be a public id in modhex")?,
            private_id: private_id_of(private_id).ok_or("the third value must be a private id of 12 hex digits")?,
            secret: SecretBytes::from_hex(secret)
                .filter(|secret| secret.expose().len() == 16)
                .ok_or("the fourth value must be an AES key of 32 hex digits")?,
        })
    })
}

/// Reads the counters that a YK-VAL exports.
pub fn counters(text: &str) -> Result<Vec<ExportedCounter>, BadLine> {
    read(text, |cells| {
        let [active, _, _, public_id, use_counter, session_use, ..] = cells else {
            return Err("active, created, modified, public id, counter and use are expected, separated by commas");
        };
        Ok(ExportedCounter {
            active: flag(active)?,
            public_id: yubico_otp::public_id(public_id).ok_or("the fourth value must be a public id in modhex")?,
            counter: counter(use_counter, session_use).ok_or("the fifth and sixth value must be counters")?,
        })
    })
}

/// Reads the clients that a YK-VAL exports.
pub fn clients(text: &str) -> Result<Vec<ExportedClient>, BadLine> {
    read(text, |cells| {
        let [id, active, _, key, ..] = cells else {
            return Err("id, active, created and secret are expected, separated by commas");
        };
        Ok(ExportedClient {
            id: ClientNumber::parse(id).ok_or("the first value must be a client's number")?,
            active: flag(active)?,
            key: api_key(key).map(|_| SecretText::new((*key).to_owned())).ok_or(
                "the fourth value must be an API key in base64, of 16 to 64 bytes; `#` before the line leaves a client out",
            )?,
        })
    })
}

fn read<T>(text: &str, line_of: impl Fn(&[&str]) -> Result<T, &'static str>) -> Result<Vec<T>, BadLine> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let read = lines.map(|(at, line)| {
        let cells: Vec<&str> = line.split(',').map(|cell| cell.trim().trim_matches('"')).collect();
        line_of(&cells).map_err(|problem| BadLine { line: at, problem })
    });
    read.collect()
}

/// `None` in it where there is no serial number.
fn serial_of(cell: &str) -> Option<Option<String>> {
    let is_text = cell.chars().count() <= 128 && !cell.chars().any(char::is_control);
    is_text.then(|| Some(cell.to_owned()).filter(|serial| !serial.is_empty() && serial != "0"))
}

/// The API key of a client of the protocol. Shorter ones can be guessed, longer ones are of no use to HMAC-SHA-1.
pub fn api_key(base64: &str) -> Option<SecretBytes> {
    let key = STANDARD.decode(base64.trim()).ok().map(SecretBytes::new);
    key.filter(|key| (16..=64).contains(&key.expose().len()))
}

fn flag(cell: &str) -> Result<bool, &'static str> {
    match cell {
        "1" | "true" | "t" => Ok(true),
        "0" | "false" | "f" | "" => Ok(false),
        _ => Err("whether it is active must be 1 or 0"),
    }
}

/// A YK-VAL keeps -1 for a key that was never used.
fn counter(use_counter: &str, session_use: &str) -> Option<i64> {
    let (use_counter, session_use): (i64, i64) = (use_counter.parse().ok()?, session_use.parse().ok()?);
    match (use_counter, session_use) {
        (-1, _) => Some(-1),
        (0..=0x7fff, -1..=0xff) => Some(use_counter << 8 | session_use.max(0)),
        _ => None,
    }
}

fn private_id_of(text: &str) -> Option<[u8; 6]> {
    HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_ykksm_exports() {
        let text = "# ykksm 1\r\n4711,ccccccbteudd,010203040506,000102030405060708090A0b0c0d0e0f,000000000000,2026-01-01T00:00:00,\n\n\
                    0,cccc,ffffffffffff,00000000000000000000000000000000,,,\n# the end\n";
        let read = keys(text).unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].serial.as_deref(), &*read[0].public_id), (Some("4711"), "ccccccbteudd"));
        assert_eq!((read[0].private_id, read[0].secret.expose()[10]), ([1, 2, 3, 4, 5, 6], 10));
        assert_eq!(read[1].serial, None);
    }

    #[test]
    fn reads_what_ykval_exports() {
        let text = "1,1383728711,1383728732,ccccccbteudd,19,17,1,2,abcdef,\n0,1,1,cccc,-1,-1,-1,-1,0000,note\n";
        let read = counters(text).unwrap();
        assert_eq!((read[0].counter, read[0].active), (19 << 8 | 17, true));
        assert_eq!((read[1].counter, read[1].active), (-1, false));
        let read = clients("1,1,1383728711,Eibja2kRFXXoW6hjZaiyBtWnCBA=,a@example,,\n").unwrap();
        assert_eq!((read[0].id.get(), read[0].active), (1, true));
        assert_eq!(read[0].key.expose(), "Eibja2kRFXXoW6hjZaiyBtWnCBA=");
    }

    #[test]
    fn a_line_that_can_not_be_read_refuses_the_file_and_is_not_repeated() {
        let good = "1,cccc,010203040506,000102030405060708090a0b0c0d0e0f\n";
        for line in ["1,cccc", "1,abcd,010203040506,00", "1,cccc,01020304050é,00", "1,cccc,010203040506,0001"] {
            let error = keys(&format!("{good}{line}\n")).unwrap_err();
            assert_eq!(error.line, 2);
            assert!(!error.to_string().contains("0102"), "{error}");
        }
        for line in ["1,1,1,cccc,32768,0", "1,1,1,cccc,0,256", "1,1,1,cccc,x,0", "2,1,1,cccc,0,0", "1,1,1,ab,0,0"] {
            assert!(counters(line).is_err(), "{line}");
        }
        let key = "Eibja2kRFXXoW6hjZaiyBtWnCBA=";
        assert!(clients(&format!("1,1,1,{key}")).is_ok());
        for key in ["", "Eibja2kRFXXoW6hjZaiyBtWnCBA", "AAAA", "not base64"] {
            let error = clients(&format!("1,1,1,Eibja2kRFXXoW6hjZaiyBtWnCBA=\n2,1,1,{key}")).unwrap_err();
            assert_eq!(error.line, 2, "a key that is none refuses the file before anything of it is kept");
        }
        let rest = "cccc,010203040506,000102030405060708090a0b0c0d0e0f";
        assert!(keys(&format!("1\u{1b}[31m,{rest}")).is_err() && keys(&format!("{},{rest}", "1".repeat(129))).is_err());
        assert!(clients("0,1,1,AAAA").is_err() && clients("1,x,1,AAAA").is_err() && clients("1,1").is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text: String) {
            let _ = (keys(&text).is_ok(), counters(&text).is_ok(), clients(&text).is_ok());
        }
    }
}
