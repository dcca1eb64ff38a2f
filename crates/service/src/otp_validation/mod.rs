//! Verifies Yubico OTPs for others: the server's side of the validation protocol 2.0, key store included.
//!
//! Who asks is judged, then the OTP; one conditional write spends it, with the audit record in the same commit; only
//! then is the answer signed. All HMACs and AES blocks are computed in the HSM. Where HSM or store don't do their part
//! the answer is `BACKEND_ERROR`, never `OK`. One counter serves sign-in and this: an OTP is accepted once, wherever it
//! is shown. See `docs/decisions/0023-yubico-validation.md`.

pub mod clients;
pub mod keys;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::clients::OtpClients;
use self::keys::OtpKeys;
use crate::rows::{client_row, key_row};
use crate::{Base, Decoys, FactorLifecycle, OperatorRights, decoy_row, factor_row};
use signet_core::audit::{AuditEvent, Event, Outcome, Reason, RequestContext};
use signet_core::keys::{HsmError, OtpHash, RowBinding, SealedCopies};
use signet_core::mfa::yubico_otp::{Reading, YubicoOtp};
use signet_core::mfa::yubico_validation::{Answer, ClientNumber, Fields, Request, Status, hmac_sha1};
use signet_core::mfa::{FactorKind, UsedFactor};
use signet_store::{FactorDetail, OtpClient, OtpSpending, ShownOtp, StoreError};

/// Verifications under way at once.
const MAX_AT_ONCE: usize = 256;
/// Those of one client: a flood of one leaves room for the others.
const MAX_OF_ONE_CLIENT: usize = 192;

/// What verifications share.
pub(crate) struct Validation {
    admission: Arc<Semaphore>,
    under_way: Arc<Mutex<HashMap<ClientNumber, usize>>>,
}

impl Default for Validation {
    fn default() -> Self {
        let admission = Arc::new(Semaphore::new(MAX_AT_ONCE));
        Self { admission, under_way: Arc::default() }
    }
}

/// A place among the verifications under way, given back when dropped.
struct Admitted {
    _permit: OwnedSemaphorePermit,
    client: Option<ClientNumber>,
    under_way: Arc<Mutex<HashMap<ClientNumber, usize>>>,
}

impl Validation {
    fn admit(&self, client: Option<ClientNumber>) -> Option<Admitted> {
        let permit = self.admission.clone().try_acquire_owned().ok()?;
        if let Some(client) = client {
            let mut under_way = self.under_way.lock();
            let of_client = under_way.entry(client).or_default();
            if *of_client >= MAX_OF_ONE_CLIENT {
                return None;
            }
            *of_client += 1;
        }
        Some(Admitted { _permit: permit, client, under_way: self.under_way.clone() })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let Some(client) = self.client else { return };
        let mut under_way = self.under_way.lock();
        if let Some(of_client) = under_way.get_mut(&client) {
            *of_client -= 1;
            if *of_client == 0 {
                under_way.remove(&client);
            }
        }
    }
}

/// Why a verification has no verdict.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Hsm(#[from] HsmError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("there is no decoy to work on")]
    NoDecoy,
}

/// A refusal: what the client is told, and the audit record's word.
struct Refusal {
    status: Status,
    reason: Reason,
}

/// What is known of the key that an OTP says it is of.
struct Device {
    row: RowBinding,
    secret: SealedCopies,
    private_id: [u8; 6],
    /// How audit records name it.
    name: UsedFactor,
    user: Option<String>,
    /// Why its OTPs are refused, however good they are.
    barred: Option<Reason>,
}

/// What validates OTPs for other services, and what it needs to be told.
pub struct OtpValidation {
    /// Answers requests.
    pub validator: Arc<OtpValidator>,
    /// Its clients.
    pub clients: Arc<OtpClients>,
    /// Its own keys.
    pub keys: Arc<OtpKeys>,
}

impl OtpValidation {
    pub(crate) fn new(
        base: &Base,
        lifecycle: &Arc<FactorLifecycle>,
        rights: &Arc<OperatorRights>,
        decoys: &Arc<Decoys>,
    ) -> Self {
        Self {
            validator: OtpValidator::new(base, decoys),
            clients: OtpClients::new(base),
            keys: OtpKeys::new(base, lifecycle, rights),
        }
    }
}

module! {
    /// The validation server.
    pub struct OtpValidator {
        takes clock, directory, settings, vault, otp_validation, users, audit;
        calls decoys: Decoys;
        keeps validation: Validation;
    }
}

impl OtpValidator {
    /// Answers a request of the validation protocol: the body, signed by the client's key. `None` stands for fields that
    /// can't be read.
    pub async fn validate_otp(&self, fields: Option<&Fields>, context: &RequestContext) -> String {
        let read = Request::read(fields);
        let (number, echo) = match &read {
            Ok(request) => (Some(request.client), request.echo.clone()),
            Err(malformed) => (malformed.client, malformed.echo.clone()),
        };
        let refusal = |status| Answer::refusal(echo.clone(), status, self.clock.now());
        let Some(_admitted) = self.validation.admit(number) else {
            tracing::warn!(client = ?number, "too many OTPs are being verified; one more is told to come back");
            return unsigned(&refusal(Status::BackendError));
        };
        let known = match number {
            Some(number) => self.otp_client_of(number).await,
            None => Ok(None),
        };
        let client = match known {
            Ok(client) => client,
            Err(fault) => return unsigned(&refusal(told(&fault))),
        };
        let answer = match (read, &client) {
            (Err(malformed), _) => refusal(malformed.status),
            (Ok(_), None) => refusal(Status::NoSuchClient),
            (Ok(request), Some(client)) => match self.verify(&request, client, context).await {
                Ok(Ok(reading)) => Answer::success(&request, &reading, self.clock.now()),
                Ok(Err(status)) => refusal(status),
                Err(fault) => refusal(told(&fault)),
            },
        };
        match client {
            None => unsigned(&answer),
            Some(client) => match self.client_hmac(&client, &answer.signing_string()).await {
                Ok(mac) => answer.body(&mac),
                Err(fault) => {
                    told(&fault);
                    unsigned(&answer.failed())
                }
            },
        }
    }

    async fn otp_client_of(&self, number: ClientNumber) -> Result<Option<OtpClient>, Fault> {
        // The HSM's keys are known once a snapshot was read.
        self.directory.at_hand().await?;
        Ok(self.otp_validation.otp_client(&self.settings.tenant, number).await?)
    }

    async fn verify(
        &self,
        request: &Request,
        client: &OtpClient,
        context: &RequestContext,
    ) -> Result<Result<Reading, Status>, Fault> {
        let draft = AuditEvent::new(Event::OtpValidated, Outcome::Refused, self.settings.tenant.as_str(), context)
            .client(client.id.to_string());
        if let Some(refusal) = self.judge_otp_client(request, client).await? {
            return self.refuse(client, refusal, draft).await;
        }
        let device = self.device(&request.otp).await?;
        let reading = self.reading(&request.otp, device.as_ref()).await?;
        let draft = match &device {
            Some(device) => AuditEvent { user: device.user.clone(), factors: vec![device.name.clone()], ..draft },
            None => draft,
        };
        let reading = match reading {
            Ok(reading) => reading,
            Err(refusal) => return self.refuse(client, refusal, draft).await,
        };
        let shown = ShownOtp {
            tenant: self.settings.tenant.clone(),
            public_id: request.otp.public_id().to_owned(),
            counter: reading.counter(),
            nonce: request.nonce().to_owned(),
            at: self.clock.now(),
        };
        let done = AuditEvent { outcome: Outcome::Done, ..draft.clone() }.counter(shown.counter);
        let refusal = match self.otp_validation.spend_validated_otp(&shown, vec![done]).await? {
            OtpSpending::Spent => return Ok(Ok(reading)),
            OtpSpending::Replayed => Refusal { status: Status::ReplayedOtp, reason: Reason::ReplayedCode },
            OtpSpending::SameRequest => Refusal { status: Status::ReplayedRequest, reason: Reason::ReplayedRequest },
        };
        self.refuse(client, refusal, draft).await
    }

    /// Why the client may not ask this.
    async fn judge_otp_client(&self, request: &Request, client: &OtpClient) -> Result<Option<Refusal>, Fault> {
        if !client.enabled {
            return Ok(Some(Refusal { status: Status::OperationNotAllowed, reason: Reason::Disabled }));
        }
        if !request.is_signed() {
            let unsigned = Refusal { status: Status::BadSignature, reason: Reason::Unsigned };
            return Ok(client.needs_signature.then_some(unsigned));
        }
        let mac = self.client_hmac(client, request.signing_string()).await?;
        let wrong = Refusal { status: Status::BadSignature, reason: Reason::WrongSignature };
        Ok((!request.has_signature(&mac)).then_some(wrong))
    }

    async fn device(&self, otp: &YubicoOtp) -> Result<Option<Device>, Fault> {
        let (tenant, public_id) = (&self.settings.tenant, otp.public_id());
        if let Some(factor) = self.otp_validation.factor_by_handle(tenant, FactorKind::YubicoOtp, public_id).await?
            && let FactorDetail::YubicoOtp(state) = &factor.detail
        {
            let user = self.users.user(tenant, &factor.user).await?;
            let is_enabled = user.is_some_and(|user| user.enabled);
            return Ok(Some(Device {
                row: factor_row(tenant, &factor.id, &factor.user),
                private_id: state.private_id,
                name: UsedFactor::Factor(factor.reference()),
                user: Some(factor.user.to_string()),
                barred: (!is_enabled || !factor.is_usable(self.clock.now())).then_some(Reason::Disabled),
                secret: factor.secret,
            }));
        }
        let key = self.otp_validation.otp_key(tenant, public_id).await?;
        Ok(key.map(|key| Device {
            row: key_row(tenant, &key.public_id),
            private_id: key.private_id,
            name: UsedFactor::ValidationKey(key.public_id.clone()),
            user: None,
            barred: (!key.enabled).then_some(Reason::Disabled),
            secret: key.secret,
        }))
    }

    /// The OTP's block, read. An unknown key costs what a known one costs: a block decrypted with a decoy's key.
    async fn reading(&self, otp: &YubicoOtp, device: Option<&Device>) -> Result<Result<Reading, Refusal>, Fault> {
        // The decoy of a sign-in, which is kept such that the tokens open it which open everybody's secrets.
        let decoy = self.decoys.decoy_material().await.map_err(|_| Fault::NoDecoy)?;
        let bad = |reason| Refusal { status: Status::BadOtp, reason };
        let vault = &self.vault;
        let Some(device) = device else {
            vault.decrypt_block(&decoy_row(&self.settings.tenant, "yubico"), &decoy.yubico, otp.block()).await?;
            return Ok(Err(bad(Reason::UnknownKey)));
        };
        let block = vault.decrypt_block(&device.row, &device.secret, otp.block()).await?;
        Ok(match (Reading::decode(&block, &device.private_id), device.barred) {
            (Ok(_), Some(reason)) => Err(bad(reason)),
            (read, _) => read.map_err(bad),
        })
    }

    async fn client_hmac(&self, client: &OtpClient, message: &str) -> Result<Vec<u8>, Fault> {
        let row = client_row(&client.tenant, client.id);
        Ok(self.vault.message_hmac(&row, &client.key, OtpHash::Sha1, message.as_bytes().to_vec()).await?)
    }

    /// Anybody can have OTPs refused: the first refusal of a kind is audited at once, the others are counted.
    async fn refuse(
        &self,
        client: &OtpClient,
        refusal: Refusal,
        draft: AuditEvent,
    ) -> Result<Result<Reading, Status>, Fault> {
        let kind = format!("otp {} {} {:?}", client.id, refusal.reason, draft.factors);
        self.audit.append_throttled(&kind, draft.because(refusal.reason)).await?;
        Ok(Err(refusal.status))
    }
}

/// An answer for which there is no client's key: signed by the empty one, as deployed servers do. It proves nothing,
/// and a client that has a key does not take it for its server's.
fn unsigned(answer: &Answer) -> String {
    answer.body(&hmac_sha1(b"", &answer.signing_string()))
}

/// Says in the log what did not work; the client hears no more than that something did not.
fn told(fault: &Fault) -> Status {
    tracing::error!(error = %fault, "an OTP could not be verified");
    Status::BackendError
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_clients_flood_leaves_room_for_the_others() {
        let (validation, one, two) = (Validation::default(), ClientNumber::new(1), ClientNumber::new(2));
        let mut held: Vec<_> = (0..MAX_OF_ONE_CLIENT).map(|_| validation.admit(one).unwrap()).collect();
        assert!(validation.admit(one).is_none());
        held.extend((MAX_OF_ONE_CLIENT..MAX_AT_ONCE).map(|_| validation.admit(two).unwrap()));
        assert!(validation.admit(ClientNumber::new(3)).is_none() && validation.admit(None).is_none());
        drop(held);
        assert!(validation.admit(one).is_some());
        assert!(validation.under_way.lock().is_empty(), "nothing is remembered of those that are done");
    }
}
