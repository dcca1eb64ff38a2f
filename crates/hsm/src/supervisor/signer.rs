//! [`Signer`] by the workers.

use async_trait::async_trait;

use super::HsmGroup;
use crate::wire::{Answer, KeyRef, Octets, Operation};
use signet_core::keys::{Attempts, HsmError, HsmFailure, HsmKey, HsmName, HsmResult, RawSignature, Signer};
use signet_jose::Algorithm;

#[async_trait]
impl Signer for HsmGroup {
    async fn sign(&self, key: &HsmKey, algorithm: Algorithm, message: Vec<u8>) -> HsmResult<RawSignature> {
        let fail = |failure| HsmError::not_asked("sign", failure);
        if key.public.as_ref().is_none_or(|public| public.algorithm != algorithm) {
            let detail = format!("the key {} does not sign with {algorithm}", key.key_id);
            return Err(fail(HsmFailure::Configuration(detail)));
        }
        let token = self.token(&key.hsm).map_err(fail)?;
        signature(token.call_within(token.config.deadline, sign(key, algorithm, message)).await)
    }

    async fn sign_any(&self, keys: &[&HsmKey], attempts: &mut dyn Attempts) -> HsmResult<usize> {
        let among: Vec<&HsmName> = keys.iter().map(|key| &key.hsm).collect();
        let mut failover = self.failover("sign", &among);
        while let Some(choice) = failover.next() {
            let index = choice.index;
            let (key, public) =
                keys.get(index).and_then(|key| Some((key, key.public.as_ref()?))).ok_or_else(no_pair)?;
            let message = attempts.begin(index);
            let asked = choice.token.call_within(choice.patience, sign(key, public.algorithm, message)).await;
            match attempts.end(index, signature(asked)).await {
                Ok(()) => return Ok(index),
                Err(error) => failover.failed(&choice, error),
            }
        }
        Err(failover.into_error())
    }
}

fn no_pair() -> HsmError {
    HsmError::not_asked("sign", HsmFailure::Configuration("a key that is no pair does not sign".to_owned()))
}

fn sign(key: &HsmKey, algorithm: Algorithm, message: Vec<u8>) -> Operation {
    Operation::Sign { key: key_ref(key), algorithm, message: Octets(message) }
}

fn signature(answer: HsmResult<Answer>) -> HsmResult<RawSignature> {
    match answer? {
        Answer::Signature(signature) => Ok(RawSignature::from_hsm(signature.take())),
        _ => Err(unexpected("sign")),
    }
}

/// The key for the worker. A pair is named by the thumbprint of the public key that it must have.
pub(super) fn key_ref(key: &HsmKey) -> KeyRef {
    let key_id = key.public.as_ref().map_or(&key.key_id, |public| &public.key_id);
    KeyRef { cka_id: Octets(key.cka_id.clone()), key_id: key_id.as_str().to_owned(), purpose: key.purpose }
}

/// A worker that answers something else is not to be trusted, but its other answers may be.
pub(super) fn unexpected(operation: &str) -> HsmError {
    HsmError::new(operation, HsmFailure::Unavailable("its worker answered something else".into()))
}
