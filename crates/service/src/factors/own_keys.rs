//! Security keys, as a person enrols them.

use crate::factors::own::SelfServiceError;
use crate::sign_in::security_keys::{Ceremony, CeremonyState, REGISTRATION, SecurityKeys, key_of};
use crate::{
    FactorMaker, KeyAnswer, LiveSession, NewFactor, OwnFactors, SignedState, Unavailable, check_name, factor_added,
    factor_changed,
};
use signet_core::audit::{AuditEvent, Change, Event, Outcome, Reason, RequestContext};
use signet_core::mfa::webauthn::RegistrationFault;
use signet_core::mfa::{FactorKind, policy};
use signet_core::secret::SecretText;
use signet_store::{Factor, FactorDetail};

module! {
    /// Security keys, as a person enrols them.
    pub struct OwnKeys {
        takes clock, ceremonies, factor_life, audit;
        calls maker: FactorMaker, own: OwnFactors, security_keys: SecurityKeys, signed_state: SignedState;
    }
}

impl OwnKeys {
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
        let opened =
            self.signed_state.carried::<CeremonyState>(REGISTRATION, shown.browser.expose(), &shown.carried).await?;
        let CeremonyState { state, until } =
            opened.filter(|opened| self.clock.now() <= opened.until).ok_or_else(over)?;
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
        let told = factor_changed(&factor, Change::Added, context).detail(factor_added(&factor));
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
        let told = AuditEvent::new(Event::FactorChanged, Outcome::Refused, live.user.tenant.as_str(), context)
            .user(live.user.id.as_str())
            .because(fault)
            .detail("security key");
        self.audit.append_throttled(&format!("key {} {}", live.session.id, Reason::from(fault)), told).await?;
        Ok(SelfServiceError::Input(fault.to_string()))
    }
}
