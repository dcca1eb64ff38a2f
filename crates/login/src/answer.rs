//! What a command answers: who is signed in, an access token, or that nobody is signed in any more.

use serde::Serialize;
use signet_jose::clock::Timestamp;

use crate::keep::Kept;
use crate::step_up::Proof;

/// What `signet login` and `signet logout` answer; as JSON by [`Serialize`].
#[derive(Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// Somebody signed in just now.
    SignedIn(Status),
    /// Who is signed in.
    Status(Status),
    /// An access token, for a script.
    Token {
        /// The token.
        access_token: String,
        /// When it ends, as RFC 3339 has it.
        expires_at: String,
    },
    /// Nobody is signed in any more.
    SignedOut {
        /// For people: `signed out`.
        done: &'static str,
        /// Whether the issuer revoked the tokens.
        revoked: bool,
    },
}

impl Answer {
    /// The answer for a person; of a token nothing else than the token.
    pub fn text(&self) -> String {
        match self {
            Self::SignedIn(status) => format!("signed in as {}", status.text()),
            Self::Status(status) => status.text(),
            Self::Token { access_token, .. } => access_token.clone(),
            Self::SignedOut { revoked: true, .. } => "signed out".to_owned(),
            Self::SignedOut { revoked: false, .. } => "forgotten, not revoked".to_owned(),
        }
    }
}

/// Who is signed in, as printed. Never a token.
#[derive(Serialize)]
pub struct Status {
    signed_in: bool,
    issuer: String,
    client_id: String,
    user: String,
    scope: String,
    expires_at: String,
    expired: bool,
    refreshable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proved_at: Option<String>,
    kept_in: &'static str,
}

impl Status {
    pub(crate) fn new(kept: &Kept, now: Timestamp) -> Self {
        let expires_at = kept.tokens.expires_at();
        let proof = Proof::of(&kept.tokens);
        let (expired, refreshable) = (expires_at <= now, kept.tokens.refresh_token.is_some());
        Self {
            signed_in: !expired || refreshable,
            issuer: kept.issuer.clone(),
            client_id: kept.client_id.clone(),
            user: kept.user.clone(),
            scope: kept.tokens.scope.clone(),
            expires_at: expires_at.to_string(),
            expired,
            refreshable,
            acr: proof.acr,
            proved_at: proof.at.map(|at| at.to_string()),
            kept_in: if kept.in_keyring { "keyring" } else { "file" },
        }
    }

    pub(crate) fn text(&self) -> String {
        let until = match (self.expired, self.refreshable) {
            (false, true) => format!("until {}, refreshed when needed", self.expires_at),
            (false, false) => format!("until {}", self.expires_at),
            (true, true) => "by a refresh at the next use".to_owned(),
            (true, false) => format!("no more: it ended at {}; run `signet login` again", self.expires_at),
        };
        let proved = match (&self.acr, &self.proved_at) {
            (Some(acr), Some(at)) => format!("\nproved  {acr} at {at}"),
            _ => String::new(),
        };
        format!(
            "{} at {}\nclient  {}\nscope   {}\ntoken   {until}{proved}\nkept    in {}",
            self.user,
            self.issuer,
            self.client_id,
            self.scope,
            if self.kept_in == "file" { "a file of yours" } else { "the system's keyring" }
        )
    }
}
