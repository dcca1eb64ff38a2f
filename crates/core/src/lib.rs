//! What Signet decides without input or output: tokens, OAuth, factors, keys, the audit chain.
//!
//! | module | decides |
//! |---|---|
//! | [`token`] | what an access token says when it is issued |
//! | [`oauth`] | the RFCs' decisions: clients, scopes, errors, discovery, grants |
//! | [`mfa`] | what proves a person: factors, lockout, the resulting authentication |
//! | [`keys`] | key identity, the key ring's states, custody, the ports to the HSM |
//! | [`admission`] | what a node is told that joins, and the code that people compare |
//! | [`admin`] | who may do what as an operator |
//! | [`audit`] | what a record says, how records are chained and checkpoints signed |
//! | [`backup`] | what a backup's file says, and what is signed of it |
//! | [`settings`], [`duration`] | what is set of a tenant, and what of it can't be |
//! | [`row_keys`] | by which keys the store's rows are authenticated |
//! | [`networks`], [`forwarded`] | which addresses lie in a network, and whose word is taken for where a request comes from |
//! | [`user_name`], [`precis`] | which names are one, and which texts that people type |
//! | [`id`] | what an identifier can do |
//! | [`secret`], [`random`] | how secrets are held, and where randomness comes from |
//!
//! It never reads a file, a socket, a database, the environment or the clock.

#![forbid(unsafe_code)]

pub mod admin;
pub mod admission;
pub mod audit;
pub mod backup;
pub mod duration;
pub mod forwarded;
pub mod id;
pub mod keys;
pub mod mfa;
pub mod networks;
pub mod oauth;
pub mod precis;
pub mod random;
pub mod row_keys;
pub mod settings;
pub mod token;
pub mod token_files;
pub mod user_name;
mod words;

pub use signet_secret as secret;
