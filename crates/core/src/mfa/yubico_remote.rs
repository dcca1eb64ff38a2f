//! A Yubico OTP whose key another validation server has: its answer is judged in [`yubico_validation`](super::yubico_validation).

use serde::{Deserialize, Serialize};

use super::Spending;
use super::kind::{FactorRules, Facts};

/// A Yubico OTP factor whose key another validation server has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct YubicoRemoteState {
    /// The public id in modhex, unique in the tenant.
    pub public_id: String,
    /// The last accepted `useCtr << 8 | sessionUse`; only greater ones count. -1 before the first. Kept beside the rest,
    /// in a column of its own.
    #[serde(skip)]
    pub last_counter: i64,
}

impl FactorRules for YubicoRemoteState {
    fn handle(&self) -> Option<&str> {
        Some(&self.public_id)
    }

    fn facts(&self) -> Facts<'_> {
        Facts { public_id: Some(&self.public_id), ..Facts::default() }
    }

    fn counter(&self) -> Option<i64> {
        Some(self.last_counter)
    }

    fn set_counter(&mut self, counter: i64) {
        self.last_counter = counter;
    }

    fn raising(&self, counter: i64) -> Option<Spending> {
        Some(Spending::Counter(counter))
    }
}
