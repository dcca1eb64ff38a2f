//! The stock: tokens that were imported and belong to nobody yet, until they are assigned by an operator, or by the user who
//! holds one and shows its code.

use crate::rows::stock_row;
use crate::{
    Accounts, ChangeError, Decoys, FactorMaker, NewFactor, Tries, all_pages, decoy_row, factor_added, factor_changed,
    factor_row,
};
use signet_core::audit::{Change, Draft, Event, Outcome, Reason, RequestContext};
use signet_core::mfa::policy::OtpText;
use signet_core::mfa::totp::Code;
use signet_core::mfa::yubico_otp::{Reading, YubicoOtp};
use signet_core::mfa::{FactorKind, HotpState, TotpState, hotp, policy, totp};
use signet_core::secret::SecretText;
use signet_store::{AssignOutcome, Factor, FactorDetail, Session, StockToken, User, YubicoState};

module! {
    /// The hardware tokens that nobody has yet.
    pub struct TokenStock {
        takes clock, settings, vault, audit, stock;
        calls accounts: Accounts, decoys: Decoys, maker: FactorMaker, tries: Tries;
    }
}

impl TokenStock {
    /// The whole stock by serial number, without secrets.
    pub async fn list_stock(&self) -> Result<Vec<StockToken>, ChangeError> {
        let tenant = &self.settings.tenant;
        all_pages(async |last: Option<&StockToken>, most| {
            self.stock.stock(tenant, last.map(|token| token.serial.as_str()), most).await
        })
        .await
    }

    /// Removes a token from the stock.
    pub async fn remove_stock(&self, serial: &str, context: &RequestContext) -> Result<(), ChangeError> {
        let tenant = &self.settings.tenant;
        let told = Draft::new(Event::StockChanged, Outcome::Done, tenant.as_str(), context)
            .change(Change::Removed)
            .detail(format!("removed {serial}"));
        let removed = self.stock.remove_stock(tenant, serial, vec![told]).await?;
        if removed { Ok(()) } else { Err(not_in_stock(serial)) }
    }

    /// Gives a token of the stock to a user.
    pub async fn assign_stock(
        &self,
        serial: &str,
        user: &str,
        label: Option<&str>,
        context: &RequestContext,
    ) -> Result<Factor, ChangeError> {
        let user = self.accounts.find_user(user).await?;
        let token = self.stock_token(serial).await?;
        let detail = token.detail.clone();
        self.make_factor(token, (&user, None), label, detail, context).await
    }

    /// Gives a token of the stock to the user who holds it: by its serial number and a code that it shows, which is spent
    /// by it. A YubiKey is found without a serial number, by the public id that it types. An unknown serial number, a wrong
    /// code and a token that is another's are one answer; each is a try at the account.
    pub async fn self_assign(
        &self,
        user: &User,
        serial: &str,
        code: &SecretText,
        label: Option<&str>,
        context: &RequestContext,
    ) -> Result<Factor, ChangeError> {
        self.assign_by_code(user, None, serial, code, label, context).await
    }

    /// Assigns a token of the stock to a user by its serial number and a code. With a session, only while that session
    /// holds.
    pub(crate) async fn assign_by_code(
        &self,
        user: &User,
        session: Option<&Session>,
        serial: &str,
        code: &SecretText,
        label: Option<&str>,
        context: &RequestContext,
    ) -> Result<Factor, ChangeError> {
        let shown = OtpText::classify(code.expose().trim());
        let counted = self.tries.count_change_try(user, shown.target()).await?;
        let assigned = self.prove_and_assign((user, session), serial, &shown, label, context).await;
        self.tries.settle_change_try(user, &counted, assigned).await
    }

    async fn prove_and_assign(
        &self,
        (user, session): (&User, Option<&Session>),
        serial: &str,
        shown: &OtpText,
        label: Option<&str>,
        context: &RequestContext,
    ) -> Result<Factor, ChangeError> {
        let token = self.token_shown(serial, shown).await?;
        let proved = self.detail_after(token.as_ref(), shown).await?;
        let (Some(token), Some(detail)) = (token, proved) else {
            let told = Draft::new(Event::FactorChanged, Outcome::Refused, user.tenant.as_str(), context)
                .user(user.id.as_str())
                .because(Reason::WrongCode)
                .detail("self-assignment");
            self.audit.append(vec![told]).await?;
            let text = "the serial number and the code don't belong together, or the token is somebody's already";
            return Err(ChangeError::Input(text.to_owned()));
        };
        self.make_factor(token, (user, session), label, detail, context).await
    }

    /// The token of this serial number, or where that is empty, the key that the code names.
    async fn token_shown(&self, serial: &str, shown: &OtpText) -> Result<Option<StockToken>, ChangeError> {
        let tenant = &self.settings.tenant;
        Ok(match shown {
            OtpText::Yubico(otp) if serial.is_empty() => {
                self.stock.stock_token_by_handle(tenant, FactorKind::YubicoOtp, otp.public_id()).await?
            }
            _ => self.stock.stock_token(tenant, serial).await?,
        })
    }

    /// The token as it is after the shown code was spent; `None` where the code is not its. What was typed decides the
    /// HSM's work, as at sign-in: it tells nobody which serial numbers are in the stock.
    async fn detail_after(
        &self,
        token: Option<&StockToken>,
        shown: &OtpText,
    ) -> Result<Option<FactorDetail>, ChangeError> {
        let decoy = self.decoys.decoy_material().await?;
        Ok(match (shown, token.map(|token| (token, &token.detail))) {
            (OtpText::Digits(code), Some((token, FactorDetail::Totp(state)))) => {
                self.totp_after(token, code, state).await?.map(FactorDetail::Totp)
            }
            (OtpText::Digits(code), Some((token, FactorDetail::Hotp(state)))) => {
                self.hotp_after(token, code, state).await?.map(FactorDetail::Hotp)
            }
            (OtpText::Yubico(otp), Some((token, FactorDetail::YubicoOtp(state))))
                if otp.public_id() == state.public_id =>
            {
                self.yubico_after(token, otp, state).await?.map(FactorDetail::YubicoOtp)
            }
            (OtpText::Digits(_), _) => {
                let state = policy::decoy_totp();
                let (row, steps) =
                    (decoy_row(&self.settings.tenant, "totp"), totp::candidates(self.clock.now(), &state));
                self.vault.otp_hmac(&row, &decoy.totp, state.hash, policy::messages(&steps)).await?;
                None
            }
            (OtpText::Yubico(otp), _) => {
                let row = decoy_row(&self.settings.tenant, "yubico");
                self.vault.decrypt_block(&row, &decoy.yubico, otp.block()).await?;
                None
            }
            (OtpText::Piv(_) | OtpText::Recovery(_) | OtpText::Neither, _) => None,
        })
    }

    async fn totp_after(
        &self,
        token: &StockToken,
        code: &Code,
        state: &TotpState,
    ) -> Result<Option<TotpState>, ChangeError> {
        let now = self.clock.now();
        let steps = totp::candidates(now, state);
        let row = stock_row(&token.tenant, &token.id);
        let hmacs = self.vault.otp_hmac(&row, &token.secret, state.hash, policy::messages(&steps)).await?;
        let matched = totp::match_step(code, now, &steps, hmacs.get(..steps.len()).unwrap_or_default(), state);
        Ok(matched.ok().map(|step| TotpState { last_step: step.step(), drift: step.drift(), ..state.clone() }))
    }

    async fn hotp_after(
        &self,
        token: &StockToken,
        code: &Code,
        state: &HotpState,
    ) -> Result<Option<HotpState>, ChangeError> {
        let counters = hotp::candidates(state);
        let row = stock_row(&token.tenant, &token.id);
        let hmacs = self.vault.otp_hmac(&row, &token.secret, state.hash, policy::messages(&counters)).await?;
        let matched = hotp::match_counter(code, &counters, hmacs.get(..counters.len()).unwrap_or_default(), state);
        Ok(matched.ok().map(|counter| HotpState { next_counter: counter.raised(), ..state.clone() }))
    }

    async fn yubico_after(
        &self,
        token: &StockToken,
        otp: &YubicoOtp,
        state: &YubicoState,
    ) -> Result<Option<YubicoState>, ChangeError> {
        let row = stock_row(&token.tenant, &token.id);
        let block = self.vault.decrypt_block(&row, &token.secret, otp.block()).await?;
        let read = Reading::decode(&block, &state.private_id).and_then(|read| read.spendable(state));
        Ok(read.ok().map(|counter| YubicoState { last_counter: counter.raised(), ..state.clone() }))
    }

    /// The token becomes the user's factor: its secret is bound to the factor's row inside the HSM's worker.
    async fn make_factor(
        &self,
        token: StockToken,
        (user, session): (&User, Option<&Session>),
        label: Option<&str>,
        detail: FactorDetail,
        context: &RequestContext,
    ) -> Result<Factor, ChangeError> {
        let kind = token.secret_kind().ok_or_else(|| not_in_stock(&token.serial))?;
        let label = label.or(token.model.as_deref()).unwrap_or(&token.serial);
        crate::names::check_name("factor", label)?;
        let new = NewFactor { label, serial: Some(token.serial.clone()), detail };
        let mut factor = self.maker.new_factor(user, new, context).await?;
        let (from, to) = (stock_row(&token.tenant, &token.id), factor_row(&factor.tenant, &factor.id, &factor.user));
        factor.secret = self.vault.rebind(&from, &to, kind, &token.secret).await?;
        let told = factor_changed(&factor, Change::Added, context);
        let told = told.detail(format!("{} from the stock", factor_added(&factor)));
        match self.stock.assign_stock(session, &token.id, &factor, vec![told]).await? {
            AssignOutcome::Assigned => Ok(factor),
            AssignOutcome::Gone => Err(not_in_stock(&token.serial)),
            AssignOutcome::Refused => Err(crate::factors::enrolment::taken(&factor, user)),
        }
    }

    async fn stock_token(&self, serial: &str) -> Result<StockToken, ChangeError> {
        let token = self.stock.stock_token(&self.settings.tenant, serial).await?;
        token.ok_or_else(|| not_in_stock(serial))
    }
}

fn not_in_stock(serial: &str) -> ChangeError {
    ChangeError::Input(format!(
        "no token `{serial}` is in the stock; `signet factor stock` lists it, and `signet factor list --all` shows whose \
         a token is"
    ))
}
