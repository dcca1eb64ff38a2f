//! `signet login`, `signet logout`: a person signs in at a terminal, and scripts use the token.
//!
//! Nothing here reads a server's configuration: it is a client like any other, by discovery and the password grant.

mod authority;
#[cfg(feature = "piv")]
mod card;
mod keep;
#[cfg_attr(not(feature = "keyring"), path = "keyring_absent.rs")]
mod keyring;
mod prompt;
mod step_up;

use std::io::IsTerminal as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use self::authority::{Authority, SecondFactor, Tokens};
use self::keep::{Kept, Place};
use self::prompt::Lines;
use self::step_up::{Proof, Wanted};
use super::Ended;
use super::output::Output;
use signet_core::secret::SecretText;
use signet_jose::clock::{Clock as _, SystemClock, Timestamp};

/// A token is refreshed when it lasts no longer than that: what it is printed for needs some time.
const LEAST_LEFT: std::time::Duration = std::time::Duration::from_secs(30);

/// With these the issuer and the client of the sign-in that is kept do.
const KEPT_DOES: [&str; 5] = ["print_token", "status", "acr", "max_age", "challenge"];

/// `signet login`
#[derive(Debug, Args)]
pub(super) struct Login {
    /// The issuer's address, as its tokens name it.
    #[arg(long, value_name = "URL", required_unless_present_any = KEPT_DOES)]
    issuer: Option<String>,
    /// The client's id.
    #[arg(long, value_name = "ID", required_unless_present_any = KEPT_DOES)]
    client_id: Option<String>,
    /// Read the client's secret from a file that only its owner can read.
    #[arg(long, value_name = "FILE")]
    client_secret_file: Option<PathBuf>,
    /// Read the client's secret from standard input: its first line.
    #[arg(long, conflicts_with = "client_secret_file")]
    client_secret_stdin: bool,
    /// The user's name; asked for where it is not given.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Read password and code (or PIN) from standard input, one a line, instead of asking.
    #[arg(long)]
    credentials_stdin: bool,
    /// The scopes to ask for, separated by blanks; all that the client may have where it is not given.
    #[arg(long)]
    scope: Option<String>,
    /// Trust the certificates of this PEM file too, for an issuer with a certificate of an own CA.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Sign in by the key in slot 9a of a YubiKey or PIV card, after its PIN, instead of a code.
    #[cfg(feature = "piv")]
    #[arg(long)]
    piv: bool,
    /// The `acr` that must be reached, e.g. `urn:signet:aal3`; several times where any of them does. Without `--issuer`
    /// the person who is signed in proves what is missing, and is asked for nothing where nothing is.
    #[arg(long, value_name = "ACR", conflicts_with = "status")]
    acr: Vec<String>,
    /// How many seconds ago the person may have signed in.
    #[arg(long, value_name = "SECONDS", conflicts_with = "status")]
    max_age: Option<u64>,
    /// What a resource server answered as `WWW-Authenticate` with `insufficient_user_authentication` (RFC 9470): its
    /// `acr_values` and `max_age` are asked for.
    #[arg(long, value_name = "TEXT", conflicts_with = "status")]
    challenge: Option<String>,
    /// Keep tokens and client secret in the system's keyring, in the place of a file.
    #[cfg(feature = "keyring")]
    #[arg(long, conflicts_with_all = ["print_token", "status"])]
    keyring: bool,
    /// Print the access token and nothing else, refreshed where it is needed.
    #[arg(long, conflicts_with_all = ["issuer", "status"])]
    print_token: bool,
    /// Say who is signed in, where, and for how long.
    #[arg(long, conflicts_with = "issuer")]
    status: bool,
}

/// `signet logout`
#[derive(Debug, Args)]
pub(super) struct Logout {
    /// Delete the kept tokens without revoking them: for an issuer that is gone.
    #[arg(long)]
    forget: bool,
}

/// Who is signed in, as printed. Never a token.
#[derive(Serialize)]
struct Status {
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
    fn new(kept: &Kept, now: Timestamp) -> Self {
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

    fn text(&self) -> String {
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

impl Login {
    pub(super) async fn run(self, output: &Output) -> anyhow::Result<()> {
        let place = Place::of_this_user()?;
        let wanted = Wanted::new(&self.acr, self.max_age, self.challenge.as_deref())?;
        if self.print_token {
            return self.print_token(&place, &wanted, output).await;
        }
        if self.status {
            let kept = place.read().await?.ok_or_else(not_signed_in)?;
            return output.value(&Status::new(&kept, SystemClock.now()), Status::text);
        }
        let kept = if self.issuer.is_some() {
            self.sign_in(&place, &wanted, output).await?
        } else {
            let kept = place.read().await?.ok_or_else(not_signed_in)?;
            if wanted.is_met_by(&kept.tokens, SystemClock.now()) {
                output.note("the sign-in that is kept suffices");
                return output.value(&Status::new(&kept, SystemClock.now()), Status::text);
            }
            self.step_up(&place, kept, &wanted, output).await?
        };
        output.value(&Status::new(&kept, SystemClock.now()), |status| format!("signed in as {}", status.text()))
    }

    async fn print_token(self, place: &Place, wanted: &Wanted, output: &Output) -> anyhow::Result<()> {
        let kept = place.read().await?.ok_or_else(not_signed_in)?;
        let tokens = if !wanted.is_met_by(&kept.tokens, SystemClock.now()) {
            let can_ask = self.credentials_stdin || std::io::stdin().is_terminal();
            anyhow::ensure!(can_ask, "{} is asked for: run the same in a terminal, to sign in anew", wanted.text());
            self.step_up(place, kept, wanted, output).await?.tokens
        } else if is_fresh(&kept.tokens) {
            kept.tokens
        } else {
            refresh(place).await?
        };
        let printed = serde_json::json!({
            "access_token": tokens.access_token,
            "expires_at": tokens.expires_at().to_string(),
        });
        output.value(&printed, |_| tokens.access_token.clone())
    }

    async fn sign_in(&self, place: &Place, wanted: &Wanted, output: &Output) -> anyhow::Result<Kept> {
        let needed = |what: &str| Ended::Usage(format!("{what} is needed"));
        let issuer = self.issuer.clone().ok_or_else(|| needed("--issuer"))?;
        let client_id = self.client_id.clone().ok_or_else(|| needed("--client-id"))?;
        if self.is_for_keyring() {
            // Nobody is asked for anything that can't be kept then.
            place.try_keyring().await?;
        }
        let mut lines = Lines::new(self.credentials_stdin || self.client_secret_stdin);
        let client_secret = self.client_secret(&mut lines)?;
        let authority = Authority::discover(&issuer, &client_id, client_secret, self.ca.as_deref()).await?;
        if !self.credentials_stdin {
            lines = Lines::new(false);
        }
        let user = match &self.user {
            Some(user) => user.clone(),
            None => lines.visible("name")?,
        };
        let tokens = self.prove(&authority, &user, wanted, &mut lines, output).await?;
        let kept = authority.kept(user, tokens, self.ca.clone(), self.is_for_keyring())?;
        replace(place, &kept, output).await?;
        Ok(kept)
    }

    /// The person who is signed in proves more, or anew (RFC 9470 §4).
    async fn step_up(&self, place: &Place, kept: Kept, wanted: &Wanted, output: &Output) -> anyhow::Result<Kept> {
        output.note(&format!("{} at {}: {} is asked for", kept.user, kept.issuer, wanted.text()));
        let client_secret = SecretText::new(kept.client_secret);
        let authority = Authority::discover(&kept.issuer, &kept.client_id, client_secret, kept.ca.as_deref()).await?;
        let mut lines = Lines::new(self.credentials_stdin);
        let tokens = self.prove(&authority, &kept.user, wanted, &mut lines, output).await?;
        let stepped_up = authority.kept(kept.user, tokens, kept.ca, kept.in_keyring || self.is_for_keyring())?;
        replace(place, &stepped_up, output).await?;
        Ok(stepped_up)
    }

    async fn prove(
        &self,
        authority: &Authority,
        user: &str,
        wanted: &Wanted,
        lines: &mut Lines,
        output: &Output,
    ) -> anyhow::Result<Tokens> {
        let password = lines.secret("password")?;
        let factor = self.second_factor(authority, user, lines, output).await?;
        authority.sign_in(user, &password, &factor, self.scope.as_deref(), wanted).await
    }

    #[cfg(feature = "keyring")]
    const fn is_for_keyring(&self) -> bool {
        self.keyring
    }

    #[cfg(not(feature = "keyring"))]
    #[expect(clippy::unused_self, reason = "the feature `keyring` needs it")]
    const fn is_for_keyring(&self) -> bool {
        false
    }

    #[cfg(feature = "piv")]
    async fn second_factor(
        &self,
        authority: &Authority,
        user: &str,
        lines: &mut Lines,
        output: &Output,
    ) -> anyhow::Result<SecondFactor> {
        if !self.piv {
            return Ok(SecondFactor::Code(lines.secret("one-time code")?));
        }
        // The card first: without one there is no nonce to ask for.
        let card = card::Card::open()?;
        output.note(&format!("YubiKey {}: {} PIN tries left", card.serial(), card.tries_left()));
        let pin = lines.secret("PIN")?;
        let nonce = authority.challenge().await?;
        let text = authority.text_to_sign(user, &nonce);
        output.note("signing; touch the key where it blinks");
        let signed = tokio::task::spawn_blocking(move || card.sign(&pin, &text)).await.context("the card's part")??;
        Ok(SecondFactor::Piv(signed.shown(&nonce)))
    }

    #[cfg(not(feature = "piv"))]
    #[expect(clippy::unused_async, reason = "the feature `piv` needs it")]
    async fn second_factor(
        &self,
        _authority: &Authority,
        _user: &str,
        lines: &mut Lines,
        _output: &Output,
    ) -> anyhow::Result<SecondFactor> {
        Ok(SecondFactor::Code(lines.secret("one-time code")?))
    }

    fn client_secret(&self, lines: &mut Lines) -> anyhow::Result<SecretText> {
        match &self.client_secret_file {
            Some(file) => keep::read_secret_file(file),
            None if self.client_secret_stdin => lines.secret("the client's secret"),
            None => Lines::new(false).secret("the client's secret"),
        }
    }
}

impl Logout {
    pub(super) async fn run(self, output: &Output) -> anyhow::Result<()> {
        let place = Place::of_this_user()?;
        let held = place.lock()?;
        let kept = held.read().await?.ok_or_else(not_signed_in)?;
        if !self.forget {
            let revoked = Authority::of(&kept)?.revoke(&kept.tokens).await;
            revoked
                .context("the tokens are not revoked, and are kept; `signet logout --forget` deletes them anyway")?;
        }
        held.delete().await?;
        let done = serde_json::json!({ "done": "signed out", "revoked": !self.forget });
        output.value(&done, |_| if self.forget { "forgotten, not revoked" } else { "signed out" }.to_owned())
    }
}

fn not_signed_in() -> anyhow::Error {
    anyhow::anyhow!("nobody is signed in: run `signet login --issuer URL --client-id ID`")
}

/// Keeps a sign-in in the place of the one before, whose tokens are of no use any more.
async fn replace(place: &Place, kept: &Kept, output: &Output) -> anyhow::Result<()> {
    let held = place.lock()?;
    // One that can't be read can't be revoked either, and must not keep anybody from signing in.
    let replaced = held.read().await.ok().flatten();
    held.write(kept).await?;
    let Some(replaced) = replaced.filter(|replaced| replaced.issuer == kept.issuer) else { return Ok(()) };
    if let Err(error) = Authority::of(&replaced)?.revoke(&replaced.tokens).await {
        output.note(&format!("the earlier sign-in's tokens are not revoked, and end by themselves: {error}"));
    }
    Ok(())
}

fn is_fresh(tokens: &Tokens) -> bool {
    tokens.expires_at() > SystemClock.now().plus(LEAST_LEFT)
}

/// One process refreshes: a refresh token that two show is taken for a stolen one. It is not interrupted: a token that was
/// renewed and not kept would be shown once more.
async fn refresh(place: &Place) -> anyhow::Result<Tokens> {
    let held = place.lock_patiently().await?;
    let _uninterrupted = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
    let mut kept = held.read().await?.ok_or_else(not_signed_in)?;
    if is_fresh(&kept.tokens) {
        return Ok(kept.tokens.clone());
    }
    let Some(refresh_token) = kept.tokens.refresh_token.clone() else {
        anyhow::bail!("the token has expired, and this client has no refresh tokens: run `signet login` again");
    };
    let fresh = Authority::of(&kept)?.refresh(&refresh_token).await?;
    // An answer without a refresh token leaves the one that there is (RFC 6749 §6).
    let refresh_token = fresh.refresh_token.clone().or(Some(refresh_token));
    kept.tokens = Tokens { refresh_token, ..fresh };
    held.write(&kept).await?;
    Ok(kept.tokens.clone())
}
