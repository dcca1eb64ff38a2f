//! `[mfa.webauthn]`: what security keys know this deployment as, and which of them may be enrolled.

use std::path::PathBuf;

use url::Url;
use webauthn_rs::prelude::Uuid;

use super::ConfigError;
use super::section::Section;
use super::server::PublicUrl;
use signet_core::mfa::webauthn::RelyingParty;

pub(super) const KEYS: &[&str] = &["rp_id", "origins", "attestation", "aaguids", "trusted_roots"];

/// `[mfa.webauthn]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebAuthnConfig {
    /// `rp_id`: the domain that keys are bound to.
    pub rp_id: String,
    /// `origins`: where the pages are.
    pub origins: Vec<Url>,
    /// `attestation`, `aaguids` and `trusted_roots`: what a key must prove of its make; `None` where nothing.
    pub attestation: Option<AttestationConfig>,
}

/// What a key must prove of its make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestationConfig {
    /// `aaguids`: the models that are allowed; all that the roots vouch for where it is empty.
    pub models: Vec<Uuid>,
    /// `trusted_roots`: a PEM bundle, or the JSON payload of a FIDO metadata BLOB.
    pub trusted_roots: PathBuf,
}

impl WebAuthnConfig {
    /// Without the section it is the host of the public URL; `None` where that is an IP address, which no key is bound to.
    pub(super) fn default_of(public_url: &PublicUrl) -> Option<Self> {
        let rp_id = public_url.url().domain()?.to_owned();
        Some(Self { rp_id, origins: vec![origin_of(public_url.url())?], attestation: None })
    }

    pub(super) fn read(section: &Section<'_>, public_url: &PublicUrl) -> Result<Self, ConfigError> {
        let default = Self::default_of(public_url);
        let expected = "the domain that keys are bound to, e.g. \"example.org\"";
        let rp_id = section.text("rp_id", expected)?.or_else(|| Some(default.as_ref()?.rp_id.clone()));
        let rp_id = section.required("rp_id", rp_id, expected)?;
        let expected = "a list of origins, e.g. [\"https://id.example.org\"],";
        let mut origins = section.texts("origins", expected, |text| origin_of(&Url::parse(text).ok()?))?;
        if origins.is_empty() {
            origins.extend(origin_of(public_url.url()));
        }
        if RelyingParty::new(&rp_id, &rp_id, &origins, None).is_err() {
            let problem = "it must be the host of each of `mfa.webauthn.origins`, or a domain that the host is in";
            return Err(section.unusable("rp_id", problem));
        }
        Ok(Self { rp_id, origins, attestation: AttestationConfig::read(section)? })
    }
}

impl AttestationConfig {
    fn read(section: &Section<'_>) -> Result<Option<Self>, ConfigError> {
        let is_required = section.word("attestation", &[("none", false), ("required", true)], false)?;
        let expected = "a list of AAGUIDs, e.g. [\"cb69481e-8ff7-4039-93ec-0a2729a154a8\"],";
        let models = section.texts("aaguids", expected, |text| Uuid::parse_str(text).ok())?;
        let file = "a PEM bundle of the makers' roots, or the JSON payload of a FIDO metadata BLOB";
        let roots = section.path("trusted_roots", file)?;
        if is_required {
            return Ok(Some(Self { models, trusted_roots: section.required("trusted_roots", roots, file)? }));
        }
        for (key, is_set) in [("aaguids", !models.is_empty()), ("trusted_roots", roots.is_some())] {
            if is_set {
                // A list that nothing is held against would look like a protection.
                return Err(section.unusable(key, "it means something with `attestation = \"required\"` alone"));
            }
        }
        Ok(None)
    }
}

/// Scheme, host and port: https, or http on localhost, which browsers take for secure.
fn origin_of(url: &Url) -> Option<Url> {
    let is_secure = url.scheme() == "https" || url.scheme() == "http" && url.domain() == Some("localhost");
    let is_plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    let origin = is_secure.then(|| Url::parse(&url.origin().ascii_serialization()).ok())??;
    is_plain.then_some(origin)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Config, ConfigError};
    use super::*;

    fn load(public_url: &str, section: &str) -> Result<Option<WebAuthnConfig>, ConfigError> {
        let text = format!(
            "[server]\npublic_url = \"{public_url}\"\n[[hsm]]\nname = \"a\"\nmodule = \"/m.so\"\ntoken_label = \"t\"\n\
             pin_file = \"pin\"\n{section}"
        );
        Config::parse(&text, Path::new("/etc/signet"), std::iter::empty()).map(|config| config.mfa.webauthn)
    }

    #[test]
    fn keys_are_bound_to_the_public_urls_host_or_a_domain_above_it() {
        let plain = load("https://id.example.org/sso", "").unwrap().unwrap();
        assert_eq!((plain.rp_id.as_str(), plain.origins[0].as_str()), ("id.example.org", "https://id.example.org/"));
        assert_eq!(load("http://127.0.0.1:8080", "").unwrap(), None, "no key is bound to an address");
        assert_eq!(load("http://localhost:8080", "").unwrap().unwrap().rp_id, "localhost");
        let above = load("https://id.example.org", "[mfa.webauthn]\nrp_id = \"example.org\"").unwrap().unwrap();
        assert_eq!((above.rp_id.as_str(), above.attestation), ("example.org", None));
        for section in [
            "rp_id = \"example.com\"",
            "rp_id = \"id.example.org\"\norigins = [\"https://other.example.org\"]",
            "origins = [\"http://id.example.org\"]",
            "origins = [\"id.example.org\"]",
        ] {
            assert!(load("https://id.example.org", &format!("[mfa.webauthn]\n{section}")).is_err(), "{section}");
        }
        assert!(load("http://127.0.0.1:8080", "[mfa.webauthn]\nattestation = \"none\"").is_err());
    }

    #[test]
    fn what_nothing_is_held_against_is_refused() {
        let with = |lines: &str| load("https://id.example.org", &format!("[mfa.webauthn]\n{lines}"));
        let model = "aaguids = [\"cb69481e-8ff7-4039-93ec-0a2729a154a8\"]";
        let roots = "trusted_roots = \"roots.pem\"";
        let required = with(&format!("attestation = \"required\"\n{roots}\n{model}")).unwrap().unwrap();
        let attestation = required.attestation.unwrap();
        assert_eq!(attestation.trusted_roots, Path::new("/etc/signet/roots.pem"));
        assert_eq!(attestation.models.len(), 1);
        for lines in [model, roots, "attestation = \"required\"", "attestation = \"direct\""] {
            assert!(with(lines).is_err(), "{lines}");
        }
        assert!(with(&format!("attestation = \"required\"\n{roots}\naaguids = [\"yubikey\"]")).is_err());
    }
}
