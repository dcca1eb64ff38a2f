//! The text of a file as people save it: UTF-8 with or without a byte order mark, or UTF-16 with one, as Windows writes it. Whatever
//! reads a text (a configuration, a list of keys, a PIN, a password from standard input) decides about it here, so that all of it is
//! read alike: U+FEFF at the beginning is never content.
//!
//! It decides nothing of what a text means. What it reads may be secret: it is wiped when dropped, and no fault repeats it.

#![forbid(unsafe_code)]

use std::io;
use std::path::Path;

use zeroize::Zeroizing;

/// U+FEFF in UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// Why bytes are no text, and what to do. It tells a place, and nothing of what stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotText {
    /// Bytes that are not UTF-8.
    #[error("line {line} is not UTF-8: save it as UTF-8")]
    NotUtf8 {
        /// From 1.
        line: u64,
    },
    /// It begins as UTF-16 does, and does not go on so.
    #[error("it begins as UTF-16 and is not UTF-16: save it as UTF-8")]
    NotUtf16,
    /// Every second byte at its beginning is NUL: UTF-16 without a byte order mark, which could be either of two.
    #[error("it looks like UTF-16 without a byte order mark: save it as UTF-8")]
    Unmarked,
}

impl From<NotText> for io::Error {
    fn from(not_text: NotText) -> Self {
        Self::new(io::ErrorKind::InvalidData, not_text)
    }
}

/// A text in UTF-8 without its byte order mark.
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(MARK).unwrap_or(bytes)
}

/// The bytes of a text in UTF-8 without a byte order mark, for a reader that judges each line by itself: bytes that are not UTF-8 stay.
/// Errors: [`NotText`] for broken UTF-16, and for UTF-16 that is not marked.
pub fn utf8_bytes(mut bytes: Zeroizing<Vec<u8>>) -> Result<Zeroizing<Vec<u8>>, NotText> {
    match *bytes.as_slice() {
        [0xef, 0xbb, 0xbf, ..] => {
            bytes.drain(..MARK.len());
            Ok(bytes)
        }
        [0xff, 0xfe, ref rest @ ..] => from_utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, ref rest @ ..] => from_utf16(rest, u16::from_be_bytes),
        [0, second, ..] if second != 0 => Err(NotText::Unmarked),
        [first, 0, ..] if first != 0 => Err(NotText::Unmarked),
        _ => Ok(bytes),
    }
}

/// A text of a file, without a byte order mark.
/// Errors: [`NotText`].
pub fn text(bytes: Zeroizing<Vec<u8>>) -> Result<Zeroizing<String>, NotText> {
    let mut bytes = utf8_bytes(bytes)?;
    match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let bytes = Zeroizing::new(error.into_bytes());
            let before = bytes.iter().take(valid).filter(|byte| **byte == b'\n').count();
            Err(NotText::NotUtf8 { line: u64::try_from(before).unwrap_or(u64::MAX).saturating_add(1) })
        }
    }
}

/// Reads a file that holds no secret.
/// Errors: the file can't be read; of the kind `InvalidData` where it is no text ([`NotText`]).
pub fn read_to_string(path: impl AsRef<Path>) -> io::Result<String> {
    let mut text = text(Zeroizing::new(std::fs::read(path)?))?;
    Ok(std::mem::take(&mut *text))
}

fn from_utf16(bytes: &[u8], unit: impl Fn([u8; 2]) -> u16) -> Result<Zeroizing<Vec<u8>>, NotText> {
    let (pairs, []) = bytes.as_chunks::<2>() else { return Err(NotText::NotUtf16) };
    // Three bytes are the most that a unit comes to: the buffer never grows and leaves no copy behind.
    let mut text = Zeroizing::new(Vec::with_capacity(pairs.len().saturating_mul(3)));
    for character in char::decode_utf16(pairs.iter().map(|pair| unit(*pair))) {
        let character = character.map_err(|_| NotText::NotUtf16)?;
        text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(bytes).collect()
    }

    #[test]
    fn hazard_114_a_text_is_the_same_however_it_was_saved() {
        let written = "Zürich,a\r\n\u{1f511}\n";
        let marked = [b"\xef\xbb\xbf".as_slice(), written.as_bytes()].concat();
        for bytes in
            [written.as_bytes().to_vec(), marked, utf16(written, u16::to_le_bytes), utf16(written, u16::to_be_bytes)]
        {
            assert_eq!(*text(Zeroizing::new(bytes)).unwrap(), written);
        }
        assert_eq!(*text(Zeroizing::new(Vec::new())).unwrap(), "");
    }

    #[test]
    fn what_is_no_text_is_told_by_its_line_and_not_repeated() {
        let fault = |bytes: &[u8]| text(Zeroizing::new(bytes.to_vec())).unwrap_err();
        assert_eq!(fault(b"a\nb\n\xfc\n"), NotText::NotUtf8 { line: 3 });
        assert_eq!(fault(b"\xff\xfea"), NotText::NotUtf16);
        assert_eq!(fault(b"\xff\xfe\x00\xd8"), NotText::NotUtf16);
        assert_eq!(fault(b"a\0b\0"), NotText::Unmarked);
        assert_eq!(fault(b"\0a\0b"), NotText::Unmarked);
        assert_eq!(io::Error::from(fault(b"\xff\xfea")).kind(), io::ErrorKind::InvalidData);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic_and_every_text_is_read(bytes: Vec<u8>, written: String) {
            let _ = text(Zeroizing::new(bytes));
            let read = text(Zeroizing::new(utf16(&written, u16::to_le_bytes))).unwrap();
            proptest::prop_assert_eq!(&*read, &written);
        }
    }
}
