//! A shown code is compared with what the HSM computes for the user's factors, always by the same work.

use futures_util::future::join_all;

use crate::sign_in::decoys::DecoyMaterial;
use crate::sign_in::piv::PivCards;
use crate::{Unavailable, decoy_row, row_of_factor};
use signet_core::audit::Reason;
use signet_core::keys::{RowBinding, SealedCopies};
use signet_core::mfa::policy::{DigitCodes, OtpText};
use signet_core::mfa::recovery::RecoveryCode;
use signet_core::mfa::totp::Code;
use signet_core::mfa::{FactorDetail, Spendable, policy, recovery};
use signet_jose::clock::Timestamp;
use signet_store::{Factor, FactorId};

/// Why a code was refused, in the audit record's word, or the code with its factor.
pub(crate) type CodeVerdict<'f> = Result<(Spendable, &'f Factor), Reason>;

/// Whose code is looked for: a factor, or a token of the stock.
#[derive(Clone, Copy)]
pub(crate) struct Candidate<'f> {
    /// What its secret is bound to.
    pub(crate) row: &'f RowBinding,
    pub(crate) secret: &'f SealedCopies,
    pub(crate) detail: &'f FactorDetail,
    /// Whose recovery codes are kept beside it.
    pub(crate) factor: Option<&'f FactorId>,
}

module! {
    /// Compares a shown code with what the HSM computes.
    pub struct CodeMatcher {
        takes clock, settings, vault, recovery_codes;
        calls piv: PivCards;
    }
}

impl CodeMatcher {
    /// Runs every round of the HSM that the shown code asks for, all at once and each to its end, whatever another one
    /// finds; for what a card signed there is none. `factors` are those of the user that may be used now.
    pub(crate) async fn match_code<'f>(
        &self,
        shown: &OtpText,
        factors: &'f [Factor],
        decoy: &DecoyMaterial,
    ) -> Result<CodeVerdict<'f>, Unavailable> {
        if let OtpText::Piv(shown) = shown {
            return self.piv.match_piv(shown, factors).await;
        }
        let mut verdict: CodeVerdict<'f> = Err(if factors.is_empty() { Reason::NoFactor } else { Reason::WrongCode });
        let now = self.clock.now();
        let rounds = policy::rounds(shown, factors.iter().map(|factor| &factor.detail));
        let run = rounds.into_iter().map(|place| async move {
            let factor = place.and_then(|place| factors.get(place));
            let row = factor.map(row_of_factor);
            let candidate = factor.zip(row.as_ref()).map(|(factor, row)| Candidate {
                row,
                secret: &factor.secret,
                detail: &factor.detail,
                factor: Some(&factor.id),
            });
            let found = self.round(shown, candidate, decoy, now).await?;
            Ok::<CodeVerdict<'f>, Unavailable>(found.and_then(|code| Ok((code, factor.ok_or(Reason::WrongCode)?))))
        });
        for found in join_all(run).await {
            let found = found?;
            // The first match stays; of refusals, the one that says most is kept.
            if verdict.is_err() && (found.is_ok() || found.as_ref().err() != Some(&Reason::WrongCode)) {
                verdict = found;
            }
        }
        Ok(verdict)
    }

    /// One computation of the HSM: whether the candidate shows this; for none, as much work on a decoy.
    pub(crate) async fn round(
        &self,
        shown: &OtpText,
        candidate: Option<Candidate<'_>>,
        decoy: &DecoyMaterial,
        now: Timestamp,
    ) -> Result<Result<Spendable, Reason>, Unavailable> {
        match shown {
            OtpText::Digits(code) => {
                let (decoys_row, decoys_state) = (decoy_row(&self.settings.tenant, "totp"), policy::decoy_totp());
                let found = candidate.and_then(|of| Some((of.row, of.secret, of.detail.digit_codes()?)));
                let (row, secret, codes) = found.unwrap_or((&decoys_row, &decoy.totp, &decoys_state));
                let matched = self.match_digits(code, row, secret, codes, now).await?;
                Ok(if found.is_some() { matched } else { Err(Reason::WrongCode) })
            }
            OtpText::Yubico(otp) => {
                let decoys_row = decoy_row(&self.settings.tenant, "yubico");
                let (row, secret) = candidate.map_or((&decoys_row, &decoy.yubico), |of| (of.row, of.secret));
                let block = self.vault.decrypt_block(row, secret, otp.block()).await?;
                Ok(candidate.map_or(Err(Reason::UnknownKey), |of| of.detail.match_block(&block)))
            }
            OtpText::Recovery(code) => {
                let decoys_row = decoy_row(&self.settings.tenant, "recovery");
                let (row, secret) = candidate.map_or((&decoys_row, &decoy.recovery), |of| (of.row, of.secret));
                let factor = candidate.and_then(|of| of.factor).unwrap_or(&decoy.factor);
                self.recovery_round(code, factor, row, secret).await
            }
            OtpText::Piv(_) | OtpText::Neither => Ok(Err(Reason::WrongCode)),
        }
    }

    /// Whether a factor with this secret shows these digits, after as much work as for any other factor.
    pub(crate) async fn match_digits(
        &self,
        code: &Code,
        row: &RowBinding,
        secret: &SealedCopies,
        codes: &dyn DigitCodes,
        now: Timestamp,
    ) -> Result<Result<Spendable, Reason>, Unavailable> {
        let candidates = codes.candidates(now);
        let mut hmacs = self.vault.otp_hmac(row, secret, codes.hash(), policy::messages(&candidates)).await?;
        hmacs.truncate(candidates.len());
        Ok(codes.match_code(code, now, &candidates, &hmacs))
    }

    async fn recovery_round(
        &self,
        code: &RecoveryCode,
        factor: &FactorId,
        row: &RowBinding,
        secret: &SealedCopies,
    ) -> Result<Result<Spendable, Reason>, Unavailable> {
        let hmacs = self.vault.otp_hmac(row, secret, recovery::HASH, vec![code.message()]).await?;
        let kept = hmacs.first().and_then(|hmac| recovery::kept(hmac)).ok_or(Unavailable)?;
        let known = self.recovery_codes.recovery_code(&self.settings.tenant, factor, &kept).await?;
        Ok(known.map_or(Err(Reason::WrongCode), |is_unspent| recovery::found(kept, is_unspent)))
    }
}
