//! The name that a person signs in by, as it is compared.

use icu_casemap::CaseMapperBorrowed;
use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};

/// A name as it is compared, so that no two users have names that read alike, and either spelling signs in: two names are one
/// where they match without regard to case and to how accents are encoded. That is Unicode's canonical caseless match (The
/// Unicode Standard, section 3.13, D145), written in NFC. What is shown and recorded is the name as it was given.
///
/// For characters that Unicode assigned the answer never changes with its versions (the stability policies of normalization and
/// case folding), so that what is stored stays right.
pub fn compared_name(name: &str) -> String {
    let decomposed = DecomposingNormalizerBorrowed::new_nfd().normalize(name);
    let folded = CaseMapperBorrowed::new().fold_string(&decomposed);
    ComposingNormalizerBorrowed::new_nfc().normalize(&folded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spellings_of_one_name_are_one() {
        let alike = [
            ["Ann", "aNN"],
            ["Émile", "e\u{301}mile"],
            ["STRASSE", "straße"],
            ["ΣΊΣΥΦΟΣ", "σίσυφος"],
            // U+0345 is a mark that folds to a letter: its place among the marks must not count.
            ["\u{3b1}\u{345}\u{301}", "\u{3b1}\u{301}\u{345}"],
        ];
        for [one, other] in alike {
            assert_eq!(compared_name(one), compared_name(other), "{one} and {other}");
        }
        // A dotless i is another letter, and so is an accent.
        for [one, other] in [["ann", "anna"], ["emile", "émile"], ["ılker", "ilker"], ["a b", "ab"]] {
            assert_ne!(compared_name(one), compared_name(other), "{one} and {other}");
        }
        assert_eq!(compared_name("alice"), "alice");
    }

    proptest! {
        #[test]
        fn a_compared_name_is_compared_as_itself(name in any::<String>()) {
            let compared = compared_name(&name);
            prop_assert_eq!(compared_name(&compared), compared);
        }
    }
}
