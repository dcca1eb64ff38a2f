//! A person shows a name, a password, and a code or a security key: judged together, with one answer, in the same time, after the same
//! work, whatever was wrong (promise 5).
//!
//! The steps are the same for everybody: the user is looked up, the try is counted, a password hash is opened and
//! compared, the HSM computes what the code is compared with, and the verdict is written to the audit log. Where there
//! is no user, no factor or no code that could be right, decoys take their place.

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::Signet;
use super::accounts::password_row;
use super::decoy::DecoyMaterial;
use super::error::{hsm_unavailable, store_unavailable};
use super::match_code::{CodeVerdict, Spendable};
use super::tries::{CountedTry, Counting};
use super::webauthn::ShownKey;
use signet_core::audit::{Draft, Event, Outcome, RequestContext};
use signet_core::mfa::lockout::Target;
use signet_core::mfa::password::Workspace;
use signet_core::mfa::policy::OtpText;
use signet_core::mfa::webauthn::AssertionFault;
use signet_core::mfa::{Authentication, FactorDetail, FactorProof, PasswordProof, password};
use signet_core::oauth::grant::PasswordRequest;
use signet_core::oauth::{ClientId, OAuthError};
use signet_core::secret::SecretText;
use signet_store::{AssertionSpending, AuditOnOutcome, Factor, User, UserId};

/// What is shown beside the password.
pub(super) enum Shown {
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
            Self::Key(_) => Target::Key("webauthn"),
        }
    }
}

impl Signet {
    /// Judges a person's name, password and code.
    ///
    /// # Errors
    ///
    /// [`OAuthError::InvalidGrant`] whatever was wrong; [`OAuthError::TooManyTries`];
    /// [`OAuthError::TemporarilyUnavailable`] where HSM or store did not do their part.
    pub async fn authenticate(
        &self,
        request: &PasswordRequest,
        client: &ClientId,
        context: &RequestContext,
    ) -> Result<(Authentication, User), OAuthError> {
        let shown = Shown::Code(self.shown(request, client));
        self.sign_in(&request.username, &request.password, &shown, client, context).await
    }

    /// The same for whatever is shown beside the password.
    pub(super) async fn sign_in(
        &self,
        username: &SecretText,
        password: &SecretText,
        shown: &Shown,
        client: &ClientId,
        context: &RequestContext,
    ) -> Result<(Authentication, User), OAuthError> {
        let admitted = self.decoy.admission.clone().try_acquire_owned().map_err(|_| OAuthError::unavailable())?;
        let tenant = &self.settings.tenant;
        let user = self.adapters.store.user_by_name(tenant, username.expose()).await;
        let user = user.map_err(|error| store_unavailable(&error))?;
        let mut told = Draft::new(Event::SignIn, Outcome::Refused, tenant.as_str(), context).client(client.as_str());
        // Only a known name is written down: people type passwords into name fields.
        told.user = user.as_ref().map(|user| user.id.to_string());
        let id = user.as_ref().map(|user| &user.id);
        let counted = match self.count_try(username.expose(), id, shown.target()).await? {
            Counting::Counted(counted) => counted,
            Counting::Exhausted { retry_after, kind } => {
                self.tell_repeatable(&kind, told.because("too_many_tries")).await?;
                return Err(OAuthError::TooManyTries { retry_after });
            }
        };
        let verdict = self.judge_sign_in(password, shown, user, admitted, &counted, told).await;
        match verdict {
            Ok(_) => self.forget_tries(&counted).await,
            // Nobody was told anything: an outage must not lock people out.
            Err(OAuthError::TemporarilyUnavailable { .. }) => self.give_back_try(&counted).await,
            Err(OAuthError::InvalidGrant) => return Err(counted.refusal()),
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
        told: Draft,
    ) -> Result<(Authentication, User), OAuthError> {
        let decoy = self.decoy_material().await?;
        let known_id = user.as_ref().map_or(&decoy.user, |user| &user.id);
        let factors = self.usable_factors(known_id).await?;
        let password = self.prove_password(password, user.as_ref(), &decoy, admitted).await?;
        let code = match shown {
            Shown::Code(text) => {
                let code = self.match_code(text, &factors, &decoy).await?;
                self.match_remotely(text, &factors, code).await?
            }
            Shown::Key(key) => self.match_key(key, &factors),
        };
        match judge(user, password, code) {
            Ok((user, password, spendable, factor)) => {
                let proof =
                    self.spend(spendable, factor, &["password"], told).await?.ok_or(OAuthError::InvalidGrant)?;
                let authentication = Authentication::from_proofs(password, proof, self.now());
                Ok((authentication.ok_or(OAuthError::InvalidGrant)?, user))
            }
            Err(reason) => {
                let told = told.because(reason);
                if counted.unanswered_until.is_some() {
                    // Never at once: the reason is what the answer must not tell, and writing takes time.
                    self.repeats.keep(&format!("{} {reason}", counted.kind()), &told, Instant::now());
                } else {
                    let appended = self.adapters.store.append(vec![told]).await;
                    appended.map_err(|error| store_unavailable(&error))?;
                }
                Err(OAuthError::InvalidGrant)
            }
        }
    }

    /// The factors of a user that may prove something now; none for a decoy, after the same look-up.
    pub(super) async fn usable_factors(&self, user: &UserId) -> Result<Vec<Factor>, OAuthError> {
        let factors = self.adapters.store.factors(&self.settings.tenant, user).await;
        let mut factors = factors.map_err(|error| store_unavailable(&error))?;
        let now = self.now();
        factors.retain(|factor| factor.is_usable(now));
        Ok(factors)
    }

    async fn prove_password(
        &self,
        shown: &SecretText,
        user: Option<&User>,
        decoy: &DecoyMaterial,
        admitted: OwnedSemaphorePermit,
    ) -> Result<Option<PasswordProof>, OAuthError> {
        let stored = user.and_then(|user| Some((user.id.clone(), user.password.clone()?)));
        let is_known = stored.is_some();
        let (id, seals) = stored.unwrap_or_else(|| (decoy.user.clone(), decoy.password.clone()));
        let row = password_row(&self.settings.tenant, &id);
        let opened = self.adapters.vault.open(&row, &seals).await.map_err(|error| hsm_unavailable(&error))?;
        let phc = String::from_utf8(opened.expose().to_vec()).map(SecretText::new).map_err(|_| {
            tracing::error!(user = %id, "the sealed password hash is no text");
            OAuthError::unavailable()
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
        self.hashing.run(judge).await
    }

    /// Spends the code by one conditional write: of N racing requests one gets the proof. `beside` is what was shown with
    /// it.
    pub(super) async fn spend(
        &self,
        code: Spendable,
        factor: &Factor,
        beside: &[&str],
        told: Draft,
    ) -> Result<Option<FactorProof>, OAuthError> {
        let mut done = told.clone();
        done.outcome = Outcome::Done;
        done.factors = beside.iter().map(ToString::to_string).collect();
        done.factors.push(format!("{}:{}", factor.detail.kind(), factor.id));
        let mut told = AuditOnOutcome { applied: vec![done], rejected: vec![told.because("replayed_code")] };
        if matches!(code, Spendable::Recovery(_)) {
            told.applied.push(self.recovery_used(factor, &told.applied).await?);
        }
        let (store, tenant, id, now) = (&self.adapters.store, &factor.tenant, &factor.id, self.now());
        let won = match &code {
            Spendable::Totp(step) => store.spend_totp_step(tenant, id, step.step(), step.drift(), now, told).await,
            Spendable::Hotp(counter) => store.raise_counter(tenant, id, counter.next_counter(), now, told).await,
            Spendable::Yubico(counter) => store.spend_yubico_counter(tenant, id, counter.counter(), now, told).await,
            Spendable::YubicoRemote(counter) => store.raise_counter(tenant, id, counter.counter(), now, told).await,
            Spendable::Piv(nonce) => store.spend_piv_nonce(tenant, id, nonce.id(), now, told).await,
            Spendable::Recovery(code) => store.spend_recovery_code(tenant, id, code.kept(), now, told).await,
            Spendable::Assertion { assertion, until } => {
                let spending = AssertionSpending {
                    tenant: tenant.clone(),
                    factor: id.clone(),
                    challenge: *assertion.challenge(),
                    challenge_until: *until,
                    counter: assertion.counter(),
                    at: now,
                };
                store.spend_assertion(&spending, told).await
            }
        };
        let won = won.map_err(|error| store_unavailable(&error))?;
        let user = &factor.user;
        Ok(match code {
            Spendable::Totp(step) => step.spent(user, id, won),
            Spendable::Hotp(counter) => counter.spent(user, id, won),
            Spendable::Yubico(counter) => counter.spent(user, id, won),
            Spendable::YubicoRemote(counter) => counter.spent(user, id, won),
            Spendable::Piv(nonce) => match &factor.detail {
                FactorDetail::Piv(state) => nonce.spent(user, id, state, won),
                _ => None,
            },
            Spendable::Recovery(code) => code.spent(user, id, won),
            Spendable::Assertion { assertion, .. } => assertion.spent(user, id, won),
        })
    }

    /// A record of its own for a recovery code: somebody signs in without the token.
    async fn recovery_used(&self, factor: &Factor, done: &[Draft]) -> Result<Draft, OAuthError> {
        let left = self.adapters.store.recovery_codes_left(&factor.tenant, &factor.id).await;
        let left = left.map_err(|error| store_unavailable(&error))?.saturating_sub(1);
        tracing::warn!(user = %factor.user, factor = %factor.id, left, "a recovery code is used in the place of a token");
        let mut draft = done.first().cloned().ok_or_else(OAuthError::unavailable)?;
        draft.event = Event::RecoveryCodeUsed;
        Ok(draft.detail(format!("{left} codes left")))
    }
}

/// The one verdict over all that was shown; the audit record's word where it is a refusal.
fn judge<'f>(
    user: Option<User>,
    password: Option<PasswordProof>,
    code: CodeVerdict<'f>,
) -> Result<(User, PasswordProof, Spendable, &'f Factor), &'static str> {
    let user = user.ok_or("unknown_user")?;
    if !user.enabled {
        return Err("disabled");
    }
    // Two of one key: that is told whatever else is wrong.
    if let Err(reason) = code
        && reason == AssertionFault::Counter.reason()
    {
        return Err(reason);
    }
    let password = password.ok_or("wrong_password")?;
    let (spendable, factor) = code?;
    Ok((user, password, spendable, factor))
}
