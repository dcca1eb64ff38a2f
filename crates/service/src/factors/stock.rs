//! The stock: tokens that were imported and belong to nobody yet, until they are assigned by an operator, or by the user who
//! holds one and shows its code.

use crate::rows::stock_row;
use crate::sign_in::matcher::{Candidate, CodeMatcher};
use crate::{Accounts, ChangeError, Decoys, FactorMaker, NewFactor, Tries, factor_added, factor_changed, factor_row};
use signet_core::audit::{AuditEvent, Change, Event, Outcome, Reason, RequestContext};
use signet_core::mfa::policy::OtpText;
use signet_core::mfa::{FactorDetail, FactorKind};
use signet_core::secret::SecretText;
use signet_store::{AssignOutcome, Factor, Session, StockToken, User};

module! {
    /// The hardware tokens that nobody has yet.
    pub struct TokenStock {
        takes clock, settings, vault, audit, stock;
        calls accounts: Accounts, decoys: Decoys, matcher: CodeMatcher, maker: FactorMaker, tries: Tries;
    }
}

impl TokenStock {
    /// So much of the stock after this serial number, by serial number, without secrets; the first of it without one.
    pub async fn stock_after(&self, serial: Option<&str>, most: u32) -> Result<Vec<StockToken>, ChangeError> {
        Ok(self.stock.stock(&self.settings.tenant, serial, most).await?)
    }

    /// Removes a token from the stock.
    pub async fn remove_stock(&self, serial: &str, context: &RequestContext) -> Result<(), ChangeError> {
        let tenant = &self.settings.tenant;
        let told = AuditEvent::new(Event::StockChanged, Outcome::Done, tenant.as_str(), context)
            .change(Change::Removed)
            .detail(format!("removed {serial}"));
        let removed = self.stock.remove_stock(tenant, serial, vec![told]).await?;
        if removed { Ok(()) } else { Err(self.why_not(serial).await?) }
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
    /// code and a token that is another's are one answer; ten that fail in an hour are all that is judged.
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
        self.tries.claim(user).await?;
        let assigned = self.prove_and_assign((user, session), serial, &shown, label, context).await;
        self.tries.settle_claim(user, &assigned).await;
        assigned
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
            let told = AuditEvent::new(Event::FactorChanged, Outcome::Refused, user.tenant.as_str(), context)
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
        if !matches!(shown, OtpText::Digits(_) | OtpText::Yubico(_)) {
            return Ok(None);
        }
        let decoy = self.decoys.decoy_material().await?;
        let token = token.filter(|token| token.detail.may_have_shown(shown));
        let row = token.map(|token| stock_row(&token.tenant, &token.id));
        let candidate = token.zip(row.as_ref()).map(|(token, row)| Candidate {
            row,
            secret: &token.secret,
            detail: &token.detail,
            factor: None,
        });
        let matched = self.matcher.round(shown, candidate, &decoy, self.clock.now()).await?;
        Ok(matched.ok().zip(token).map(|(code, token)| {
            let mut detail = token.detail.clone();
            detail.spend(code.by());
            detail
        }))
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
        let kind = token.secret_kind().ok_or_else(|| ChangeError::Conflict(not_in_stock(&token.serial)))?;
        if let Some(refusal) = token.validity.refusal(self.clock.now()) {
            return Err(ChangeError::Conflict(format!("the token `{}` can't be used: {refusal}", token.serial)));
        }
        let label = label.or(token.model.as_deref()).unwrap_or(&token.serial);
        crate::names::check_name("factor", label)?;
        let new = NewFactor { label, serial: Some(token.serial.clone()), detail };
        let mut factor = self.maker.new_factor(user, new, context).await?;
        let (from, to) = (stock_row(&token.tenant, &token.id), factor_row(&factor.tenant, &factor.id, &factor.user));
        factor.valid_until = token.validity.until;
        factor.secret = self.vault.rebind(&from, &to, kind, &token.secret).await?;
        let told = factor_changed(&factor, Change::Added, context);
        let told = told.detail(format!("{} from the stock", factor_added(&factor)));
        match self.stock.assign_stock(session, &token.id, &factor, vec![told]).await? {
            AssignOutcome::Assigned => Ok(factor),
            AssignOutcome::Gone => Err(ChangeError::Conflict(not_in_stock(&token.serial))),
            AssignOutcome::Refused => Err(crate::factors::enrolment::taken(&factor, user)),
        }
    }

    async fn stock_token(&self, serial: &str) -> Result<StockToken, ChangeError> {
        match self.stock.stock_token(&self.settings.tenant, serial).await? {
            Some(token) => Ok(token),
            None => Err(self.why_not(serial).await?),
        }
    }

    /// Why nothing can be done to a token that the stock has not: it is somebody's, or nobody has it.
    async fn why_not(&self, serial: &str) -> Result<ChangeError, ChangeError> {
        let known = self.stock.known_serials(&self.settings.tenant, &[serial.to_owned()]).await?;
        let text = not_in_stock(serial);
        Ok(if known.is_empty() { ChangeError::Absent(text) } else { ChangeError::Conflict(text) })
    }
}

fn not_in_stock(serial: &str) -> String {
    format!(
        "no token `{serial}` is in the stock; `signet factor stock` lists it, and `signet factor list --all` shows whose \
         a token is"
    )
}
