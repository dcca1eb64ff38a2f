//! What a role may that serves: read and write rows, and of the audit log add to it and read it. It makes and alters nothing.

use signet_store::StoreFailure;
use signet_store_sql::engine::{Result, Row, Statements as _, Text, Value};
use signet_store_sql::tables::{TABLES, Table};

use super::session::Session;

const FIND: &str = "SELECT CAST(rolsuper OR rolcreaterole OR rolbypassrls AS INT) AS is_mighty,
        CAST(pg_has_role(rolname, current_user, 'MEMBER') AS INT) AS is_owner
    FROM pg_roles WHERE rolname = $1";
const MAY_CREATE: &str = "SELECT CAST(has_schema_privilege($1, current_schema(), 'CREATE') AS INT) AS in_schema,
        CAST(has_database_privilege($1, current_database(), 'CREATE') AS INT) AS in_database,
        CAST(current_schema() AS TEXT) AS schema, CAST(current_database() AS TEXT) AS database";

/// Grants a role what it needs to serve, and takes from it whatever else it had of the tables.
/// Errors: [`StoreFailure::Refused`] where there is no such role, or where it could do more than serve, with what to do.
pub(crate) async fn grant_serving(session: &mut Session, role: &str) -> Result<()> {
    let refused = |text: String| Err(StoreFailure::Refused(text));
    let Some(found) = rows(session, FIND, role).await?.pop() else {
        return refused(format!("there is no role {role}: make it first (CREATE ROLE {role} LOGIN PASSWORD '...')"));
    };
    if found.try_get::<bool, _>("is_owner")? {
        return refused(format!(
            "the role {role} is the one that migrates, or a member of it, and may do all: name another one to serve"
        ));
    }
    if found.try_get::<bool, _>("is_mighty")? {
        return refused(format!(
            "the role {role} may do more than serve: ALTER ROLE {role} NOSUPERUSER NOCREATEROLE NOBYPASSRLS"
        ));
    }
    let quoted = quoted(role);
    for table in TABLES {
        run(session, format!("REVOKE ALL ON {} FROM {quoted}", table.name)).await?;
        run(session, format!("GRANT {} ON {} TO {quoted}", rights(table), table.name)).await?;
    }
    check_makes_nothing(session, role).await
}

/// What a serving role may do with a table.
fn rights(table: &Table) -> &'static str {
    match (table.is_for_owner(), table.is_append_only()) {
        (true, _) => "SELECT",
        (false, true) => "SELECT, INSERT",
        (false, false) => "SELECT, INSERT, UPDATE, DELETE",
    }
}

/// What everybody may, this role may too.
async fn check_makes_nothing(session: &mut Session, role: &str) -> Result<()> {
    let row = rows(session, MAY_CREATE, role).await?.pop().ok_or(StoreFailure::Corrupt("row"))?;
    let (schema, database): (String, String) = (row.try_get("schema")?, row.try_get("database")?);
    for (column, of) in [("in_schema", format!("SCHEMA {schema}")), ("in_database", format!("DATABASE {database}"))] {
        if row.try_get::<bool, _>(column)? {
            return Err(StoreFailure::Refused(format!(
                "the role {role} may make tables of its own: REVOKE CREATE ON {of} FROM PUBLIC, {role}, then try again"
            )));
        }
    }
    Ok(())
}

async fn rows(session: &mut Session, text: &'static str, role: &str) -> Result<Vec<Row>> {
    session.rows(&text.into(), vec![Value::Text(Some(role.to_owned()))]).await
}

async fn run(session: &mut Session, statement: String) -> Result<()> {
    session.change(&Text::Made(statement.into()), vec![]).await.map(drop)
}

/// A name as an identifier.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audit_records_are_added_and_read_alone() {
        let of = |name: &str| rights(TABLES.iter().find(|table| table.name == name).unwrap());
        assert_eq!(of("audit_records"), "SELECT, INSERT");
        assert_eq!(of("audit_checkpoints"), "SELECT, INSERT");
        assert_eq!(of("schema_migrations"), "SELECT");
        assert_eq!(of("users"), "SELECT, INSERT, UPDATE, DELETE");
    }

    #[test]
    fn a_name_stays_one_identifier() {
        assert_eq!(quoted("a\"; DROP TABLE users; --"), "\"a\"\"; DROP TABLE users; --\"");
    }
}
