//! One tenant's issuer, and how it is found.

use std::sync::Arc;

use crate::allow_lists::AllowLists;
use crate::clients::registry::ClientRegistry;
use crate::factors::Factors;
use crate::given_roles::RoleApproval;
use crate::hsm_membership::intake::EnvelopeIntake;
use crate::idempotency::RequestsOnce;
use crate::ids::Ids;
use crate::issuing::Issuing;
use crate::issuing::introspection::Introspection;
use crate::issuing::refresh::Refreshing;
use crate::issuing::revocation::Revocation;
use crate::operators::tokens::OperatorTokens;
use crate::otp_validation::OtpValidation;
use crate::own_password::OwnPassword;
use crate::person_grants::PersonGrants;
use crate::sessions::BrowserSessions;
use crate::settings::registry::SettingsRegistry;
use crate::sign_in::matcher::CodeMatcher;
use crate::sign_in::piv::PivCards;
use crate::sign_in::security_keys::SecurityKeys;
use crate::{
    Accounts, Base, ClientAuthenticator, Decoys, Directory, FactorProofs, FourEyes, GivenRoles, OperatorRights,
    ResealState, Settings, SignIn, Signatures, SignedState, TokenMaker, Tries,
};

/// What is one tenant's: its settings, users, clients, factors, sessions and tokens.
pub struct Issuer {
    /// The settings.
    pub settings: Arc<Settings>,
    /// The settings, as operators state them.
    pub settings_registry: Arc<SettingsRegistry>,
    /// What is known of the tenant's keys and clients.
    pub directory: Arc<Directory>,
    /// The users.
    pub accounts: Arc<Accounts>,
    /// The OAuth clients.
    pub clients: Arc<ClientRegistry>,
    /// From where the tenant may be asked.
    pub allow_lists: Arc<AllowLists>,
    /// Who a client is.
    pub client_authenticator: Arc<ClientAuthenticator>,
    /// Who a person is.
    pub sign_in: Arc<SignIn>,
    /// The sessions of browsers.
    pub sessions: Arc<BrowserSessions>,
    /// What gives roles that wait for another person.
    pub role_approval: Arc<RoleApproval>,
    /// What clients may have of people.
    pub person_grants: Arc<PersonGrants>,
    /// The factors.
    pub factors: Factors,
    /// A person's own password.
    pub own_password: Arc<OwnPassword>,
    /// The four-eyes rule.
    pub four_eyes: Arc<FourEyes>,
    /// What tokens are worth at the admin API.
    pub operator_tokens: Arc<OperatorTokens>,
    /// What tells a repeated request.
    pub requests_once: Arc<RequestsOnce>,
    /// The tokens.
    pub issuing: Arc<Issuing>,
    /// The validation server for Yubico OTPs.
    pub otp_validation: OtpValidation,
    /// Ids for requests.
    pub ids: Arc<Ids>,
}

impl Issuer {
    pub(crate) fn new(
        base: &Base,
        signatures: &Arc<Signatures>,
        resealing: &Arc<ResealState>,
        intake: &Arc<EnvelopeIntake>,
    ) -> Self {
        let (rights, four_eyes) = (OperatorRights::new(base), FourEyes::new(base));
        let given_roles = GivenRoles::new(base, &four_eyes);
        let tries = Tries::new(base);
        let accounts = Accounts::new(base, &given_roles, &rights, &tries);
        let client_authenticator = ClientAuthenticator::new(base);
        let signed_state = SignedState::new(base);
        let (piv, proofs) = (PivCards::new(base), FactorProofs::new(base));
        let security_keys = SecurityKeys::new(base, &proofs, &signed_state);
        let (decoys, matcher) = (Decoys::new(base, resealing, intake), CodeMatcher::new(base, &piv));
        let sign_in = SignIn::new(base, &piv, &security_keys, &tries, &decoys, &matcher, &proofs);
        let (introspection, revocation) = (Introspection::new(base), Revocation::new(base));
        let maker = TokenMaker::new(base, signatures);
        let refreshing = Refreshing::new(base, &client_authenticator, &maker);
        let issuing =
            Issuing::new(base, &introspection, &revocation, &client_authenticator, &refreshing, &sign_in, &maker);
        let factors = Factors::new(base, &rights, &four_eyes, &accounts, &sign_in, &signed_state);
        Self {
            settings: base.settings.clone(),
            settings_registry: SettingsRegistry::new(base, &rights, &four_eyes),
            directory: base.directory.clone(),
            clients: ClientRegistry::new(base, &rights),
            sessions: BrowserSessions::new(base, &sign_in, &rights),
            otp_validation: OtpValidation::new(base, &factors.lifecycle, &rights, &sign_in.decoys),
            own_password: OwnPassword::new(base, &factors.own, &accounts),
            role_approval: RoleApproval::new(base, &accounts, &rights),
            person_grants: PersonGrants::new(base, &accounts, &rights),
            ids: base.ids.clone(),
            four_eyes,
            requests_once: RequestsOnce::new(base),
            operator_tokens: OperatorTokens::new(base, &maker),
            allow_lists: AllowLists::new(base),
            accounts,
            client_authenticator,
            sign_in,
            factors,
            issuing,
        }
    }
}

/// Finds the issuer of a request. Today there is one.
pub struct Issuers {
    default: Arc<Issuer>,
}

impl Issuers {
    pub(crate) fn new(default: Issuer) -> Self {
        Self { default: Arc::new(default) }
    }

    /// The issuer of the default tenant.
    pub fn default_issuer(&self) -> &Arc<Issuer> {
        &self.default
    }
}
