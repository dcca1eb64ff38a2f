//! A security key in software, made without Signet's own code and without the library that Signet verifies by: it makes
//! attestations and assertions (W3C WebAuthn Level 3 §6.5, §7.2), also those that no honest key or browser makes.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// A maker of keys: its root, and the attestation key that is in each of them.
pub(crate) struct Maker {
    pub(crate) root: String,
    certificate: Vec<u8>,
    key: EcdsaKeyPair,
    model: [u8; 16],
}

impl Maker {
    /// A maker of one model.
    pub(crate) fn new(model: [u8; 16]) -> Self {
        let root_key = rcgen::KeyPair::generate().unwrap();
        let mut root = rcgen::CertificateParams::new(Vec::new()).unwrap();
        root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        root.distinguished_name = name(&format!("Root {}", model[0]));
        root.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
        let issuer = rcgen::CertifiedIssuer::self_signed(root, root_key).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::ExplicitNoCa;
        params.distinguished_name = name("Attestation");
        params.distinguished_name.push(rcgen::DnType::OrganizationalUnitName, "Authenticator Attestation");
        // id-fido-gen-ce-aaguid (§8.2.1): an OCTET STRING.
        let content = [&[4, 16], &model[..]].concat();
        params.custom_extensions =
            vec![rcgen::CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 45724, 1, 1, 4], content)];
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let pkcs8 = key.serialize_der();
        Self {
            root: issuer.pem(),
            certificate: certificate.der().to_vec(),
            key: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pkcs8).unwrap(),
            model,
        }
    }
}

fn name(common: &str) -> rcgen::DistinguishedName {
    let mut name = rcgen::DistinguishedName::new();
    for (kind, text) in [
        (rcgen::DnType::CountryName, "SE"),
        (rcgen::DnType::OrganizationName, "Test Keys"),
        (rcgen::DnType::CommonName, common),
    ] {
        name.push(kind, text);
    }
    name
}

/// One key with one credential.
pub(crate) struct SecurityKey {
    key: EcdsaKeyPair,
    pub(crate) id: Vec<u8>,
    /// The user that the credential is of, once it is made.
    pub(crate) handle: Option<String>,
    /// The signature counter of the next answer.
    pub(crate) counter: u32,
    /// Whether it verifies the person (UV).
    pub(crate) verifies: bool,
    /// Whether the credential may be copied to other devices (BE).
    pub(crate) is_synced: bool,
    /// The page that the browser says it was asked by.
    pub(crate) origin: String,
    /// The relying party that it answers for, in the place of the one that asks.
    pub(crate) other_party: Option<&'static str>,
}

const UP: u8 = 1;
const UV: u8 = 4;
const BE: u8 = 8;
const AT: u8 = 64;

impl SecurityKey {
    /// A key with a PIN, before a browser that is on this page.
    pub(crate) fn new(origin: &str) -> Self {
        let random = SystemRandom::new();
        let mut id = vec![0; 48];
        random.fill(&mut id).unwrap();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        Self {
            key: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref()).unwrap(),
            id,
            handle: None,
            counter: 1,
            verifies: true,
            is_synced: false,
            origin: origin.to_owned(),
            other_party: None,
        }
    }

    pub(crate) fn id_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(&self.id)
    }

    /// Answers `navigator.credentials.create`, with an attestation where there is a maker.
    pub(crate) fn make(&mut self, options: &Value, maker: Option<&Maker>) -> String {
        let asked = &options["publicKey"];
        self.handle = Some(asked["user"]["id"].as_str().unwrap().to_owned());
        let client_data = self.client_data("webauthn.create", asked);
        let model = maker.map_or([0; 16], |maker| maker.model);
        let length = u16::try_from(self.id.len()).unwrap().to_be_bytes();
        let mut data = self.authenticator_data(asked["rp"]["id"].as_str().unwrap(), AT);
        for part in [&model[..], &length, &self.id, &self.cose_key()] {
            data.extend(part);
        }
        let signed = [&data[..], digest(&SHA256, client_data.as_bytes()).as_ref()].concat();
        let (format, statement) = match maker {
            None => ("none", vec![0xa0]),
            Some(maker) => {
                let signature = maker.key.sign(&SystemRandom::new(), &signed).unwrap();
                let parts = [
                    &[0xa3][..],
                    &cbor_text("alg"),
                    &[0x26],
                    &cbor_text("sig"),
                    &cbor_bytes(signature.as_ref()),
                    &cbor_text("x5c"),
                    &[0x81],
                    &cbor_bytes(&maker.certificate),
                ];
                ("packed", parts.concat())
            }
        };
        let parts = [
            &[0xa3][..],
            &cbor_text("fmt"),
            &cbor_text(format),
            &cbor_text("attStmt"),
            &statement,
            &cbor_text("authData"),
            &cbor_bytes(&data),
        ];
        self.answer(&json!({
            "attestationObject": URL_SAFE_NO_PAD.encode(parts.concat()),
            "clientDataJSON": URL_SAFE_NO_PAD.encode(client_data),
        }))
    }

    /// Answers `navigator.credentials.get`, and counts on.
    pub(crate) fn show(&mut self, options: &Value) -> String {
        let asked = &options["publicKey"];
        let client_data = self.client_data("webauthn.get", asked);
        let data = self.authenticator_data(asked["rpId"].as_str().unwrap(), 0);
        let signed = [&data[..], digest(&SHA256, client_data.as_bytes()).as_ref()].concat();
        let signature = self.key.sign(&SystemRandom::new(), &signed).unwrap();
        self.answer(&json!({
            "authenticatorData": URL_SAFE_NO_PAD.encode(data),
            "clientDataJSON": URL_SAFE_NO_PAD.encode(client_data),
            "signature": URL_SAFE_NO_PAD.encode(signature.as_ref()),
            "userHandle": self.handle,
        }))
    }

    fn answer(&self, response: &Value) -> String {
        let id = self.id_text();
        json!({ "id": id, "rawId": id, "type": "public-key", "response": response, "clientExtensionResults": {} })
            .to_string()
    }

    fn client_data(&self, kind: &str, asked: &Value) -> String {
        json!({ "type": kind, "challenge": asked["challenge"], "origin": self.origin, "crossOrigin": false })
            .to_string()
    }

    fn authenticator_data(&mut self, party: &str, more: u8) -> Vec<u8> {
        let party = self.other_party.unwrap_or(party);
        let verified = if self.verifies { UV } else { 0 };
        let synced = if self.is_synced { BE } else { 0 };
        let mut data = digest(&SHA256, party.as_bytes()).as_ref().to_vec();
        data.push(UP | verified | synced | more);
        data.extend(self.counter.to_be_bytes());
        // A counter of 0 says that there is none.
        self.counter += u32::from(self.counter > 0);
        data
    }

    fn cose_key(&self) -> Vec<u8> {
        let point = self.key.public_key().as_ref();
        // {1: 2 (EC2), 3: -7 (ES256), -1: 1 (P-256), -2: x, -3: y}
        let head = [0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21];
        [&head[..], &cbor_bytes(&point[1..33]), &[0x22], &cbor_bytes(&point[33..])].concat()
    }
}

fn cbor_text(text: &str) -> Vec<u8> {
    cbor(0x60, text.as_bytes())
}

fn cbor_bytes(bytes: &[u8]) -> Vec<u8> {
    cbor(0x40, bytes)
}

/// RFC 8949 §3, of less than 64 KiB.
fn cbor(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let head = match length {
        0..24 => vec![kind | u8::try_from(length).unwrap()],
        24..256 => vec![kind | 24, u8::try_from(length).unwrap()],
        _ => [&[kind | 25][..], &u16::try_from(length).unwrap().to_be_bytes()].concat(),
    };
    [head, content.to_vec()].concat()
}
