//! A person shows a name, a password and a code: judged together, with one answer, in the same time, after the same
//! work, whatever was wrong (promise 5).
//!
//! The steps are the same for everybody: the try is counted, the user is looked up, a password hash is opened and
//! compared, the HSM computes what the code is compared with, and the verdict is written to the audit log. Where there
//! is no user, no factor or no code that could be right, decoys take their place.

use tokio::sync::OwnedSemaphorePermit;

use super::Signet;
use super::accounts::password_row;
use super::decoy::{DecoyMaterial, decoy_row};
use super::enrol::factor_row;
use super::error::{hsm_unavailable, store_unavailable};
use crate::audit::{Draft, Event, Outcome, RequestContext};
use crate::clock::Timestamp;
use crate::keys::{RowBinding, Seals};
use crate::mfa::password::Workspace;
use crate::mfa::policy::{self, OtpText, Round};
use crate::mfa::totp::{self, SpendableStep};
use crate::mfa::yubico_otp::{Reading, SpendableCounter, YubicoOtp};
use crate::mfa::{Authentication, FactorProof, PasswordProof, TotpState, lockout, password};
use crate::oauth::grant::PasswordRequest;
use crate::oauth::{ClientId, OAuthError};
use crate::secret::SecretText;
use crate::store::{Factor, Told, User};

/// A try that was counted before it was judged.
struct CountedTry {
    account: [u8; 32],
    at: Timestamp,
}

/// A code that matched and was not spent when it was read.
enum Spendable {
    Totp(SpendableStep),
    Yubico(SpendableCounter),
}

/// Why a code was refused, in the audit record's word, or the code with its factor.
type CodeVerdict<'f> = Result<(Spendable, &'f Factor), &'static str>;

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
        let admitted = self.decoy.admission.clone().try_acquire_owned().map_err(|_| OAuthError::unavailable())?;
        let shown = OtpText::classify(request.otp.expose());
        let counted = self.count_try(request, &shown, client, context).await?;
        let verdict = self.judge_sign_in(request, &shown, client, admitted, context).await;
        match &verdict {
            Ok(_) => self.forget_tries(&counted).await,
            // Nobody was told anything: an outage must not lock people out.
            Err(OAuthError::TemporarilyUnavailable { .. }) => self.give_back_try(&counted).await,
            Err(_) => {}
        }
        verdict
    }

    async fn judge_sign_in(
        &self,
        request: &PasswordRequest,
        shown: &OtpText,
        client: &ClientId,
        admitted: OwnedSemaphorePermit,
        context: &RequestContext,
    ) -> Result<(Authentication, User), OAuthError> {
        let decoy = self.decoy_material().await?;
        let tenant = &self.settings.tenant;
        let user = self.adapters.store.user_by_name(tenant, request.username.expose()).await;
        let user = user.map_err(|error| store_unavailable(&error))?;
        let known_id = user.as_ref().map_or(&decoy.user, |user| &user.id);
        let factors = self.adapters.store.factors(tenant, known_id).await.map_err(|error| store_unavailable(&error))?;
        let password = self.prove_password(request, user.as_ref(), &decoy, admitted).await?;
        let code = self.match_code(shown, &factors, &decoy).await?;
        let told = Draft::new(Event::SignIn, Outcome::Refused, tenant.as_str(), context).client(client.as_str());
        let told = match &user {
            Some(user) => told.user(user.id.as_str()),
            None => told,
        };
        match judge(user, password, code) {
            Ok((user, password, spendable, factor)) => {
                let proof = self.spend(spendable, factor, told).await?.ok_or(OAuthError::InvalidGrant)?;
                let authentication = Authentication::from_proofs(password, proof, self.now());
                Ok((authentication.ok_or(OAuthError::InvalidGrant)?, user))
            }
            Err(reason) => {
                let appended = self.adapters.store.append(vec![told.because(reason)]).await;
                appended.map_err(|error| store_unavailable(&error))?;
                Err(OAuthError::InvalidGrant)
            }
        }
    }

    /// Counts the try before anything is judged. The account's name in the store is derived by a secret: people type
    /// passwords into name fields, and a plain hash of a password is not a secret.
    async fn count_try(
        &self,
        request: &PasswordRequest,
        shown: &OtpText,
        client: &ClientId,
        context: &RequestContext,
    ) -> Result<CountedTry, OAuthError> {
        let tenant = &self.settings.tenant;
        let message = lockout::account_message(tenant, shown, request.username.expose());
        let account = self.derive("account", &message).await?;
        let (tries, pause) = (self.settings.lockout.tries, self.settings.lockout.pause_seconds());
        let now = self.now();
        let counted = self.adapters.store.count_try(tenant, &account, now, tries, pause).await;
        let Some(until) = counted.map_err(|error| store_unavailable(&error))? else {
            return Ok(CountedTry { account, at: now });
        };
        // The same look-up for known and unknown names; only a known one is named.
        let user = self.adapters.store.user_by_name(tenant, request.username.expose()).await;
        let mut draft = Draft::new(Event::SignIn, Outcome::Refused, tenant.as_str(), context)
            .client(client.as_str())
            .because("too_many_tries");
        draft.user = user.map_err(|error| store_unavailable(&error))?.map(|user| user.id.to_string());
        self.tell_repeatable(&format!("tries {account:02x?}"), draft).await?;
        Err(OAuthError::TooManyTries { retry_after: until.since(now) })
    }

    /// A success forgets the tries. Where that fails they stay counted, which denies nothing that was granted.
    async fn forget_tries(&self, counted: &CountedTry) {
        if let Err(error) = self.adapters.store.forget_tries(&self.settings.tenant, &counted.account).await {
            tracing::warn!(%error, "the tries of an account could not be forgotten after its success");
        }
    }

    /// Takes the try back. Where that fails it stays counted: the store says no more than that it does not work.
    async fn give_back_try(&self, counted: &CountedTry) {
        let given = self.adapters.store.give_back_try(&self.settings.tenant, &counted.account, counted.at).await;
        if let Err(error) = given {
            tracing::warn!(%error, "a try that ended without a verdict stays counted");
        }
    }

    async fn prove_password(
        &self,
        request: &PasswordRequest,
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
        let shown = request.password.clone();
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

    /// Runs every round of the HSM that the shown code asks for, also after one that matched.
    async fn match_code<'f>(
        &self,
        shown: &OtpText,
        factors: &'f [Factor],
        decoy: &DecoyMaterial,
    ) -> Result<CodeVerdict<'f>, OAuthError> {
        let mut verdict: CodeVerdict<'f> = Err(if factors.is_empty() { "no_factor" } else { "wrong_code" });
        let now = self.now();
        for round in policy::rounds(shown, factors.iter().map(|factor| &factor.detail)) {
            let found = match (shown, round) {
                (OtpText::Digits(code), Round::Totp(place, state)) => {
                    let factor = factors.get(place).ok_or_else(OAuthError::unavailable)?;
                    let row = factor_row(&factor.tenant, &factor.id, &factor.user);
                    let hmacs = self.totp_hmacs(&row, &factor.secret, now, state).await?;
                    let candidates = totp::candidates(now, state);
                    let matched = totp::match_step(code, now, &candidates, &hmacs, state);
                    matched.map(|step| (Spendable::Totp(step), factor)).map_err(totp::TotpFault::reason)
                }
                (OtpText::Yubico(otp), Round::Yubico(place, state)) => {
                    let factor = factors.get(place).ok_or_else(OAuthError::unavailable)?;
                    let block = self
                        .yubico_block(&factor_row(&factor.tenant, &factor.id, &factor.user), &factor.secret, otp)
                        .await?;
                    let read = Reading::decode(&block, &state.private_id).and_then(|read| read.spendable(state));
                    read.map(|counter| (Spendable::Yubico(counter), factor)).map_err(|fault| fault.reason())
                }
                (_, Round::DecoyTotp | Round::Totp(..)) => {
                    let row = decoy_row(&self.settings.tenant, "totp");
                    self.totp_hmacs(&row, &decoy.totp, now, &policy::decoy_totp()).await?;
                    continue;
                }
                (OtpText::Yubico(otp), Round::DecoyYubico) => {
                    self.yubico_block(&decoy_row(&self.settings.tenant, "yubico"), &decoy.yubico, otp).await?;
                    Err("unknown_key")
                }
                (_, Round::DecoyYubico | Round::Yubico(..)) => continue,
            };
            // The first match stays; of refusals, the one that says most is kept.
            if verdict.is_err() && (found.is_ok() || found.as_ref().err() != Some(&"wrong_code")) {
                verdict = found;
            }
        }
        Ok(verdict)
    }

    pub(super) async fn totp_hmacs(
        &self,
        row: &RowBinding,
        seals: &Seals,
        now: Timestamp,
        state: &TotpState,
    ) -> Result<Vec<Vec<u8>>, OAuthError> {
        let steps = totp::candidates(now, state);
        let messages = steps.into_iter().map(totp::counter_message).collect();
        let hmacs = self.adapters.vault.otp_hmac(row, seals, state.hash, messages).await;
        hmacs.map_err(|error| hsm_unavailable(&error))
    }

    async fn yubico_block(&self, row: &RowBinding, seals: &Seals, otp: &YubicoOtp) -> Result<[u8; 16], OAuthError> {
        let block = self.adapters.vault.decrypt_block(row, seals, otp.block()).await;
        block.map_err(|error| hsm_unavailable(&error))
    }

    /// Spends the code by one conditional write: of N racing requests one gets the proof.
    async fn spend(&self, code: Spendable, factor: &Factor, told: Draft) -> Result<Option<FactorProof>, OAuthError> {
        let mut done = told.clone();
        done.outcome = Outcome::Done;
        done.factors = vec!["password".to_owned(), format!("{}:{}", factor.detail.kind(), factor.id)];
        let told = Told { done: vec![done], lost: vec![told.because("replayed_code")] };
        let (store, tenant, id, now) = (&self.adapters.store, &factor.tenant, &factor.id, self.now());
        let won = match &code {
            Spendable::Totp(step) => store.spend_totp_step(tenant, id, step.step(), step.drift(), now, told).await,
            Spendable::Yubico(counter) => store.spend_yubico_counter(tenant, id, counter.counter(), now, told).await,
        };
        let won = won.map_err(|error| store_unavailable(&error))?;
        Ok(match code {
            Spendable::Totp(step) => step.spent(&factor.user, id, won),
            Spendable::Yubico(counter) => counter.spent(&factor.user, id, won),
        })
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
    let password = password.ok_or("wrong_password")?;
    let (spendable, factor) = code?;
    Ok((user, password, spendable, factor))
}
