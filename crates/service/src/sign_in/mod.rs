//! A person shows a name, a password, and a code or a security key: judged together, with one answer, in the same time, after the same
//! work, whatever was wrong (promise 5).
//!
//! The steps are the same for everybody: the user is looked up, the try is counted, a password hash is opened and
//! compared, the HSM computes what the code is compared with, and the verdict is written to the audit log. Where there
//! is no user, no factor or no code that could be right, decoys take their place.

pub mod decoys;
pub mod matcher;
pub mod piv;
pub mod proofs;
mod remote_yubico;
pub mod security_keys;
pub mod tries;
pub mod validation_servers;

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::sign_in::decoys::DecoyMaterial;
use crate::sign_in::matcher::CodeMatcher;
use crate::sign_in::piv::PivCards;
use crate::sign_in::security_keys::{PASSWORDLESS, SECOND_FACTOR, SecurityKeys, ShownKey, bound_to};
use crate::sign_in::tries::{CountedTry, Counting};
use crate::{CodeVerdict, Decoys, FactorProofs, KeyAnswer, SignInError, Tries, Unavailable, password_row};
use signet_core::audit::{AuditEvent, Event, Outcome, Reason, RequestContext};
use signet_core::mfa::assurance::PAGES;
use signet_core::mfa::lockout::Target;
use signet_core::mfa::password::Workspace;
use signet_core::mfa::policy::OtpText;
use signet_core::mfa::{Authentication, Credentials, FactorKind, PasswordProof, Spendable, UsedFactor, password};
use signet_core::oauth::ClientId;
use signet_core::secret::SecretText;
use signet_store::{Factor, User, UserId};

/// How many sign-ins are under way at once; one more is told to come back.
const MAX_SIGN_INS: usize = 128;

/// Where a person signs in.
#[derive(Debug, Clone, Copy)]
pub enum Surface<'a> {
    /// For a client, at the token endpoint.
    Client(&'a ClientId),
    /// On Signet's own pages.
    Pages,
}

impl Surface<'_> {
    /// Its name in audit records, in policies, and in what a card signs.
    pub fn name(&self) -> &str {
        match self {
            Self::Client(client) => client.as_str(),
            Self::Pages => PAGES,
        }
    }
}

/// What is shown beside the password.
pub(crate) enum Shown {
    /// A code that was typed.
    Code(OtpText),
    /// A security key's answer.
    Key(Box<ShownKey>),
}

impl Shown {
    /// What it guesses at. Nobody guesses a signature: the tries of all keys are one count, which is of the password.
    fn target(&self) -> Target<'_> {
        match self {
            Self::Code(text) => text.target(),
            Self::Key(_) => Target::Key(FactorKind::WebAuthn.name()),
        }
    }
}

/// The places of sign-ins that are under way.
struct Admission(Arc<Semaphore>);

impl Default for Admission {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_SIGN_INS)))
    }
}

module! {
    /// Judges who signs in.
    pub struct SignIn {
        takes clock, random, settings, vault, audit, otp_validation, candidates, users, hashing, validation_servers;
        calls
            /// The nonces that cards sign.
            pub piv: PivCards,
            /// Security keys, as a page asks for them.
            pub security_keys: SecurityKeys,
            pub(crate) tries: Tries,
            pub(crate) decoys: Decoys,
            pub(crate) matcher: CodeMatcher,
            pub(crate) proofs: FactorProofs;
        keeps admission: Admission;
    }
}

impl SignIn {
    /// Judges a person's name, password and code.
    /// Errors: [`SignInError::Refused`] whatever was wrong; [`SignInError::TooManyTries`]; [`Unavailable`] where HSM or
    /// store did not do their part.
    pub async fn authenticate(
        &self,
        credentials: &Credentials,
        surface: Surface<'_>,
        context: &RequestContext,
    ) -> Result<(Authentication, User), SignInError> {
        let shown = Shown::Code(self.piv.shown(credentials, surface));
        self.sign_in(&credentials.username, &credentials.password, &shown, surface, context).await
    }

    /// Judges a name, a password and whatever is shown beside it. Refusals are audited.
    pub(crate) async fn sign_in(
        &self,
        username: &SecretText,
        password: &SecretText,
        shown: &Shown,
        surface: Surface<'_>,
        context: &RequestContext,
    ) -> Result<(Authentication, User), SignInError> {
        let admitted = self.admission.0.clone().try_acquire_owned().map_err(|_| Unavailable)?;
        // Whoever is known here and whoever is not get one answer, whatever has come of their secrets.
        self.decoys.intake.require_complete().await?;
        let tenant = &self.settings.tenant;
        let user = self.candidates.sign_in_candidate(tenant, username.expose()).await?;
        let mut told =
            AuditEvent::new(Event::SignIn, Outcome::Refused, tenant.as_str(), context).client(surface.name());
        // Only a known name is written down: people type passwords into name fields.
        told.user = user.as_ref().map(|user| user.id.to_string());
        let id = user.as_ref().map(|user| &user.id);
        let counted = match self.tries.count_try(username.expose(), id, shown.target()).await? {
            Counting::Counted(counted) => counted,
            Counting::Exhausted { retry_after, kind } => {
                self.audit.append_throttled(&kind, told.because(Reason::TooManyTries)).await?;
                return Err(SignInError::TooManyTries { retry_after });
            }
        };
        let verdict = self.judge_sign_in(password, shown, user, admitted, &counted, told).await;
        match verdict {
            Ok(_) => self.tries.forget_tries(&counted).await,
            // Nobody was told anything: an outage must not lock people out.
            Err(SignInError::Unavailable(_)) => self.tries.give_back_try(&counted).await,
            Err(SignInError::Refused) => return Err(counted.refusal()),
            Err(_) => {}
        }
        verdict
    }

    async fn judge_sign_in(
        &self,
        password: &SecretText,
        shown: &Shown,
        user: Option<User>,
        admitted: OwnedSemaphorePermit,
        counted: &CountedTry,
        told: AuditEvent,
    ) -> Result<(Authentication, User), SignInError> {
        let decoy = self.decoys.decoy_material().await?;
        let known_id = user.as_ref().map_or(&decoy.user, |user| &user.id);
        let factors = self.proofs.usable_factors_of_candidate(known_id).await?;
        // At once, and both to their end: neither tells by its time what the other one found.
        let (password, code) = tokio::join!(self.prove_password(password, user.as_ref(), &decoy, admitted), async {
            match shown {
                Shown::Code(text) => {
                    let code = self.matcher.match_code(text, &factors, &decoy).await?;
                    self.match_remotely(text, &factors, code).await
                }
                Shown::Key(key) => Ok(self.security_keys.match_key(key, &factors)),
            }
        });
        let (password, code) = (password?, code?);
        match judge(user, password, code) {
            Ok((user, password, spendable, factor)) => {
                let proof = self
                    .proofs
                    .spend(spendable, factor, &[UsedFactor::Password], told)
                    .await?
                    .ok_or(SignInError::Refused)?;
                let authentication = Authentication::from_proofs(password, proof, self.clock.now());
                Ok((authentication.ok_or(SignInError::Refused)?, user))
            }
            Err(reason) => {
                let told = told.because(reason);
                if counted.unanswered_until.is_some() {
                    // Never at once: the reason is what the answer must not tell, and writing takes time.
                    self.audit.keep_for_later(&format!("{} {reason}", counted.kind()), &told);
                } else {
                    let appended = self.audit.append(vec![told]).await;
                    appended?;
                }
                Err(SignInError::Refused)
            }
        }
    }

    async fn prove_password(
        &self,
        shown: &SecretText,
        user: Option<&User>,
        decoy: &DecoyMaterial,
        admitted: OwnedSemaphorePermit,
    ) -> Result<Option<PasswordProof>, SignInError> {
        let stored = user.and_then(|user| Some((user.id.clone(), user.password.clone()?)));
        let is_known = stored.is_some();
        let (id, seals) = stored.unwrap_or_else(|| (decoy.user.clone(), decoy.password.clone()));
        let row = password_row(&self.settings.tenant, &id);
        let opened = self.vault.open(&row, &seals).await?;
        let phc = String::from_utf8(opened.expose().to_vec()).map(SecretText::new).map_err(|_| {
            tracing::error!(user = %id, "the sealed password hash is no text");
            Unavailable
        })?;
        let shown = shown.clone();
        let judge = move |workspace: &mut Workspace| {
            // A caller that hangs up does not make room for another one.
            let _held = admitted;
            if is_known {
                return password::verify(&id, &shown, &phc, workspace);
            }
            password::verify_decoy(&shown, &phc, workspace);
            None
        };
        Ok(self.hashing.run(judge).await?)
    }

    /// Judges a name, a password and a security key.
    /// Errors: [`SignInError`]: one answer, whatever was wrong.
    pub(crate) async fn authenticate_by_key(
        &self,
        username: &SecretText,
        password: &SecretText,
        shown: &KeyAnswer,
        context: &RequestContext,
    ) -> Result<(Authentication, User), SignInError> {
        let shown = self.security_keys.open_answer(SECOND_FACTOR, &bound_to(&shown.browser, username), shown).await?;
        let shown = Shown::Key(Box::new(shown));
        self.sign_in(username, password, &shown, Surface::Pages, context).await
    }

    /// Judges a key that stands alone: it says whose it is, and verified the person. With `of`, it must be that user's.
    /// Errors: [`SignInError`]: one answer, whatever was wrong.
    pub(crate) async fn authenticate_passwordless(
        &self,
        shown: &KeyAnswer,
        of: Option<&UserId>,
        context: &RequestContext,
    ) -> Result<(Authentication, User), SignInError> {
        let _admitted = self.admission.0.clone().try_acquire_owned().map_err(|_| Unavailable)?;
        let shown = self.security_keys.open_answer(PASSWORDLESS, shown.browser.expose(), shown).await?;
        let mut told = AuditEvent::new(Event::SignIn, Outcome::Refused, self.settings.tenant.as_str(), context)
            .client(Surface::Pages.name());
        let owned = self.owner_of(&shown, of).await?;
        told.user = owned.as_ref().map(|(user, _)| user.id.to_string());
        let factors = owned.as_ref().map(|(_, factor)| factor);
        let verdict = self.security_keys.match_key(&shown, factors.map_or(&[], std::slice::from_ref));
        let verdict = verdict.and_then(|(assertion, factor)| match &owned {
            Some((user, _)) if user.enabled => Ok((assertion, factor, user)),
            Some(_) => Err(Reason::Disabled),
            None => Err(Reason::UnknownKey),
        });
        match verdict {
            Ok((assertion, factor, user)) => {
                let proof = self.proofs.spend(assertion, factor, &[], told).await?.ok_or(SignInError::Refused)?;
                let authentication = Authentication::from_passwordless(proof, self.clock.now());
                Ok((authentication.ok_or(SignInError::Refused)?, user.clone()))
            }
            Err(reason) if reason == Reason::CounterWentBack => {
                // It verified: nobody but the key, or its double, made it.
                let appended = self.audit.append(vec![told.because(reason)]).await;
                appended?;
                Err(SignInError::Refused)
            }
            Err(reason) => {
                // Anybody can send what does not verify.
                self.audit.append_throttled(&format!("key alone {reason}"), told.because(reason)).await?;
                Err(SignInError::Refused)
            }
        }
    }

    /// The user and the usable factor that a shown key names, both of which it must name rightly.
    async fn owner_of(&self, shown: &ShownKey, of: Option<&UserId>) -> Result<Option<(User, Factor)>, SignInError> {
        let Ok(opened) = &shown.0 else { return Ok(None) };
        let tenant = &self.settings.tenant;
        let factor = self
            .otp_validation
            .factor_by_handle(tenant, FactorKind::WebAuthn, &opened.assertion.credential_id())
            .await?;
        let is_right = |factor: &Factor| {
            let is_named = opened.assertion.names().as_ref() == Some(&factor.user);
            is_named && factor.is_usable(self.clock.now()) && of.is_none_or(|user| *user == factor.user)
        };
        let Some(factor) = factor.filter(is_right) else { return Ok(None) };
        let user = self.users.user(tenant, &factor.user).await?;
        Ok(user.map(|user| (user, factor)))
    }
}

/// The one verdict over all that was shown; the audit record's word where it is a refusal.
fn judge<'f>(
    user: Option<User>,
    password: Option<PasswordProof>,
    code: CodeVerdict<'f>,
) -> Result<(User, PasswordProof, Spendable, &'f Factor), Reason> {
    let user = user.ok_or(Reason::UnknownUser)?;
    if !user.enabled {
        return Err(Reason::Disabled);
    }
    // Two of one key: that is told whatever else is wrong.
    if let Err(reason) = code
        && reason == Reason::CounterWentBack
    {
        return Err(reason);
    }
    let password = password.ok_or(Reason::WrongPassword)?;
    let (spendable, factor) = code?;
    Ok((user, password, spendable, factor))
}
