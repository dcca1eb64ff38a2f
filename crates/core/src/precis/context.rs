//! Characters that are allowed beside certain others (RFC 5892, appendix A).

use icu_properties::CodePointMapData;
use icu_properties::props::{CanonicalCombiningClass, JoiningType, Script};

/// Whether the character in this place may stand there.
pub(super) fn allows(text: &[char], at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|at| text.get(at)).copied();
    let after = text.get(at + 1).copied();
    let script = |character: char| CodePointMapData::<Script>::new().get(character);
    match text.get(at) {
        // Zero width non-joiner and joiner (A.1, A.2).
        Some('\u{200c}') => before.is_some_and(is_virama) || joins(text, at),
        Some('\u{200d}') => before.is_some_and(is_virama),
        // The dot between the two l of Catalan (A.3).
        Some('\u{b7}') => before == Some('l') && after == Some('l'),
        // The Greek keraia (A.4).
        Some('\u{375}') => after.is_some_and(|character| script(character) == Script::Greek),
        // Hebrew geresh and gershayim (A.5, A.6).
        Some('\u{5f3}' | '\u{5f4}') => before.is_some_and(|character| script(character) == Script::Hebrew),
        // The dot between Japanese words (A.7).
        Some('\u{30fb}') => {
            text.iter().any(|character| matches!(script(*character), Script::Hiragana | Script::Katakana | Script::Han))
        }
        // Arabic digits of one kind (A.8, A.9).
        Some('\u{660}'..='\u{669}') => !text.iter().any(|character| matches!(character, '\u{6f0}'..='\u{6f9}')),
        Some('\u{6f0}'..='\u{6f9}') => !text.iter().any(|character| matches!(character, '\u{660}'..='\u{669}')),
        _ => false,
    }
}

fn is_virama(character: char) -> bool {
    CodePointMapData::<CanonicalCombiningClass>::new().get(character) == CanonicalCombiningClass::Virama
}

/// `(L|D) T* here T* (R|D)`, by joining types.
fn joins(text: &[char], at: usize) -> bool {
    let kind = |character: &char| CodePointMapData::<JoiningType>::new().get(*character);
    let (before, after) = text.split_at(at);
    let visible = |character: &&char| kind(character) != JoiningType::Transparent;
    let left = before.iter().rev().find(visible).map(kind);
    let right = after.iter().skip(1).find(visible).map(kind);
    matches!(left, Some(JoiningType::LeftJoining | JoiningType::DualJoining))
        && matches!(right, Some(JoiningType::RightJoining | JoiningType::DualJoining))
}
