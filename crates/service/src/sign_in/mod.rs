//! A person shows a name, a password, and a code or a security key: judged together, with one answer, in the same time, after the same
//! work, whatever was wrong (promise 5).
//!
//! The steps are the same for everybody: the user is looked up, a password hash is opened and compared, the HSM computes what
//! the code is compared with, and one commit settles the verdict: it counts the failure, or spends the proof. Where there is no
//! user, no factor or no code that could be right, decoys take their place. They run to their end whether or not the caller
//! waits for it: what was judged is settled (promise 10).

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
use crate::sign_in::tries::Places;
use crate::{CodeVerdict, Decoys, FactorProofs, KeyAnswer, SignInError, Tries, Unavailable, password_row};
use signet_core::audit::{AuditEvent, Event, Outcome, Reason, RequestContext};
use signet_core::mfa::assurance::PAGES;
use signet_core::mfa::lockout::{Chance, Failure};
use signet_core::mfa::password::Workspace;
use signet_core::mfa::policy::OtpText;
use signet_core::mfa::{Authentication, Credentials, FactorKind, PasswordProof, Spendable, UsedFactor, password};
use signet_core::oauth::ClientId;
use signet_core::secret::SecretText;
use signet_jose::clock::Timestamp;
use signet_store::{Factor, Judged, Settled, User, UserId};

/// How many sign-ins are under way at once; one more is told to come back.
const MAX_SIGN_INS: usize = 128;

/// Where a person signs in.
#[derive(Debug, Clone)]
pub enum Surface {
    /// For a client, at the token endpoint.
    Client(ClientId),
    /// On Signet's own pages.
    Pages,
}

impl Surface {
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
    /// Whether it could have been guessed.
    fn is_guessable(&self) -> bool {
        match self {
            Self::Code(text) => text.is_guessable(),
            Self::Key(_) => false,
        }
    }

    /// How likely it was to be right, had it been made up.
    fn chance(&self, factors: &[Factor], now: Timestamp) -> Chance {
        match self {
            Self::Code(text) => text.chance(factors.iter().map(|factor| &factor.detail), now),
            Self::Key(_) => Chance::default(),
        }
    }
}

/// What a person shows, and where.
struct Attempt {
    username: SecretText,
    password: SecretText,
    shown: Shown,
    surface: Surface,
    context: RequestContext,
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
            /// What was tried in vain.
            pub tries: Tries,
            pub(crate) decoys: Decoys,
            pub(crate) matcher: CodeMatcher,
            pub(crate) proofs: FactorProofs;
        keeps admission: Admission;
    }
}

impl SignIn {
    /// Judges a person's name, password and code.
    /// Errors: [`SignInError::Refused`] whatever was wrong; [`Unavailable`] where HSM or store did not do their part.
    pub async fn authenticate(
        self: &Arc<Self>,
        credentials: &Credentials,
        surface: Surface,
        context: &RequestContext,
    ) -> Result<(Authentication, User), SignInError> {
        let shown = Shown::Code(self.piv.shown(credentials, &surface));
        let (username, password) = (credentials.username.clone(), credentials.password.clone());
        self.sign_in(Attempt { username, password, shown, surface, context: context.clone() }).await
    }

    /// Judges a name, a password and whatever is shown beside it, in a task of its own: a caller who hangs up neither cuts the
    /// verdict off nor makes room for another caller.
    async fn sign_in(self: &Arc<Self>, attempt: Attempt) -> Result<(Authentication, User), SignInError> {
        let admitted = self.admitted()?;
        let this = Arc::clone(self);
        let judging = tokio::spawn(async move {
            let _admitted = admitted;
            this.judge_and_settle(attempt).await
        });
        judging.await.unwrap_or(Err(Unavailable.into()))
    }

    fn admitted(&self) -> Result<OwnedSemaphorePermit, Unavailable> {
        self.admission.0.clone().try_acquire_owned().map_err(|_| Unavailable)
    }

    async fn judge_and_settle(&self, attempt: Attempt) -> Result<(Authentication, User), SignInError> {
        let Attempt { username, password, shown, surface, context } = attempt;
        // Whoever is known here and whoever is not get one answer, whatever has come of their secrets.
        self.decoys.intake.require_complete().await?;
        let tenant = &self.settings.tenant;
        let user = self.candidates.sign_in_candidate(tenant, username.expose()).await?;
        let places = self.tries.places(username.expose()).await?;
        let mut told =
            AuditEvent::new(Event::SignIn, Outcome::Refused, tenant.as_str(), &context).client(surface.name());
        // Only a known name is written down: people type passwords into name fields.
        let id = user.as_ref().map(|user| user.id.clone());
        told.user = id.as_ref().map(UserId::to_string);
        let decoy = self.decoys.decoy_material().await?;
        let factors = self.proofs.usable_factors_of_candidate(id.as_ref().unwrap_or(&decoy.user)).await?;
        // At once, and both to their end: neither tells by its time what the other one found.
        let (password, code) = tokio::join!(self.prove_password(&password, user.as_ref(), &decoy), async {
            match &shown {
                Shown::Code(text) => {
                    let code = self.matcher.match_code(text, &factors, &decoy).await?;
                    self.match_remotely(text, &factors, code).await
                }
                Shown::Key(key) => Ok(self.security_keys.match_key(key, &factors)),
            }
        });
        let chance = shown.chance(&factors, self.clock.now());
        let reason = match judge(user, password?, code?, (shown.is_guessable(), chance)) {
            Verdict::Wrong(failure, reason) => {
                self.tries.settle(id.as_ref(), places, Judged::Wrong(failure), vec![]).await?;
                reason
            }
            Verdict::Right(right) => match self.settle_right(*right, places, &told).await? {
                Ok(signed_in) => return Ok(signed_in),
                Err(reason) => reason,
            },
        };
        // Never at once: the reason is what the answer must not tell, and writing takes time.
        self.audit.keep_for_later(&told.because(reason), places.of_nobody);
        Err(SignInError::Refused)
    }

    /// Spends what was right, unless earlier failures lock it. What it is refused for is in the answer.
    async fn settle_right(
        &self,
        right: Right<'_>,
        places: Places,
        told: &AuditEvent,
    ) -> Result<Result<(Authentication, User), Reason>, SignInError> {
        let Right { user, password, code, factor } = right;
        let spending = self.proofs.spending(&code, factor, &[UsedFactor::Password], told).await?;
        let is_digits = factor.detail.digit_codes().is_some();
        let judged = Judged::Right { spending: spending.of, is_digits };
        let settled = self.tries.settle(Some(&user.id), places, judged, spending.done).await?;
        let reason = match settled {
            Settled::Spent if !spending.proves => Reason::NextCodeWanted,
            Settled::Spent => {
                let proof = code.spent(&factor.user, &factor.id, true).ok_or(SignInError::Refused)?;
                let authentication = Authentication::from_proofs(password, proof, self.clock.now());
                return Ok(Ok((authentication.ok_or(SignInError::Refused)?, user)));
            }
            Settled::Replayed => Reason::ReplayedCode,
            Settled::Locked | Settled::Refused => Reason::TooManyTries,
        };
        Ok(Err(reason))
    }

    async fn prove_password(
        &self,
        shown: &SecretText,
        user: Option<&User>,
        decoy: &DecoyMaterial,
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
        self: &Arc<Self>,
        username: &SecretText,
        password: &SecretText,
        shown: &KeyAnswer,
        context: &RequestContext,
    ) -> Result<(Authentication, User), SignInError> {
        let shown = self.security_keys.open_answer(SECOND_FACTOR, &bound_to(&shown.browser, username), shown).await?;
        self.sign_in(Attempt {
            username: username.clone(),
            password: password.clone(),
            shown: Shown::Key(Box::new(shown)),
            surface: Surface::Pages,
            context: context.clone(),
        })
        .await
    }

    /// Judges a key that stands alone: it says whose it is, and verified the person. With `of`, it must be that user's.
    /// Errors: [`SignInError`]: one answer, whatever was wrong.
    pub(crate) async fn authenticate_passwordless(
        &self,
        shown: &KeyAnswer,
        of: Option<&UserId>,
        context: &RequestContext,
    ) -> Result<(Authentication, User), SignInError> {
        let _admitted = self.admitted()?;
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

/// Both halves, each of them right.
struct Right<'f> {
    user: User,
    password: PasswordProof,
    code: Spendable,
    factor: &'f Factor,
}

/// The one verdict over all that was shown.
enum Verdict<'f> {
    Right(Box<Right<'f>>),
    /// What the refusal counts as, and the audit record's word.
    Wrong(Failure, Reason),
}

/// Judges both halves. What was shown beside the password could be guessed, or not; and had it been made up, it had a chance.
fn judge<'f>(
    user: Option<User>,
    password: Option<PasswordProof>,
    code: CodeVerdict<'f>,
    (is_guessable, chance): (bool, Chance),
) -> Verdict<'f> {
    let Some(user) = user else { return Verdict::Wrong(Failure::Both(chance), Reason::UnknownUser) };
    match (password, code) {
        (Some(_), Ok(_)) if !user.enabled => Verdict::Wrong(Failure::Uncounted, Reason::Disabled),
        (Some(password), Ok((code, factor))) => Verdict::Right(Box::new(Right { user, password, code, factor })),
        (Some(_), Err(reason)) => {
            let failure = if is_guessable { Failure::Code } else { Failure::Uncounted };
            Verdict::Wrong(failure, if user.enabled { reason } else { Reason::Disabled })
        }
        (None, Ok((_, factor))) => Verdict::Wrong(
            Failure::Password(factor.id.clone(), chance),
            if user.enabled { Reason::WrongPassword } else { Reason::Disabled },
        ),
        // Two of one key: that is told whatever else is wrong.
        (None, Err(Reason::CounterWentBack)) => Verdict::Wrong(Failure::Both(chance), Reason::CounterWentBack),
        (None, Err(_)) if user.enabled => Verdict::Wrong(Failure::Both(chance), Reason::WrongHalves),
        (None, Err(_)) => Verdict::Wrong(Failure::Both(chance), Reason::Disabled),
    }
}
