//! The seals of a row, which are written and removed with it: one for each HSM token that opens the secret, or an envelope for one
//! that the node does not reach.

use super::engine::{Connection, Result, query};
use super::texts::texts;
use signet_core::keys::{Envelope, SealedCopies, TenantId};

texts! {
    ADD = "INSERT INTO seals (tenant, kind, row_id, hsm, blob) VALUES ($1, $2, $3, $4, $5)";
    ADD_ENVELOPE = "INSERT INTO envelopes (tenant, kind, row_id, hsm, envelope) VALUES ($1, $2, $3, $4, $5)";
    REMOVE = "DELETE FROM seals WHERE tenant = $1 AND kind = $2 AND row_id = $3";
    REMOVE_ENVELOPES = "DELETE FROM envelopes WHERE tenant = $1 AND kind = $2 AND row_id = $3";
    REMOVE_ENVELOPES_OF_FACTORS = "DELETE FROM envelopes WHERE tenant = $1 AND kind = $2
        AND row_id IN (SELECT id FROM factors WHERE tenant = $1 AND user_id = $3)";
    REMOVE_OF_FACTORS = "DELETE FROM seals WHERE tenant = $1 AND kind = $2
        AND row_id IN (SELECT id FROM factors WHERE tenant = $1 AND user_id = $3)";
}

/// A user's password.
pub(super) const PASSWORD: &str = "users.password";
/// A factor's secret.
pub(super) const FACTOR: &str = "factors.secret";
/// The deployment's secret, in a row for each generation of it.
pub(super) const DEPLOYMENT: &str = "deployment.secret";
/// The API key of a client of the validation protocol.
pub(super) const OTP_CLIENT: &str = "otp_clients.key";
/// The AES key of a Yubico OTP key that is no user's factor.
pub(super) const OTP_KEY: &str = "otp_keys.secret";

/// The secret of a token in the stock.
pub(super) const STOCK: &str = "stock.secret";

/// The row that a generation of the deployment's secret stands in: rows are in the order of generations.
pub(super) fn deployment_row(generation: u8) -> String {
    format!("{generation:03}")
}

/// Keeps the seals of a row that has none.
pub(super) async fn add(
    connection: &mut Connection,
    tenant: &TenantId,
    kind: &'static str,
    row_id: &str,
    seals: &SealedCopies,
) -> Result<()> {
    for (hsm, blob) in &seals.0 {
        let text = if Envelope::is_one(blob) { ADD_ENVELOPE } else { ADD };
        query(text).bind(tenant).bind(kind).bind(row_id).bind(hsm).bind(blob).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Removes the seals of a row.
pub(super) async fn remove(
    connection: &mut Connection,
    tenant: &TenantId,
    kind: &'static str,
    row_id: &str,
) -> Result<()> {
    for text in [REMOVE, REMOVE_ENVELOPES] {
        query(text).bind(tenant).bind(kind).bind(row_id).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Removes the seals of all factors of a user.
pub(super) async fn remove_of_factors(connection: &mut Connection, tenant: &TenantId, user: &str) -> Result<()> {
    for text in [REMOVE_OF_FACTORS, REMOVE_ENVELOPES_OF_FACTORS] {
        query(text).bind(tenant).bind(FACTOR).bind(user).execute(&mut *connection).await?;
    }
    Ok(())
}
