//! One tenant's issuer, and how it is found.

use std::sync::Arc;

use crate::accounts::Accounts;
use crate::base::Base;
use crate::clients::authentication::ClientAuthenticator;
use crate::clients::registry::ClientRegistry;
use crate::directory::Directory;
use crate::factors::Factors;
use crate::hashing::Hashing;
use crate::hsm_membership::reseal::ResealState;
use crate::ids::Ids;
use crate::issuing::Issuing;
use crate::key_ring::signatures::Signatures;
use crate::otp_validation::OtpValidation;
use crate::sessions::BrowserSessions;
use crate::settings::Settings;
use crate::sign_in::SignIn;
use crate::signed_state::SignedState;

/// What is one tenant's: its settings, users, clients, factors, sessions and tokens.
pub struct Issuer {
    /// The settings.
    pub settings: Arc<Settings>,
    /// What is known of the tenant's keys and clients.
    pub directory: Arc<Directory>,
    /// The users.
    pub accounts: Arc<Accounts>,
    /// The OAuth clients.
    pub clients: ClientRegistry,
    /// Who a client is.
    pub client_authenticator: Arc<ClientAuthenticator>,
    /// Who a person is.
    pub sign_in: Arc<SignIn>,
    /// The sessions of browsers.
    pub sessions: BrowserSessions,
    /// The factors.
    pub factors: Factors,
    /// The tokens.
    pub issuing: Issuing,
    /// The validation server for Yubico OTPs.
    pub otp_validation: OtpValidation,
    /// Ids for requests.
    pub ids: Ids,
}

impl Issuer {
    pub(crate) fn new(
        base: &Base,
        hashing: &Arc<Hashing>,
        signatures: &Arc<Signatures>,
        resealing: &Arc<ResealState>,
    ) -> Self {
        let accounts = Arc::new(Accounts::new(base));
        let client_authenticator = Arc::new(ClientAuthenticator::new(base));
        let signed_state = Arc::new(SignedState::new(base));
        let sign_in = Arc::new(SignIn::new(base, hashing, resealing, &signed_state));
        let factors = Factors::new(base, &accounts, &sign_in, &signed_state);
        Self {
            settings: base.settings.clone(),
            directory: base.directory.clone(),
            clients: ClientRegistry::new(base),
            sessions: BrowserSessions::new(base, &sign_in),
            issuing: Issuing::new(base, &client_authenticator, &sign_in, signatures),
            otp_validation: OtpValidation::new(base, &factors.lifecycle, &sign_in.decoys),
            ids: Ids::new(&base.ports),
            accounts,
            client_authenticator,
            sign_in,
            factors,
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
