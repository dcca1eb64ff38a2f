//! What users' devices show: one-time codes made without Signet's own code.

use std::sync::atomic::{AtomicU16, Ordering};

use aws_lc_rs::cipher::{AES_128, EncryptingKey, UnboundCipherKey};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SecureRandom as _;
use signet_core::keys::OtpHash;
use signet_jose::clock::{Clock as _, SystemClock};

/// An authenticator app that scanned a QR code: all it knows is the URI.
pub(crate) struct Totp {
    /// The factor's id, where a command told it.
    pub(crate) id: String,
    /// The secret as the QR code holds it.
    pub(crate) secret_base32: String,
    app: totp_rs::Totp,
    period: u64,
}

impl Totp {
    pub(crate) fn new(otpauth_uri: &str) -> Self {
        Self::of_factor(String::new(), otpauth_uri)
    }

    pub(super) fn of_factor(id: String, otpauth_uri: &str) -> Self {
        let parameter = |name: &str| Some(otpauth_uri.split_once(&format!("{name}="))?.1.split('&').next()?.to_owned());
        Self {
            id,
            secret_base32: parameter("secret").unwrap(),
            app: totp_rs::Totp::from_url(otpauth_uri).unwrap(),
            period: parameter("period").map_or(30, |period| period.parse().unwrap()),
        }
    }

    /// The code shown now.
    pub(crate) fn code(&self) -> String {
        self.at(0)
    }

    /// The code shown so many steps from now. The server accepts one step either way.
    pub(crate) fn at(&self, steps: i64) -> String {
        self.when(SystemClock.now().unix_seconds().cast_unsigned(), steps)
    }

    /// The codes of this step and of the next: both are accepted, each once. Taken at one moment, so that they hold also
    /// where the first is shown in the next step, after which the factor's clock counts as late.
    pub(crate) fn two_codes(&self) -> [String; 2] {
        let now = SystemClock.now().unix_seconds().cast_unsigned();
        [self.when(now, 0), self.when(now, 1)]
    }

    fn when(&self, now: u64, steps: i64) -> String {
        self.app.generate(now.saturating_add_signed(steps * self.period.cast_signed())).to_string()
    }

    /// A code that none of the acceptable steps has.
    pub(crate) fn wrong(&self) -> String {
        let near: Vec<_> = (-3..=3).map(|steps| self.at(steps)).collect();
        let digits = near[0].len();
        let candidates = (0..).map(|number| format!("{number:0digits$}"));
        candidates.into_iter().find(|code| !near.contains(code)).unwrap()
    }
}

/// A token that shows six digits, by a clock of 30 seconds or by a counter from 0.
#[derive(Debug, Clone)]
pub(crate) struct SixDigits {
    pub(crate) hash: OtpHash,
    pub(crate) secret: Vec<u8>,
    pub(crate) is_clock: bool,
}

impl SixDigits {
    fn step() -> i64 {
        SystemClock.now().unix_seconds() / 30
    }

    /// What a clock shows now, and a counter first.
    pub(crate) fn now(&self) -> String {
        self.at(if self.is_clock { Self::step() } else { 0 })
    }

    /// All that is acceptable of a token that was never used, now and soon.
    pub(crate) fn near(&self) -> Vec<String> {
        let places = if self.is_clock { Self::step() - 4..=Self::step() + 4 } else { 0..=10 };
        places.map(|place| self.at(place)).collect()
    }

    /// RFC 4226 §5.3.
    pub(crate) fn at(&self, place: i64) -> String {
        let algorithm = match self.hash {
            OtpHash::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            OtpHash::Sha256 => hmac::HMAC_SHA256,
            OtpHash::Sha512 => hmac::HMAC_SHA512,
        };
        let mac = hmac::sign(&hmac::Key::new(algorithm, &self.secret), &place.to_be_bytes());
        let mac = mac.as_ref();
        let offset = usize::from(mac[mac.len() - 1] & 0xf);
        let word = u32::from_be_bytes(mac[offset..offset + 4].try_into().unwrap());
        format!("{:06}", (word & 0x7fff_ffff) % 1_000_000)
    }
}

/// A YubiKey's OTP slot.
pub(crate) struct YubiKey {
    public_id: String,
    pub(crate) private_id: [u8; 6],
    pub(crate) secret: [u8; 16],
    used: AtomicU16,
}

impl YubiKey {
    /// A key of this public id (modhex) with a random secret.
    pub(crate) fn new(public_id: &str) -> Self {
        let (mut secret, mut private_id) = ([0; 16], [0; 6]);
        let random = aws_lc_rs::rand::SystemRandom::new();
        random.fill(&mut secret).unwrap();
        random.fill(&mut private_id).unwrap();
        Self { public_id: public_id.to_owned(), private_id, secret, used: AtomicU16::new(0) }
    }

    pub(crate) fn public_id(&self) -> &str {
        &self.public_id
    }

    pub(crate) fn private_id_hex(&self) -> String {
        hex(&self.private_id)
    }

    pub(crate) fn secret_hex(&self) -> String {
        hex(&self.secret)
    }

    /// What the next press types: each is plugged in anew.
    pub(crate) fn press(&self) -> String {
        self.otp(self.used.fetch_add(1, Ordering::Relaxed) + 1, 1)
    }

    /// The OTP with these counters.
    pub(crate) fn otp(&self, use_counter: u16, session_use: u8) -> String {
        self.typed(self.block(use_counter, session_use))
    }

    /// The plain block with these counters.
    pub(crate) fn block(&self, use_counter: u16, session_use: u8) -> [u8; 16] {
        Self::block_of(self.private_id, use_counter, session_use)
    }

    /// A plain block, with its CRC.
    pub(crate) fn block_of(private_id: [u8; 6], use_counter: u16, session_use: u8) -> [u8; 16] {
        let mut block = [0; 16];
        block[..6].copy_from_slice(&private_id);
        block[6..8].copy_from_slice(&use_counter.to_le_bytes());
        block[8..11].copy_from_slice(&[7, 8, 9]);
        block[11] = session_use;
        let crc = !crc(&block[..14]);
        block[14..].copy_from_slice(&crc.to_le_bytes());
        block
    }

    /// A plain block as the key types it.
    pub(crate) fn typed(&self, mut block: [u8; 16]) -> String {
        let key = UnboundCipherKey::new(&AES_128, &self.secret).unwrap();
        EncryptingKey::ecb(key).unwrap().encrypt(&mut block).unwrap();
        let letters = block.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let letters = letters.map(|nibble| char::from(b"cbdefghijklnrtuv"[usize::from(nibble)]));
        self.public_id.chars().chain(letters).collect()
    }
}

/// ISO 13239, bit by bit.
fn crc(bytes: &[u8]) -> u16 {
    let mut crc = 0xffff_u16;
    for byte in bytes {
        crc ^= u16::from(*byte);
        for _ in 0..8 {
            let carry = crc & 1;
            crc >>= 1;
            if carry == 1 {
                crc ^= 0x8408;
            }
        }
    }
    crc
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
