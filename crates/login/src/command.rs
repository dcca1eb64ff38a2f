//! The commands `signet login` and `signet logout`.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::Args;
use signet_jose::clock::{Clock as _, SystemClock};
use signet_secret::SecretText;
use tokio::signal::unix::{SignalKind, signal};

use crate::answer::{Answer, Status};
use crate::authority::{Authority, SecondFactor};
#[cfg(feature = "piv")]
use crate::card;
use crate::error::{LoginError, Result, because};
use crate::keep::{self, Kept, Place};
use crate::prompt::Lines;
use crate::step_up::Wanted;
use crate::tokens::Tokens;

/// Hears what a person should know meanwhile.
type Note<'n> = &'n (dyn Fn(&str) + Sync);

/// A token is refreshed when it lasts no longer than that: what it is printed for needs some time.
const MIN_LEFT: std::time::Duration = std::time::Duration::from_secs(30);

/// Arguments with which the issuer and the client of the kept sign-in are taken, where none are named.
const TAKES_KEPT: [&str; 5] = ["print_token", "status", "acr", "max_age", "challenge"];

/// `signet login`
#[derive(Debug, Args)]
pub struct Login {
    /// The issuer's URL, as its tokens name it.
    #[arg(long, value_name = "URL", required_unless_present_any = TAKES_KEPT)]
    issuer: Option<String>,
    /// The client's id.
    #[arg(long, value_name = "ID", required_unless_present_any = TAKES_KEPT)]
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
pub struct Logout {
    /// Delete the kept tokens without revoking them: for an issuer that is gone.
    #[arg(long)]
    forget: bool,
}

impl Login {
    /// Does what the arguments ask for. `note` hears what the person should know meanwhile.
    /// Errors: [`LoginError`], with what to do.
    pub async fn run(self, note: Note<'_>) -> Result<Answer> {
        let place = Place::of_this_user()?;
        let wanted = Wanted::new(&self.acr, self.max_age, self.challenge.as_deref())?;
        if self.print_token {
            return self.print_token(&place, &wanted, note).await;
        }
        if self.status {
            let kept = place.read().await?.ok_or(LoginError::NotSignedIn)?;
            return Ok(Answer::Status(Status::new(&kept, SystemClock.now())));
        }
        let kept = if self.issuer.is_some() {
            self.sign_in(&place, &wanted, note).await?
        } else {
            let kept = place.read().await?.ok_or(LoginError::NotSignedIn)?;
            if wanted.is_met_by(&kept.tokens, SystemClock.now()) {
                note("the sign-in that is kept suffices");
                return Ok(Answer::Status(Status::new(&kept, SystemClock.now())));
            }
            self.step_up(&place, kept, &wanted, note).await?
        };
        Ok(Answer::SignedIn(Status::new(&kept, SystemClock.now())))
    }

    async fn print_token(self, place: &Place, wanted: &Wanted, note: Note<'_>) -> Result<Answer> {
        let kept = place.read().await?.ok_or(LoginError::NotSignedIn)?;
        let tokens = if !wanted.is_met_by(&kept.tokens, SystemClock.now()) {
            let can_ask = self.credentials_stdin || std::io::stdin().is_terminal();
            if !can_ask {
                let text = format!("{} is asked for: run the same in a terminal, to sign in again", wanted.text());
                return Err(LoginError::Terminal(text));
            }
            self.step_up(place, kept, wanted, note).await?.tokens
        } else if is_fresh(&kept.tokens) {
            kept.tokens
        } else {
            refresh(place).await?
        };
        let expires_at = tokens.expires_at().to_string();
        Ok(Answer::Token { access_token: tokens.access_token, expires_at })
    }

    async fn sign_in(&self, place: &Place, wanted: &Wanted, note: Note<'_>) -> Result<Kept> {
        let needed = |what: &str| LoginError::Usage(format!("{what} is needed"));
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
        let tokens = self.prove(&authority, &user, wanted, &mut lines, note).await?;
        let kept = authority.kept(user, tokens, self.ca.clone(), self.is_for_keyring())?;
        replace(place, &kept, note).await?;
        Ok(kept)
    }

    /// The person who is signed in proves more, or anew (RFC 9470 §4).
    async fn step_up(&self, place: &Place, kept: Kept, wanted: &Wanted, note: Note<'_>) -> Result<Kept> {
        note(&format!("{} at {}: {} is asked for", kept.user, kept.issuer, wanted.text()));
        let client_secret = SecretText::new(kept.client_secret);
        let authority = Authority::discover(&kept.issuer, &kept.client_id, client_secret, kept.ca.as_deref()).await?;
        let mut lines = Lines::new(self.credentials_stdin);
        let tokens = self.prove(&authority, &kept.user, wanted, &mut lines, note).await?;
        let stepped_up = authority.kept(kept.user, tokens, kept.ca, kept.in_keyring || self.is_for_keyring())?;
        replace(place, &stepped_up, note).await?;
        Ok(stepped_up)
    }

    async fn prove(
        &self,
        authority: &Authority,
        user: &str,
        wanted: &Wanted,
        lines: &mut Lines,
        note: Note<'_>,
    ) -> Result<Tokens> {
        let password = lines.secret("password")?;
        let factor = self.second_factor(authority, user, lines, note).await?;
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
        note: Note<'_>,
    ) -> Result<SecondFactor> {
        if !self.piv {
            return Ok(SecondFactor::Code(lines.secret("one-time code")?));
        }
        // The card first: without one there is no nonce to ask for.
        let card = card::Card::open()?;
        note(&format!("YubiKey {}: {} PIN tries left", card.serial(), card.tries_left()));
        let pin = lines.secret("PIN")?;
        let nonce = authority.challenge().await?;
        let text = authority.text_to_sign(user, &nonce);
        note("signing; touch the key where it blinks");
        let signed = tokio::task::spawn_blocking(move || card.sign(&pin, &text)).await;
        let signed = signed.map_err(because(LoginError::Card, "the card could not be used"))??;
        Ok(SecondFactor::Piv(signed.shown(&nonce)))
    }

    #[cfg(not(feature = "piv"))]
    #[expect(clippy::unused_async, reason = "the feature `piv` needs it")]
    async fn second_factor(
        &self,
        _authority: &Authority,
        _user: &str,
        lines: &mut Lines,
        _note: Note<'_>,
    ) -> Result<SecondFactor> {
        Ok(SecondFactor::Code(lines.secret("one-time code")?))
    }

    fn client_secret(&self, lines: &mut Lines) -> Result<SecretText> {
        match &self.client_secret_file {
            Some(file) => keep::read_secret_file(file),
            None if self.client_secret_stdin => lines.secret("the client's secret"),
            None => Lines::new(false).secret("the client's secret"),
        }
    }
}

impl Logout {
    /// Revokes the kept tokens, and deletes them.
    /// Errors: [`LoginError`]; then the tokens are kept.
    pub async fn run(self) -> Result<Answer> {
        let place = Place::of_this_user()?;
        let held = place.lock()?;
        let kept = held.read().await?.ok_or(LoginError::NotSignedIn)?;
        if !self.forget {
            let kept_on = "the tokens are not revoked, and are kept; `signet logout --forget` deletes them anyway";
            let revoked = Authority::of(&kept)?.revoke(&kept.tokens).await;
            revoked.map_err(because(LoginError::Refused, kept_on))?;
        }
        held.delete().await?;
        Ok(Answer::SignedOut { done: "signed out", revoked: !self.forget })
    }
}

/// The token of whoever is signed in, and what else is kept with it.
pub struct KeptToken {
    /// The access token.
    pub access_token: SecretText,
    /// The CA's file that the issuer's certificate is trusted by.
    pub ca: Option<PathBuf>,
}

/// The token of whoever is signed in, refreshed where it is needed.
/// Errors: [`LoginError`]: nobody is signed in, or the sign-in has ended.
pub async fn kept_token() -> Result<KeptToken> {
    let place = Place::of_this_user()?;
    let kept = place.read().await?.ok_or(LoginError::NotSignedIn)?;
    let tokens = if is_fresh(&kept.tokens) { kept.tokens } else { refresh(&place).await? };
    Ok(KeptToken { access_token: SecretText::new(tokens.access_token), ca: kept.ca })
}

/// Keeps a sign-in in the place of the one before, whose tokens are of no use any more.
async fn replace(place: &Place, kept: &Kept, note: Note<'_>) -> Result<()> {
    let held = place.lock()?;
    // One that can't be read can't be revoked either, and must not keep anybody from signing in.
    let replaced = held.read().await.ok().flatten();
    held.write(kept).await?;
    let Some(replaced) = replaced.filter(|replaced| replaced.issuer == kept.issuer) else { return Ok(()) };
    if let Err(error) = Authority::of(&replaced)?.revoke(&replaced.tokens).await {
        note(&format!("the earlier sign-in's tokens are not revoked, and end by themselves: {error}"));
    }
    Ok(())
}

fn is_fresh(tokens: &Tokens) -> bool {
    tokens.expires_at() > SystemClock.now().plus(MIN_LEFT)
}

/// One process refreshes: a refresh token that two show is taken for a stolen one. It is not interrupted: a token that was
/// renewed and not kept would be shown once more.
async fn refresh(place: &Place) -> Result<Tokens> {
    let held = place.lock_patiently().await?;
    let _uninterrupted = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
    let mut kept = held.read().await?.ok_or(LoginError::NotSignedIn)?;
    if is_fresh(&kept.tokens) {
        return Ok(kept.tokens.clone());
    }
    let Some(refresh_token) = kept.tokens.refresh_token.clone() else {
        let text = "the token has expired, and this client has no refresh tokens: run `signet login` again";
        return Err(LoginError::Refused(text.to_owned()));
    };
    let fresh = Authority::of(&kept)?.refresh(&refresh_token).await?;
    // An answer without a refresh token leaves the one that there is (RFC 6749 §6).
    let refresh_token = fresh.refresh_token.clone().or(Some(refresh_token));
    kept.tokens = Tokens { refresh_token, ..fresh };
    held.write(&kept).await?;
    Ok(kept.tokens.clone())
}
