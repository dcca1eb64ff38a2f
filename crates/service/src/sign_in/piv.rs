//! PIV cards: the nonce that a card signs, and the check of what it signed.

use crate::{CodeVerdict, KnownClient, Surface, Unavailable};
use signet_core::audit::Reason;
use signet_core::mfa::piv::{Nonce, SignInContext};
use signet_core::mfa::{Credentials, FactorDetail, OtpText, SecondFactor, piv, piv_attestation};
use signet_core::random;
use signet_jose::jwk::PublicKey;
use signet_store::Factor;

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

module! {
    /// Makes the nonces that cards sign, and judges what they signed.
    pub struct PivCards {
        takes clock, random, settings, secret;
    }
}

impl PivCards {
    /// A nonce for a card to sign, good for [`piv::NONCE_LIFETIME`] at this issuer and client. Nothing is kept of it.
    pub async fn challenge(&self, known: &KnownClient) -> Result<Nonce, Unavailable> {
        let (now, random) = (self.clock.now(), random::bytes::<16>(self.random.as_ref()));
        let message = Nonce::mac_message(&self.settings.tenant, known.id().as_str(), now, &random);
        Ok(Nonce::new(now, &random, &self.secret.derive(NONCE_MAC, &message).await?))
    }

    /// What a person showed as the second factor.
    pub(crate) fn shown(&self, credentials: &Credentials, surface: &Surface) -> OtpText {
        let shown = match &credentials.second {
            SecondFactor::Code(code) => return OtpText::classify(code.expose()),
            SecondFactor::Card(shown) => shown,
        };
        let context = SignInContext {
            issuer: &self.settings.issuer,
            client: surface.name(),
            username: credentials.username.expose(),
        };
        piv::Shown::parse(shown.expose(), context).map_or(OtpText::Neither, |shown| OtpText::Piv(Box::new(shown)))
    }

    /// Judges what a card signed: the same MAC and the same signature check, whoever is named and whatever they have.
    pub(crate) async fn match_piv<'f>(
        &self,
        shown: &piv::Shown,
        factors: &'f [Factor],
    ) -> Result<CodeVerdict<'f>, Unavailable> {
        let macs = self.secret.derivations(NONCE_MAC, &shown.mac_message(&self.settings.tenant)).await?;
        let mut cards = factors.iter().filter_map(|factor| match &factor.detail {
            FactorDetail::Piv(state) => Some((factor, state)),
            _ => None,
        });
        let found = cards.find(|(_, state)| state.key_thumbprint == shown.key_id().as_str());
        let judged = shown.judge(&macs, self.clock.now(), found.map(|(_, state)| state));
        Ok(judged.and_then(|nonce| Ok((nonce, found.ok_or(Reason::UnknownKey)?.0))))
    }
}
