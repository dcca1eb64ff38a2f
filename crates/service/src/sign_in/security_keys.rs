//! Security keys: enrolled by their owner, shown beside the password, or alone where they verify the person themselves.
//!
//! A challenge travels through the browser (see `signed_state`), tied to what the browser holds, to the
//! purpose, and beside a password to the name too; it is spent with the proof. Whoever is named, as many keys are listed:
//! what is not enrolled is filled up with decoys that are the same each time.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{CodeVerdict, FactorProofs, SignedState, Unavailable};
use signet_core::audit::Reason;
use signet_core::mfa::webauthn::{PATIENCE, RelyingParty, ShownAssertion, Use};
use signet_core::mfa::{WebAuthnState, webauthn};
use signet_core::secret::SecretText;
use signet_core::user_name::derived_from;
use signet_jose::clock::Timestamp;
use signet_store::{Factor, FactorDetail, UserId};

pub(crate) const REGISTRATION: &str = "key registration";
pub(crate) const SECOND_FACTOR: &str = "key beside password";
pub(crate) const PASSWORDLESS: &str = "key alone";

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
pub(crate) struct ShownKey(pub(crate) Result<OpenedAssertion, Reason>);

pub(crate) struct OpenedAssertion {
    state: Value,
    until: Timestamp,
    pub(crate) assertion: ShownAssertion,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct CeremonyState {
    pub(crate) state: Value,
    pub(crate) until: Timestamp,
}

/// What ties a challenge to a browser and to a name as it was typed.
pub(crate) fn bound_to(browser: &SecretText, name: &SecretText) -> String {
    let digest = Sha256::digest(name.expose().as_bytes());
    format!("{} {}", browser.expose(), URL_SAFE_NO_PAD.encode(digest))
}

pub(crate) fn key_of(factor: &Factor) -> Option<&WebAuthnState> {
    match &factor.detail {
        FactorDetail::WebAuthn(key) => Some(key),
        _ => None,
    }
}

module! {
    /// Asks for security keys, and judges what they answer.
    pub struct SecurityKeys {
        takes clock, settings, candidates, secret;
        calls proofs: FactorProofs, signed_state: SignedState;
    }
}

impl SecurityKeys {
    /// Whether security keys can be used here: browsers know them on sites that have a name.
    pub fn offers_keys(&self) -> bool {
        self.settings.current().webauthn.is_some()
    }

    pub(crate) fn relying_party(&self) -> Result<Arc<RelyingParty>, Unavailable> {
        self.settings.current().webauthn.clone().ok_or(Unavailable)
    }

    /// Asks for a key: one of those listed for a name, beside the password, or whichever stands alone.
    pub async fn ask_for_key(&self, browser: &SecretText, name: Option<&SecretText>) -> Result<Ceremony, Unavailable> {
        let party = self.relying_party()?;
        let unmade = |_| Unavailable;
        let Some(name) = name else {
            let begun = party.begin_assertion(Use::Passwordless, &[]).map_err(unmade)?;
            return self.ceremony(PASSWORDLESS, browser.expose(), begun).await;
        };
        let tenant = &self.settings.tenant;
        let user = self.candidates.sign_in_candidate(tenant, name.expose()).await;
        let user = user?.map_or_else(|| UserId::new("decoy"), |user| user.id);
        let factors = self.proofs.usable_factors_of_candidate(&user).await?;
        let keys: Vec<&str> = factors.iter().filter_map(key_of).map(|key| key.credential_id.as_str()).collect();
        let seed = self.secret.derive_lasting("decoy keys", &derived_from(tenant, name.expose())).await?;
        let begun = party.begin_assertion(Use::SecondFactor, &webauthn::listed_ids(&keys, &seed)).map_err(unmade)?;
        self.ceremony(SECOND_FACTOR, &bound_to(browser, name), begun).await
    }

    pub(crate) async fn ceremony(
        &self,
        purpose: &'static str,
        binding: &str,
        begun: webauthn::Begun,
    ) -> Result<Ceremony, Unavailable> {
        let carried = CeremonyState { state: begun.state, until: self.clock.now().plus(PATIENCE) };
        Ok(Ceremony { options: begun.options, carried: self.signed_state.carry(purpose, binding, &carried).await? })
    }

    pub(crate) async fn open_answer(
        &self,
        purpose: &'static str,
        binding: &str,
        shown: &KeyAnswer,
    ) -> Result<ShownKey, Unavailable> {
        let opened = self.signed_state.carried::<CeremonyState>(purpose, binding, &shown.carried).await?;
        let Some(CeremonyState { state, until }) = opened.filter(|opened| self.clock.now() <= opened.until) else {
            return Ok(ShownKey(Err(Reason::WrongChallenge)));
        };
        let assertion = ShownAssertion::parse(shown.answer.expose()).ok_or(Reason::MalformedAssertion);
        Ok(ShownKey(assertion.map(|assertion| OpenedAssertion { state, until, assertion })))
    }

    /// The verdict over a shown key, given the usable factors of the user who is named. As much is computed where none fits.
    pub(crate) fn match_key<'f>(&self, shown: &ShownKey, factors: &'f [Factor]) -> CodeVerdict<'f> {
        let opened = shown.0.as_ref().map_err(|reason| *reason)?;
        let party = self.settings.current().webauthn.clone().ok_or(Reason::UnknownKey)?;
        let id = opened.assertion.credential_id();
        let mut keys = factors.iter().filter_map(|factor| Some((factor, key_of(factor)?)));
        let found = keys.find(|(factor, key)| key.credential_id == id && opened.assertion.may_be_of(&factor.user));
        let verified = party.verify((&opened.state, opened.until), &opened.assertion, found.map(|(_, key)| key));
        if let (Err(Reason::CounterWentBack), Some((factor, _))) = (&verified, found) {
            let (user, id) = (&factor.user, &factor.id);
            tracing::warn!(%user, factor = %id, "a security key's counter went back: there may be two of it");
        }
        let (factor, _) = found.ok_or(Reason::UnknownKey)?;
        Ok((verified?, factor))
    }
}
