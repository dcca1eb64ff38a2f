//! `signet audit verify --store`.

use crate::support::application::{ALL_GRANTS, Application};

#[test]
fn audit_verify_store_names_the_rows_that_were_written_past_signet() {
    let deployment = Application::new("");
    deployment.add_client("app", ALL_GRANTS, "read write");
    let ann = deployment.add_user("ann", "reader");
    deployment.add_totp(&ann, &[]);
    let intact = deployment.json(&["audit", "verify", "--store"]);
    assert_eq!(intact["intact"], true);
    let rows = |checked: &serde_json::Value, name: &str| {
        let tables = checked["tables"].as_array().unwrap();
        tables.iter().find(|table| table["table"] == name).map(|table| (table["rows"].clone(), table["forged"].clone()))
    };
    for name in ["users", "clients", "factors"] {
        assert_eq!(rows(&intact, name), Some((1.into(), 0.into())), "{name}");
    }
    deployment.sql("UPDATE users SET roles = '[\"admin\"]'; UPDATE factors SET state = 'disabled'");
    let found = deployment.run(&["--json", "audit", "verify", "--store"]);
    assert_eq!(found.code, Some(1), "{}", found.stderr);
    let checked: serde_json::Value = serde_json::from_str(&found.stdout).unwrap();
    assert_eq!((&checked["intact"], rows(&checked, "users")), (&false.into(), Some((1.into(), 1.into()))));
    let told = deployment.run(&["audit", "verify", "--store"]).stdout;
    assert!(told.contains(&format!("users default {}", ann.id)) && told.contains("factors default "), "{told}");
    assert!(!told.contains("admin") && !told.contains("disabled"), "what stands in them is not told: {told}");
    // The chain of records is intact: nobody wrote to that.
    deployment.json(&["audit", "verify"]);
}
