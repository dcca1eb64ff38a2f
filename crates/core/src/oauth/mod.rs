//! The decisions of the OAuth RFCs, without HTTP and without input or output: who a client is, what a scope means,
//! what a request asks for, and the words in which it is refused (RFC 6749, 6750, 7009, 7662, 8414, 8707, 9068).

pub mod client;
pub mod discovery;
pub mod error;
pub mod grant;
pub mod parameters;
pub mod scope;

pub use client::{
    AuthenticatedClient, Client, ClientAuthentication, ClientId, GrantType, PresentedCredentials, Reach,
    UnknownGrantType, narrowed, origin,
};
pub use error::OAuthError;
pub use parameters::Parameters;
pub use scope::{RoleScopes, Scopes};
