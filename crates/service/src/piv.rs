//! PIV cards: the nonce that a card signs, the check of what it signed, and enrolment.

use super::authenticate_client::KnownClient;
use super::enrol::NewFactor;
use super::match_code::{CodeVerdict, Spendable};
use super::{ChangeError, Signet};
use signet_core::audit::RequestContext;
use signet_core::mfa::piv::{self, Nonce, PivFault, SignInContext};
use signet_core::mfa::{FactorDetail, OtpText, PivState, piv_attestation};
use signet_core::oauth::grant::PasswordRequest;
use signet_core::oauth::{ClientId, GrantType, OAuthError};
use signet_core::random;
use signet_jose::jwk::PublicKey;
use signet_store::Factor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The label of what the deployment's secret derives: a nonce's MAC.
const NONCE_MAC: &str = "piv nonce";

/// A key that is to be enrolled.
#[derive(Debug)]
pub struct PivKey {
    /// The public key of slot 9a.
    pub key: PublicKey,
    /// What the card's attestation proved of it, where there was one.
    pub attested: Option<piv_attestation::Attested>,
    /// What is printed on the card; what an attestation tells of it goes before.
    pub serial: Option<String>,
}

impl Signet {
    /// A nonce for a card to sign, good for [`piv::NONCE_LIFETIME`] at this issuer and client. Nothing is kept of it.
    ///
    /// # Errors
    ///
    /// [`OAuthError::UnauthorizedClient`] for a client without the password grant;
    /// [`OAuthError::TemporarilyUnavailable`].
    pub async fn challenge(&self, known: &KnownClient) -> Result<Nonce, OAuthError> {
        known.authenticated.may_use(GrantType::Password)?;
        let (now, random) = (self.now(), random::bytes::<16>(self.adapters.random.as_ref()));
        let message = Nonce::mac_message(&self.settings.tenant, known.id().as_str(), now, &random);
        Ok(Nonce::new(now, &random, &self.derive(NONCE_MAC, &message).await?))
    }

    /// What a person showed as the second factor.
    pub(super) fn shown(&self, request: &PasswordRequest, client: &ClientId) -> OtpText {
        let Some(shown) = &request.piv else { return OtpText::classify(request.otp.expose()) };
        let context = SignInContext {
            issuer: &self.settings.issuer,
            client: client.as_str(),
            username: request.username.expose(),
        };
        piv::Shown::parse(shown.expose(), context).map_or(OtpText::Neither, |shown| OtpText::Piv(Box::new(shown)))
    }

    /// Judges what a card signed: the same MAC and the same signature check, whoever is named and whatever they have.
    pub(super) async fn match_piv<'f>(
        &self,
        shown: &piv::Shown,
        factors: &'f [Factor],
    ) -> Result<CodeVerdict<'f>, OAuthError> {
        let mac = self.derive(NONCE_MAC, &shown.mac_message(&self.settings.tenant)).await?;
        let judged = shown.judge(&mac, self.now());
        let key = shown.key_id().as_str();
        let holds =
            |factor: &&Factor| matches!(&factor.detail, FactorDetail::Piv(state) if state.key_thumbprint == key);
        let factor = factors.iter().find(holds).ok_or(PivFault::UnknownKey);
        let spendable = judged.and_then(|nonce| Ok((Spendable::Piv(nonce), factor?)));
        Ok(spendable.map_err(PivFault::reason))
    }

    /// Enrols the key of a PIV card.
    ///
    /// # Errors
    ///
    /// [`ChangeError`].
    pub async fn enrol_piv(
        &self,
        user: &str,
        label: &str,
        piv: &PivKey,
        context: &RequestContext,
    ) -> Result<Factor, ChangeError> {
        if !piv::is_usable(&piv.key) {
            let text =
                "the key must be P-256, P-384 or RSA of 2048 to 4096 bits: Signet takes no other from a PIV card";
            return Err(ChangeError::Input(text.to_owned()));
        }
        let attested = piv.attested.as_ref().map(|attested| attested.serial);
        let detail = FactorDetail::Piv(PivState {
            key_thumbprint: piv.key.thumbprint().to_string(),
            public_key: STANDARD.encode(piv.key.to_spki_der()),
            serial: attested,
            attested: piv.attested.is_some(),
        });
        let serial = attested.map(|serial| serial.to_string()).or_else(|| piv.serial.clone());
        self.enrol_public(user, NewFactor { label, serial, detail }, context).await
    }
}
