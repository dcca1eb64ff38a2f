//! What a sign-in reads of whom it names. Where that is nobody, or the user has few factors, other rows stand in for what
//! is missing, are read in its place after as many look-ups, and are thrown away.

use async_trait::async_trait;

use super::SqlStore;
use super::authority::{each_of, rows, selections};
use super::engine::Result;
use super::factors::{factors_of, select_factors};
use super::users::{select_users, users_of};
use signet_core::keys::TenantId;
use signet_core::user_name::compared_name;
use signet_store::{Candidates, Factor, StoreError, User, UserId};

selections! {
    USER = concat!(
        select_users!("{users u ?}", "users"),
        " WHERE u.tenant = $1 AND u.compared_name = $2
        UNION ALL
        SELECT '', COALESCE(n.id, '00000000-0000-7000-8000-000000000000'), $2, $2, '[\"nobody\"]', 1, 0, 0, 1, 0, $4, h.name,
            COALESCE(s.blob, $3)
        FROM hsm_tokens h LEFT JOIN users n ON n.tenant = '' AND n.id = 'nobody'
            LEFT JOIN seals s ON s.tenant = '' AND s.kind = 'users.password' AND s.row_id = 'nobody' AND s.hsm = h.name
        WHERE h.retired_at IS NULL AND NOT EXISTS (SELECT 1 FROM users WHERE tenant = $1 AND compared_name = $2)
        ORDER BY 12"
    );
    FACTORS = concat!(
        select_factors!("{factors f ?}"),
        " WHERE f.tenant = $1 AND f.user_id = $2
        UNION ALL
        SELECT '', p.id, '', 'none', 'totp', 0, NULL, 'SHA1', 6, 30, 0, 0, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
            'disabled', NULL, NULL, 1, 0, $4, h.name, COALESCE(s.blob, $3)
        FROM (SELECT 1 AS number, 'none-1' AS id UNION ALL SELECT 2, 'none-2' UNION ALL SELECT 3, 'none-3'
            UNION ALL SELECT 4, 'none-4' UNION ALL SELECT 5, 'none-5' UNION ALL SELECT 6, 'none-6'
            UNION ALL SELECT 7, 'none-7' UNION ALL SELECT 8, 'none-8') p
        INNER JOIN hsm_tokens h ON h.retired_at IS NULL
        LEFT JOIN seals s ON s.tenant = '' AND s.kind = 'factors.secret' AND s.row_id = p.id AND s.hsm = h.name
        WHERE p.number > (SELECT COUNT(*) FROM factors WHERE tenant = $1 AND user_id = $2)
        ORDER BY 6, 2, 27"
    );
}

/// What stands in for a sealed password hash, and as long.
const NOBODYS_PASSWORD: &[u8] = &[0; 136];
/// What stands in for a row's MAC, and as long.
const NOBODYS_MAC: &[u8] = &[0; 32];
/// What stands in for a wrapped secret, and about as long.
const NOBODYS_SECRET: &[u8] = &[0; 80];

/// Whether a row is a stand-in: no tenant is empty.
fn is_nobodys(tenant: &TenantId) -> bool {
    tenant.as_str().is_empty()
}

#[async_trait]
impl Candidates for SqlStore {
    async fn sign_in_candidate(&self, tenant: &TenantId, name: &str) -> Result<Option<User>, StoreError> {
        let query = rows(&USER).bind(tenant).bind(compared_name(name)).bind(NOBODYS_PASSWORD).bind(NOBODYS_MAC);
        let users = self.read("find who signs in", query, users_of).await?;
        Ok(users.into_iter().find(|user| !is_nobodys(&user.tenant)))
    }

    async fn factors_of_candidate(&self, tenant: &TenantId, user: &UserId) -> Result<Vec<Factor>, StoreError> {
        let query = each_of(&FACTORS).bind(tenant).bind(user).bind(NOBODYS_SECRET).bind(NOBODYS_MAC);
        let mut factors = self.read("list the factors of who signs in", query, factors_of).await?;
        factors.retain(|factor| !is_nobodys(&factor.tenant));
        Ok(factors)
    }
}
