//! [`KeyAdmin`] by the workers: all of a token's keys are managed through its first worker.

use std::sync::Arc;

use async_trait::async_trait;

use super::HsmGroup;
use super::signer::{key_ref, unexpected};
use crate::wire::{Answer, CheckedKey, Octets, Operation};
use signet_core::keys::{
    AnnouncedKey, GeneratedKey, HsmError, HsmFailure, HsmKey, HsmName, HsmResult, KeyAdmin, KeyPurpose, KeyReport,
    KeyTally, TenantId, TokenReport,
};
use signet_jose::{KeyId, PublicKey};

#[async_trait]
impl KeyAdmin for HsmGroup {
    fn tokens(&self) -> Vec<HsmName> {
        self.members.load().iter().map(|member| member.token.name().clone()).collect()
    }

    async fn describe(&self, hsm: &HsmName) -> HsmResult<TokenReport> {
        match self.manage(hsm, Operation::Describe).await? {
            Answer::Report(report) => Ok(report),
            _ => Err(unexpected("describe")),
        }
    }

    async fn generate_announced(&self, key: &AnnouncedKey, bits: u32) -> HsmResult<GeneratedKey> {
        let operation = Operation::GeneratePair {
            purpose: key.purpose,
            tenant: key.tenant.as_str().to_owned(),
            key_type: key.algorithm.key_type(),
            bits,
            cka_id: Octets(key.cka_id.clone()),
        };
        generated(self.manage(&key.hsm, operation).await?)
    }

    async fn generate_secret(&self, hsm: &HsmName, purpose: KeyPurpose, tenant: &TenantId) -> HsmResult<GeneratedKey> {
        let tenant = tenant.as_str().to_owned();
        generated(self.manage(hsm, Operation::GenerateSecret { purpose, tenant }).await?)
    }

    async fn list(&self, hsm: &HsmName) -> HsmResult<Vec<KeyReport>> {
        let Answer::Keys(keys) = self.manage(hsm, Operation::List).await? else { return Err(unexpected("list keys")) };
        Ok(keys)
    }

    async fn check(&self, hsm: &HsmName, keys: &[HsmKey]) -> HsmResult<Vec<(KeyId, HsmError)>> {
        let keys: Vec<&HsmKey> = keys.iter().filter(|key| key.hsm == *hsm).collect();
        let checked = |key: &&HsmKey| CheckedKey {
            key: key_ref(key),
            algorithm: key.public.as_ref().map(|public| public.algorithm),
        };
        match self.manage(hsm, Operation::Check { keys: keys.iter().map(checked).collect() }).await? {
            Answer::Checked(outcomes) if outcomes.len() == keys.len() => {
                let fault = |(key, failure): (&HsmKey, Option<HsmFailure>)| {
                    Some((
                        key.key_id.clone(),
                        HsmError::new(format!("check of a {} key", key.purpose.name()), failure?),
                    ))
                };
                Ok(keys.into_iter().zip(outcomes).filter_map(fault).collect())
            }
            _ => Err(unexpected("check keys")),
        }
    }

    async fn tally(&self, hsm: &HsmName) -> HsmResult<Vec<KeyTally>> {
        let Answer::Tally(counted) = self.manage(hsm, Operation::Tally).await? else { return Err(unexpected("tally")) };
        Ok(counted)
    }

    async fn destroy(&self, key: &HsmKey) -> HsmResult<()> {
        let operation = Operation::Destroy { key: key_ref(key) };
        let Answer::Done = self.manage(&key.hsm, operation).await? else { return Err(unexpected("destroy key")) };
        let token = self.token(&key.hsm).map_err(|failure| HsmError::new("destroy key", failure))?;
        token.tell_others(&Operation::Forget).await;
        Ok(())
    }

    fn asked_again(&self, hsm: &HsmName) -> u64 {
        self.token(hsm).map_or(0, |token| token.asked_again.load(std::sync::atomic::Ordering::Relaxed))
    }

    async fn forget(&self, hsm: &HsmName) -> HsmResult<()> {
        self.manage(hsm, Operation::Forget).await?;
        let token = self.token(hsm).map_err(|failure| HsmError::new("forget keys", failure))?;
        token.tell_others(&Operation::Forget).await;
        Ok(())
    }

    fn use_keys(&self, keys: Vec<HsmKey>) {
        self.keys.store(Arc::new(keys));
    }
}

impl HsmGroup {
    async fn manage(&self, hsm: &HsmName, operation: Operation) -> HsmResult<Answer> {
        let token = self.token(hsm).map_err(|failure| HsmError::new(operation.name(), failure))?;
        token.call(operation).await
    }
}

fn generated(answer: Answer) -> HsmResult<GeneratedKey> {
    let Answer::Generated { key_id, cka_id, public } = answer else {
        return Err(unexpected("generate key"));
    };
    let public =
        public.map(|der| PublicKey::from_spki_der(&der.take())).transpose().map_err(|_| unexpected("generate key"))?;
    Ok(GeneratedKey { key_id: KeyId::new(key_id), cka_id: cka_id.take(), public })
}
