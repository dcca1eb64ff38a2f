//! Factors: how they come, change and go, by an operator's hand and by their owner's.

pub mod enrolment;
pub mod lifecycle;
pub mod own;
pub mod own_keys;
pub mod own_tokens;
pub mod recovery;
pub mod resync;
pub mod stock;
pub mod stock_import;

use std::sync::Arc;

use self::own_keys::OwnKeys;
use self::own_tokens::OwnTokens;
use self::recovery::Recovery;
use self::resync::Resynchronisation;
use self::stock::TokenStock;
use self::stock_import::StockImport;
use crate::{Accounts, Base, FactorLifecycle, FactorMaker, FourEyes, OperatorRights, OwnFactors, SignIn, SignedState};

/// The factors of a tenant's users.
pub struct Factors {
    /// Makes them.
    pub enrolment: Arc<FactorMaker>,
    /// What operators do with them.
    pub lifecycle: Arc<FactorLifecycle>,
    /// Recovery codes and replacements.
    pub recovery: Arc<Recovery>,
    /// Hardware tokens that nobody has yet.
    pub stock: Arc<TokenStock>,
    /// Takes files of tokens into the stock.
    pub stock_import: Arc<StockImport>,
    /// Finds tokens again that are out of step.
    pub resync: Arc<Resynchronisation>,
    /// What a person changes of their own.
    pub own: Arc<OwnFactors>,
    /// Recovery codes and stock tokens, as a person takes them.
    pub own_tokens: Arc<OwnTokens>,
    /// Security keys, as a person enrols them.
    pub own_keys: Arc<OwnKeys>,
}

impl Factors {
    pub(crate) fn new(
        base: &Base,
        rights: &Arc<OperatorRights>,
        four_eyes: &Arc<FourEyes>,
        accounts: &Arc<Accounts>,
        sign_in: &Arc<SignIn>,
        signed_state: &Arc<SignedState>,
    ) -> Self {
        let enrolment = FactorMaker::new(base, accounts, four_eyes, rights);
        let lifecycle = FactorLifecycle::new(base, accounts, four_eyes, rights, &sign_in.tries);
        let recovery = Recovery::new(base, accounts, &enrolment, &lifecycle);
        let (matcher, proofs) = (&sign_in.matcher, &sign_in.proofs);
        let stock = TokenStock::new(base, accounts, &sign_in.decoys, matcher, &enrolment, &sign_in.tries);
        let own = OwnFactors::new(base, matcher, &enrolment, &lifecycle, proofs, signed_state, &sign_in.tries);
        Self {
            stock_import: StockImport::new(base),
            resync: Resynchronisation::new(base, rights),
            own_tokens: OwnTokens::new(base, &own, &recovery, &stock),
            own_keys: OwnKeys::new(base, &enrolment, &own, &sign_in.security_keys, signed_state),
            enrolment,
            lifecycle,
            recovery,
            stock,
            own,
        }
    }
}
