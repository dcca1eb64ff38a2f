//! A shown code is compared with what the HSM computes for the user's factors, always by the same work.

use futures_util::future::join_all;

use crate::sign_in::decoys::DecoyMaterial;
use crate::sign_in::piv::PivCards;
use crate::{Unavailable, decoy_row, row_of_factor};
use signet_core::audit::Reason;
use signet_core::keys::{OtpHash, RowBinding, SealedCopies};
use signet_core::mfa::piv::SpendableNonce;
use signet_core::mfa::policy::{OtpText, Round};
use signet_core::mfa::recovery::{RecoveryCode, SpendableCode};
use signet_core::mfa::totp::{Code, SpendableStep};
use signet_core::mfa::webauthn::SpendableAssertion;
use signet_core::mfa::yubico_otp::{Reading, YubicoOtp};
use signet_core::mfa::{HotpState, SpendableCounter, TotpState, hotp, policy, recovery, totp};
use signet_core::secret::SecretHash;
use signet_jose::clock::Timestamp;
use signet_store::{Factor, FactorId};

/// A code that matched and was not spent when it was read.
pub(crate) enum Spendable {
    Totp(SpendableStep),
    Hotp(SpendableCounter),
    Yubico(SpendableCounter),
    YubicoRemote(SpendableCounter),
    Piv(SpendableNonce),
    Recovery(SpendableCode),
    Assertion {
        assertion: SpendableAssertion,
        /// When its challenge is refused for its age.
        until: Timestamp,
    },
}

/// Why a code was refused, in the audit record's word, or the code with its factor.
pub(crate) type CodeVerdict<'f> = Result<(Spendable, &'f Factor), Reason>;

/// What one round found.
type Found = Result<Spendable, Reason>;

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
        let run = rounds.iter().map(|round| self.run_round(shown, round, factors, decoy, now));
        for ended in join_all(run).await {
            let (place, found) = ended?;
            let found = match (found, place.and_then(|place| factors.get(place))) {
                (Ok(spendable), Some(factor)) => Ok((spendable, factor)),
                (Ok(_), None) => Err(Reason::WrongCode),
                (Err(reason), _) => Err(reason),
            };
            // The first match stays; of refusals, the one that says most is kept.
            if verdict.is_err() && (found.is_ok() || found.as_ref().err() != Some(&Reason::WrongCode)) {
                verdict = found;
            }
        }
        Ok(verdict)
    }

    /// One round: the place of the factor that it was for, and what it found.
    async fn run_round(
        &self,
        shown: &OtpText,
        round: &Round<'_>,
        factors: &[Factor],
        decoy: &DecoyMaterial,
        now: Timestamp,
    ) -> Result<(Option<usize>, Found), Unavailable> {
        let tenant = &self.settings.tenant;
        let factor_at = |place: usize| factors.get(place).ok_or(Unavailable);
        Ok(match (shown, round) {
            (OtpText::Digits(code), Round::Totp(place, state)) => {
                (Some(*place), self.totp_round(code, factor_at(*place)?, state, now).await?)
            }
            (OtpText::Digits(code), Round::Hotp(place, state)) => {
                (Some(*place), self.hotp_round(code, factor_at(*place)?, state).await?)
            }
            (_, Round::DecoyDigits | Round::Totp(..) | Round::Hotp(..)) => {
                let state = policy::decoy_totp();
                let (row, steps) = (decoy_row(tenant, "totp"), totp::candidates(now, &state));
                self.digit_hmacs(&row, &decoy.totp, state.hash, &steps).await?;
                (None, Err(Reason::WrongCode))
            }
            (OtpText::Yubico(otp), Round::Yubico(place, state)) => {
                let factor = factor_at(*place)?;
                let block = self.yubico_block(&row_of_factor(factor), &factor.secret, otp).await?;
                let read = Reading::decode(&block, &state.private_id).and_then(|read| read.spendable(state));
                (Some(*place), read.map(Spendable::Yubico))
            }
            (OtpText::Yubico(otp), Round::DecoyYubico) => {
                self.yubico_block(&decoy_row(tenant, "yubico"), &decoy.yubico, otp).await?;
                (None, Err(Reason::UnknownKey))
            }
            (OtpText::Recovery(code), Round::Recovery(place, _)) => {
                let factor = factor_at(*place)?;
                (Some(*place), self.recovery_round(code, &factor.id, &row_of_factor(factor), &factor.secret).await?)
            }
            (OtpText::Recovery(code), Round::DecoyRecovery) => {
                let row = decoy_row(tenant, "recovery");
                (None, self.recovery_round(code, &decoy.factor, &row, &decoy.recovery).await?)
            }
            // A round is of the kind of what was shown.
            (_, Round::Yubico(..) | Round::DecoyYubico | Round::Recovery(..) | Round::DecoyRecovery) => {
                (None, Err(Reason::WrongCode))
            }
        })
    }

    async fn totp_round(
        &self,
        code: &Code,
        factor: &Factor,
        state: &TotpState,
        now: Timestamp,
    ) -> Result<Found, Unavailable> {
        let steps = totp::candidates(now, state);
        let hmacs = self.digit_hmacs(&row_of_factor(factor), &factor.secret, state.hash, &steps).await?;
        Ok(totp::match_step(code, now, &steps, &hmacs, state).map(Spendable::Totp))
    }

    async fn hotp_round(&self, code: &Code, factor: &Factor, state: &HotpState) -> Result<Found, Unavailable> {
        let counters = hotp::candidates(state);
        let hmacs = self.digit_hmacs(&row_of_factor(factor), &factor.secret, state.hash, &counters).await?;
        Ok(hotp::match_counter(code, &counters, &hmacs, state).map(Spendable::Hotp))
    }

    async fn recovery_round(
        &self,
        code: &RecoveryCode,
        factor: &FactorId,
        row: &RowBinding,
        seals: &SealedCopies,
    ) -> Result<Found, Unavailable> {
        let kept = self.recovery_hash(code, row, seals).await?;
        let known = self.recovery_codes.recovery_code(&self.settings.tenant, factor, &kept).await;
        Ok(match known? {
            Some(is_unspent) => {
                SpendableCode::found(kept, is_unspent).map(Spendable::Recovery).ok_or(Reason::ReplayedCode)
            }
            None => Err(Reason::WrongCode),
        })
    }

    async fn recovery_hash(
        &self,
        code: &RecoveryCode,
        row: &RowBinding,
        seals: &SealedCopies,
    ) -> Result<SecretHash, Unavailable> {
        let hmacs = self.vault.otp_hmac(row, seals, recovery::HASH, vec![code.message()]).await?;
        hmacs.first().and_then(|hmac| recovery::kept(hmac)).ok_or(Unavailable)
    }

    /// The HMACs of a factor's candidates, after as much work as for any other factor.
    pub(crate) async fn digit_hmacs(
        &self,
        row: &RowBinding,
        seals: &SealedCopies,
        hash: OtpHash,
        candidates: &[i64],
    ) -> Result<Vec<Vec<u8>>, Unavailable> {
        let mut hmacs = self.vault.otp_hmac(row, seals, hash, policy::messages(candidates)).await?;
        hmacs.truncate(candidates.len());
        Ok(hmacs)
    }

    async fn yubico_block(
        &self,
        row: &RowBinding,
        seals: &SealedCopies,
        otp: &YubicoOtp,
    ) -> Result<[u8; 16], Unavailable> {
        let block = self.vault.decrypt_block(row, seals, otp.block()).await;
        block.map_err(Unavailable::from)
    }
}
