//! Yubico OTP: parsing what a key types, judging its decrypted block, and its counters.
//! The AES key stays in the HSM, which decrypts the one block.

use std::fmt;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use super::authentication::FactorUse;
use super::kind::{FactorKind, FactorRules, Facts};
use super::policy::OtpText;
use super::{Spendable, Spending};
use crate::audit::Reason;
use crate::keys::OtpSecretKind;
use signet_verify::Level;

const MODHEX: &[u8; 16] = b"cbdefghijklnrtuv";
/// What the modhex keys type on a Dvorak layout.
const DVORAK: &[u8; 16] = b"jxe.uidchtnbpygk";
/// 128 bits in modhex.
const BLOCK_CHARACTERS: usize = 32;
const MAX_PUBLIC_CHARACTERS: usize = 16;
/// The CRC's residue over a whole good block (ISO 13239).
const CRC_RESIDUE: u16 = 0xf0b8;

/// An OTP as a key typed it.
#[derive(Clone, PartialEq, Eq)]
pub struct YubicoOtp {
    public_id: String,
    block: [u8; 16],
}

impl YubicoOtp {
    /// 32 to 48 modhex characters: the public id, then one AES block. Upper case is accepted, and what the same key
    /// types on a Dvorak layout. A text that is both is read as modhex.
    pub fn parse(text: &str) -> Option<Self> {
        let typed = text.as_bytes();
        if !(BLOCK_CHARACTERS..=BLOCK_CHARACTERS + MAX_PUBLIC_CHARACTERS).contains(&typed.len()) {
            return None;
        }
        let nibbles = nibbles(typed, MODHEX).or_else(|| nibbles(typed, DVORAK))?;
        let (public, private) = nibbles.split_at_checked(nibbles.len() - BLOCK_CHARACTERS)?;
        let mut block = [0; 16];
        for (byte, pair) in block.iter_mut().zip(private.as_chunks::<2>().0) {
            *byte = pair[0] << 4 | pair[1];
        }
        Some(Self { public_id: modhex(public), block })
    }

    /// The public id in lower-case modhex; empty where the key has none.
    pub fn public_id(&self) -> &str {
        &self.public_id
    }

    /// The whole OTP in lower-case modhex, as another server knows it.
    pub fn typed(&self) -> String {
        let nibbles: Vec<u8> = self.block.iter().flat_map(|byte| [byte >> 4, byte & 15]).collect();
        format!("{}{}", self.public_id, modhex(&nibbles))
    }

    /// The encrypted block.
    pub fn block(&self) -> [u8; 16] {
        self.block
    }
}

/// Shows the public id alone: a code that was not spent is a secret.
impl fmt::Debug for YubicoOtp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("YubicoOtp").field("public_id", &self.public_id).finish_non_exhaustive()
    }
}

/// A public id as it is stored: 2 to 16 modhex characters, an even number, lower case. `None` for another text.
pub fn public_id(text: &str) -> Option<String> {
    let typed = text.as_bytes();
    if typed.is_empty() || typed.len() > MAX_PUBLIC_CHARACTERS || !typed.len().is_multiple_of(2) {
        return None;
    }
    Some(modhex(&nibbles(typed, MODHEX)?))
}

fn nibbles(typed: &[u8], alphabet: &[u8; 16]) -> Option<Vec<u8>> {
    let value = |byte: &u8| {
        let place = alphabet.iter().position(|letter| *letter == byte.to_ascii_lowercase())?;
        u8::try_from(place).ok()
    };
    typed.iter().map(value).collect()
}

fn modhex(nibbles: &[u8]) -> String {
    nibbles.iter().filter_map(|&nibble| MODHEX.get(usize::from(nibble))).map(|&letter| char::from(letter)).collect()
}

/// What a good block says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    use_counter: u16,
    session_use: u8,
    timestamp: u32,
}

impl Reading {
    /// Judges a decrypted block. The CRC authenticates nothing; the private id, compared in constant time, does.
    /// Errors: [`Reason::WrongBlock`] for a wrong CRC (it was made with another key), [`Reason::WrongPrivateId`]: for the
    /// audit record, and not for the caller.
    pub fn decode(block: &[u8; 16], private_id: &[u8; 6]) -> Result<Self, Reason> {
        let [id @ .., count_low, count_high, time_low, time_mid, time_high, session_use, _, _, _, _] = *block;
        let is_this_key = bool::from(id.ct_eq(private_id));
        if crc16(block) != CRC_RESIDUE {
            return Err(Reason::WrongBlock);
        }
        if !is_this_key {
            return Err(Reason::WrongPrivateId);
        }
        Ok(Self {
            // Bit 15 says that caps lock was on.
            use_counter: u16::from_le_bytes([count_low, count_high]) & 0x7fff,
            session_use,
            timestamp: u32::from_le_bytes([time_low, time_mid, time_high, 0]),
        })
    }

    /// `useCtr << 8 | sessionUse`: rises with every OTP of a key.
    pub fn counter(&self) -> i64 {
        i64::from(self.use_counter) << 8 | i64::from(self.session_use)
    }

    /// How often the key was powered up or its session counter wrapped, without the caps-lock bit.
    pub fn use_counter(&self) -> u16 {
        self.use_counter
    }

    /// How many OTPs the key made since then.
    pub fn session_use(&self) -> u8 {
        self.session_use
    }

    /// The key's clock, in ticks of about an eighth of a second; comparable within one session only.
    pub fn timestamp(&self) -> u32 {
        self.timestamp
    }
}

/// A Yubico OTP factor's identity and how far it is spent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct YubicoState {
    /// The public id in modhex, unique in the tenant.
    pub public_id: String,
    /// The private id as 12 hex digits: checked against the block, and no secret by itself.
    pub private_id: [u8; 6],
    /// The last accepted `useCtr << 8 | sessionUse`; only greater ones count. -1 before the first.
    #[serde(skip)]
    pub last_counter: i64,
}

impl FactorRules for YubicoState {
    fn secret_kind(&self) -> Option<OtpSecretKind> {
        Some(OtpSecretKind::Aes128)
    }

    fn handle(&self) -> Option<&str> {
        Some(&self.public_id)
    }

    fn facts(&self) -> Facts<'_> {
        Facts { public_id: Some(&self.public_id), ..Facts::default() }
    }

    fn counter(&self) -> Option<i64> {
        Some(self.last_counter)
    }

    fn set_counter(&mut self, counter: i64) {
        self.last_counter = counter;
    }

    fn raising(&self, counter: i64) -> Option<Spending> {
        Some(Spending::YubicoCounter(counter))
    }

    /// The next OTP, or the first one after the key was plugged in again.
    fn is_next(&self, counter: i64) -> bool {
        let is_next_session = counter >> 8 == (self.last_counter >> 8).saturating_add(1) && counter & 0xff <= 1;
        Some(counter) == self.last_counter.checked_add(1) || is_next_session
    }

    fn may_have_shown(&self, shown: &OtpText) -> bool {
        matches!(shown, OtpText::Yubico(otp) if otp.public_id() == self.public_id)
    }

    /// Good by its private id, where its counter is greater than the last accepted one.
    fn match_block(&self, block: &[u8; 16]) -> Result<Spendable, Reason> {
        let by = Spending::YubicoCounter(Reading::decode(block, &self.private_id)?.counter());
        let is_unspent = by.counter() > Some(self.last_counter);
        if is_unspent { Ok(Spendable { by, used: used(FactorKind::YubicoOtp) }) } else { Err(Reason::ReplayedCode) }
    }
}

/// What an OTP shows, whoever has its key: hardware that it never leaves.
pub(super) const fn used(kind: FactorKind) -> FactorUse {
    FactorUse::beside_password(kind, &["otp", "hwk", "mfa"], Level::Aal2)
}

/// CRC-16 with the polynomial 0x8408 (reflected 0x1021) and the initial value 0xffff.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xffff, |crc, &byte| {
        (0..8).fold(crc ^ u16::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x8408 } else { crc >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::cipher::{AES_128, DecryptingKey, DecryptionContext, UnboundCipherKey};

    use super::*;

    /// What the HSM does.
    fn decrypt(key: [u8; 16], mut block: [u8; 16]) -> [u8; 16] {
        let key = DecryptingKey::ecb(UnboundCipherKey::new(&AES_128, &key).unwrap()).unwrap();
        key.decrypt(&mut block, DecryptionContext::None).unwrap().try_into().unwrap()
    }

    const KEY: [u8; 16] = 0xecde_18db_e76f_bd0c_3333_0f1c_3548_71db_u128.to_be_bytes();
    const OTP: &str = "dteffujehknhfjbrjnlnldnhcujvddbikngjrtgh";
    const OTHER_KEY: [u8; 16] = 0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f_u128.to_be_bytes();
    const OTHER_ID: [u8; 6] = [1, 2, 3, 4, 5, 6];

    fn read(otp: &str) -> Reading {
        Reading::decode(&decrypt(OTHER_KEY, YubicoOtp::parse(otp).unwrap().block()), &OTHER_ID).unwrap()
    }

    #[test]
    fn reads_the_published_vector() {
        let otp = YubicoOtp::parse(OTP).unwrap();
        let block = decrypt(KEY, otp.block());
        assert_eq!(otp.public_id(), "dteffuje");
        assert_eq!(block, 0x8792_ebfe_26cc_1300_30c2_0011_c89f_23c8_u128.to_be_bytes());
        let reading = Reading::decode(&block, &[0x87, 0x92, 0xeb, 0xfe, 0x26, 0xcc]).unwrap();
        assert_eq!((reading.use_counter(), reading.session_use(), reading.timestamp()), (19, 17, 0xc230));
        assert_eq!(reading.counter(), 19 << 8 | 17);
    }

    #[test]
    fn counters_rise_in_the_order_in_which_a_key_types() {
        let counters = [
            "dvgtiblfkbgturecfllberrvkinnctnn",
            "rnibcnfhdninbrdebccrndfhjgnhftee",
            "iikkijbdknrrdhfdrjltvgrbkkjblcbh",
        ]
        .map(|otp| read(otp).counter());
        assert_eq!(counters[..2], [1 << 8 | 1, 1 << 8 | 2]);
        assert_eq!(counters[2] >> 8, 0xfff);
    }

    #[test]
    fn upper_case_and_dvorak_are_the_same_otp() {
        let plain = YubicoOtp::parse(OTP).unwrap();
        assert_eq!(YubicoOtp::parse(&OTP.to_uppercase()), Some(plain.clone()));
        assert_eq!(plain.typed(), OTP);
        let place = |letter: char| MODHEX.iter().position(|&known| char::from(known) == letter).unwrap();
        let dvorak: String = OTP.chars().map(|letter| char::from(DVORAK[place(letter)])).collect();
        assert_eq!(YubicoOtp::parse(&dvorak), Some(plain));
    }

    #[test]
    fn other_texts_are_no_otps() {
        let long = "c".repeat(49);
        let letters = "ä".repeat(16);
        for text in ["", "123456", &OTP[..31], &long, &format!(" {OTP}"), &OTP.replace('d', "a"), &letters] {
            assert_eq!(YubicoOtp::parse(text), None, "{text}");
        }
        assert_eq!(YubicoOtp::parse(&"c".repeat(48)).unwrap().public_id(), "cccccccccccccccc");
        assert_eq!(YubicoOtp::parse(&"c".repeat(32)).unwrap().public_id(), "");
        assert!(!format!("{:?}", YubicoOtp::parse(OTP)).contains("hknh"), "the block is not printed");
    }

    #[test]
    fn another_key_another_private_id_and_a_spent_counter_are_told_apart() {
        let block = decrypt(OTHER_KEY, YubicoOtp::parse("rnibcnfhdninbrdebccrndfhjgnhftee").unwrap().block());
        let wrong_key = decrypt(KEY, YubicoOtp::parse("rnibcnfhdninbrdebccrndfhjgnhftee").unwrap().block());
        assert_eq!(Reading::decode(&wrong_key, &OTHER_ID), Err(Reason::WrongBlock));
        assert_eq!(Reading::decode(&block, &[1, 2, 3, 4, 5, 7]), Err(Reason::WrongPrivateId));
        let spent = |last_counter| YubicoState { public_id: "cc".into(), private_id: OTHER_ID, last_counter };
        let matched = spent(1 << 8 | 1).match_block(&block).unwrap();
        assert_eq!(matched.by(), &Spending::YubicoCounter(1 << 8 | 2));
        assert_eq!(spent(1 << 8 | 2).match_block(&block), Err(Reason::ReplayedCode));
        assert_eq!(spent(i64::MAX).match_block(&block), Err(Reason::ReplayedCode));
    }

    #[test]
    fn the_caps_lock_bit_does_not_count() {
        let mut block = [1, 2, 3, 4, 5, 6, 5, 0x80, 0, 0, 0, 3, 0, 0, 0, 0];
        let crc = !crc16(&block[..14]);
        block[14..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Reading::decode(&block, &OTHER_ID).unwrap().counter(), 5 << 8 | 3);
    }

    #[test]
    fn public_ids_are_even_modhex() {
        assert_eq!(public_id("CCCCCCbteudd").as_deref(), Some("ccccccbteudd"));
        for text in ["", "c", "ccc", "ab", &"c".repeat(18)] {
            assert_eq!(public_id(text), None, "{text}");
        }
    }
}
