//! Which row each sealed secret is bound to: one that is moved to another row does not open.

use signet_core::keys::{RowBinding, TenantId};
use signet_store::{Factor, FactorId, SecretAtRest, SecretOwner, StockId, UserId};

/// The row that a user's password hash is sealed for.
pub(crate) fn password_row(tenant: &TenantId, user: &UserId) -> RowBinding {
    RowBinding::new(tenant, "user", user.as_str(), "password")
}

/// The row that a factor's secret is wrapped for.
pub(crate) fn factor_row(tenant: &TenantId, factor: &FactorId, user: &UserId) -> RowBinding {
    // Bound to its user, too: a factor that is given to another user in the database does not open.
    RowBinding::new(tenant, "factor", &format!("{factor}/{user}"), "secret")
}

/// The row that the secret of a token in the stock is wrapped for.
pub(crate) fn stock_row(tenant: &TenantId, id: &StockId) -> RowBinding {
    RowBinding::new(tenant, "stock", id.as_str(), "secret")
}

/// The row that a client's API key is wrapped for.
pub(crate) fn client_row(tenant: &TenantId, id: impl std::fmt::Display) -> RowBinding {
    RowBinding::new(tenant, "otp_client", &id.to_string(), "key")
}

/// The row that a key's secret is wrapped for.
pub(crate) fn key_row(tenant: &TenantId, public_id: &str) -> RowBinding {
    RowBinding::new(tenant, "otp_key", public_id, "secret")
}

/// The row that a decoy factor's secret is wrapped for.
pub(crate) fn decoy_row(tenant: &TenantId, column: &str) -> RowBinding {
    RowBinding::new(tenant, "decoy", "decoy", column)
}

/// The row that a generation of the deployment's secret is sealed for.
pub(crate) fn deployment_row(generation: u8) -> RowBinding {
    RowBinding::of_generation(generation)
}

/// The row that a factor's secret is wrapped for.
pub(crate) fn row_of_factor(factor: &Factor) -> RowBinding {
    factor_row(&factor.tenant, &factor.id, &factor.user)
}

/// The row that a secret is sealed for.
pub(crate) fn row_of_secret(secret: &SecretAtRest) -> RowBinding {
    match &secret.owner {
        SecretOwner::Deployment(generation) => deployment_row(*generation),
        SecretOwner::Password(user) => password_row(&secret.tenant, user),
        SecretOwner::Factor(factor, user) => factor_row(&secret.tenant, factor, user),
        SecretOwner::Stock(id) => stock_row(&secret.tenant, id),
        SecretOwner::OtpClient(id) => client_row(&secret.tenant, id),
        SecretOwner::OtpKey(public_id) => key_row(&secret.tenant, public_id),
    }
}
