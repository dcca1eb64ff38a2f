//! Clients of the Yubico validation protocol, as an operator adds, disables and removes them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::pages::all_pages;
use crate::rows::client_row;
use crate::{ChangeError, check_name, still_there};
use signet_core::audit::{AuditEvent, Change, Event, Facts, Outcome, RequestContext};
use signet_core::keys::{OtpHash, OtpSecretKind};
use signet_core::mfa::yubico_export;
use signet_core::mfa::yubico_validation::ClientNumber;
use signet_core::random;
use signet_core::secret::{SecretBytes, SecretText};
use signet_store::OtpClient;

/// What a new client of the validation protocol is.
#[derive(Debug)]
pub struct NewOtpClient {
    /// Its name.
    pub name: String,
    /// Its number; the next free one where none is given.
    pub id: Option<ClientNumber>,
    /// The API key that it has already, in base64; a new one where none is given.
    pub key: Option<SecretText>,
    /// Whether its requests must be signed.
    pub needs_signature: bool,
    /// Whether it may ask at once.
    pub enabled: bool,
}

module! {
    /// The clients of the validation server, as operators see and change them.
    pub struct OtpClients {
        takes clock, random, settings, vault, otp_validation;
    }
}

impl OtpClients {
    /// Adds a client. Gives the API key in base64, which is shown this once.
    pub async fn add_otp_client(
        &self,
        new: NewOtpClient,
        context: &RequestContext,
    ) -> Result<(OtpClient, SecretText), ChangeError> {
        check_name("client", &new.name)?;
        let key = match &new.key {
            Some(text) => brought_key(text)?,
            None => SecretBytes::new(random::bytes::<20>(self.random.as_ref()).to_vec()),
        };
        let tenant = &self.settings.tenant;
        // Another command may take the same free number at the same time: then the next one is free.
        for _ in 0..8 {
            let id = match new.id {
                Some(id) => id,
                None => next_number(&self.list_otp_clients().await?)?,
            };
            let kind = OtpSecretKind::Hmac(OtpHash::Sha1);
            let client = OtpClient {
                tenant: tenant.clone(),
                key: self.vault.wrap(&client_row(tenant, id), kind, &key).await?,
                id,
                name: new.name.clone(),
                needs_signature: new.needs_signature,
                enabled: new.enabled,
                created_at: self.clock.now(),
            };
            let told = self.otp_client_changed(&client, Change::Added, context);
            if self.otp_validation.add_otp_client(&client, vec![told]).await? {
                return Ok((client, SecretText::new(STANDARD.encode(key.expose()))));
            }
            if new.id.is_some() || self.otp_client_named(&new.name).await?.is_some() {
                break;
            }
        }
        let taken = match (self.otp_client_named(&new.name).await?, new.id) {
            (None, Some(id)) => id.to_string(),
            _ => new.name,
        };
        Err(ChangeError::Taken { noun: "otp-client", name: taken })
    }

    /// So many clients after this number, by number; the first ones without one.
    pub async fn otp_clients_after(
        &self,
        number: Option<ClientNumber>,
        most: u32,
    ) -> Result<Vec<OtpClient>, ChangeError> {
        Ok(self.otp_validation.otp_clients(&self.settings.tenant, number, most).await?)
    }

    /// All clients, by number.
    async fn list_otp_clients(&self) -> Result<Vec<OtpClient>, ChangeError> {
        let tenant = &self.settings.tenant;
        all_pages(
            |client: &OtpClient| client.id,
            |after, most| async move { self.otp_validation.otp_clients(tenant, after, most).await },
        )
        .await
    }

    /// The client of this number or name.
    /// Errors: [`ChangeError::Missing`] where there is none.
    pub async fn find_otp_client(&self, name: &str) -> Result<OtpClient, ChangeError> {
        let clients = self.list_otp_clients().await?;
        let by_number = clients.iter().find(|client| client.id.to_string() == name).cloned();
        let found = by_number.or_else(|| clients.into_iter().find(|client| client.name == name));
        found.ok_or_else(|| ChangeError::missing("otp-client", name))
    }

    /// Lets a client ask again, or no more.
    pub async fn enable_otp_client(
        &self,
        name: &str,
        enabled: bool,
        context: &RequestContext,
    ) -> Result<(), ChangeError> {
        let client = self.find_otp_client(name).await?;
        let told = self.otp_client_changed(&client, Change::enabled(enabled), context);
        let told = told.from_to(Facts::enabled(client.enabled), Facts::enabled(enabled));
        let set = self.otp_validation.set_otp_client_enabled(&client.tenant, client.id, enabled, vec![told]).await?;
        still_there(set, "otp-client", name)
    }

    /// Removes a client with its key.
    pub async fn remove_otp_client(&self, name: &str, context: &RequestContext) -> Result<(), ChangeError> {
        let client = self.find_otp_client(name).await?;
        let told = self.otp_client_changed(&client, Change::Removed, context);
        still_there(
            self.otp_validation.remove_otp_client(&client.tenant, client.id, vec![told]).await?,
            "otp-client",
            name,
        )
    }

    async fn otp_client_named(&self, name: &str) -> Result<Option<OtpClient>, ChangeError> {
        Ok(self.list_otp_clients().await?.into_iter().find(|client| client.name == name))
    }

    fn otp_client_changed(&self, client: &OtpClient, change: Change, context: &RequestContext) -> AuditEvent {
        AuditEvent::new(Event::OtpClientChanged, Outcome::Done, self.settings.tenant.as_str(), context)
            .client(client.id.to_string())
            .client(client.id.to_string())
            .change(change)
            .detail(format!("{}: {}", change.in_words(), client.name))
    }
}

fn brought_key(text: &SecretText) -> Result<SecretBytes, ChangeError> {
    yubico_export::api_key(text.expose()).ok_or_else(|| {
        ChangeError::Input("the API key must be base64 of 16 to 64 bytes, as the old server showed it".to_owned())
    })
}

fn next_number(clients: &[OtpClient]) -> Result<ClientNumber, ChangeError> {
    let greatest = clients.last().map_or(0, |client| client.id.get());
    ClientNumber::new(greatest + 1)
        .ok_or_else(|| ChangeError::Conflict("the greatest client number is taken; choose one with --id".to_owned()))
}
