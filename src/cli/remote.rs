//! The admin API of another machine (`--server`), by the token that `signet login` keeps. No configuration of the deployment is needed
//! for it.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Context as _;
use axum::http::{HeaderMap, HeaderValue, header};
use clap::Args;
use url::Url;

use super::Ended;

/// How commands reach the deployment from another machine.
#[derive(Debug, Clone, Args)]
pub(super) struct RemoteArguments {
    /// Ask the admin API at this URL (`admin.listen`), with the token of `signet login`, in the place of this machine's deployment.
    #[arg(long, global = true, env = "SIGNET_SERVER", value_name = "URL")]
    server: Option<String>,
    /// Trust the certificates of this PEM file too, for `--server`; those of `signet login --ca` where it is not given.
    #[arg(long, global = true, value_name = "FILE")]
    server_ca: Option<PathBuf>,
}

/// Another machine's admin API.
pub(super) struct Remote {
    url: Url,
    ca: Option<PathBuf>,
}

/// What was named. Set once, from the arguments.
static NAMED: OnceLock<Remote> = OnceLock::new();

/// The admin API that was named.
pub(super) fn named() -> Option<&'static Remote> {
    NAMED.get()
}

/// Refuses what only the deployment's own machine can do, where another one was named.
pub(super) fn must_be_here() -> Result<(), Ended> {
    let text = "this needs the deployment's own machine: leave --server away (and SIGNET_SERVER)";
    if named().is_some() { Err(Ended::Usage(text.to_owned())) } else { Ok(()) }
}

impl RemoteArguments {
    /// Takes over what was named.
    /// Errors: it is no URL over TLS.
    pub(super) fn take(&self) -> Result<(), Ended> {
        let Some(text) = &self.server else { return Ok(()) };
        let refused =
            || Ended::Usage("--server takes a URL that begins with https://, e.g. https://id.example:9443".to_owned());
        let url = Url::parse(text).map_err(|_| refused())?;
        let is_bare =
            url.username().is_empty() && url.password().is_none() && url.path() == "/" && url.query().is_none();
        if url.scheme() != "https" || !is_bare {
            return Err(refused());
        }
        // Only the first one counts; there is one command in a process.
        let _ = NAMED.set(Remote { url, ca: self.server_ca.clone() });
        Ok(())
    }
}

impl Remote {
    /// The address there of what has this one here.
    pub(super) fn at(&self, here: &Url) -> Url {
        let mut there = self.url.clone();
        there.set_path(here.path());
        there.set_query(here.query());
        there
    }

    /// What asks it, with the token of whoever is signed in.
    /// Errors: nobody is, or the token can't be refreshed.
    pub(super) async fn client(&self, answer: Duration) -> anyhow::Result<reqwest::Client> {
        let kept = signet_login::kept_token().await?;
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", kept.access_token.expose()))?;
        bearer.set_sensitive(true);
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, bearer)]);
        // Redirects would send the token elsewhere.
        let redirects = reqwest::redirect::Policy::none();
        let mut builder = reqwest::Client::builder().read_timeout(answer).redirect(redirects).default_headers(headers);
        if let Some(file) = self.ca.as_ref().or(kept.ca.as_ref()) {
            let pem = std::fs::read(file).with_context(|| format!("{} can't be read", file.display()))?;
            let unusable = || format!("{} holds no PEM certificate", file.display());
            for certificate in reqwest::Certificate::from_pem_bundle(&pem).with_context(unusable)? {
                builder = builder.add_root_certificate(certificate);
            }
        }
        Ok(builder.build()?)
    }

    /// What to say where it does not answer.
    pub(super) fn unreachable(&self, error: &reqwest::Error) -> String {
        let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
        let causes = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
        let advice = if causes.contains("certificate") {
            "its certificate is not trusted: name its CA by --server-ca, and look at this machine's clock"
        } else {
            "is it the address of `admin.listen`, and does the server run?"
        };
        format!("{} can't be asked: {causes}; {advice}", self.url)
    }
}
