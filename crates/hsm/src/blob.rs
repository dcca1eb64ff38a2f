//! A secret at rest: `mode ‖ key tag ‖ body`.
//!
//! | mode | body |
//! |---|---|
//! | 1, sealed | `IV (12) ‖ AES-256-GCM ciphertext and tag`, the row and the kind as associated data |
//! | 2, wrapped | `HMAC-SHA-256 (32) ‖ AES-KEY-WRAP-PAD blob` (RFC 5649), the MAC over row, kind and blob |
//!
//! The key tag names the keys that made the blob, so that it still opens while newer keys are in use. Nothing relies on
//! it: a changed tag chooses another key, and the blob does not open.

use sha2::{Digest as _, Sha256};

use super::wire::SecretKind;
use signet_core::keys::SealMode;

/// The length of the IV of AES-GCM.
pub(super) const IV_BYTES: usize = 12;

/// The length of the row's MAC.
pub(super) const MAC_BYTES: usize = 32;

/// Names the keys that made a blob.
pub(super) type KeyTag = [u8; 8];

/// A blob taken apart.
pub(super) struct Blob<'a> {
    pub(super) mode: SealMode,
    pub(super) tag: KeyTag,
    pub(super) body: &'a [u8],
}

impl<'a> Blob<'a> {
    /// Takes a blob apart; `None` where it is none.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (first, rest) = bytes.split_first()?;
        let (tag, body) = rest.split_first_chunk()?;
        let mode = SealMode::of_blob(Some(first))?;
        Some(Self { mode, tag: *tag, body })
    }
}

/// Puts a blob together.
pub(super) fn assemble(mode: SealMode, tag: KeyTag, parts: [&[u8]; 2]) -> Vec<u8> {
    let code = match mode {
        SealMode::Sealed => 1,
        SealMode::Wrapped => 2,
    };
    [&[code], tag.as_slice(), parts[0], parts[1]].concat()
}

/// The tag of the keys with these names.
pub(super) fn key_tag(key_ids: &[&str]) -> KeyTag {
    let mut digest = Sha256::new();
    for key_id in key_ids {
        digest.update(key_id.as_bytes());
        digest.update([0]);
    }
    let digest: [u8; 32] = digest.finalize().into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    [a, b, c, d, e, f, g, h]
}

/// What binds a secret to its row and kind. The leading NUL keeps it apart from every derivation, whose label is never
/// empty; the length keeps row and rest apart.
pub(super) fn binding(row: &[u8], kind: SecretKind, wrapped: &[u8]) -> Vec<u8> {
    let length = u32::try_from(row.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[0], length.as_slice(), row, &[kind.code()], wrapped].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_comes_apart_as_it_was_put_together() {
        let bytes = assemble(SealMode::Wrapped, key_tag(&["a", "b"]), [b"mac", b"blob"]);
        let blob = Blob::parse(&bytes).unwrap();
        assert_eq!((blob.mode, blob.tag, blob.body), (SealMode::Wrapped, key_tag(&["a", "b"]), b"macblob".as_slice()));
    }

    #[test]
    fn what_is_no_blob_is_refused() {
        for bytes in [b"".as_slice(), b"\x01", b"\x01abcdefg", b"\x00abcdefgh", b"\x03abcdefgh"] {
            assert!(Blob::parse(bytes).is_none());
        }
    }

    #[test]
    fn tags_tell_the_parts_apart() {
        assert_ne!(key_tag(&["ab", "c"]), key_tag(&["a", "bc"]));
    }
}
