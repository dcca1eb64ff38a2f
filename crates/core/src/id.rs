//! Identifiers: texts that are only ever looked up, each with a type of its own.

/// Defines an identifier: a text under a name, with what every identifier can do. Its doc comment says what it names.
///
/// ```
/// signet_core::string_id! {
///     /// A shelf's number.
///     pub struct ShelfId;
/// }
///
/// assert_eq!(ShelfId::new("7").to_string(), "7");
/// ```
#[macro_export]
macro_rules! string_id {
    ($($(#[$meta:meta])* $visibility:vis struct $name:ident;)+) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, ::serde::Serialize, ::serde::Deserialize)]
        #[serde(transparent)]
        $visibility struct $name(::std::string::String);

        impl $name {
            /// An identifier as it was made, configured, stored or received. Nothing is checked: it is only ever looked up.
            pub fn new(text: impl ::std::convert::Into<::std::string::String>) -> Self {
                Self(text.into())
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                formatter.write_str(&self.0)
            }
        }
    )+};
}
