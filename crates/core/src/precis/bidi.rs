//! The Bidi Rule (RFC 5893 §2): a word reads in one direction, whatever stands beside it.

use icu_properties::CodePointMapData;
use icu_properties::props::BidiClass as Class;

/// Whether a word has no letter that is written from right to left, or satisfies the rule.
pub(super) fn is_readable(word: &str) -> bool {
    let classes = CodePointMapData::<Class>::new();
    let classes: Vec<Class> = word.chars().map(|character| classes.get(character)).collect();
    let is_rightward = |class: &Class| matches!(*class, Class::RightToLeft | Class::ArabicLetter | Class::ArabicNumber);
    if !classes.iter().any(is_rightward) {
        return true;
    }
    // 1: it begins with a letter. Of the words that have letters from right to left, one that begins with another letter breaks 5.
    let begins = classes.first().is_some_and(|class| matches!(*class, Class::RightToLeft | Class::ArabicLetter));
    // 2
    let is_allowed = |class: &Class| {
        is_rightward(class)
            || matches!(
                *class,
                Class::EuropeanNumber
                    | Class::EuropeanSeparator
                    | Class::CommonSeparator
                    | Class::EuropeanTerminator
                    | Class::OtherNeutral
                    | Class::BoundaryNeutral
                    | Class::NonspacingMark
            )
    };
    // 3
    let last = classes.iter().rev().find(|class| **class != Class::NonspacingMark);
    let ends = last.is_some_and(|class| is_rightward(class) || *class == Class::EuropeanNumber);
    // 4
    let has = |wanted: Class| classes.contains(&wanted);
    let one_kind_of_digits = !(has(Class::EuropeanNumber) && has(Class::ArabicNumber));
    begins && classes.iter().all(is_allowed) && ends && one_kind_of_digits
}
