//! What guards each row of an authority table: whoever reads a row to change it holds these names, so that who holds them alone
//! changes it in nobody's way.

use crate::engine::{FromValue, Result, Value};
use crate::locks::{Name, Scope};
use crate::otp_validation::of_public_id;
use crate::seals;
use crate::tables::Table;
use signet_core::keys::TenantId;
use signet_store::{ClientId, FactorId, GrantId, SessionId, StoreFailure, UserId};

/// Adds to a scope what guards a row.
/// Errors: [`StoreFailure::Corrupt`] for a table that is none, or a row that is not one of it.
pub(super) fn guarding(scope: Scope, table: &Table, row: &[Value]) -> Result<Scope> {
    let tenant = || text::<String>(table, row, "tenant").map(TenantId::new);
    let id = |column| text::<&str>(table, row, column);
    Ok(match table.name {
        "users" => scope.and_alone(Name::User(&tenant()?, &UserId::new(id("id")?))),
        "role_requests" => scope.and_alone(Name::User(&tenant()?, &UserId::new(id("user_id")?))),
        "clients" => scope.and_alone(Name::Client(&tenant()?, &ClientId::new(id("id")?))),
        "factors" => scope.and_alone(Name::Factor(&tenant()?, &FactorId::new(id("id")?))),
        "recovery_codes" => scope.and_alone(Name::Factor(&tenant()?, &FactorId::new(id("factor_id")?))),
        "stock" => {
            let tenant = tenant()?;
            scope.and_shared(Name::Stock(&tenant)).and_alone(Name::Once(&tenant, "stock", id("id")?.as_bytes()))
        }
        "otp_clients" => {
            let number = text::<i64>(table, row, "id")?.to_string();
            scope.and_alone(Name::Once(&tenant()?, seals::OTP_CLIENT, number.as_bytes()))
        }
        "otp_keys" => scope.and_alone(of_public_id(&tenant()?, id("public_id")?)),
        "grants" => {
            let (tenant, client) = (tenant()?, ClientId::new(id("client_id")?));
            let user = UserId::new(text::<Option<&str>>(table, row, "user_id")?.unwrap_or_default());
            scope
                .and_shared(Name::User(&tenant, &user))
                .and_shared(Name::Client(&tenant, &client))
                .and_shared(Name::ManyGrants(&tenant))
                .and_alone(Name::Grant(&tenant, &GrantId::new(id("id")?)))
        }
        "refresh_tokens" => {
            let tenant = tenant()?;
            let grant = GrantId::new(id("grant_id")?);
            scope.and_shared(Name::ManyGrants(&tenant)).and_alone(Name::Grant(&tenant, &grant))
        }
        "sessions" => scope.and_alone(Name::Session(&tenant()?, &SessionId::new(id("id")?))),
        "keys" => scope.and_alone(Name::KeyRing),
        "revocations" => scope.and_alone(Name::Once(&tenant()?, "jti", id("jti")?.as_bytes())),
        "tries" => scope.and_alone(crate::tries::of_place(&tenant()?, id("place")?)),
        "settings" => scope.and_alone(crate::settings::of_tenant(&tenant()?)),
        "rules" => scope.and_alone(Name::Once(&TenantId::default_tenant(), "rule", id("name")?.as_bytes())),
        _ => return Err(StoreFailure::Corrupt("table")),
    })
}

fn text<'r, T: FromValue<'r>>(table: &Table, row: &'r [Value], name: &str) -> Result<T> {
    let place = table.columns.iter().position(|column| column.name == name);
    place.and_then(|place| row.get(place)).and_then(T::from_value).ok_or(StoreFailure::Corrupt("row"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::{Kind, TABLES};

    /// A table that is forgotten here would keep a renewal from ending.
    #[test]
    fn every_authority_table_has_its_guard() {
        for table in TABLES.iter().filter(|table| table.is_authority) {
            let row: Vec<Value> = table
                .columns
                .iter()
                .map(|column| match column.kind {
                    Kind::Number => Value::Number(Some(1)),
                    Kind::Text => Value::Text(Some("1".to_owned())),
                    Kind::Bytes => Value::Bytes(Some(vec![1])),
                })
                .collect();
            let guarded = guarding(Scope::free(), table, &row);
            assert!(guarded.is_ok_and(|scope| scope.locks.iter().any(|lock| lock.alone)), "{}", table.name);
        }
    }
}
