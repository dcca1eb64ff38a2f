//! The keys that sign: how they are made, take over, retire and end, and how each signature is asked for and checked.

pub mod key_maker;
pub mod revocation;
pub mod rotation;
pub mod signatures;
pub mod trials;

use std::sync::Arc;

use self::revocation::KeyRevocation;
use self::rotation::Rotation;
use self::trials::Trials;
use crate::{Base, KeyChanges, KeyMaker, Members, Signatures};

/// What makes, changes and ends signing keys.
pub struct KeyRing {
    /// Has the HSM sign.
    pub signatures: Arc<Signatures>,
    /// Makes keys.
    pub maker: Arc<KeyMaker>,
    /// Does the steps of a rotation.
    pub changes: Arc<KeyChanges>,
    /// Revokes keys.
    pub revocation: Arc<KeyRevocation>,
    /// Looks after the ring as time goes by.
    pub rotation: Arc<Rotation>,
    /// Tries suspended HSM tokens.
    pub trials: Arc<Trials>,
    /// Which HSM tokens belong to the deployment.
    pub members: Arc<Members>,
}

impl KeyRing {
    pub(crate) fn new(base: &Base, members: &Arc<Members>, signatures: &Arc<Signatures>) -> Self {
        let maker = KeyMaker::new(base, members);
        let changes = KeyChanges::new(base, &maker, signatures);
        Self {
            revocation: KeyRevocation::new(base, &changes, &maker, members),
            rotation: Rotation::new(base, members, &changes, &maker),
            trials: Trials::new(base, signatures),
            signatures: signatures.clone(),
            members: members.clone(),
            maker,
            changes,
        }
    }
}
