//! People who sign in.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use signet_secret::SecretText;
use utoipa::{IntoParams, ToSchema};

use crate::factors::Factor;

/// A role: printable ASCII without blanks, `"` and `\` (RFC 6749 §3.3).
#[derive(ToSchema)]
#[schema(value_type = String, pattern = "^[\\x21\\x23-\\x5B\\x5D-\\x7E]+$", example = "clerk")]
pub struct Word(#[expect(dead_code, reason = "it describes what a text may be")] String);

/// A user.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"id": "018f0a8e-3c1b-7d2a-9c64-1f0e5b7a2d31", "name": "ann", "roles": ["clerk"], "enabled": true,
    "created_at": "2026-11-30T08:00:00Z"}))]
pub struct User {
    /// The id: the `sub` of tokens. It is never given again.
    pub id: String,
    /// The name that is typed at sign-in.
    pub name: String,
    /// The roles.
    pub roles: BTreeSet<String>,
    /// Whether the user may sign in.
    pub enabled: bool,
    /// When the user was added.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// The user's factors, where one user is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factors: Option<Vec<Factor>>,
    /// Roles that wait for another person's approval, where one user is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<WaitingRoles>,
    /// What may be a slip of the pen in what was just asked for: it was done as it stands.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Roles that wait for another person's approval, under the four-eyes rule. They grant nothing until then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"user": "ann", "roles": ["helpdesk"], "requested_by": "root (uid 0)",
    "requested_at": "2026-11-30T08:00:00Z"}))]
pub struct WaitingRoles {
    /// The user, where those of several are listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The roles.
    pub roles: BTreeSet<String>,
    /// Who asked; or the first person who approved what a system account asked for.
    pub requested_by: String,
    /// When.
    #[schema(format = DateTime)]
    pub requested_at: String,
}

/// A user to add. Nobody signs in by a password alone: a factor is enrolled next.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "ann", "roles": ["clerk"], "password": "correct horse battery staple"}))]
pub struct NewUser {
    /// The name that will be typed at sign-in.
    #[schema(min_length = 1)]
    pub name: String,
    /// The roles: printable ASCII without blanks, `"` and `\`.
    #[serde(default)]
    #[schema(value_type = BTreeSet<Word>)]
    pub roles: BTreeSet<String>,
    /// The password: at least 8 characters. A user who is declared has none until an operator sets one.
    #[serde(default, with = "crate::secret::optional", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Password, min_length = 8)]
    pub password: Option<SecretText>,
    /// Whether a file states the user: `signet apply --prune` may remove such a one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub declared: bool,
}

/// What is to change of a user; what is absent stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"roles": ["clerk", "auditor"]}))]
pub struct UserChange {
    /// All of the user's roles from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeSet<Word>>)]
    pub roles: Option<BTreeSet<String>>,
    /// Whether the user may sign in. `false` ends sessions and refresh tokens at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// A new password. Sessions and refresh tokens end.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"password": "correct horse battery staple"}))]
pub struct NewPassword {
    /// The password: at least 8 characters.
    #[serde(with = "crate::secret")]
    #[schema(value_type = String, format = Password, min_length = 8)]
    pub password: SecretText,
}

/// Which users are asked for, beside the page.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UserQuery {
    /// The `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// How many at most, 1 to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    pub limit: Option<u16>,
    /// Those with this role alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Those who may sign in, or may not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

/// What became of a user's tries.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"had_tries_counted": true}))]
pub struct Unlocked {
    /// Whether any wrong try had been counted.
    pub had_tries_counted: bool,
}

/// Sign-ins that failed where one half of a person's proof was right, and that the person has not answered for.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"user": "ann", "wrong": "codes", "failures": 10, "first_at": "2026-11-30T08:00:00Z",
    "last_at": "2026-11-30T08:02:00Z", "is_locked": true, "locked_until": "2026-11-30T09:00:00Z"}))]
pub struct FailedSignIns {
    /// The user.
    pub user: String,
    /// What was wrong beside the other half, which was right: `codes` beside the password, which somebody knows then; or
    /// `passwords` beside a factor's proof, which somebody has then.
    pub wrong: String,
    /// The factor whose proof was right, where passwords were wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factor: Option<String>,
    /// How many failed.
    pub failures: u32,
    /// When the first of them did.
    #[schema(format = DateTime)]
    pub first_at: String,
    /// When the last of them did.
    #[schema(format = DateTime)]
    pub last_at: String,
    /// Whether they lock it now: all six- and eight-digit codes, or that factor.
    pub is_locked: bool,
    /// When that ends; absent where the person must answer first, signed in by another factor, or an operator unlock the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub locked_until: Option<String>,
}

/// The failures of one user.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"user": "ann", "failures": []}))]
pub struct UserFailures {
    /// The user.
    pub user: String,
    /// What failed.
    pub failures: Vec<FailedSignIns>,
}

/// A browser in which a user is signed in.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"id": "Yk3v0c2t", "signed_in_at": "2026-11-30T08:00:00Z", "last_used_at": "2026-11-30T08:10:00Z",
    "ends_at": "2026-11-30T16:00:00Z", "client_address": "192.0.2.7", "factors": ["totp"]}))]
pub struct Session {
    /// What names it here; not what the browser holds.
    pub id: String,
    /// When the user signed in.
    #[schema(format = DateTime)]
    pub signed_in_at: String,
    /// When it was used last.
    #[schema(format = DateTime)]
    pub last_used_at: String,
    /// When it ends at the latest.
    #[schema(format = DateTime)]
    pub ends_at: String,
    /// The address that it began from.
    pub client_address: Option<String>,
    /// What the user showed beside the password, or instead of it.
    pub factors: Vec<String>,
}

/// What an app may have of a user until it ends: a sign-in by it, with the tokens that come of that.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"id": "018f0a8e-3c1b-7d2a-9c64-1f0e5b7a2d31", "client": "mail", "scope": "mail.read",
    "began_at": "2026-11-30T08:00:00Z", "last_used_at": "2026-11-30T09:00:00Z", "ends_at": "2026-12-30T08:00:00Z"}))]
pub struct Grant {
    /// The id.
    pub id: String,
    /// The client's name, or its id where it is gone.
    pub client: String,
    /// The scopes, separated by blanks.
    pub scope: String,
    /// When it began.
    #[schema(format = DateTime)]
    pub began_at: String,
    /// When a refresh token of it was exchanged last.
    #[schema(format = DateTime)]
    pub last_used_at: Option<String>,
    /// When it ends at the latest.
    #[schema(format = DateTime)]
    pub ends_at: String,
}
