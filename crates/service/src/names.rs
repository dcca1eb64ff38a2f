//! What names, roles and scopes may look like.

use std::collections::BTreeSet;

use crate::ChangeError;
use signet_core::oauth::scope;

/// The longest name of a user, client or factor, in characters.
const MAX_NAME: usize = 128;

/// A name that people can read and logs can carry.
pub(crate) fn check_name(noun: &str, name: &str) -> Result<(), ChangeError> {
    let length = name.chars().count();
    if name.trim() != name || length == 0 || length > MAX_NAME || name.chars().any(char::is_control) {
        let text = format!(
            "the {noun}'s name must have 1 to {MAX_NAME} characters, no control characters, and no space at its ends"
        );
        return Err(ChangeError::Input(text));
    }
    // No URL could name it (RFC 3986 §5.2.4).
    if matches!(name, "." | "..") {
        return Err(ChangeError::Input(format!("a {noun} can't be named `{name}`")));
    }
    Ok(())
}

/// The longest audiences of a client together, in bytes: they go into each of its tokens.
const MAX_AUDIENCES_BYTES: usize = 2048;

/// Checks that a request can name each audience, and that all of them fit into a token: absolute URLs without fragment (RFC 8707 §2).
pub(crate) fn check_audiences(audiences: &BTreeSet<String>) -> Result<(), ChangeError> {
    // The parser leaves blanks and line ends away, and what is compared later is the text.
    let is_one = |audience: &String| {
        let is_plain = !audience.chars().any(|character| character.is_control() || character.is_whitespace());
        is_plain && !audience.contains('#') && url::Url::parse(audience).is_ok()
    };
    if let Some(bad) = audiences.iter().find(|audience| !is_one(audience)) {
        let bad = bad.escape_debug();
        let text = format!("an audience must be an absolute URL without blanks and without `#`; `{bad}` is not one");
        return Err(ChangeError::Input(text));
    }
    let length: usize = audiences.iter().map(|audience| audience.len() + 3).sum();
    if length > MAX_AUDIENCES_BYTES {
        let text =
            format!("the audiences are {length} bytes long together; at most {MAX_AUDIENCES_BYTES} fit into a token");
        return Err(ChangeError::Input(text));
    }
    Ok(())
}

/// The most bytes that roles, and scopes, may have together: a token must stay well under the 8 KiB that verifiers read.
const MAX_WORDS_BYTES: usize = 2048;

/// Checks each role or scope, and that all of them fit into a token.
pub(crate) fn check_words(noun: &str, words: &BTreeSet<String>) -> Result<(), ChangeError> {
    words.iter().try_for_each(|word| check_scope_token(noun, word))?;
    let length: usize = words.iter().map(|word| word.len() + 3).sum();
    if length > MAX_WORDS_BYTES {
        let text = format!("the {noun}s are {length} bytes long together; at most {MAX_WORDS_BYTES} fit into a token");
        return Err(ChangeError::Input(text));
    }
    Ok(())
}

fn check_scope_token(noun: &str, text: &str) -> Result<(), ChangeError> {
    if scope::is_scope_token(text) {
        Ok(())
    } else {
        let text =
            format!("`{}` is no {noun}: it must be printable ASCII without space, `\"` and `\\`", text.escape_debug());
        Err(ChangeError::Input(text))
    }
}
