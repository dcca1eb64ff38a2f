//! How commands reach the admin API: over the socket of this node's server, in this process where none runs, or on another machine.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tower::ServiceExt as _;
use url::Url;

use super::remote::{self, Remote};
use super::{Ended, Output, deployment};
use crate::config::Config;
use crate::server::api::{CLAIM_HEADER, Operator, router};
use crate::server::{Need, NodeHost, Runtime, try_lock};
use signet_admin_api::{Page, PageQuery, Problem, ProblemKind};
use signet_state_file::LockedFile;

/// How long a command waits for another one, or for a server that starts or ends.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it looks meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// After which time it says what it waits for.
const SAYS_SO_AFTER: Duration = Duration::from_secs(1);
/// The longest answer that is read, in bytes.
const LONGEST: usize = 64 * 1024 * 1024;
/// The longest that an answer is waited for: an HSM may be slow, and a list long.
const ANSWER: Duration = Duration::from_secs(300);

/// The admin API, wherever it is.
pub(super) struct Admin {
    way: Way,
}

enum Way {
    /// Another machine's is asked, by a token.
    Remote { client: reqwest::Client, remote: &'static Remote },
    /// A server of this node runs.
    Socket(reqwest::Client),
    /// None runs: this process is the node until the command ends.
    Here { router: axum::Router, runtime: Box<Runtime>, _lock: LockedFile },
}

impl Admin {
    /// Takes the server that was named, finds this node's, or becomes the node until the command ends. `need` says what the command needs then.
    /// Errors: neither works, and why.
    pub(super) async fn open(config: &Path, need: Need, output: &Output) -> anyhow::Result<Self> {
        if let Some(admin) = Self::named().await? {
            return Ok(admin);
        }
        Self::by(Config::load_with_environment(config)?, need, output).await
    }

    /// The same by a configuration of which some lies in the store now: that is left out.
    pub(super) async fn open_by_older(config: &Path, need: Need, output: &Output) -> anyhow::Result<Self> {
        if let Some(admin) = Self::named().await? {
            return Ok(admin);
        }
        Self::by(Config::load_without_settings(config)?, need, output).await
    }

    async fn by(config: Config, need: Need, output: &Output) -> anyhow::Result<Self> {
        match find(&config, output).await? {
            Found::Server(admin) => Ok(admin),
            Found::Nobody(lock) => {
                let runtime = Box::new(deployment::open_by(config, need, output).await?);
                let host = Arc::new(NodeHost::of_a_command(&runtime));
                Ok(Self { way: Way::Here { router: router(runtime.api_state(host)), runtime, _lock: lock } })
            }
        }
    }

    /// The server of another machine that was named.
    /// Errors: nobody is signed in for it.
    pub(super) async fn named() -> anyhow::Result<Option<Self>> {
        let Some(remote) = remote::named() else { return Ok(None) };
        Ok(Some(Self { way: Way::Remote { client: remote.client(ANSWER).await?, remote } }))
    }

    /// Whether a server is spoken to.
    pub(super) const fn is_server(&self) -> bool {
        !matches!(self.way, Way::Here { .. })
    }

    /// Reads one thing, as a query asks for it.
    pub(super) async fn ask<T: DeserializeOwned>(&self, path: &[&str], query: &impl Serialize) -> anyhow::Result<T> {
        parsed(&self.send::<()>(Method::GET, url(path, query)?, None).await?)
    }

    /// Asks for what is too long to be held at once.
    pub(super) async fn long(&self, method: Method, path: &[&str]) -> anyhow::Result<Long> {
        let answer = self.answer(method, url(path, &())?, None).await?;
        if answer.status.is_success() { Ok(answer) } else { Err(answer.refusal().await?) }
    }

    /// Waits until an HSM token answers, for a command that did without at first ([`Need::HsmLater`]). A server has its own.
    /// Errors: none answers.
    pub(super) async fn wait_for_any_hsm(&self, output: &Output) -> anyhow::Result<()> {
        match &self.way {
            Way::Socket(_) | Way::Remote { .. } => Ok(()),
            Way::Here { runtime, .. } => {
                output.progress("waiting for the HSM tokens");
                runtime.wait_for_any_hsm().await
            }
        }
    }

    /// Reads one thing.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> anyhow::Result<T> {
        parsed(&self.send::<()>(Method::GET, url(path, &())?, None).await?)
    }

    /// Reads a list, all of its pages.
    pub(super) async fn all<T: DeserializeOwned>(&self, path: &[&str]) -> anyhow::Result<Vec<T>> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let query = PageQuery { after, limit: Some(PageQuery::MOST) };
            let page: Page<T> = parsed(&self.send::<()>(Method::GET, url(path, &query)?, None).await?)?;
            all.extend(page.items);
            after = page.next;
            if after.is_none() {
                return Ok(all);
            }
        }
    }

    /// Has something made or done, and reads what became of it.
    pub(super) async fn post<T: DeserializeOwned>(&self, path: &[&str], body: &impl Serialize) -> anyhow::Result<T> {
        parsed(&self.send(Method::POST, url(path, &())?, Some(body)).await?)
    }

    /// Changes a thing, and reads what it is then.
    pub(super) async fn patch<T: DeserializeOwned>(&self, path: &[&str], body: &impl Serialize) -> anyhow::Result<T> {
        parsed(&self.send(Method::PATCH, url(path, &())?, Some(body)).await?)
    }

    /// Changes a thing, as a query says how, and reads what became of it.
    pub(super) async fn patch_by<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &impl Serialize,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        parsed(&self.send(Method::PATCH, url(path, query)?, Some(body)).await?)
    }

    /// Puts something in its place.
    pub(super) async fn put(&self, path: &[&str], body: &impl Serialize) -> anyhow::Result<()> {
        self.send(Method::PUT, url(path, &())?, Some(body)).await.map(drop)
    }

    /// Removes or ends a thing.
    pub(super) async fn delete(&self, path: &[&str]) -> anyhow::Result<()> {
        self.send::<()>(Method::DELETE, url(path, &())?, None).await.map(drop)
    }

    async fn send<B: Serialize>(&self, method: Method, url: Url, body: Option<&B>) -> anyhow::Result<Vec<u8>> {
        let body = body.map(serde_json::to_vec).transpose()?;
        let answer = self.answer(method, url, body).await?;
        if answer.status.is_success() { answer.whole().await } else { Err(answer.refusal().await?) }
    }

    async fn answer(&self, method: Method, url: Url, body: Option<Vec<u8>>) -> anyhow::Result<Long> {
        match &self.way {
            Way::Remote { client, remote } => {
                let request = client.request(method, remote.at(&url));
                answer_to(request, body).await.map_err(|error| anyhow::anyhow!(remote.unreachable(&error)))
            }
            Way::Socket(client) => {
                let request = client.request(method, url);
                let request = match claim()? {
                    Some(claim) => request.header(CLAIM_HEADER, claim),
                    None => request,
                };
                answer_to(request, body).await.context("the server did not answer")
            }
            Way::Here { router, .. } => in_process(router.clone(), method, &url, body).await,
        }
    }

    /// Ends what was begun for the command alone.
    pub(super) async fn close(self) -> anyhow::Result<()> {
        match self.way {
            Way::Remote { .. } | Way::Socket(_) => Ok(()),
            Way::Here { runtime, .. } => runtime.close().await,
        }
    }
}

/// An answer that is read as it comes.
pub(super) struct Long {
    status: StatusCode,
    headers: HeaderMap,
    body: Answered,
}

enum Answered {
    Server(reqwest::Response),
    Here(Body),
}

impl Long {
    /// A header of it.
    pub(super) fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// What comes next of it.
    /// Errors: it was cut off.
    async fn next(&mut self) -> anyhow::Result<Option<Bytes>> {
        let part = match &mut self.body {
            Answered::Server(answer) => answer.chunk().await.map_err(anyhow::Error::from),
            Answered::Here(body) => match body.frame().await {
                Some(frame) => frame.map(|frame| frame.into_data().ok()).map_err(anyhow::Error::from),
                None => Ok(None),
            },
        };
        part.context("the answer broke off: the server's log says why")
    }

    async fn whole(mut self) -> anyhow::Result<Vec<u8>> {
        let mut whole = Vec::new();
        while let Some(part) = self.next().await? {
            anyhow::ensure!(whole.len() + part.len() <= LONGEST, "the answer is too long");
            whole.extend_from_slice(&part);
        }
        Ok(whole)
    }

    /// Writes lines as they come, and shows each to `seen`, without its line end.
    /// Errors: they were cut off, or can't be written.
    pub(super) async fn write_lines(mut self, out: &mut impl Write, mut seen: impl FnMut(&[u8])) -> anyhow::Result<()> {
        let mut line = Vec::new();
        while let Some(part) = self.next().await? {
            out.write_all(&part)?;
            for piece in part.split_inclusive(|byte| *byte == b'\n') {
                anyhow::ensure!(line.len() + piece.len() <= LONGEST, "a line of the answer is too long");
                line.extend_from_slice(piece);
                if line.pop_if(|last| *last == b'\n').is_some() {
                    seen(&line);
                    line.clear();
                }
            }
        }
        anyhow::ensure!(line.is_empty(), "the answer broke off within a line");
        Ok(out.flush()?)
    }

    async fn refusal(self) -> anyhow::Result<anyhow::Error> {
        let status = self.status;
        Ok(match serde_json::from_slice::<Problem>(&self.whole().await?) {
            Ok(problem) => Refused(problem).into(),
            Err(_) => anyhow::anyhow!("the server answers {status}, and not why"),
        })
    }
}

/// What the API refused, in its words.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.detail)]
pub(super) struct Refused(Problem);

impl Refused {
    /// Whether an error says that something does not fit to what is there: a name that is taken.
    pub(super) fn is_conflict(error: &anyhow::Error) -> bool {
        Self::is_kind(error, ProblemKind::Conflict)
    }

    /// Whether an error is a refusal that asking again does not change.
    pub(super) fn is_final(error: &anyhow::Error) -> bool {
        error.is::<Self>() && !Self::is_kind(error, ProblemKind::Unavailable)
    }

    fn is_kind(error: &anyhow::Error, kind: ProblemKind) -> bool {
        error.downcast_ref::<Self>().is_some_and(|refused| refused.0.kind == kind)
    }
}

/// Who is the node now.
pub(super) enum Found {
    /// A server, which is spoken to like this.
    Server(Admin),
    /// Nobody: whoever holds this may be it.
    Nobody(LockedFile),
}

/// Finds this node's server, or takes the node's lock. Waits for another command, and for a server that starts or ends.
pub(super) async fn find(config: &Config, output: &Output) -> anyhow::Result<Found> {
    let (socket, folder) = (&config.admin.socket, config.store.folder());
    let begun = tokio::time::Instant::now();
    let mut said = false;
    loop {
        if let Some(client) = reach(socket).await? {
            return Ok(Found::Server(Admin { way: Way::Socket(client) }));
        }
        if let Some(lock) = try_lock(folder)? {
            return Ok(Found::Nobody(lock));
        }
        anyhow::ensure!(
            begun.elapsed() < PATIENCE,
            "a server or another command has had the lock of {} for {} s, and nothing answers at {}",
            folder.display(),
            PATIENCE.as_secs(),
            socket.display()
        );
        if !said && begun.elapsed() > SAYS_SO_AFTER {
            said = true;
            output.progress("waiting for another command, or for a server that starts or ends");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Takes the node's lock for what can't be done while its server runs.
/// Errors: it runs.
pub(super) async fn lock_without_server(config: &Config, output: &Output) -> anyhow::Result<LockedFile> {
    remote::must_be_here()?;
    match find(config, output).await? {
        Found::Nobody(lock) => Ok(lock),
        Found::Server(_) => anyhow::bail!("this machine's server runs: stop it first, and start it again afterwards"),
    }
}

/// Whether a server answers at a socket.
/// Errors: one does, and does not let this account in.
async fn reach(socket: &Path) -> anyhow::Result<Option<reqwest::Client>> {
    match tokio::net::UnixStream::connect(socket).await {
        Ok(_) => Ok(Some(reqwest::Client::builder().unix_socket(socket).read_timeout(ANSWER).build()?)),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Err(error).with_context(|| {
            format!(
                "{} does not let this account in: it is for root, the server's own account and the group that `admin.group` names",
                socket.display()
            )
        }),
        Err(_) => Ok(None),
    }
}

/// The address of a thing: each part of the path is a name, which may hold anything.
/// Errors: a name is one that no URL can hold (RFC 3986 §5.2.4): dots would lead to another thing.
fn url(path: &[&str], query: &impl Serialize) -> anyhow::Result<Url> {
    if let Some(name) = path.iter().find(|name| matches!(**name, "" | "." | "..")) {
        return Err(Ended::Usage(format!("nothing is named `{name}`")).into());
    }
    let mut url = Url::parse("http://signet/api/v1")?;
    url.path_segments_mut().map_err(|()| anyhow::anyhow!("an http URL has a path"))?.extend(path);
    if let serde_json::Value::Object(members) = serde_json::to_value(query)? {
        let mut pairs = url.query_pairs_mut();
        for (name, value) in members {
            match value {
                serde_json::Value::String(text) => pairs.append_pair(&name, &text),
                other => pairs.append_pair(&name, &other.to_string()),
            };
        }
    }
    Ok(url)
}

fn parsed<T: DeserializeOwned>(bytes: &[u8]) -> anyhow::Result<T> {
    serde_json::from_slice(bytes)
        .context("the server's answer is not what this program expects: are both of one version?")
}

async fn answer_to(request: reqwest::RequestBuilder, body: Option<Vec<u8>>) -> Result<Long, reqwest::Error> {
    let request = match body {
        Some(body) => request.header(header::CONTENT_TYPE, "application/json").body(body),
        None => request,
    };
    let answer = request.send().await?;
    Ok(Long { status: answer.status(), headers: answer.headers().clone(), body: Answered::Server(answer) })
}

async fn in_process(router: axum::Router, method: Method, url: &Url, body: Option<Vec<u8>>) -> anyhow::Result<Long> {
    let mut request = Request::builder().method(method).uri(url.as_str());
    if let Some(claim) = claim()? {
        request = request.header(CLAIM_HEADER, claim);
    }
    if body.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    let uid = Some(rustix::process::getuid().as_raw());
    let request = request.extension(ConnectInfo(Operator { uid })).body(Body::from(body.unwrap_or_default()))?;
    let (parts, body) = router.oneshot(request).await.unwrap_or_else(|never| match never {}).into_parts();
    Ok(Long { status: parts.status, headers: parts.headers, body: Answered::Here(body) })
}

/// The name that the operator gave.
fn claim() -> anyhow::Result<Option<HeaderValue>> {
    let claim = deployment::claimed_name();
    claim.map(|name| HeaderValue::from_bytes(name.as_bytes())).transpose().context("--operator can't be sent")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_a_path_are_encoded_and_a_query_says_what_is_there() {
        let plain = url(&["users", "ann/../bob?", "password"], &()).unwrap();
        assert_eq!(plain.as_str(), "http://signet/api/v1/users/ann%2F..%2Fbob%3F/password");
        for nothing in ["", ".", ".."] {
            assert!(url(&["users", nothing, "sessions"], &()).is_err(), "`{nothing}` leads elsewhere");
        }
        let page = url(&["users"], &PageQuery { after: Some("a&b".to_owned()), limit: Some(7) }).unwrap();
        assert_eq!(page.as_str(), "http://signet/api/v1/users?after=a%26b&limit=7");
    }
}
