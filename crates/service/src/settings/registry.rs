//! The settings of a tenant, as operators see and state them. Where the four-eyes rule holds, what one of them states waits for
//! another person.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::{ChangeError, FourEyes, OperatorRights};
use signet_core::admin::{self, AdminScopes, Authority, OperatorKind};
use signet_core::audit::{AuditEvent, Event, Outcome, RequestContext};
use signet_core::settings::{LONGEST_DOCUMENT, SettingChange, SettingsDocument, TenantSettings, differences};
use signet_store::{DeclaredNoun, SettingStatement, StoreFailure};

/// What a record's text can hold of the changes; what is beyond is counted.
const LONGEST_RECORD: usize = 4000;

module! {
    /// The settings of a tenant, as operators see and state them.
    pub struct SettingsRegistry {
        takes clock, settings, directory, keys, setting_statements;
        calls rights: OperatorRights, four_eyes: FourEyes;
    }
}

/// What comes of settings that somebody states.
#[derive(Debug, Clone, Default)]
pub struct Stated {
    /// What is otherwise than before.
    pub changes: Vec<SettingChange>,
    /// Whether it waits for another person's approval.
    pub waits: bool,
}

/// Settings that wait for another person.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// Who stated them.
    pub stated_by: String,
    /// When.
    pub stated_at: signet_jose::clock::Timestamp,
    /// What would be otherwise than it is now.
    pub changes: Vec<SettingChange>,
}

/// What holds, and the statement that says so.
struct Held {
    statement: Option<SettingStatement>,
    /// What was ever stated, and nothing that is by default: a default may be another one in a later program.
    stated: SettingsDocument,
    settings: Arc<TenantSettings>,
}

/// What would hold.
struct Becoming {
    stated: SettingsDocument,
    settings: TenantSettings,
    changes: Vec<SettingChange>,
}

impl SettingsRegistry {
    /// The settings that hold now, in words.
    pub async fn show_settings(&self) -> Result<SettingsDocument, ChangeError> {
        Ok(self.held().await?.settings.document.clone())
    }

    /// Says what would be otherwise if this were stated; nothing changes.
    /// Errors: as for [`state_settings`](Self::state_settings).
    pub async fn preview_settings(
        &self,
        stated: SettingsDocument,
        context: &RequestContext,
    ) -> Result<Stated, ChangeError> {
        let held = self.held().await?;
        let changes = self.judged(&held, stated, context).await?.changes;
        let waits = !changes.is_empty() && self.four_eyes.four_eyes_hold().await?;
        Ok(Stated { changes, waits })
    }

    /// States settings: a section that is there replaces the one before whole, the others stay. They hold on every node within a
    /// second; where the four-eyes rule holds, they wait for another person.
    /// Errors: [`ChangeError::Input`] for what can't be so, [`ChangeError::Conflict`] for what can't be so yet; [`ChangeError::Forbidden`] where the operator may not do what they would
    /// give, and for software where the four-eyes rule holds.
    pub async fn state_settings(
        &self,
        stated: SettingsDocument,
        context: &RequestContext,
    ) -> Result<Stated, ChangeError> {
        let held = self.held().await?;
        let Becoming { stated, settings, changes } = self.judged(&held, stated, context).await?;
        if changes.is_empty() {
            return Ok(Stated::default());
        }
        let statement = self.statement(&stated, context)?;
        if self.four_eyes.four_eyes_hold().await? {
            refuse_software(context)?;
            let seen = self.setting_statements.proposed_settings(&self.settings.tenant).await?;
            let told = vec![self.told("to be approved by another person", &changes, context)];
            let tenant = &self.settings.tenant;
            let is_kept =
                self.setting_statements.propose_settings(tenant, seen.as_ref(), Some(&statement), told).await?;
            return if is_kept { Ok(Stated { changes, waits: true }) } else { Err(changed_meanwhile()) };
        }
        self.hold(&held, &settings, &statement, self.told("stated", &changes, context)).await?;
        Ok(Stated { changes, waits: false })
    }

    /// States the settings that a new deployment begins with, where none were ever stated.
    /// Errors: [`ChangeError::Input`] for what can't be so.
    pub(crate) async fn found(&self, document: &SettingsDocument, context: &RequestContext) -> Result<(), ChangeError> {
        let held = self.held().await?;
        if held.statement.is_some() {
            return Ok(());
        }
        let becomes = self.judge(document)?;
        let changes = differences(&SettingsDocument::default(), document);
        let statement = self.statement(document, context)?;
        self.hold(&held, &becomes, &statement, self.told("stated at the beginning", &changes, context)).await
    }

    /// The settings that wait for another person.
    pub async fn proposed_settings(&self) -> Result<Option<Proposal>, ChangeError> {
        let Some(proposed) = self.setting_statements.proposed_settings(&self.settings.tenant).await? else {
            return Ok(None);
        };
        let held = self.held().await?;
        let (_, becomes) = self.read(&proposed)?;
        Ok(Some(Proposal {
            stated_by: proposed.stated_by.unwrap_or_default(),
            stated_at: proposed.stated_at,
            changes: differences(&held.settings.document, &becomes.document),
        }))
    }

    /// Has the settings that wait hold from now on, as another person than the one who stated them. What an account of a machine
    /// stated may be that very person's: the first one who approves it stands for it, and another one must approve too.
    /// Errors: [`ChangeError::Forbidden`] for an account, for software, for the one who stated them, and where the operator may not do
    /// what they would give; [`ChangeError::Conflict`] where others wait than those that were seen, by when they were stated.
    pub async fn approve_settings(&self, seen: &str, context: &RequestContext) -> Result<Stated, ChangeError> {
        let Authority::Operator { kind: OperatorKind::Person(person), .. } = &context.authority else {
            let text = "settings are approved by a person with a token of their own, and by no account or software";
            return Err(ChangeError::Forbidden(text.to_owned()));
        };
        let proposed = self.setting_statements.proposed_settings(&self.settings.tenant).await?;
        let proposed = proposed.ok_or_else(none_wait)?;
        if proposed.stated_at.to_string() != seen {
            return Err(ChangeError::Conflict(
                "other settings wait by now than those that you saw: look again".to_owned(),
            ));
        }
        let stated_by = proposed.stated_by.as_deref().and_then(admin::person_of);
        if stated_by == Some(person) {
            return Err(ChangeError::Forbidden("you stated them: another person must approve".to_owned()));
        }
        let held = self.held().await?;
        let (_, becomes) = self.read(&proposed)?;
        let changes = differences(&held.settings.document, &becomes.document);
        self.judge_change(&held, &becomes, &changes, context).await?;
        let by = proposed.stated_by.as_deref().unwrap_or_default();
        if stated_by.is_none() {
            let told = vec![self.told(&format!("approved once, as {by} stated them"), &changes, context)];
            let stands = SettingStatement { stated_by: context.operator.clone(), ..proposed.clone() };
            let tenant = &self.settings.tenant;
            let is_kept =
                self.setting_statements.propose_settings(tenant, Some(&proposed), Some(&stands), told).await?;
            return if is_kept { Ok(Stated { changes, waits: true }) } else { Err(changed_meanwhile()) };
        }
        let told = self.told(&format!("approved, as {by} stated them"), &changes, context);
        self.hold(&held, &becomes, &proposed, told).await?;
        Ok(Stated { changes, waits: false })
    }

    /// Takes back the settings that wait.
    /// Errors: [`ChangeError::Conflict`] where none wait.
    pub async fn discard_settings(&self, context: &RequestContext) -> Result<(), ChangeError> {
        let tenant = &self.settings.tenant;
        let proposed = self.setting_statements.proposed_settings(tenant).await?.ok_or_else(none_wait)?;
        let told = vec![self.told("taken back", &[], context)];
        let is_gone = self.setting_statements.propose_settings(tenant, Some(&proposed), None, told).await?;
        if is_gone { Ok(()) } else { Err(changed_meanwhile()) }
    }

    /// The ids of what a file stated and is still there, in order, after `after`, at most `most`.
    pub async fn declared(
        &self,
        noun: DeclaredNoun,
        after: Option<&str>,
        most: u32,
    ) -> Result<Vec<String>, ChangeError> {
        Ok(self.setting_statements.declared(&self.settings.tenant, noun, after, most).await?)
    }

    async fn held(&self) -> Result<Held, ChangeError> {
        let statement = self.setting_statements.settings(&self.settings.tenant).await?;
        let (stated, settings) = match &statement {
            Some(statement) => self.read(statement)?,
            None => {
                let nothing = SettingsDocument::default();
                let settings = self.judge(&nothing)?;
                (nothing, settings)
            }
        };
        Ok(Held { statement, stated, settings: Arc::new(settings) })
    }

    fn read(&self, statement: &SettingStatement) -> Result<(SettingsDocument, TenantSettings), ChangeError> {
        let document = read_document(statement).map_err(|failure| failure.during("read settings"))?;
        let settings = self.judge(&document)?;
        Ok((document, settings))
    }

    fn judge(&self, document: &SettingsDocument) -> Result<TenantSettings, ChangeError> {
        self.settings.judge(document).map_err(|fault| ChangeError::Input(fault.to_string()))
    }

    /// What would hold if this were stated, and what of it is otherwise than before.
    async fn judged(
        &self,
        held: &Held,
        stated: SettingsDocument,
        context: &RequestContext,
    ) -> Result<Becoming, ChangeError> {
        let stated = held.stated.clone().with(stated);
        let settings = self.judge(&stated)?;
        let changes = differences(&held.settings.document, &settings.document);
        self.judge_change(held, &settings, &changes, context).await?;
        Ok(Becoming { stated, settings, changes })
    }

    async fn judge_change(
        &self,
        held: &Held,
        becomes: &TenantSettings,
        changes: &[SettingChange],
        context: &RequestContext,
    ) -> Result<(), ChangeError> {
        self.rights.to_set(&held.settings, becomes, changes, context).await?;
        if becomes.algorithm != held.settings.algorithm {
            self.judge_algorithm(becomes).await?;
        }
        let longest = self.settings.process.longest_token;
        if becomes.access_lifetime > longest {
            return Err(ChangeError::Conflict(format!(
                "`tokens.access_lifetime`: the HSM tokens of this node sign no token that lasts longer than {}: raise `longest_token` \
                 in each [[hsm]] first, on every node",
                signet_core::duration::text(longest)
            )));
        }
        Ok(())
    }

    /// Tokens go by another algorithm where a key of it signs already, and verifiers can know that.
    async fn judge_algorithm(&self, becomes: &TenantSettings) -> Result<(), ChangeError> {
        let (algorithm, now) = (becomes.algorithm, self.clock.now());
        let snapshot = self.directory.fresh().await?;
        let least = becomes.keys.least_published().max(self.settings.current().keys.least_published());
        let is_known = |key: &Arc<crate::directory::RingKey>| now.since(key.key.created_at) >= least;
        let mut signing = snapshot.active(algorithm).peekable();
        if signing.peek().is_none() {
            return Err(ChangeError::Conflict(format!(
                "`tokens.algorithm`: no {algorithm} key signs yet; `signet key generate --algorithm {algorithm}` makes one"
            )));
        }
        if !signing.any(is_known) && snapshot.published().any(is_known) {
            return Err(ChangeError::Conflict(format!(
                "`tokens.algorithm`: the {algorithm} key was published a moment ago, and verifiers that keep the JWKS would refuse its \
                 tokens: state it {} after the key was generated",
                signet_core::duration::text(least)
            )));
        }
        Ok(())
    }

    fn statement(&self, stated: &SettingsDocument, context: &RequestContext) -> Result<SettingStatement, ChangeError> {
        let document = text_of(stated);
        if document.len() > LONGEST_DOCUMENT {
            return Err(ChangeError::Input(format!("the settings are longer than {LONGEST_DOCUMENT} bytes")));
        }
        Ok(SettingStatement { document, stated_by: context.operator.clone(), stated_at: self.clock.now() })
    }

    /// Has settings hold, while those that were seen still do.
    async fn hold(
        &self,
        held: &Held,
        becomes: &TenantSettings,
        statement: &SettingStatement,
        told: AuditEvent,
    ) -> Result<(), ChangeError> {
        let tenant = &self.settings.tenant;
        // Before the first token that lasts longer is issued, every key stays published for it.
        self.keys.raise_token_lifetime(tenant, becomes.access_lifetime).await?;
        let seen = held.statement.as_ref();
        if !self.setting_statements.state_settings(tenant, seen, statement, vec![told]).await? {
            return Err(changed_meanwhile());
        }
        self.directory.fresh().await?;
        Ok(())
    }

    fn told(&self, what: &str, changes: &[SettingChange], context: &RequestContext) -> AuditEvent {
        let (mut text, mut left) = (what.to_owned(), changes.len());
        for change in changes {
            let change = change.to_string();
            if text.len() + change.len() > LONGEST_RECORD {
                text.push_str(&format!("; and {left} more"));
                break;
            }
            text.push_str("; ");
            text.push_str(&change);
            left -= 1;
        }
        AuditEvent::new(Event::SettingsStated, Outcome::Done, self.settings.tenant.as_str(), context).detail(text)
    }
}

/// A document as it is kept.
pub(crate) fn text_of(document: &SettingsDocument) -> String {
    // Texts, numbers and lists are JSON.
    serde_json::to_string(document).unwrap_or_default()
}

/// Reads what is kept.
/// Errors: [`StoreFailure::Corrupt`] where it is no document.
pub(crate) fn read_document(statement: &SettingStatement) -> Result<SettingsDocument, StoreFailure> {
    serde_json::from_str(&statement.document).map_err(|_| StoreFailure::Corrupt("settings"))
}

fn refuse_software(context: &RequestContext) -> Result<(), ChangeError> {
    match &context.authority {
        Authority::Operator { kind: OperatorKind::Software, .. } => {
            let text = "where the four-eyes rule holds, software states no settings";
            Err(ChangeError::Forbidden(text.to_owned()))
        }
        _ => Ok(()),
    }
}

fn none_wait() -> ChangeError {
    ChangeError::Conflict("no settings wait for approval".to_owned())
}

fn changed_meanwhile() -> ChangeError {
    ChangeError::Conflict(
        "somebody else changed the settings meanwhile: look at them, and state yours again".to_owned(),
    )
}

impl OperatorRights {
    /// Judges settings that an operator states.
    /// Errors: [`ChangeError::Forbidden`] where they give, or take from somebody, what the operator may not do.
    pub(crate) async fn to_set(
        &self,
        before: &TenantSettings,
        after: &TenantSettings,
        changes: &[SettingChange],
        context: &RequestContext,
    ) -> Result<(), ChangeError> {
        let roles: BTreeSet<&str> = before.role_scopes.roles().chain(after.role_scopes.roles()).collect();
        let mut touched = AdminScopes::default();
        for role in roles {
            let role = BTreeSet::from([role.to_owned()]);
            let [before, after] = [before, after].map(|settings| settings.role_scopes.admin_scopes(&role));
            if before != after {
                touched = touched.and(&before).and(&after);
            }
        }
        // How people prove who they are is asked of everybody, whatever they may do.
        let is_of_sign_in = |change: &SettingChange| ["mfa", "policy"].contains(&section_of(change));
        if changes.iter().any(is_of_sign_in) {
            let all = before.role_scopes.roles().map(str::to_owned).collect();
            touched = touched.and(&before.role_scopes.admin_scopes(&all));
        }
        self.judge_settings(&touched, context).await
    }
}

fn section_of(change: &SettingChange) -> &str {
    change.setting.split('.').next().unwrap_or_default()
}
