//! Roles and scopes that are perhaps misspelt: taken as they are, and told.

use std::collections::BTreeSet;

use signet_core::oauth::RoleScopes;

/// How many letters may differ in what was perhaps meant.
const FAR: usize = 2;

/// Of roles that a user is given, those that the configuration grants nothing to.
pub(super) fn on_roles(roles: &BTreeSet<String>, known: &RoleScopes) -> Vec<String> {
    if !known.limits() {
        return Vec::new();
    }
    let names: Vec<&str> = known.roles().collect();
    let unknown = roles.iter().filter(|role| !names.contains(&role.as_str()));
    let told = |role: &String| {
        let meant = meant(role, names.iter().copied());
        format!("the role `{role}` is none of those that are set (`signet export`), and grants nothing{meant}")
    };
    unknown.map(told).collect()
}

/// Of scopes that a client may ask for, those that no role grants: people get nothing of them. An operator's client may ask for all of
/// the deployment's, whoever has them.
pub(super) fn on_scopes<'s>(scopes: impl Iterator<Item = &'s str>, known: &RoleScopes) -> Vec<String> {
    if !known.limits() {
        return Vec::new();
    }
    let names = known.known();
    let told = |scope: &str| {
        let meant = meant(scope, names.iter().map(String::as_str));
        format!("no role grants the scope `{scope}`, so that no person gets it{meant}")
    };
    let scopes = scopes.filter(|scope| !scope.is_empty() && !scope.starts_with("admin:"));
    scopes.filter(|scope| names.iter().all(|name| name != scope)).map(told).collect()
}

fn meant<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> String {
    let near = known.map(|known| (strsim::damerau_levenshtein(name, known), known)).min();
    match near {
        Some((far, known)) if far <= FAR => format!("; did you mean `{known}`?"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signet_core::oauth::Scopes;

    #[test]
    fn what_is_perhaps_misspelt_is_told_with_what_was_perhaps_meant() {
        let scopes = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Scopes>();
        let known = RoleScopes::granting([("reader".to_owned(), scopes(&["read"]))].into());
        let roles = scopes(&["raeder", "reader", "chief"]);
        let told = on_roles(&roles, &known);
        assert_eq!(told.len(), 2);
        assert!(told[0].contains("`chief`") && !told[0].contains("did you mean"), "{told:?}");
        assert!(told[1].contains("`raeder`") && told[1].ends_with("did you mean `reader`?"), "{told:?}");
        assert_eq!(on_scopes(["read", "raed", "admin:users"].into_iter(), &known).len(), 1);
        assert!(on_roles(&roles, &RoleScopes::claims_only()).is_empty());
    }
}
