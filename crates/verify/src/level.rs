//! How much a sign-in proved, in three levels: the `acr` of a person's token (OpenID Connect Core §2, RFC 9470 §2).

use std::fmt;

/// An authentication level, after NIST SP 800-63B-4's AALs. A higher one also holds what a lower one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// One factor, or a recovery code beside the password.
    Aal1,
    /// Two factors, e.g. a password and a one-time code.
    Aal2,
    /// Two factors, one of them a phishing-resistant key in known hardware.
    Aal3,
}

impl Level {
    /// Every level, the lowest first.
    pub const ALL: [Self; 3] = [Self::Aal1, Self::Aal2, Self::Aal3];

    /// The value of `acr`.
    pub const fn acr(self) -> &'static str {
        match self {
            Self::Aal1 => "urn:signet:aal1",
            Self::Aal2 => "urn:signet:aal2",
            Self::Aal3 => "urn:signet:aal3",
        }
    }

    /// The level of an `acr`; `None` for one that is not Signet's.
    pub fn of_acr(acr: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.acr() == acr)
    }

    /// This level and those above it, as `acr` values: what a resource server accepts that asks for this one.
    pub fn and_above(self) -> impl Iterator<Item = &'static str> {
        Self::ALL.into_iter().filter(move |level| *level >= self).map(Self::acr)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.acr())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_ordered_and_named() {
        assert!(Level::Aal1 < Level::Aal2 && Level::Aal2 < Level::Aal3);
        for level in Level::ALL {
            assert_eq!(Level::of_acr(level.acr()), Some(level));
        }
        assert_eq!(Level::of_acr("urn:example:other"), None);
        assert_eq!(Level::Aal2.and_above().collect::<Vec<_>>(), ["urn:signet:aal2", "urn:signet:aal3"]);
    }
}
