//! What a page carries through a browser and back, so that nothing is kept for visitors who never come back. A MAC shows
//! that it was made here, for this very browser and for one purpose. It is no secret from the browser.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use subtle::ConstantTimeEq as _;

use crate::Unavailable;
use signet_core::secret::SecretText;

module! {
    /// Makes and opens what a page carries through a browser.
    pub(crate) struct SignedState {
        takes secret;
    }
}

impl SignedState {
    /// Makes a text of `value` that only a bearer of `browser` can bring back, for `purpose`.
    pub(crate) async fn carry(
        &self,
        purpose: &'static str,
        browser: &str,
        value: &impl Serialize,
    ) -> Result<SecretText, Unavailable> {
        let payload = serde_json::to_vec(value).map_err(|_| Unavailable)?;
        let mac = self.secret.derive(purpose, &message(browser, &payload)).await?;
        Ok(SecretText::new(format!("{}.{}", URL_SAFE_NO_PAD.encode(&payload), URL_SAFE_NO_PAD.encode(mac))))
    }

    /// What [`carry`](Self::carry) made; `None` for anything else.
    pub(crate) async fn carried<T: DeserializeOwned>(
        &self,
        purpose: &'static str,
        browser: &str,
        shown: &SecretText,
    ) -> Result<Option<T>, Unavailable> {
        let Some((payload, mac)) = shown.expose().split_once('.') else { return Ok(None) };
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
        let (Some(payload), Some(mac)) = (decode(payload), decode(mac)) else { return Ok(None) };
        let expected = self.secret.derivations(purpose, &message(browser, &payload)).await?;
        let is_own = expected.iter().any(|expected| expected.as_slice().ct_eq(&mac).into());
        Ok(if is_own { serde_json::from_slice(&payload).ok() } else { None })
    }
}

/// Neither a session's id nor a browser's secret holds a NUL.
fn message(browser: &str, payload: &[u8]) -> Vec<u8> {
    [browser.as_bytes(), &[0], payload].concat()
}
