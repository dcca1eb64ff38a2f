//! The roots by which a security key proves its make: a PEM bundle, or the payload of a FIDO metadata BLOB
//! (FIDO Metadata Service 3.1 §3.1) as JSON. An allow-list of models (AAGUIDs) narrows both.
//!
//! The BLOB's own signature is checked by whoever extracts the payload: the file is as trusted as the configuration is.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use webauthn_rs::prelude::{AttestationCaList, AttestationCaListBuilder, Uuid};

/// Why a file of roots can't be used, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RootsError {
    /// Neither certificates nor JSON.
    #[error("it holds neither PEM certificates nor the JSON payload of a FIDO metadata BLOB")]
    Form,
    /// A certificate that can't be read.
    #[error("its certificate {0} can't be read")]
    Certificate(usize),
    /// No root is left after what is revoked, and what is not allowed, was taken out.
    #[error("it holds no root of a model that is allowed and not revoked")]
    Empty,
}

/// States of a model by which its keys prove nothing (FIDO Metadata Service 3.1 §3.1.4).
const REVOKED: [&str; 5] = [
    "REVOKED",
    "USER_VERIFICATION_BYPASS",
    "ATTESTATION_KEY_COMPROMISE",
    "USER_KEY_REMOTE_COMPROMISE",
    "USER_KEY_PHYSICAL_COMPROMISE",
];

#[derive(Deserialize)]
struct Payload {
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    aaguid: Option<Uuid>,
    metadata_statement: Option<Statement>,
    #[serde(default)]
    status_reports: Vec<Report>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(default)]
    description: String,
    #[serde(default)]
    attestation_root_certificates: Vec<String>,
}

#[derive(Deserialize)]
struct Report {
    status: String,
}

/// Reads a file's text. Where `models` is empty, every model that the roots vouch for is allowed.
pub fn read(text: &str, models: &[Uuid]) -> Result<AttestationCaList, RootsError> {
    let list = if text.trim_start().starts_with('{') { from_metadata(text, models) } else { from_pem(text, models) }?;
    if list.is_empty() { Err(RootsError::Empty) } else { Ok(list) }
}

fn from_pem(text: &str, models: &[Uuid]) -> Result<AttestationCaList, RootsError> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let mut certificates = Vec::new();
    for part in text.split(BEGIN).skip(1) {
        let body = part.split_once(END).ok_or(RootsError::Certificate(certificates.len() + 1))?.0;
        certificates.push(format!("{BEGIN}{body}{END}\n"));
    }
    if certificates.is_empty() {
        return Err(RootsError::Form);
    }
    let mut builder = AttestationCaListBuilder::new();
    let mut whole = AttestationCaList::default();
    for (place, pem) in certificates.iter().enumerate() {
        let unreadable = |_| RootsError::Certificate(place + 1);
        if models.is_empty() {
            whole.union(&AttestationCaList::try_from(pem.as_bytes()).map_err(unreadable)?);
        }
        for model in models {
            let name = model.to_string();
            builder.insert_device_pem(pem.as_bytes(), *model, name, BTreeMap::new()).map_err(unreadable)?;
        }
    }
    Ok(if models.is_empty() { whole } else { builder.build() })
}

fn from_metadata(text: &str, models: &[Uuid]) -> Result<AttestationCaList, RootsError> {
    let payload: Payload = serde_json::from_str(text).map_err(|_| RootsError::Form)?;
    let mut builder = AttestationCaListBuilder::new();
    for (place, entry) in payload.entries.into_iter().enumerate() {
        // Entries without one are of the older protocols, whose keys have no model.
        let (Some(model), Some(statement)) = (entry.aaguid, entry.metadata_statement) else { continue };
        let is_allowed = models.is_empty() || models.contains(&model);
        let is_revoked = entry.status_reports.iter().any(|report| REVOKED.contains(&report.status.as_str()));
        if !is_allowed || is_revoked {
            continue;
        }
        for certificate in statement.attestation_root_certificates {
            let text: String = certificate.split_whitespace().collect();
            let der = STANDARD.decode(text).map_err(|_| RootsError::Certificate(place + 1))?;
            let name = statement.description.clone();
            let inserted = builder.insert_device_der(&der, model, name, BTreeMap::new());
            inserted.map_err(|_| RootsError::Certificate(place + 1))?;
        }
    }
    Ok(builder.build())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> rcgen::Certificate {
        let key = rcgen::KeyPair::generate().unwrap();
        rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap()
    }

    const MODEL: Uuid = Uuid::from_u128(7);

    #[test]
    fn a_pem_bundle_is_read_whole_and_for_some_models() {
        let bundle = format!("a comment\n{}{}", certificate().pem(), certificate().pem());
        let all = read(&bundle, &[]).unwrap();
        assert!(all.len() == 2 && all.cas().values().all(|root| root.blanket_allow()));
        let some = read(&bundle, &[MODEL]).unwrap();
        assert!(some.len() == 2 && some.cas().values().all(|root| root.aaguids().contains_key(&MODEL)));
        assert_eq!(read("no certificate", &[]), Err(RootsError::Form));
        let cut = &bundle[..bundle.len() - 40];
        assert_eq!(read(cut, &[]), Err(RootsError::Certificate(2)));
    }

    #[test]
    fn metadata_gives_the_roots_of_models_that_are_allowed_and_not_revoked() {
        let entry = |model: u128, status: &str| {
            serde_json::json!({
                "aaguid": Uuid::from_u128(model),
                "metadataStatement": {
                    "description": "A key",
                    "attestationRootCertificates": [STANDARD.encode(certificate().der())],
                },
                "statusReports": [{ "status": "FIDO_CERTIFIED" }, { "status": status }],
            })
        };
        let old = serde_json::json!({ "attestationCertificateKeyIdentifiers": ["00"], "statusReports": [] });
        let entries = [entry(7, "FIDO_CERTIFIED_L2"), entry(8, "UPDATE_AVAILABLE"), entry(9, "REVOKED"), old];
        let text = serde_json::json!({ "no": 1, "entries": entries }).to_string();
        assert_eq!(read(&text, &[]).unwrap().len(), 2);
        assert_eq!(read(&text, &[MODEL]).unwrap().len(), 1);
        assert_eq!(read(&text, &[Uuid::from_u128(9)]), Err(RootsError::Empty));
        assert_eq!(read("{\"entries\": 1}", &[]), Err(RootsError::Form));
    }
}
