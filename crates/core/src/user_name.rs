//! The name that a person signs in by, as it is compared.

use icu_casemap::CaseMapperBorrowed;
use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};

use crate::keys::TenantId;
use crate::precis::{PrecisFault, check_user_name, width_mapped};
use crate::words::words;

words! {
    /// What the name of a new user may be.
    #[derive(Default)]
    pub enum UserNames {
        /// A username of RFC 8265 §3.3 (UsernameCaseMapped): it has no blank.
        #[default]
        CaseMapped = "case_mapped",
        /// Such usernames with one blank between two of them (RFC 8265 §3.5).
        WithBlanks = "case_mapped_with_blanks",
    }
}

/// Why a name is not taken for a new user, and what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameRefused {
    /// It has a blank.
    #[error(
        "a user's name has no blank (RFC 8265): leave it out, or have names with blanks by the setting `mfa.user_names = \"case_mapped_with_blanks\"`"
    )]
    Blank,
    /// It has two blanks in a row.
    #[error("a user's name has at most one blank between two words")]
    Blanks,
    /// It has a character that it can't have.
    #[error("the user's name can't be told from others everywhere, choose another one: {0}")]
    Character(#[source] PrecisFault),
}

impl UserNames {
    /// Judges the name of a new user. Those who are there keep theirs.
    /// Errors: [`NameRefused`] says what to do.
    pub fn check(self, name: &str) -> Result<(), NameRefused> {
        let usual = width_mapped(name);
        if self == Self::CaseMapped && usual.contains(' ') {
            return Err(NameRefused::Blank);
        }
        if usual.split(' ').any(str::is_empty) {
            return Err(NameRefused::Blanks);
        }
        check_user_name(&usual).map_err(NameRefused::Character)
    }
}

/// A name as it is compared, so that no two users have names that read alike, and either spelling signs in: two names are one
/// where they match without regard to case, to how accents are encoded, and to width. That is the width mapping of RFC 8265 §3.3.3,
/// and Unicode's canonical caseless match (The Unicode Standard, section 3.13, D145), written in NFC: names that
/// UsernameCaseMapped has for one are one here, and so are a few more, such as `STRASSE` and `straße`. What is shown and recorded is
/// the name as it was given.
///
/// For characters that Unicode assigned the answer never changes with its versions (the stability policies of normalization and
/// case folding), so that what is stored stays right.
pub fn compared_name(name: &str) -> String {
    let usual = width_mapped(name);
    let decomposed = DecomposingNormalizerBorrowed::new_nfd().normalize(&usual);
    let folded = CaseMapperBorrowed::new().fold_string(&decomposed);
    ComposingNormalizerBorrowed::new_nfc().normalize(&folded).into_owned()
}

/// What is derived of a name that was typed: distinct for each tenant and name, and the same however the name is spelt.
pub fn derived_from(tenant: &TenantId, name: &str) -> Vec<u8> {
    // The name comes last: it is the one part that may hold any byte.
    format!("{tenant}\0{}", compared_name(name)).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spellings_of_one_name_are_one() {
        let alike = [
            ["Ann", "aNN"],
            ["Ａｎｎ", "ann"],
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

    #[test]
    fn hazard_116_a_new_name_has_blanks_where_that_is_set() {
        assert_eq!(UserNames::default().check("Ann"), Ok(()));
        assert_eq!(UserNames::CaseMapped.check("ann example"), Err(NameRefused::Blank));
        assert_eq!(UserNames::CaseMapped.check("ann\u{3000}example"), Err(NameRefused::Blank), "a blank of full width");
        assert_eq!(UserNames::WithBlanks.check("ann example"), Ok(()));
        for name in ["ann  example", " ann", "ann "] {
            assert_eq!(UserNames::WithBlanks.check(name), Err(NameRefused::Blanks), "{name:?}");
        }
        for name in ["ann\u{a0}example", "ann\texample", "ann\u{200b}"] {
            let is_refused = |names: UserNames| matches!(names.check(name), Err(NameRefused::Character(_)));
            assert!(UserNames::ALL.into_iter().all(is_refused), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn a_compared_name_is_compared_as_itself(name in any::<String>()) {
            let compared = compared_name(&name);
            prop_assert_eq!(compared_name(&compared), compared);
        }
    }
}
