//! Which HSM tokens belong to the deployment now.

use signet_core::keys::HsmName;
use signet_store::StoreError;

module! {
    /// Which HSM tokens belong to the deployment now.
    pub struct Members {
        takes membership;
    }
}

impl Members {
    /// The HSM tokens that belong to the deployment, without those that were retired.
    pub async fn live_members(&self) -> Result<Vec<HsmName>, StoreError> {
        let members = self.membership.hsm_members().await?.into_iter();
        Ok(members.filter(|member| member.retired_at.is_none()).map(|member| member.name).collect())
    }
}
