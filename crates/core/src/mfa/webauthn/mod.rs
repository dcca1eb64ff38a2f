//! Security keys (W3C WebAuthn Level 3 §7): which may be enrolled, and what an assertion proves.
//!
//! `webauthn-rs` verifies what the specification says; this module says what is asked for, and judges what was verified.
//! A key is enrolled only where it stays in its hardware: one that may be copied to other devices (`BE`) is refused.
//! Whether the person was verified by the key (`UV`) is asked for wherever the key can do it, and must be where the key
//! stands alone. See `docs/decisions/0028-*`.
//!
//! A ceremony's state goes to the browser and comes back under a MAC that shows that it was made here; it names neither
//! keys nor trusted roots. Its challenge is spent by one conditional write.

pub mod attestation_roots;
mod decoy;
mod fault;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use webauthn_rs::prelude::{
    AttestationCaList, AttestationMetadata, Credential, DiscoverableAuthentication, PublicKeyCredential,
    RegisterPublicKeyCredential, SecurityKeyRegistration, Url, Uuid, Webauthn, WebauthnBuilder,
};

pub use decoy::listed_ids;
pub use fault::RegistrationFault;

use super::authentication::FactorUse;
use super::kind::{FactorKind, FactorRules, Facts};
use super::{Spendable, Spending, UserId};
use crate::audit::Reason;
use crate::secret::SecretHash;
use signet_jose::clock::Timestamp;
use signet_verify::Level;

/// The security keys that one user may have. As many are listed for every name, with decoys in the place of those that
/// are not there.
pub const MAX_KEYS: usize = 5;
/// How long a ceremony may take, from the options to the answer.
pub const PATIENCE: Duration = Duration::from_secs(5 * 60);
/// The longest answer that is read: an attestation with its chain is some kilobytes.
const MAX_ANSWER: usize = 32 * 1024;

/// Signet as a relying party.
#[derive(Debug, Clone)]
pub struct RelyingParty {
    webauthn: Webauthn,
    /// Where the model must be attested: by these.
    roots: Option<AttestationCaList>,
}

/// Id and origins don't fit together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the relying party's id must be the host of each origin, or a domain that the host is in")]
pub struct UnfitOrigins;

/// What a browser is asked to do.
#[derive(Debug)]
pub struct Begun {
    /// The argument of `navigator.credentials.create` or `get`, in the JSON of WebAuthn Level 3 §5.1.8.
    pub options: Value,
    /// What is needed to judge the answer.
    pub state: Value,
}

/// What an assertion is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Beside the password.
    SecondFactor,
    /// Alone: the key finds the account, and verifies the person.
    Passwordless,
}

/// What a browser sent as an assertion: read, and not verified.
#[derive(Debug)]
pub struct ShownAssertion(PublicKeyCredential);

impl ShownAssertion {
    /// Reads the JSON; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() <= MAX_ANSWER).then(|| serde_json::from_str(text).ok().map(Self))?
    }

    /// The credential's id, as [`WebAuthnState::credential_id`] has it.
    pub fn credential_id(&self) -> String {
        URL_SAFE_NO_PAD.encode(&self.0.raw_id)
    }

    /// Whether the key says that it is this user's, where it says whose it is.
    pub fn may_be_of(&self, user: &UserId) -> bool {
        self.0.get_user_unique_id().is_none() || self.names().as_ref() == Some(user)
    }

    /// The user that the key names.
    pub fn names(&self) -> Option<UserId> {
        let handle = self.0.get_user_unique_id()?;
        Some(UserId::new(Uuid::from_slice(handle).ok()?.to_string()))
    }
}

/// A security key's or passkey's credential and how far its counter is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebAuthnState {
    /// The credential's id in base64url, unique in the tenant.
    pub credential_id: String,
    /// The credential as the WebAuthn library keeps it, in JSON: its public key and how it was registered.
    pub credential: String,
    /// The authenticator's model, where it was attested: a UUID.
    pub aaguid: Option<String>,
    /// Whether the model was proved by an attestation that the policy trusts.
    pub attested: bool,
    /// Whether it verified the person when it was enrolled, by a PIN or a finger; it must then do so each time.
    pub verifies: bool,
    /// The last signature counter. Kept beside the rest, in a column of its own.
    #[serde(skip)]
    pub counter: i64,
}

impl FactorRules for WebAuthnState {
    fn handle(&self) -> Option<&str> {
        Some(&self.credential_id)
    }

    fn facts(&self) -> Facts<'_> {
        Facts { attested: Some(self.attested), model: self.aaguid.as_deref(), ..Facts::default() }
    }

    fn reachable(&self) -> Option<Level> {
        Some(self.level(self.verifies))
    }

    fn counter(&self) -> Option<i64> {
        Some(self.counter)
    }

    fn set_counter(&mut self, counter: i64) {
        self.counter = counter;
    }

    fn raising(&self, counter: i64) -> Option<Spending> {
        Some(Spending::Counter(counter))
    }
}

impl WebAuthnState {
    /// What an assertion reaches, given whether the authenticator verified the person, by a PIN or a finger: the highest
    /// level where its model is known for sure. The key lives in hardware alone: no copies are enrolled.
    const fn level(&self, is_verified: bool) -> Level {
        if is_verified && self.attested { Level::Aal3 } else { Level::Aal2 }
    }

    pub(super) fn used(&self, is_verified: bool) -> FactorUse {
        let level = self.level(is_verified);
        match is_verified {
            true => FactorUse::alone(FactorKind::WebAuthn, &["hwk", "pin", "user", "mfa"], level),
            false => FactorUse::beside_password(FactorKind::WebAuthn, &["hwk", "user", "mfa"], level),
        }
    }
}

impl RelyingParty {
    /// A relying party of this id, named so to people, whose pages have these origins. With `roots`, a key must prove
    /// its make by one of them.
    /// Errors: [`UnfitOrigins`], also where there is none.
    pub fn new(id: &str, name: &str, origins: &[Url], roots: Option<AttestationCaList>) -> Result<Self, UnfitOrigins> {
        let fits = |origin: &&Url| WebauthnBuilder::new(id, origin).is_ok();
        let (Some(first), true) = (origins.first(), origins.iter().all(|origin| fits(&origin))) else {
            return Err(UnfitOrigins);
        };
        let builder = WebauthnBuilder::new(id, first).map_err(|_| UnfitOrigins)?.rp_name(name).timeout(PATIENCE);
        let builder = origins.iter().skip(1).fold(builder, WebauthnBuilder::append_allowed_origin);
        Ok(Self { webauthn: builder.build().map_err(|_| UnfitOrigins)?, roots })
    }

    /// Begins to enrol a key for a user who has `enrolled` already.
    /// Errors: [`Reason::MalformedAssertion`] where the user's id is no UUID, or the name is empty.
    pub fn begin_registration<'k>(
        &self,
        user: &UserId,
        name: &str,
        enrolled: impl IntoIterator<Item = &'k WebAuthnState>,
    ) -> Result<Begun, Reason> {
        let handle = Uuid::parse_str(user.as_str()).map_err(|_| Reason::MalformedAssertion)?;
        let exclude = enrolled.into_iter().filter_map(|key| URL_SAFE_NO_PAD.decode(&key.credential_id).ok()).collect();
        let begun =
            self.webauthn.start_securitykey_registration(handle, name, name, Some(exclude), self.roots.clone(), None);
        let (options, state) = begun?;
        let (mut options, mut state) = (json_of(&options)?, json_of(&state)?);
        if let Some(options) = options.get_mut("publicKey").and_then(Value::as_object_mut) {
            // A device's own key is as good as one on a key ring, as long as it stays there.
            options.remove("hints");
            if let Some(selection) = options.get_mut("authenticatorSelection") {
                // Found without a name, where the key has room for that: it then stands alone.
                selection["residentKey"] = json!("preferred");
            }
            if let Some(extensions) = options.get_mut("extensions") {
                // Found without a name only by who unlocks it. More, which the crate asks for, browsers refuse for a key
                // that need not have a PIN.
                extensions["credentialProtectionPolicy"] = json!("userVerificationOptionalWithCredentialIDList");
            }
        }
        // They are this deployment's, and added again at the end.
        state["ca_list"] = Value::Null;
        Ok(Begun { options, state })
    }

    /// Judges the answer to [`begin_registration`](Self::begin_registration): the key as it is kept, and its challenge.
    pub fn finish_registration(
        &self,
        mut state: Value,
        answer: &str,
    ) -> Result<(WebAuthnState, SecretHash), RegistrationFault> {
        let malformed = || RegistrationFault::Refused(Reason::MalformedAssertion);
        if answer.len() > MAX_ANSWER {
            return Err(malformed());
        }
        let challenge = challenge_of(&state, "rs").ok_or_else(malformed)?;
        state["ca_list"] = json_of(&self.roots).map_err(RegistrationFault::Refused)?;
        let state: SecurityKeyRegistration = serde_json::from_value(state).map_err(|_| malformed())?;
        let answer: RegisterPublicKeyCredential = serde_json::from_str(answer).map_err(|_| malformed())?;
        let credential = Credential::from(self.webauthn.finish_securitykey_registration(&answer, &state)?);
        if credential.backup_eligible {
            return Err(RegistrationFault::Synced);
        }
        let aaguid = match &credential.attestation.metadata {
            AttestationMetadata::Packed { aaguid } | AttestationMetadata::Tpm { aaguid, .. } => {
                Some(aaguid.to_string())
            }
            _ => None,
        };
        let key = WebAuthnState {
            credential_id: URL_SAFE_NO_PAD.encode(&credential.cred_id),
            credential: serde_json::to_string(&credential).map_err(|_| malformed())?,
            aaguid: aaguid.filter(|_| self.roots.is_some()),
            attested: self.roots.is_some(),
            verifies: credential.user_verified,
            counter: i64::from(credential.counter),
        };
        Ok((key, challenge))
    }

    /// Begins a sign-in by one of `listed`, or by whatever key finds its account where none is listed.
    /// Errors: [`Reason::MalformedAssertion`], which does not happen.
    pub fn begin_assertion(&self, purpose: Use, listed: &[String]) -> Result<Begun, Reason> {
        let (mut options, state) = match purpose {
            Use::SecondFactor => {
                let (options, state) = self.webauthn.start_securitykey_authentication(&[])?;
                (json_of(&options)?, json_of(&state)?)
            }
            Use::Passwordless => {
                let (options, state) = self.webauthn.start_discoverable_authentication()?;
                (json_of(&options)?, json_of(&state)?)
            }
        };
        if let Some(options) = options.as_object_mut() {
            options.remove("mediation");
        }
        if let Some(options) = options.get_mut("publicKey").and_then(Value::as_object_mut) {
            options.remove("hints");
            let listed = listed.iter().map(|id| json!({ "type": "public-key", "id": id }));
            options.insert("allowCredentials".to_owned(), listed.collect());
        }
        Ok(Begun { options, state })
    }

    /// Judges an assertion by a user's key. Where there is no such key as much is computed for a decoy. `until` is when the
    /// challenge is refused for its age.
    pub fn verify(
        &self,
        (state, until): (&Value, Timestamp),
        shown: &ShownAssertion,
        key: Option<&WebAuthnState>,
    ) -> Result<Spendable, Reason> {
        let challenge = challenge_of(state, "ast").ok_or(Reason::MalformedAssertion)?;
        // Both kinds of state are the same but for their policy, and name no keys: they are given here.
        let state: DiscoverableAuthentication =
            serde_json::from_value(state.clone()).map_err(|_| Reason::MalformedAssertion)?;
        if is_cross_origin(&shown.0) {
            return Err(Reason::WrongOrigin);
        }
        let credential = match key {
            Some(key) => credential_of(key)?,
            None => decoy::decoy_credential(&shown.0.raw_id)?,
        };
        let verified = self.webauthn.finish_discoverable_authentication_v2(&shown.0, state, &credential)?;
        // Nobody has the decoy's key but everybody.
        let key = key.ok_or(Reason::UnknownKey)?;
        let by = Spending::Assertion { challenge, until, counter: i64::from(verified.counter()) };
        Ok(Spendable { by, used: key.used(verified.user_verified()) })
    }
}

fn json_of(value: &impl Serialize) -> Result<Value, Reason> {
    serde_json::to_value(value).map_err(|_| Reason::MalformedAssertion)
}

fn challenge_of(state: &Value, part: &str) -> Option<SecretHash> {
    state.get(part)?.get("challenge")?.as_str().map(SecretHash::of)
}

/// A page within another site's: no page of Signet's lets itself be framed.
fn is_cross_origin(shown: &PublicKeyCredential) -> bool {
    let client_data: Option<Value> = serde_json::from_slice(&shown.response.client_data_json).ok();
    client_data.is_some_and(|data| data.get("crossOrigin").and_then(Value::as_bool) == Some(true))
}

fn credential_of(key: &WebAuthnState) -> Result<Credential, Reason> {
    let mut credential: Credential = serde_json::from_str(&key.credential).map_err(|_| Reason::MalformedAssertion)?;
    credential.counter = u32::try_from(key.counter).map_err(|_| Reason::MalformedAssertion)?;
    Ok(credential)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn party(roots: Option<AttestationCaList>) -> RelyingParty {
        let origins = ["https://id.example.org", "https://login.example.org:8443"].map(|url| Url::parse(url).unwrap());
        RelyingParty::new("example.org", "Signet", &origins, roots).unwrap()
    }

    #[test]
    fn id_and_origins_fit_together() {
        for (id, origin) in [
            ("example.org", "https://example.com"),
            ("id.example.org", "https://example.org"),
            ("example.org", "https://notexample.org"),
            ("127.0.0.1", "http://127.0.0.1:8080"),
        ] {
            let origins = [Url::parse(origin).unwrap()];
            assert!(RelyingParty::new(id, "Signet", &origins, None).is_err(), "{id} {origin}");
        }
        assert!(RelyingParty::new("example.org", "Signet", &[], None).is_err());
        assert!(
            RelyingParty::new("localhost", "Signet", &[Url::parse("http://localhost:8080").unwrap()], None).is_ok()
        );
    }

    #[test]
    fn a_key_beside_the_password_may_verify_and_one_alone_must() {
        let listed = ["AAAA".to_owned()];
        let second = party(None).begin_assertion(Use::SecondFactor, &listed).unwrap();
        let asked = &second.options["publicKey"];
        assert_eq!(
            (asked["userVerification"].as_str(), asked["rpId"].as_str()),
            (Some("preferred"), Some("example.org"))
        );
        assert_eq!(asked["allowCredentials"], json!([{ "type": "public-key", "id": "AAAA" }]));
        let alone = party(None).begin_assertion(Use::Passwordless, &[]).unwrap();
        assert_eq!(alone.options["publicKey"]["userVerification"], "required");
        assert_eq!(alone.options["publicKey"]["allowCredentials"], json!([]));
        assert!(alone.options.get("mediation").is_none());
        assert_ne!(second.state["ast"]["challenge"], alone.state["ast"]["challenge"]);
        assert_eq!(second.state["ast"]["credentials"], json!([]), "what goes to the browser names no key");
    }

    #[test]
    fn registration_asks_for_a_key_that_stands_alone_where_it_can() {
        let user = UserId::new("0197d2a4-0000-7000-8000-000000000001");
        let begun = party(None).begin_registration(&user, "ann", []).unwrap();
        let asked = &begun.options["publicKey"];
        assert_eq!(asked["authenticatorSelection"]["residentKey"], "preferred");
        assert_eq!(asked["authenticatorSelection"]["userVerification"], "preferred");
        assert_eq!(asked["attestation"], "none");
        let protection = "userVerificationOptionalWithCredentialIDList";
        assert_eq!(asked["extensions"]["credentialProtectionPolicy"], protection);
        assert!(party(None).begin_registration(&UserId::new("ann"), "ann", []).is_err());
    }
}
