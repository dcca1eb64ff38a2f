//! Security keys, as a person enrols them.

use std::sync::Arc;

use crate::audit::AuditTrail;
use crate::base::Base;
use crate::error::Unavailable;
use crate::factors::enrolment::{FactorMaker, NewFactor, factor_added, factor_changed};
use crate::factors::own::{OwnFactors, SelfServiceError};
use crate::names::check_name;
use crate::sessions::LiveSession;
use crate::sign_in::security_keys::{Carried, Ceremony, KeyAnswer, REGISTRATION, SecurityKeys, key_of};
use crate::signed_state::SignedState;
use signet_core::audit::{Draft, Event, Outcome, Reason, RequestContext};
use signet_core::mfa::webauthn::RegistrationFault;
use signet_core::mfa::{FactorKind, policy};
use signet_core::secret::SecretText;
use signet_jose::clock::Clock;
use signet_store::{Ceremonies, Factor, FactorDetail, FactorLife};

/// Security keys, as a person enrols them.
pub struct OwnKeys {
    clock: Arc<dyn Clock>,
    ceremonies: Arc<dyn Ceremonies>,
    factor_life: Arc<dyn FactorLife>,
    audit: Arc<AuditTrail>,
    maker: Arc<FactorMaker>,
    own: Arc<OwnFactors>,
    security_keys: Arc<SecurityKeys>,
    signed_state: Arc<SignedState>,
}

impl OwnKeys {
    pub(crate) fn new(
        base: &Base,
        maker: &Arc<FactorMaker>,
        own: &Arc<OwnFactors>,
        security_keys: &Arc<SecurityKeys>,
        signed_state: &Arc<SignedState>,
    ) -> Self {
        Self {
            clock: base.ports.clock.clone(),
            ceremonies: base.ports.store.clone(),
            factor_life: base.ports.store.clone(),
            audit: base.audit.clone(),
            maker: maker.clone(),
            own: own.clone(),
            security_keys: security_keys.clone(),
            signed_state: signed_state.clone(),
        }
    }

    /// Asks for a new key.
    pub async fn begin_key(
        &self,
        live: &LiveSession,
        browser: &SecretText,
        context: &RequestContext,
    ) -> Result<Ceremony, SelfServiceError> {
        self.own.must_be_fresh(live, context).await?;
        let enrolled = self.own.own_factors(live).await?;
        policy::may_enrol(FactorKind::WebAuthn, enrolled.iter().map(|factor| &factor.detail))
            .map_err(|error| SelfServiceError::Input(error.to_string()))?;
        let keys = enrolled.iter().filter_map(key_of);
        let begun = self.security_keys.relying_party()?.begin_registration(&live.user.id, &live.user.name, keys);
        let begun = begun.map_err(|_| Unavailable)?;
        Ok(self.security_keys.ceremony(REGISTRATION, browser.expose(), begun).await?)
    }

    /// Enrols the key that answered.
    pub async fn confirm_key(
        &self,
        live: &LiveSession,
        shown: &KeyAnswer,
        label: &str,
        context: &RequestContext,
    ) -> Result<Factor, SelfServiceError> {
        self.own.must_be_fresh(live, context).await?;
        check_name("factor", label)?;
        let over = || SelfServiceError::Input("this took too long: try once more".to_owned());
        let opened = self.signed_state.carried::<Carried>(REGISTRATION, shown.browser.expose(), &shown.carried).await?;
        let Carried { state, until } = opened.filter(|opened| self.clock.now() <= opened.until).ok_or_else(over)?;
        let (key, challenge) =
            match self.security_keys.relying_party()?.finish_registration(state, shown.answer.expose()) {
                Ok(made) => made,
                Err(fault) => return Err(self.tell_unfit_key(live, fault, context).await?),
            };
        let tenant = &live.user.tenant;
        let spent = self.ceremonies.spend_challenge(tenant, &challenge, until).await;
        if !spent? {
            return Err(over());
        }
        let new = NewFactor { label, serial: None, detail: FactorDetail::WebAuthn(key) };
        let factor = self.maker.new_factor(&live.user, new, context).await?;
        let told = factor_changed(&factor, factor_added(&factor), context);
        let added = self.factor_life.add_own_factor(&live.session, &factor, vec![told]).await;
        if added? {
            return Ok(factor);
        }
        Err(SelfServiceError::Input("this key is enrolled already, or you were signed out meanwhile".to_owned()))
    }

    async fn tell_unfit_key(
        &self,
        live: &LiveSession,
        fault: RegistrationFault,
        context: &RequestContext,
    ) -> Result<SelfServiceError, Unavailable> {
        let told = Draft::new(Event::FactorChanged, Outcome::Refused, live.user.tenant.as_str(), context)
            .user(live.user.id.as_str())
            .because(fault)
            .detail("security key");
        self.audit.append_throttled(&format!("key {} {}", live.session.id, Reason::from(fault)), told).await?;
        Ok(SelfServiceError::Input(fault.to_string()))
    }
}
