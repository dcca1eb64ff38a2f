//! Who may present a PIN to an HSM token, among all nodes of a deployment (promise 9, decision 11).
//!
//! A token locks for good after a few wrong tries, and counts those of all nodes together. So one login of all is under way
//! at a time, and each ends with a word in the store on how it went: [`LoginRecord`] is that word, and decides the next.
//! Nothing here is a PIN, or made of one.

mod record;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{HsmName, TokenInfo};

pub use record::{EndedLogin, LoginRecord, Presenting};

/// How long a login has the right to itself: longer than the longest login, with what it takes to end a worker that hangs
/// in one.
pub const LOGIN_LEASE: Duration = Duration::from_secs(75);

/// How old a permit may be when its PIN is presented, counted by the worker from before it asked. What is left of
/// [`LOGIN_LEASE`] is the login's.
pub const PERMIT_IS_FRESH: Duration = Duration::from_secs(5);

/// An HSM token, by what it says of itself: nodes may have different names for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TokenIdentity {
    /// Who made it.
    pub manufacturer: String,
    /// Its model.
    pub model: String,
    /// Its serial number.
    pub serial: String,
    /// Its label.
    pub label: String,
}

impl From<&TokenInfo> for TokenIdentity {
    fn from(token: &TokenInfo) -> Self {
        let TokenInfo { label, manufacturer, model, serial, .. } = token.clone();
        Self { manufacturer, model, serial, label }
    }
}

/// What a machine's own files say of earlier logins by the PIN that is to be presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PinMarker {
    /// Nothing.
    None,
    /// A login ended in a way that nobody knows.
    Unknown,
    /// Two logins in a row ended in a way that nobody knows.
    UnknownTwice,
    /// The token refused it.
    Refused,
}

/// What a worker asks before it presents its PIN.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginQuestion {
    /// The token that was found.
    pub token: TokenInfo,
    /// What this machine remembers of the PIN.
    pub marker: PinMarker,
    /// Whether this token took the PIN before, from this very state of its file.
    pub was_taken: bool,
    /// Whether a person types the PIN each time: that is their word.
    pub is_typed: bool,
    /// Whether the token says that it counted a wrong try, or can't say that it did not.
    pub counts_tries: bool,
}

/// How a login ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LoginOutcome {
    /// The token took the PIN.
    Taken,
    /// The token refused it, with the module's own word, e.g. `CKR_PIN_INCORRECT`.
    Refused(String),
    /// Nothing was presented, or the module answered before it looked at the PIN.
    NotCounted,
    /// The token may have counted a wrong try: the module gave no clear answer, or its process ended. With what happened.
    Unknown(String),
}

/// Whether a PIN may be presented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Once, now; the record says so from then on.
    Present(LoginRecord),
    /// Not yet: another node presents one.
    Wait {
        /// That node.
        node: String,
    },
    /// Not before an operator, or another node's login, has changed the record.
    Stop(StopReason),
}

/// Why a PIN is not presented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// The token refused this node's.
    RefusedHere(Option<EndedLogin>),
    /// This machine's own files say that the token refused this PIN, e.g. when a command presented it.
    RefusedByFile,
    /// Another node's was refused, and this node's was never taken: it may be the same mistake.
    RefusedElsewhere(EndedLogin),
    /// A node's was refused, and so was another's, which had been taken before: the PIN in the token was changed.
    RefusedTwice(EndedLogin),
    /// The last login ended in a way that nobody knows, and this node's PIN was never taken.
    Unknown(Option<EndedLogin>),
    /// The last login ended in a way that nobody knows, this node's PIN was never taken, and the token says that it counted a
    /// wrong try.
    UnknownAndCounted(Option<EndedLogin>),
    /// Two logins in a row ended in a way that nobody knows.
    UnknownTwice(Option<EndedLogin>),
}

impl StopReason {
    /// The reason in words, with what to do. `hsm` and `node` are what this node calls the token and itself.
    pub fn describe(&self, hsm: &HsmName, node: &str) -> String {
        let allow = format!("`signet hsm allow-login {hsm} --node {node}`");
        match self {
            Self::RefusedHere(last) => format!(
                "the HSM token refused the PIN of this node{} and it is not sent again; correct the PIN here, then {allow} has \
                 it presented once",
                of_this(last.as_ref(), node)
            ),
            Self::RefusedByFile => format!(
                "this PIN was refused at an earlier start, as the `.refused` file says, and is not sent again; correct the PIN \
                 and start the server again, or have the same one presented once by {allow}"
            ),
            Self::RefusedElsewhere(last) => format!(
                "the HSM token refused the PIN of {last}; this node's was never taken, and is not sent until another node's, \
                 which was, has shown that the PIN in the token is still the same. If this node's is right, {allow}"
            ),
            Self::RefusedTwice(last) => format!(
                "the HSM token refused the PINs of two nodes, at last of {last}: the PIN in the token was changed, and none is \
                 sent any more. Put the right PIN on each node, then {allow}, or --every-node in the place of --node"
            ),
            Self::Unknown(last) => format!(
                "a login ended while its PIN was presented{}: the token may have counted a wrong try. This node's PIN was never \
                 taken, and is not sent; check the token and the PIN, then {allow}",
                at_last(last.as_ref())
            ),
            Self::UnknownAndCounted(last) => format!(
                "a login ended while its PIN was presented{}, and the token says that it counted a wrong try: none is sent; \
                 check the token and the PIN, then {allow}",
                at_last(last.as_ref())
            ),
            Self::UnknownTwice(last) => format!(
                "two logins in a row ended while their PIN was presented{}: the token may have counted wrong tries, and none is \
                 sent any more. Check the token, then {allow}",
                at_last(last.as_ref())
            ),
        }
    }
}

impl fmt::Display for EndedLogin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "node {} ({})", self.node, self.detail)
    }
}

fn of_this(last: Option<&EndedLogin>, node: &str) -> String {
    last.filter(|last| last.node == node).map_or_else(String::new, |last| format!(" ({})", last.detail))
}

fn at_last(last: Option<&EndedLogin>) -> String {
    last.map_or_else(String::new, |last| format!(", at last of {last}"))
}

/// The right to present one PIN once. It is given back by saying how that ended; where it is dropped, the store keeps it
/// until its lease runs out, and nobody knows how it ended.
pub struct LoginPermit {
    /// The token.
    pub token: TokenIdentity,
    _held: Box<dyn Send + Sync>,
}

impl LoginPermit {
    /// A right that ends with `held` for this process.
    pub fn new(token: TokenIdentity, held: impl Send + Sync + 'static) -> Self {
        Self { token, _held: Box::new(held) }
    }
}

impl fmt::Debug for LoginPermit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "LoginPermit({:?})", self.token)
    }
}

/// The answer to a [`LoginQuestion`].
#[derive(Debug)]
pub enum LoginAnswer {
    /// Present the PIN, once.
    Present(LoginPermit),
    /// Ask again in a moment; with why not now.
    Wait(String),
    /// Don't present it; with why, and what to do.
    Stop(String),
}

/// Decides for all nodes together who presents a PIN. `hsm` is this node's name for the token.
#[async_trait]
pub trait LoginPermits: Send + Sync + 'static {
    /// Whether this node may present its PIN now, and the right to do so.
    async fn ask(&self, hsm: &HsmName, question: &LoginQuestion) -> LoginAnswer;

    /// Writes down how a login ended. Returns once that is written, or can't be written in time; it is tried on then.
    async fn end(&self, permit: LoginPermit, outcome: LoginOutcome);

    /// Whether the question would still be answered by [`LoginAnswer::Stop`]. Nothing is taken by asking.
    async fn is_stopped(&self, hsm: &HsmName, question: &LoginQuestion) -> bool;
}

#[cfg(test)]
mod tests;
