//! What a person adds without an operator: recovery codes, and a token of the stock that they hold.

use crate::factors::own::SelfServiceError;
use crate::factors::recovery::{MadeCodes, Recovery};
use crate::factors::stock::TokenStock;
use crate::{LiveSession, OwnFactors};
use signet_core::audit::RequestContext;
use signet_core::mfa::recovery;
use signet_core::secret::SecretText;
use signet_store::{Factor, FactorDetail};

module! {
    /// Recovery codes and stock tokens, as a person takes them.
    pub struct OwnTokens {
        takes recovery_codes;
        calls own: OwnFactors, recovery: Recovery, token_stock: TokenStock;
    }
}

impl OwnTokens {
    /// Makes a person's recovery codes, which are shown this once.
    /// Errors: [`SelfServiceError`]; [`SelfServiceError::Input`] where there are some already.
    pub async fn make_own_recovery_codes(
        &self,
        live: &LiveSession,
        context: &RequestContext,
    ) -> Result<MadeCodes, SelfServiceError> {
        self.own.must_be_fresh(live, context).await?;
        if self.own.own_factors(live).await?.iter().any(is_own_set) {
            let text = "you have recovery codes already: remove those first, which makes them void";
            return Err(SelfServiceError::Input(text.to_owned()));
        }
        Ok(self.recovery.make_codes(&live.user, Some(&live.session), recovery::CODES, None, context).await?)
    }

    /// Gives a person a token of the stock, by a code that it shows. A YubiKey names itself; any other is named by its
    /// serial number.
    pub async fn take_own_token(
        &self,
        live: &LiveSession,
        serial: &str,
        code: &SecretText,
        label: &str,
        context: &RequestContext,
    ) -> Result<Factor, SelfServiceError> {
        self.own.must_be_fresh(live, context).await?;
        let label = Some(label).filter(|label| !label.is_empty());
        Ok(self.token_stock.assign_by_code(&live.user, Some(&live.session), serial, code, label, context).await?)
    }

    /// How many codes of one of the person's recovery factors are unspent; `None` for another kind of factor.
    pub async fn own_recovery_codes_left(&self, factor: &Factor) -> Result<Option<u32>, SelfServiceError> {
        let FactorDetail::Recovery(_) = factor.detail else { return Ok(None) };
        let left = self.recovery_codes.recovery_codes_left(&factor.tenant, &factor.id).await;
        Ok(Some(left?))
    }
}

/// A set of the person's own, not an operator's replacement for a lost token.
fn is_own_set(factor: &Factor) -> bool {
    matches!(factor.detail, FactorDetail::Recovery(_)) && factor.valid_until.is_none()
}
