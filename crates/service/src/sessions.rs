//! Sessions: a person's sign-in in a browser. What the browser holds is a random secret, kept as its hash, and new after
//! each step: the sign-in, and each time that the person proves again who they are.
//!
//! A session ends after [`IDLE`] without use, after [`LONGEST`] in any case (NIST SP 800-63B-4 §2.3.3, the stricter of its
//! levels), and at once when its user is disabled, gets another password or loses a factor.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq as _;

use crate::{ChangeError, KeyAnswer, OperatorRights, SignIn, SignInError, Surface, Unavailable, still_there};
use signet_core::audit::{AuditEvent, Event, Outcome, Reason, RequestContext};
use signet_core::mfa::{Authentication, Credentials, Proved, SecondFactor};
use signet_core::random;
use signet_core::secret::{SecretHash, SecretText};
use signet_jose::clock::Timestamp;
use signet_store::{Session, SessionId, User, UserId};

/// How long a session lasts without use.
pub const IDLE: Duration = Duration::from_secs(15 * 60);
/// How long a session lasts in any case.
pub const LONGEST: Duration = Duration::from_secs(12 * 60 * 60);
/// How long a proof counts as fresh, for what changes how a person signs in.
pub const FRESH: Duration = Duration::from_secs(5 * 60);
/// How seldom the use of a session is written down.
const SEEN_EVERY: Duration = Duration::from_secs(60);

/// What the tokens of forms are derived for.
const FORM: &str = "form";

/// A session that holds, with its user and the secret that was shown for it.
#[derive(Debug, Clone)]
pub struct LiveSession {
    /// The session.
    pub session: Session,
    /// Whose it is.
    pub user: User,
    shown: SecretHash,
}

impl LiveSession {
    /// Whether the person proved who they are within the last [`FRESH`]. A proof from the future, after the clock went
    /// back, is none.
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        self.session.auth_time <= now && now.since(self.session.auth_time) <= FRESH
    }
}

module! {
    /// Begins, renews, finds and ends sessions.
    pub struct BrowserSessions {
        takes clock, ids, random, settings, audit, sessions, users, secret;
        calls sign_in: SignIn, rights: OperatorRights;
    }
}

impl BrowserSessions {
    /// Judges a name, a password and a code, and begins a session. Returns the secret for the browser. A session
    /// that the browser had ends.
    /// Errors: [`SignInError::Refused`] whatever was wrong; [`SignInError::TooWeak`]
    /// where what was proved is not what the policy asks for; [`Unavailable`] where HSM or store did not do their part.
    pub async fn begin_session(
        &self,
        credentials: &Credentials,
        earlier: Option<&LiveSession>,
        context: &RequestContext,
    ) -> Result<SecretText, SignInError> {
        let (authentication, user) = self.sign_in.authenticate(credentials, Surface::Pages, context).await?;
        self.session_for(&authentication, &user, earlier, context).await
    }

    /// Judges the password and a code of a session's user again. Returns the session's new secret; the old one no
    /// longer holds.
    /// Errors: [`SignInError`] as for a sign-in; [`SignInError::Refused`] too where the session ended meanwhile.
    pub async fn step_up(
        &self,
        live: &LiveSession,
        password: SecretText,
        otp: SecretText,
        context: &RequestContext,
    ) -> Result<SecretText, SignInError> {
        let username = SecretText::new(live.user.name.clone());
        let credentials = Credentials { username, password, second: SecondFactor::Code(otp) };
        let (authentication, user) = self.sign_in.authenticate(&credentials, Surface::Pages, context).await?;
        self.renew_session(live, &authentication, &user, context).await
    }

    /// Begins a session by a security key: beside a name and a password, or alone where both are empty. Returns the secret
    /// for the browser.
    /// Errors: [`SignInError`] as for a sign-in by a code; [`SignInError::TooWeak`] where the policy asks for more.
    pub async fn begin_session_by_key(
        &self,
        username: &SecretText,
        password: &SecretText,
        shown: &KeyAnswer,
        earlier: Option<&LiveSession>,
        context: &RequestContext,
    ) -> Result<SecretText, SignInError> {
        let (authentication, user) = if username.expose().is_empty() && password.expose().is_empty() {
            self.sign_in.authenticate_passwordless(shown, None, context).await?
        } else {
            self.sign_in.authenticate_by_key(username, password, shown, context).await?
        };
        self.session_for(&authentication, &user, earlier, context).await
    }

    /// A step-up by a security key: beside the password, or alone where that is empty. Returns the session's new secret.
    /// Errors: [`SignInError`] as for a sign-in; [`SignInError::Refused`] too where the session ended meanwhile.
    pub async fn step_up_by_key(
        &self,
        live: &LiveSession,
        password: &SecretText,
        shown: &KeyAnswer,
        context: &RequestContext,
    ) -> Result<SecretText, SignInError> {
        let (authentication, user) = if password.expose().is_empty() {
            self.sign_in.authenticate_passwordless(shown, Some(&live.user.id), context).await?
        } else {
            let username = SecretText::new(live.user.name.clone());
            self.sign_in.authenticate_by_key(&username, password, shown, context).await?
        };
        self.renew_session(live, &authentication, &user, context).await
    }

    /// Begins a session for the user who signed in, if what they proved suffices.
    pub(crate) async fn session_for(
        &self,
        authentication: &Authentication,
        user: &User,
        earlier: Option<&LiveSession>,
        context: &RequestContext,
    ) -> Result<SecretText, SignInError> {
        let now = self.clock.now();
        let session = Session {
            tenant: self.settings.tenant.clone(),
            id: SessionId::new(self.ids.next()),
            user: user.id.clone(),
            credentials_version: user.credentials_version,
            address: context.address.map(|address| address.to_string()),
            auth_time: authentication.at(),
            acr: authentication.acr().to_owned(),
            amr: authentication.amr(),
            factors: authentication.factors().to_vec(),
            created_at: now,
            last_seen_at: now,
            expires_at: now.plus(LONGEST),
        };
        let told = self.session_draft(Event::SessionStarted, &session, context);
        self.must_suffice(&session, &told).await?;
        let secret = self.new_session_secret();
        let hash = SecretHash::of(secret.expose());
        let added = self.sessions.add_session(&session, &hash, vec![told]).await;
        if !added? {
            return Err(SignInError::Refused);
        }
        if let Some(earlier) = earlier {
            self.end_session(earlier, &earlier.session.id, context).await?;
        }
        Ok(secret)
    }

    /// Gives a session a new secret and what its user proved just now, if that suffices.
    pub(crate) async fn renew_session(
        &self,
        live: &LiveSession,
        authentication: &Authentication,
        user: &User,
        context: &RequestContext,
    ) -> Result<SecretText, SignInError> {
        if user.id != live.user.id {
            return Err(SignInError::Refused);
        }
        let session = proved_again(&live.session, authentication);
        let told = self.session_draft(Event::SessionRenewed, &session, context);
        self.must_suffice(&session, &told).await?;
        let secret = self.new_session_secret();
        let hash = SecretHash::of(secret.expose());
        let renewed = self.sessions.renew_session(&session, &live.shown, &hash, vec![told]).await;
        if renewed? { Ok(secret) } else { Err(SignInError::Refused) }
    }

    /// Refuses a session whose sign-in does not prove what the policy asks for, and audits it.
    async fn must_suffice(&self, session: &Session, told: &AuditEvent) -> Result<(), SignInError> {
        if self.settings.current().assurance.admits_to_pages(proved(session)) {
            return Ok(());
        }
        let mut refused = told.clone().because(Reason::SignInTooWeak);
        refused.outcome = Outcome::Refused;
        self.audit.append(vec![refused]).await?;
        Err(SignInError::TooWeak)
    }

    /// The session of a secret, where it holds.
    pub async fn live_session(&self, secret: &SecretText) -> Result<Option<LiveSession>, Unavailable> {
        let (tenant, now) = (&self.settings.tenant, self.clock.now());
        let shown = SecretHash::of(secret.expose());
        let found = self.sessions.session(tenant, &shown, now, now.minus(IDLE)).await;
        let Some(session) = found? else { return Ok(None) };
        let user = self.users.user(tenant, &session.user).await?;
        let Some(user) = user else { return Ok(None) };
        if now.since(session.last_seen_at) >= SEEN_EVERY {
            let touched = self.sessions.touch_session(tenant, &session.id, now).await;
            touched?;
        }
        Ok(Some(LiveSession { session, user, shown }))
    }

    /// The sessions of the same user that hold, the newest first.
    pub async fn list_sessions(&self, live: &LiveSession) -> Result<Vec<Session>, Unavailable> {
        let now = self.clock.now();
        let listed = self.sessions.sessions(&live.user.tenant, &live.user.id, now, now.minus(IDLE)).await;
        listed.map_err(Unavailable::from)
    }

    /// Ends one of the user's sessions; `false` where it is gone, or another user's.
    pub async fn end_session(
        &self,
        live: &LiveSession,
        id: &SessionId,
        context: &RequestContext,
    ) -> Result<bool, Unavailable> {
        let told = self.session_draft(Event::SessionEnded, &live.session, context).detail(format!("session {id}"));
        let ended = self.sessions.end_session(&live.user.tenant, &live.user.id, id, vec![told]).await;
        ended.map_err(Unavailable::from)
    }

    /// Ends all of the user's sessions and refresh families.
    pub async fn sign_out_everywhere(&self, live: &LiveSession, context: &RequestContext) -> Result<(), Unavailable> {
        let told = self.session_draft(Event::SessionEnded, &live.session, context).detail("all sessions and grants");
        let (tenant, user) = (&live.user.tenant, &live.user.id);
        let ended = self.sessions.sign_out_everywhere(tenant, user, self.clock.now(), vec![told]).await;
        ended.map(drop).map_err(Unavailable::from)
    }

    /// A user's sessions that hold, the newest first, as an operator sees them.
    pub async fn sessions_of(&self, user: &UserId) -> Result<Vec<Session>, Unavailable> {
        let now = self.clock.now();
        Ok(self.sessions.sessions(&self.settings.tenant, user, now, now.minus(IDLE)).await?)
    }

    /// Has an operator end one session of a user.
    /// Errors: [`ChangeError::Missing`] where it is gone, or another user's.
    pub async fn end_session_of(&self, user: &UserId, id: &str, context: &RequestContext) -> Result<(), ChangeError> {
        self.rights.over_user_of(user, context).await?;
        let told = self.ended(user, context).detail(format!("session {id}"));
        let ended = self.sessions.end_session(&self.settings.tenant, user, &SessionId::new(id), vec![told]).await?;
        still_there(ended, "session", id)
    }

    /// Has an operator end all that a user's credentials have led to.
    pub async fn sign_out(&self, user: &UserId, context: &RequestContext) -> Result<(), ChangeError> {
        self.rights.over_user_of(user, context).await?;
        let told = self.ended(user, context).detail("all sessions and grants");
        let tenant = &self.settings.tenant;
        let ended = self.sessions.sign_out_everywhere(tenant, user, self.clock.now(), vec![told]).await?;
        still_there(ended, "user", user.as_str())
    }

    fn ended(&self, user: &UserId, context: &RequestContext) -> AuditEvent {
        AuditEvent::new(Event::SessionEnded, Outcome::Done, self.settings.tenant.as_str(), context).user(user.as_str())
    }

    /// A fresh secret for a browser: a session's, or one that stands for no session and ties the sign-in form to the
    /// browser that asked for it.
    pub fn new_session_secret(&self) -> SecretText {
        SecretText::new(random::url_text::<32>(self.random.as_ref()))
    }

    /// What the forms of a browser with this secret carry, so that no other site can send them (CSRF).
    pub async fn form_token(&self, secret: &SecretText) -> Result<String, Unavailable> {
        let token = self.secret.derive(FORM, secret.expose().as_bytes()).await?;
        Ok(URL_SAFE_NO_PAD.encode(token))
    }

    /// Whether a form carries the token of the browser that sent it.
    pub async fn is_form_token(&self, secret: &SecretText, shown: &str) -> Result<bool, Unavailable> {
        let tokens = self.secret.derivations(FORM, secret.expose().as_bytes()).await?;
        Ok(tokens.iter().any(|token| URL_SAFE_NO_PAD.encode(token).as_bytes().ct_eq(shown.as_bytes()).into()))
    }

    fn session_draft(&self, event: Event, session: &Session, context: &RequestContext) -> AuditEvent {
        let mut draft = AuditEvent::new(event, Outcome::Done, self.settings.tenant.as_str(), context)
            .user(session.user.as_str())
            .detail(format!("session {}", session.id));
        draft.factors.clone_from(&session.factors);
        draft
    }
}

/// What a session's user proved last.
pub(crate) fn proved(session: &Session) -> Proved<'_> {
    Proved { acr: &session.acr, factors: &session.factors }
}

fn proved_again(session: &Session, authentication: &Authentication) -> Session {
    Session {
        auth_time: authentication.at(),
        acr: authentication.acr().to_owned(),
        amr: authentication.amr(),
        factors: authentication.factors().to_vec(),
        ..session.clone()
    }
}
