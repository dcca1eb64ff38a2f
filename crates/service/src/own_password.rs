//! A person's own password, as they change it: after a fresh proof that is as strong as their strongest factor, since whoever finds
//! an open browser changes nothing by which its owner signs in.

use crate::factors::own::SelfServiceError;
use crate::{Accounts, LiveSession, OwnFactors, Unavailable, password_row};
use signet_core::audit::RequestContext;
use signet_core::mfa::password::{self, Workspace};
use signet_core::secret::SecretText;

module! {
    /// Changes a person's own password.
    pub struct OwnPassword {
        takes settings, vault, hashing;
        calls own: OwnFactors, accounts: Accounts;
    }
}

impl OwnPassword {
    /// Replaces the password of whoever is signed in. All of the person's sessions end with it, this one too, and all grants; what
    /// others tried with the old one is forgotten.
    /// Errors: [`SelfServiceError`]; [`SelfServiceError::Input`] for one that is no good as a password, or is the old one.
    pub async fn change(
        &self,
        live: &LiveSession,
        new: &SecretText,
        context: &RequestContext,
    ) -> Result<(), SelfServiceError> {
        self.own.must_be_fresh(live, context).await?;
        if self.is_the_old_one(live, new).await? {
            // Whoever knows it would know it still.
            return Err(SelfServiceError::Input("this is the password that you have: choose another one".to_owned()));
        }
        let seen = Some(live.session.credentials_version);
        let is_set = self.accounts.replace_password(&live.user, seen, new, context).await?;
        if is_set { Ok(()) } else { Err(SelfServiceError::SessionOver) }
    }

    async fn is_the_old_one(&self, live: &LiveSession, new: &SecretText) -> Result<bool, SelfServiceError> {
        let (user, shown) = (live.user.id.clone(), new.clone());
        let Some(sealed) = &live.user.password else { return Ok(false) };
        let opened = self.vault.open(&password_row(&self.settings.tenant, &user), sealed).await?;
        let phc = String::from_utf8(opened.expose().to_vec()).map(SecretText::new).map_err(|_| Unavailable)?;
        let judge = move |workspace: &mut Workspace| password::verify(&user, &shown, &phc, workspace).is_some();
        Ok(self.hashing.run(judge).await?)
    }
}
