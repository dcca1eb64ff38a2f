//! Security keys: enrolled by their owner, shown beside the password, or alone where they verify the person themselves.
//!
//! A challenge travels through the browser (see `service::carried`), tied to what the browser holds, to the
//! purpose, and beside a password to the name too; it is spent with the proof. Whoever is named, as many keys are listed:
//! what is not enrolled is filled up with decoys that are the same each time.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::Signet;
use super::accounts::check_name;
use super::enrol::{NewFactor, factor_added};
use super::error::store_unavailable;
use super::match_code::{CodeVerdict, Spendable};
use super::self_service::SelfServiceError;
use super::session::LiveSession;
use signet_core::audit::{Draft, Event, Outcome, RequestContext};
use signet_core::mfa::assurance::PAGES;
use signet_core::mfa::webauthn::{
    self, AssertionFault, PATIENCE, RegistrationFault, RelyingParty, ShownAssertion, Use,
};
use signet_core::mfa::{Authentication, WebAuthnState, lockout, policy};
use signet_core::oauth::{ClientId, OAuthError};
use signet_core::secret::SecretText;
use signet_jose::clock::Timestamp;
use signet_store::{Factor, FactorDetail, User, UserId};

const REGISTRATION: &str = "key registration";
const SECOND_FACTOR: &str = "key beside password";
const PASSWORDLESS: &str = "key alone";

/// What a browser is asked to do with a key.
#[derive(Debug)]
pub struct Ceremony {
    /// The argument of `navigator.credentials.create` or `get`.
    pub options: Value,
    /// What the form carries with the key's answer.
    pub carried: SecretText,
}

/// A key's answer as a browser sent it.
#[derive(Debug)]
pub struct KeyAnswer {
    /// What the browser holds.
    pub browser: SecretText,
    /// What [`Ceremony::carried`] was.
    pub carried: SecretText,
    /// The key's answer in JSON.
    pub answer: SecretText,
}

/// An assertion with the state that it answers, or why there is none.
pub(super) struct ShownKey(Result<OpenedAssertion, &'static str>);

struct OpenedAssertion {
    state: Value,
    until: Timestamp,
    assertion: ShownAssertion,
}

#[derive(Serialize, Deserialize)]
struct Carried {
    state: Value,
    until: Timestamp,
}

/// What ties a challenge to a browser and to a name as it was typed.
fn bound_to(browser: &SecretText, name: &SecretText) -> String {
    let digest = Sha256::digest(name.expose().as_bytes());
    format!("{} {}", browser.expose(), URL_SAFE_NO_PAD.encode(digest))
}

fn key_of(factor: &Factor) -> Option<&WebAuthnState> {
    match &factor.detail {
        FactorDetail::WebAuthn(key) => Some(key),
        _ => None,
    }
}

impl Signet {
    /// Whether security keys can be used here: browsers know them on sites that have a name.
    pub fn offers_keys(&self) -> bool {
        self.settings.webauthn.is_some()
    }

    fn relying_party(&self) -> Result<&RelyingParty, OAuthError> {
        self.settings.webauthn.as_deref().ok_or_else(OAuthError::unavailable)
    }

    /// Asks for a new key.
    ///
    /// # Errors
    ///
    /// [`SelfServiceError`].
    pub async fn begin_key(
        &self,
        live: &LiveSession,
        browser: &SecretText,
        context: &RequestContext,
    ) -> Result<Ceremony, SelfServiceError> {
        self.must_be_fresh(live, context).await?;
        let enrolled = self.own_factors(live).await?;
        policy::may_enrol_key(enrolled.iter().map(|factor| &factor.detail))
            .map_err(|error| SelfServiceError::Input(error.to_string()))?;
        let keys = enrolled.iter().filter_map(key_of);
        let begun = self.relying_party()?.begin_registration(&live.user.id, &live.user.name, keys);
        let begun = begun.map_err(|_| OAuthError::unavailable())?;
        Ok(self.ceremony(REGISTRATION, browser.expose(), begun).await?)
    }

    /// Enrols the key that answered.
    ///
    /// # Errors
    ///
    /// [`SelfServiceError`].
    pub async fn confirm_key(
        &self,
        live: &LiveSession,
        shown: &KeyAnswer,
        label: &str,
        context: &RequestContext,
    ) -> Result<Factor, SelfServiceError> {
        self.must_be_fresh(live, context).await?;
        check_name("factor", label)?;
        let over = || SelfServiceError::Input("this took too long: try once more".to_owned());
        let opened = self.carried::<Carried>(REGISTRATION, shown.browser.expose(), &shown.carried).await?;
        let Carried { state, until } = opened.filter(|opened| self.now() <= opened.until).ok_or_else(over)?;
        let (key, challenge) = match self.relying_party()?.finish_registration(state, shown.answer.expose()) {
            Ok(made) => made,
            Err(fault) => return Err(self.tell_unfit_key(live, fault, context).await?),
        };
        let (store, tenant) = (&self.adapters.store, &live.user.tenant);
        let spent = store.spend_challenge(tenant, &challenge, until).await;
        if !spent.map_err(|error| store_unavailable(&error))? {
            return Err(over());
        }
        let new = NewFactor { label, serial: None, detail: FactorDetail::WebAuthn(key) };
        let factor = self.new_factor(&live.user, new, context).await?;
        let told = self.factor_changed(&factor, factor_added(&factor), context);
        let added = store.add_own_factor(&live.session, &factor, vec![told]).await;
        if added.map_err(|error| store_unavailable(&error))? {
            return Ok(factor);
        }
        Err(SelfServiceError::Input("this key is enrolled already, or you were signed out meanwhile".to_owned()))
    }

    async fn tell_unfit_key(
        &self,
        live: &LiveSession,
        fault: RegistrationFault,
        context: &RequestContext,
    ) -> Result<SelfServiceError, OAuthError> {
        let told = Draft::new(Event::FactorChanged, Outcome::Refused, live.user.tenant.as_str(), context)
            .user(live.user.id.as_str())
            .because(fault.reason())
            .detail("security key");
        self.tell_repeatable(&format!("key {} {}", live.session.id, fault.reason()), told).await?;
        Ok(SelfServiceError::Input(fault.to_string()))
    }

    /// Asks for a key: one of those listed for a name, beside the password, or whichever stands alone.
    ///
    /// # Errors
    ///
    /// [`OAuthError::TemporarilyUnavailable`].
    pub async fn ask_for_key(&self, browser: &SecretText, name: Option<&SecretText>) -> Result<Ceremony, OAuthError> {
        let party = self.relying_party()?;
        let unmade = |_| OAuthError::unavailable();
        let Some(name) = name else {
            let begun = party.begin_assertion(Use::Passwordless, &[]).map_err(unmade)?;
            return self.ceremony(PASSWORDLESS, browser.expose(), begun).await;
        };
        let tenant = &self.settings.tenant;
        let user = self.adapters.store.user_by_name(tenant, name.expose()).await;
        let user =
            user.map_err(|error| store_unavailable(&error))?.map_or_else(|| UserId::new("decoy"), |user| user.id);
        let factors = self.usable_factors(&user).await?;
        let keys: Vec<&str> = factors.iter().filter_map(key_of).map(|key| key.credential_id.as_str()).collect();
        let seed = self.derive("decoy keys", &lockout::account_message(tenant, name.expose())).await?;
        let begun = party.begin_assertion(Use::SecondFactor, &webauthn::listed_ids(&keys, &seed)).map_err(unmade)?;
        self.ceremony(SECOND_FACTOR, &bound_to(browser, name), begun).await
    }

    async fn ceremony(
        &self,
        purpose: &'static str,
        binding: &str,
        begun: webauthn::Begun,
    ) -> Result<Ceremony, OAuthError> {
        let carried = Carried { state: begun.state, until: self.now().plus(PATIENCE) };
        Ok(Ceremony { options: begun.options, carried: self.carry(purpose, binding, &carried).await? })
    }

    async fn open_answer(
        &self,
        purpose: &'static str,
        binding: &str,
        shown: &KeyAnswer,
    ) -> Result<ShownKey, OAuthError> {
        let opened = self.carried::<Carried>(purpose, binding, &shown.carried).await?;
        let Some(Carried { state, until }) = opened.filter(|opened| self.now() <= opened.until) else {
            return Ok(ShownKey(Err("wrong_challenge")));
        };
        let assertion = ShownAssertion::parse(shown.answer.expose()).ok_or("malformed_assertion");
        Ok(ShownKey(assertion.map(|assertion| OpenedAssertion { state, until, assertion })))
    }

    /// Judges a name, a password and a security key.
    ///
    /// # Errors
    ///
    /// As [`authenticate`](Self::authenticate).
    pub(super) async fn authenticate_by_key(
        &self,
        username: &SecretText,
        password: &SecretText,
        shown: &KeyAnswer,
        context: &RequestContext,
    ) -> Result<(Authentication, User), OAuthError> {
        let shown = self.open_answer(SECOND_FACTOR, &bound_to(&shown.browser, username), shown).await?;
        let shown = super::authenticate::Shown::Key(Box::new(shown));
        self.sign_in(username, password, &shown, &ClientId::new(PAGES), context).await
    }

    /// The verdict over a shown key, given the usable factors of who is named. As much is computed where none fits.
    pub(super) fn match_key<'f>(&self, shown: &ShownKey, factors: &'f [Factor]) -> CodeVerdict<'f> {
        let opened = shown.0.as_ref().map_err(|reason| *reason)?;
        let party = self.settings.webauthn.as_deref().ok_or("unknown_key")?;
        let id = opened.assertion.credential_id();
        let mut keys = factors.iter().filter_map(|factor| Some((factor, key_of(factor)?)));
        let found = keys.find(|(factor, key)| key.credential_id == id && opened.assertion.may_be_of(&factor.user));
        let verified = party.verify(&opened.state, &opened.assertion, found.map(|(_, key)| key));
        if let (Err(AssertionFault::Counter), Some((factor, _))) = (&verified, found) {
            let (user, id) = (&factor.user, &factor.id);
            tracing::warn!(%user, factor = %id, "a security key's counter went back: there may be two of it");
        }
        let (factor, _) = found.ok_or("unknown_key")?;
        let assertion = verified.map_err(AssertionFault::reason)?;
        Ok((Spendable::Assertion { assertion, until: opened.until }, factor))
    }

    /// Judges a key that stands alone: it says whose it is, and verified the person. With `of`, it must be that user's.
    ///
    /// # Errors
    ///
    /// As [`authenticate`](Self::authenticate).
    pub(super) async fn authenticate_passwordless(
        &self,
        shown: &KeyAnswer,
        of: Option<&UserId>,
        context: &RequestContext,
    ) -> Result<(Authentication, User), OAuthError> {
        let _admitted = self.decoy.admission.clone().try_acquire_owned().map_err(|_| OAuthError::unavailable())?;
        let shown = self.open_answer(PASSWORDLESS, shown.browser.expose(), shown).await?;
        let mut told =
            Draft::new(Event::SignIn, Outcome::Refused, self.settings.tenant.as_str(), context).client(PAGES);
        let owned = self.owner_of(&shown, of).await?;
        told.user = owned.as_ref().map(|(user, _)| user.id.to_string());
        let factors = owned.as_ref().map(|(_, factor)| factor);
        let verdict = self.match_key(&shown, factors.map_or(&[], std::slice::from_ref));
        let verdict = verdict.and_then(|(assertion, factor)| match &owned {
            Some((user, _)) if user.enabled => Ok((assertion, factor, user)),
            Some(_) => Err("disabled"),
            None => Err("unknown_key"),
        });
        match verdict {
            Ok((assertion, factor, user)) => {
                let proof = self.spend(assertion, factor, &[], told).await?.ok_or(OAuthError::InvalidGrant)?;
                let authentication = Authentication::from_passwordless(proof, self.now());
                Ok((authentication.ok_or(OAuthError::InvalidGrant)?, user.clone()))
            }
            Err(reason) if reason == AssertionFault::Counter.reason() => {
                // It verified: nobody but the key, or its double, made it.
                let appended = self.adapters.store.append(vec![told.because(reason)]).await;
                appended.map_err(|error| store_unavailable(&error))?;
                Err(OAuthError::InvalidGrant)
            }
            Err(reason) => {
                // Anybody can send what does not verify.
                self.tell_repeatable(&format!("key alone {reason}"), told.because(reason)).await?;
                Err(OAuthError::InvalidGrant)
            }
        }
    }

    /// The user and the usable factor that a shown key names, both of which it must name rightly.
    async fn owner_of(&self, shown: &ShownKey, of: Option<&UserId>) -> Result<Option<(User, Factor)>, OAuthError> {
        let Ok(opened) = &shown.0 else { return Ok(None) };
        let (store, tenant) = (&self.adapters.store, &self.settings.tenant);
        let factor = store.factor_by_handle(tenant, "webauthn", &opened.assertion.credential_id()).await;
        let factor = factor.map_err(|error| store_unavailable(&error))?;
        let is_right = |factor: &Factor| {
            let is_named = opened.assertion.names().as_ref() == Some(&factor.user);
            is_named && factor.is_usable(self.now()) && of.is_none_or(|user| *user == factor.user)
        };
        let Some(factor) = factor.filter(is_right) else { return Ok(None) };
        let user = store.user(tenant, &factor.user).await.map_err(|error| store_unavailable(&error))?;
        Ok(user.map(|user| (user, factor)))
    }
}
