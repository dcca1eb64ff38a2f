//! What is the process's: the HSM tokens, the key ring, resealing, checkpoints, custody and readiness.

use std::sync::Arc;

use crate::audit::AuditTrail;
use crate::audit::checkpoint::Checkpoints;
use crate::base::Base;
use crate::custody::CustodyCheck;
use crate::custody::balance::SignatureAccounts;
use crate::custody::ledger::Ledger;
use crate::custody::report::CustodyReports;
use crate::hashing::Hashing;
use crate::hsm_membership::HsmMembership;
use crate::hsm_membership::initialise::Initialisation;
use crate::hsm_membership::members::Members;
use crate::hsm_membership::reseal::{ResealState, Resealing};
use crate::issuer::{Issuer, Issuers};
use crate::key_ring::KeyRing;
use crate::key_ring::signatures::Signatures;
use crate::ports::Ports;
use crate::readiness::{Readiness, ReadinessState};
use crate::settings::Settings;
use signet_jose::clock::Timestamp;

/// One deployment as this process sees it, with its issuers.
pub struct Deployment {
    /// The issuers of its tenants.
    pub issuers: Issuers,
    /// What writes to the audit log.
    pub audit: Arc<AuditTrail>,
    /// What signs checkpoints of the audit log.
    pub checkpoints: Checkpoints,
    /// How keys are made, take over and end.
    pub key_ring: KeyRing,
    /// Which HSM tokens belong to it.
    pub hsm_membership: HsmMembership,
    /// What makes its first keys.
    pub initialisation: Arc<Initialisation>,
    /// What seals for each HSM token what it lacks.
    pub resealing: Arc<Resealing>,
    /// Where every key lies.
    pub custody: CustodyCheck,
    /// What signs custody reports.
    pub custody_reports: CustodyReports,
    /// Whether each signature has its record.
    pub balance: Arc<SignatureAccounts>,
    /// Whether tokens can be issued now.
    pub readiness: Readiness,
    ledger: Arc<Ledger>,
    ports: Ports,
}

impl Deployment {
    /// Puts a deployment together. Nothing is read and no key is touched yet.
    pub fn new(settings: Settings, ports: Ports) -> Arc<Self> {
        let hashing = Arc::new(Hashing::new(settings.password_concurrency));
        let base = Base::new(settings, ports.clone());
        let (ledger, state) = (Arc::<Ledger>::default(), Arc::<ReadinessState>::default());
        let reseal_state = Arc::<ResealState>::default();
        let signatures = Arc::new(Signatures::new(&base, &ledger, &state));
        let issuer = Issuer::new(&base, &hashing, &signatures, &reseal_state);
        let members = Arc::new(Members::new(&base));
        let key_ring = KeyRing::new(&base, &members, &signatures);
        let balance = Arc::new(SignatureAccounts::new(&base, &ledger));
        let initialisation = Arc::new(Initialisation::new(&base, &key_ring.maker));
        let resealing = Arc::new(Resealing::new(&base, &issuer.sign_in.decoys, &members, &reseal_state));
        Arc::new(Self {
            checkpoints: Checkpoints::new(&base, &balance, &signatures, &state),
            hsm_membership: HsmMembership::new(&base, &initialisation, &resealing, &signatures),
            custody: CustodyCheck::new(&base, &balance),
            custody_reports: CustodyReports::new(&base, &signatures),
            readiness: Readiness::new(&base, &signatures, &key_ring.trials, &state),
            issuers: Issuers::new(issuer),
            audit: base.audit,
            key_ring,
            initialisation,
            resealing,
            balance,
            ledger,
            ports,
        })
    }

    /// The issuer of the default tenant.
    pub fn issuer(&self) -> &Arc<Issuer> {
        self.issuers.default_issuer()
    }

    /// The adapters that it works with.
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// The time by which it decides.
    pub fn now(&self) -> Timestamp {
        self.ports.clock.now()
    }

    /// How many signatures of this process are under way, or perhaps have no record.
    pub fn unaccounted(&self) -> u64 {
        self.ledger.perhaps()
    }
}
