//! `[yubico_validation]`: the servers that verify Yubico OTPs whose keys are elsewhere.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::ConfigError;
use super::section::Section;
use super::server::is_loopback;
use signet_core::mfa::yubico_validation::ClientNumber;

pub(super) const KEYS: &[&str] = &["urls", "client_id", "key_file", "timeout"];

const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_URLS: usize = 8;

/// `[yubico_validation]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct YubicoValidationConfig {
    /// `urls`: each server's URL with its path, https, or http on loopback; all are asked at once.
    pub urls: Vec<Url>,
    /// `client_id`: the number under which the servers know this deployment.
    pub client_id: ClientNumber,
    /// `key_file`: a file of mode 0600 with the API key in base64.
    pub key_file: PathBuf,
    /// `timeout`: how long their answers are waited for in all.
    pub timeout: Duration,
}

impl YubicoValidationConfig {
    pub(super) fn read(section: &Section<'_>) -> Result<Self, ConfigError> {
        let expected =
            "a list of 1 to 8 URLs, https (http on loopback only), e.g. \"https://api.yubico.com/wsapi/2.0/verify\"";
        let urls = section.texts("urls", expected, |text| Url::parse(text).ok().filter(may_be_asked))?;
        if !(1..=MAX_URLS).contains(&urls.len()) {
            return Err(section.unusable("urls", format!("{expected} is expected")));
        }
        let number = "the client's number as a text of digits, not 0";
        let file = "a file of mode 0600 with the API key in base64";
        Ok(Self {
            urls,
            client_id: section.required_text("client_id", number, ClientNumber::parse)?,
            key_file: section.required("key_file", section.path("key_file", file)?, file)?,
            timeout: section.duration("timeout", Duration::from_millis(500)..=Duration::from_secs(10), TIMEOUT)?,
        })
    }
}

/// What was typed goes there: nobody on the way may read or change it.
fn may_be_asked(url: &Url) -> bool {
    let is_private = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url));
    is_private && url.username().is_empty() && url.password().is_none() && url.query().is_none()
}
