//! The passwords that are guessed first (NIST SP 800-63B-4 §3.1.1.2: "verifiers SHALL compare the prospective secret against a
//! blocklist").
//!
//! `common_passwords.txt` has a password a line, as they are compared here, without those that are too short for anybody. They are
//! of two lists: the 20,000 that Django ships (Royce Williams' count of leaked passwords; BSD-3-Clause), and those of the crate
//! `zxcvbn` 3.1.1, which are Mark Burnett's 30,000 most common ones, first names and surnames, and the 10,000 most frequent words of
//! Wikipedia, of television and of films (MIT). `common_passwords.LICENSE` has the notices.

use crate::user_name::compared_name;

const LIST: &str = include_str!("common_passwords.txt");

/// Whether a password's OpaqueString form is in the list, in whatever case and width.
pub(super) fn is_common(opaque: &str) -> bool {
    let compared = zeroize::Zeroizing::new(compared_name(opaque));
    LIST.lines().any(|common| common == *compared)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mfa::password::PasswordPolicy;

    #[test]
    fn the_list_is_as_it_is_compared() {
        assert!(LIST.lines().count() > 20_000);
        for line in LIST.lines() {
            assert!(line.chars().count() >= PasswordPolicy::MIN_CHARACTERS && line == compared_name(line), "{line}");
        }
    }
}
