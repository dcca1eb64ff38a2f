//! What is the process's: the HSM tokens, the key ring, resealing, checkpoints, custody and readiness.

use std::sync::Arc;

use crate::audit::checkpoint::Checkpoints;
use crate::audit::export::AuditReader;
use crate::backups::Backups;
use crate::custody::CustodyCheck;
use crate::custody::report::CustodyReports;
use crate::deployment_secret::DeploymentSecret;
use crate::hsm_logins::LoginAllowances;
use crate::hsm_membership::HsmMembership;
use crate::hsm_membership::initialise::Initialisation;
use crate::hsm_membership::intake::EnvelopeIntake;
use crate::hsm_membership::joining::NodeJoining;
use crate::hsm_membership::online_renewal::OnlineRenewal;
use crate::hsm_membership::renewal::SecretRenewal;
use crate::hsm_membership::reseal::Resealing;
use crate::issuer::{Issuer, Issuers};
use crate::key_ring::KeyRing;
use crate::nodes::NodeRegistry;
use crate::readiness::Readiness;
use crate::refused_rows::RefusedRows;
use crate::restoring::Restoring;
use crate::{
    AuditTrail, Base, Ledger, Members, Ports, ReadinessState, ResealState, Settings, SignatureAccounts, Signatures,
};
use signet_jose::clock::Timestamp;

/// One deployment as this process sees it, with its issuers.
pub struct Deployment {
    /// The issuers of its tenants.
    pub issuers: Issuers,
    /// What writes to the audit log.
    pub audit: Arc<AuditTrail>,
    /// What signs checkpoints of the audit log.
    pub checkpoints: Arc<Checkpoints>,
    /// What reads the audit log for those who ask for it.
    pub audit_reader: Arc<AuditReader>,
    /// How keys are made, take over and end.
    pub key_ring: KeyRing,
    /// Which HSM tokens belong to it.
    pub hsm_membership: Arc<HsmMembership>,
    /// Which machines serve it.
    pub nodes: Arc<NodeRegistry>,
    /// What allows logins at them after a PIN was refused.
    pub login_allowances: Arc<LoginAllowances>,
    /// What makes its first keys.
    pub initialisation: Arc<Initialisation>,
    /// What seals for each HSM token what it lacks.
    pub resealing: Arc<Resealing>,
    /// What opens the envelopes that come to its HSM tokens.
    pub intake: Arc<EnvelopeIntake>,
    /// What lets nodes in that have HSM tokens of their own.
    pub joining: Arc<NodeJoining>,
    /// Renews the deployment's secret.
    pub renewal: Arc<SecretRenewal>,
    /// Renews it while servers run.
    pub online_renewal: Arc<OnlineRenewal>,
    /// Where every key lies.
    pub custody: Arc<CustodyCheck>,
    /// What signs custody reports.
    pub custody_reports: Arc<CustodyReports>,
    /// What signs statements over backups.
    pub backups: Arc<Backups>,
    /// What tells of rows that do not verify.
    pub refused_rows: Arc<RefusedRows>,
    /// What ends again what had ended, after a restore.
    pub restoring: Arc<Restoring>,
    /// Whether each signature has its record.
    pub balance: Arc<SignatureAccounts>,
    /// Whether tokens can be issued now.
    pub readiness: Arc<Readiness>,
    ledger: Arc<Ledger>,
    secret: Arc<DeploymentSecret>,
    ports: Ports,
}

impl Deployment {
    /// Puts a deployment together. Nothing is read and no key is touched yet.
    pub fn new(settings: Settings, ports: Ports) -> Arc<Self> {
        let base = Base::new(settings, ports.clone());
        let (ledger, state) = (Arc::<Ledger>::default(), Arc::<ReadinessState>::default());
        let reseal_state = Arc::<ResealState>::default();
        let signatures = Signatures::new(&base, &ledger, &state);
        let members = Members::new(&base);
        let intake = EnvelopeIntake::new(&base, &members);
        let issuer = Issuer::new(&base, &signatures, &reseal_state, &intake);
        let key_ring = KeyRing::new(&base, &members, &signatures);
        let balance = SignatureAccounts::new(&base, &ledger);
        let initialisation = Initialisation::new(&base, &key_ring.maker, &issuer.settings_registry);
        let resealing = Resealing::new(&base, &issuer.sign_in.decoys, &members, &reseal_state);
        let hsm_membership = HsmMembership::new(&base, &initialisation, &resealing, &signatures);
        let joining = NodeJoining::new(&base, &initialisation, &hsm_membership, &signatures);
        let renewal = SecretRenewal::new(&base, &joining);
        let checkpoints = Checkpoints::new(&base, &balance, &signatures, &state);
        Arc::new(Self {
            audit_reader: AuditReader::new(&base, &checkpoints),
            checkpoints,
            online_renewal: OnlineRenewal::new(&base, &renewal),
            renewal,
            joining,
            hsm_membership,
            nodes: NodeRegistry::new(&base),
            login_allowances: LoginAllowances::new(&base),
            custody: CustodyCheck::new(&base, &balance),
            custody_reports: CustodyReports::new(&base, &signatures),
            backups: Backups::new(&base, &signatures),
            refused_rows: RefusedRows::new(&base),
            restoring: Restoring::new(&base, &key_ring.changes),
            readiness: Readiness::new(&base, &signatures, &key_ring.trials, &intake, &state),
            issuers: Issuers::new(issuer),
            audit: base.audit,
            secret: base.secret,
            key_ring,
            initialisation,
            resealing,
            intake,
            balance,
            ledger,
            ports,
        })
    }

    /// The issuer of the default tenant.
    pub fn issuer(&self) -> &Arc<Issuer> {
        self.issuers.default_issuer()
    }

    /// Opens the deployment's secret, without which no row is written that could get somebody a yes. Where no HSM token does that
    /// now, the first who needs it does.
    pub async fn open_secret(&self) {
        self.secret.prepare_deployment_secret().await;
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
