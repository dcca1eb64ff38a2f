//! Every SQL text stands once, by name, in the list that one test prepares.

/// Names SQL texts and lists them as `TEXTS`.
macro_rules! texts {
    ($($name:ident = $text:expr;)+) => {
        $(const $name: &str = $text;)+
        /// The SQL texts of this file.
        pub(super) const TEXTS: &[&str] = &[$($name),+];
    };
}

pub(super) use texts;
