use super::*;
use crate::mfa::webauthn::RelyingParty;

fn judge_for(url: &str, document: serde_json::Value) -> Result<TenantSettings, String> {
    let document: SettingsDocument = serde_json::from_value(document).map_err(|error| error.to_string())?;
    TenantSettings::judge(&document, &Url::parse(url).unwrap()).map_err(|fault| fault.to_string())
}

fn judge(document: serde_json::Value) -> Result<TenantSettings, String> {
    judge_for("https://id.example.org/sso", document)
}

use serde_json::json;

#[test]
fn what_is_not_stated_is_as_by_default_and_told_in_its_one_form() {
    let settings = judge(json!({"tokens": {"access_lifetime": "600s"}, "keys": {"rotate_every": "never"}})).unwrap();
    assert_eq!((settings.access_lifetime, settings.keys.rotate_every), (10 * MINUTE, None));
    let told = serde_json::to_value(&settings.document).unwrap();
    assert_eq!(
        told["tokens"],
        json!({"algorithm": "ES256", "access_lifetime": "10m", "refresh_lifetime": "30d",
        "refresh_retry_window": "10s"})
    );
    assert_eq!(told["keys"]["rotate_every"], "never");
    assert_eq!(told["roles"], "claims_only");
    assert!(settings.webauthn.is_some() && told["mfa"].get("webauthn").is_none(), "it follows the URL");
    let again = TenantSettings::judge(&settings.document, &Url::parse("https://id.example.org/sso").unwrap()).unwrap();
    assert_eq!(again.document, settings.document, "the one form stays");
}

#[test]
fn what_can_not_be_is_refused_by_its_name_and_never_by_its_value() {
    for (document, expected) in [
        (json!({"tokens": {"access_lifetime": "9s"}}), "`tokens.access_lifetime`: a duration from \"10s\" to \"1d\""),
        (json!({"tokens": {"refresh_retry_window": "61s"}}), "from \"0s\" to \"1m\""),
        (json!({"tokens": {"algorithm": "s3cret"}}), "`tokens.algorithm`: one of ES256"),
        (json!({"keys": {"publish_ahead": "4m"}}), "`keys.publish_ahead`: a key must be published for at least 310s"),
        (json!({"keys": {"rotate_every": "30m"}}), "`keys.rotate_every`: a key can't sign for less"),
        (json!({"keys": {"rotate_every": "s3cret"}}), "`keys.rotate_every`"),
        (json!({"mfa": {"tries": 11}}), "`mfa.tries`: an integer from 1 to 10"),
        (json!({"mfa": {"user_names": "any"}}), "`mfa.user_names`: one of case_mapped, case_mapped_with_blanks"),
        (json!({"mfa": {"tries": 0}}), "`mfa.tries`: an integer from 1 to 10"),
        (json!({"mfa": {"pause": "10m"}}), "six minutes for each"),
        (json!({"mfa": {"issuer_name": "s3cret:b"}}), "without a colon"),
        (json!({"mfa": {"piv": {"require_attestation": true}}}), "it needs `mfa.piv.attestation_roots`"),
        (json!({"mfa": {"piv": {"roots": ["s3cret"]}}}), "`mfa.piv.roots`"),
        (json!({"roles": {"reader": ["re ad"]}}), "RFC 6749 §3.3"),
        (json!({"roles": {"a b": ["read"]}}), "role's name"),
        (json!({"roles": {"ops": ["admin:everything"]}}), "there is no scope"),
        (json!({"policy": {"require": ["s3cret"]}}), "`policy.require`: an acr"),
        (json!({"policy": {"scopes": {"pay": ["s3cret"]}}}), "`policy.scopes.pay`"),
        (json!({"mfa": {"webauthn": {"attestation": "direct"}}}), "`mfa.webauthn.attestation`"),
        (json!({"mfa": {"webauthn": {"attestation": "required"}}}), "`mfa.webauthn.trusted_roots`: a PEM bundle"),
        (json!({"mfa": {"webauthn": {"trusted_roots": "s3cret"}}}), "with `attestation = \"required\"` alone"),
        (json!({"mfa": {"webauthn": {"aaguids": ["s3cret"]}}}), "with `attestation = \"required\"` alone"),
        (json!({"colours": {}}), "unknown field `colours`"),
        (json!({"tokens": {"lifetime": "5m"}}), "unknown field `lifetime`"),
    ] {
        let told = judge(document.clone()).unwrap_err();
        assert!(told.contains(expected), "{document}: {told}");
        assert!(!told.contains("s3cret"), "{document}: {told}");
    }
}

#[test]
fn keys_are_bound_to_the_issuers_host_or_a_domain_above_it() {
    let party = |url: &str, words: serde_json::Value| {
        let settings = judge_for(url, json!({"mfa": {"webauthn": words}}))?;
        let words = settings.document.mfa.and_then(|mfa| mfa.webauthn).unwrap();
        Ok::<_, String>((words.rp_id.unwrap(), words.origins))
    };
    let own = |rp_id: &str, origin: &str| Ok((rp_id.to_owned(), vec![origin.to_owned()]));
    assert_eq!(party("https://id.example.org/sso", json!({})), own("id.example.org", "https://id.example.org"));
    assert_eq!(party("http://localhost:8080", json!({})), own("localhost", "http://localhost:8080"));
    let above = party("https://id.example.org", json!({"rp_id": "example.org"}));
    assert_eq!(above, own("example.org", "https://id.example.org"));
    let of_address: Option<Arc<RelyingParty>> = judge_for("http://127.0.0.1:8080", json!({})).unwrap().webauthn;
    assert!(of_address.is_none(), "no key is bound to an address");
    for words in [
        json!({"rp_id": "example.com"}),
        json!({"rp_id": "id.example.org", "origins": ["https://other.example.org"]}),
        json!({"origins": ["http://id.example.org"]}),
        json!({"origins": ["id.example.org"]}),
    ] {
        assert!(party("https://id.example.org", words.clone()).is_err(), "{words}");
    }
    assert!(party("http://127.0.0.1:8080", json!({"attestation": "none"})).is_err());
}

#[test]
fn a_stated_section_replaces_one_whole_and_leaves_the_others() {
    let read = |document| serde_json::from_value::<SettingsDocument>(document).unwrap();
    let before =
        read(json!({"tokens": {"access_lifetime": "10m", "algorithm": "RS256"}, "roles": {"clerk": ["read"]}}));
    let after = before.with(read(json!({"tokens": {"access_lifetime": "20m"}})));
    assert_eq!(after, read(json!({"tokens": {"access_lifetime": "20m"}, "roles": {"clerk": ["read"]}})));
    assert!(read(json!({})).is_empty() && !after.is_empty());
}
