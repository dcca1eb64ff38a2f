//! Texts that people type, by PRECIS (RFC 8264): user names by the profile UsernameCaseMapped, passwords by OpaqueString (RFC 8265).
//!
//! What a character may be in is derived from its properties by the rules of RFC 8264 §8 and §9, of the version of Unicode that
//! ICU4X has. What is stored never depends on that: [`width_mapped`] and [`opaque_string`] alone go into what is compared.

mod bidi;
mod context;

use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};
use icu_properties::props::{
    DefaultIgnorableCodePoint, EastAsianWidth, GeneralCategory, HangulSyllableType, JoinControl, NoncharacterCodePoint,
};
use icu_properties::{CodePointMapData, CodePointSetData};
use zeroize::Zeroizing;

/// Why a text is none of its profile, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PrecisFault {
    /// A character that the profile allows nowhere.
    #[error("U+{:04X} in place {place} is not allowed: it may look like another one, like none, or differ between systems", u32::from(*character))]
    Character {
        /// Which.
        character: char,
        /// Its place, from 1.
        place: usize,
    },
    /// A character that is allowed only beside certain others (RFC 5892, appendix A).
    #[error("U+{:04X} in place {place} is allowed only beside the letters that need it", u32::from(*character))]
    Context {
        /// Which.
        character: char,
        /// Its place, from 1.
        place: usize,
    },
    /// Letters that are written from right to left, mixed with others (RFC 5893 §2).
    #[error("letters that are written from right to left are mixed with others so that nobody can tell how it reads")]
    Direction,
}

/// What a character may be in (RFC 8264 §8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Property {
    /// In identifiers and in free text.
    Valid,
    /// In free text alone.
    Free,
    /// In both, beside certain others.
    Contextual,
    /// In none.
    Disallowed,
}

/// Judges a user name that is being given: a username of RFC 8265 §3.3, or several of them with one blank between, which are §3.5's.
/// Errors: [`PrecisFault`].
pub fn check_user_name(name: &str) -> Result<(), PrecisFault> {
    let mapped = width_mapped(name);
    check(&mapped, |character, property| match property {
        // A blank parts the words of a name; who asks has judged whether there may be any.
        Property::Free => character == ' ',
        property => property != Property::Disallowed,
    })?;
    let folded = crate::user_name::compared_name(&mapped);
    if folded.split(' ').all(bidi::is_readable) { Ok(()) } else { Err(PrecisFault::Direction) }
}

/// Judges a password that is being set, by OpaqueString.
/// Errors: [`PrecisFault`].
pub fn check_opaque_string(text: &str) -> Result<(), PrecisFault> {
    check(text, |_, property| property != Property::Disallowed)
}

/// A text as OpaqueString compares it (RFC 8265 §4.2.2): blanks of every kind are ASCII's, and accents are written in one way (NFC).
/// It is never refused: what was typed is right or wrong, whatever is in it.
pub fn opaque_string(text: &str) -> Zeroizing<String> {
    let is_blank = |character| category(character) == GeneralCategory::SpaceSeparator;
    let mut mapped = Zeroizing::new(String::with_capacity(text.len()));
    mapped.extend(text.chars().map(|character| if is_blank(character) { ' ' } else { character }));
    // Canonical composition gives at most three times the bytes (UAX #15 §9): the buffer never grows and leaves no copy behind.
    let mut composed = Zeroizing::new(String::with_capacity(text.len().saturating_mul(3)));
    let written = ComposingNormalizerBorrowed::new_nfc().normalize_to(&mapped, &mut *composed);
    // A String takes whatever is written.
    debug_assert!(written.is_ok());
    composed
}

/// Full-width and half-width letters as the usual ones (RFC 8265 §3.3.3, the width mapping rule).
pub fn width_mapped(name: &str) -> String {
    let width = CodePointMapData::<EastAsianWidth>::new();
    let normalizer = DecomposingNormalizerBorrowed::new_nfkd();
    let mut mapped = String::with_capacity(name.len());
    for character in name.chars() {
        match width.get(character) {
            EastAsianWidth::Fullwidth | EastAsianWidth::Halfwidth => {
                mapped.push_str(&normalizer.normalize(character.encode_utf8(&mut [0; 4])));
            }
            _ => mapped.push(character),
        }
    }
    mapped
}

fn check(text: &str, allows: impl Fn(char, Property) -> bool) -> Result<(), PrecisFault> {
    let characters: Zeroizing<Vec<char>> = Zeroizing::new(text.chars().collect());
    for (at, character) in characters.iter().copied().enumerate() {
        let property = property_of(character);
        let place = at + 1;
        if !allows(character, property) {
            return Err(PrecisFault::Character { character, place });
        }
        if property == Property::Contextual && !context::allows(&characters, at) {
            return Err(PrecisFault::Context { character, place });
        }
    }
    Ok(())
}

fn category(character: char) -> GeneralCategory {
    CodePointMapData::<GeneralCategory>::new().get(character)
}

/// The rules of RFC 8264 §8, in its order.
fn property_of(character: char) -> Property {
    use GeneralCategory as Is;
    if let Some(property) = exception(character) {
        return property;
    }
    let ignorable = CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(character)
        || CodePointSetData::new::<NoncharacterCodePoint>().contains(character);
    let category = category(character);
    if category == Is::Unassigned {
        return Property::Disallowed;
    }
    if matches!(character, '!'..='~') {
        return Property::Valid;
    }
    if CodePointSetData::new::<JoinControl>().contains(character) {
        return Property::Contextual;
    }
    let syllable = CodePointMapData::<HangulSyllableType>::new().get(character);
    let is_old_jamo = matches!(
        syllable,
        HangulSyllableType::LeadingJamo | HangulSyllableType::VowelJamo | HangulSyllableType::TrailingJamo
    );
    if is_old_jamo || ignorable || category == Is::Control {
        return Property::Disallowed;
    }
    if has_compatibility_form(character) {
        return Property::Free;
    }
    match category {
        Is::LowercaseLetter
        | Is::UppercaseLetter
        | Is::OtherLetter
        | Is::DecimalNumber
        | Is::ModifierLetter
        | Is::NonspacingMark
        | Is::SpacingMark => Property::Valid,
        Is::Format | Is::PrivateUse | Is::Surrogate | Is::LineSeparator | Is::ParagraphSeparator => {
            Property::Disallowed
        }
        _ => Property::Free,
    }
}

/// RFC 5892 §2.6, which RFC 8264 §9.6 takes over.
fn exception(character: char) -> Option<Property> {
    match character {
        '\u{df}' | '\u{3c2}' | '\u{6fd}' | '\u{6fe}' | '\u{f0b}' | '\u{3007}' => Some(Property::Valid),
        '\u{b7}' | '\u{375}' | '\u{5f3}' | '\u{5f4}' | '\u{30fb}' => Some(Property::Contextual),
        '\u{660}'..='\u{669}' | '\u{6f0}'..='\u{6f9}' => Some(Property::Contextual),
        '\u{640}' | '\u{7fa}' | '\u{302e}' | '\u{302f}' | '\u{3031}'..='\u{3035}' | '\u{303b}' => {
            Some(Property::Disallowed)
        }
        _ => None,
    }
}

/// Whether the character is another one, or several, in NFKC (RFC 8264 §9.17).
fn has_compatibility_form(character: char) -> bool {
    !ComposingNormalizerBorrowed::new_nfkc().is_normalized(character.encode_utf8(&mut [0; 4]))
}

#[cfg(test)]
mod tests;
