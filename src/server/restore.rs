//! Puts a backup into an empty store: verified first, then written, compared, and opened by the commit that ends what nobody can
//! know the state of. What had ended since is ended by the [`answer`](super::answer).

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::mpsc;

use super::runtime::Runtime;
use super::wiring::{BUSY, own_node, postgres_options};
use super::{node, wiring};
use crate::config::{Config, StoreConfig};
use signet_core::audit::{AuditEvent, Event, Outcome, RequestContext};
use signet_core::backup::{BackupReader, Header, Section, Statement};
use signet_core::keys::TenantId;
use signet_jose::VerifyingKey;
use signet_jose::clock::{Clock as _, SystemClock};
use signet_store::anchor::Anchor;
use signet_store::audit_log::head_of;
use signet_store::{AuditLog as _, Nodes as _, StoreFailure};
use signet_store_sql::SqlStore;
use signet_store_sql::engine::Engine;
use signet_store_sql::restore::{Ended, Restoring, Rows, Standstill};
use signet_store_sqlite::SqliteOptions;

/// Pages that wait to be written.
const WAITING: usize = 4;

/// What was restored.
pub(crate) struct Restored {
    pub(crate) statement: Statement,
    pub(crate) ended: Ended,
    /// Where the anchor of before is now, if it reached further than the backup.
    pub(crate) anchor: Option<PathBuf>,
}

/// Restores a backup into the configured store. `told` hears how many rows are written.
/// Errors: the backup is refused, is another deployment's, or the store is not empty; the store can't be opened by anybody then.
pub(crate) async fn restore(
    config: &Config,
    file: &Path,
    keys: Arc<[VerifyingKey]>,
    why: &str,
    context: &RequestContext,
    told: &(dyn Fn(u64, u64) + Sync),
) -> anyhow::Result<Restored> {
    let refused = || format!("the backup {} is refused", file.display());
    let (header, statement) = read(file, keys.clone(), None).await.with_context(refused)?;
    let issuer = config.server.public_url.as_str();
    anyhow::ensure!(
        header.issuer == issuer,
        "the backup is of {}, and server.public_url is {issuer}: restore it by that deployment's configuration",
        header.issuer
    );
    let now = SystemClock.now();
    let (engine, name) = empty_store(config).await?;
    let mut restoring = Restoring::begin(engine.as_ref(), &header, &file.display().to_string(), &name, now).await?;
    let gained = write_rows(&mut restoring, file, keys, &statement, told).await.with_context(refused)?;
    restoring.check(&statement, &gained).await?;
    let anchor = put_anchor_aside(&config.audit.anchor, &statement)?;
    let store = SqlStore::open_to_copy(engine.clone(), own_node(config)?, None, Arc::new(SystemClock)).await?;
    let anchored = renew_anchor(&config.audit.anchor, store.as_ref()).await;
    let mut record = AuditEvent::new(Event::StoreRestored, Outcome::Done, TenantId::default_tenant().as_str(), context);
    record.detail = Some(format!("backup {} of {}; {why}", header.id, header.at));
    let anchored = match anchored {
        Ok(()) => Runtime::open_secret_of(config, &store).await,
        failed => failed,
    };
    let ended = match anchored {
        Ok(()) => store.open_restored(&header.id, now, record).await.map_err(anyhow::Error::from),
        Err(error) => Err(error),
    };
    store.close().await;
    Ok(Restored { statement, ended: ended?, anchor })
}

/// The configured store, made where it is a file.
async fn empty_store(config: &Config) -> anyhow::Result<(Arc<dyn Engine>, String)> {
    let now = SystemClock.now();
    Ok(match &config.store {
        StoreConfig::Sqlite(path) => {
            let options =
                SqliteOptions { path: path.clone(), create: true, readers: 1, busy_timeout: BUSY, anchor: None };
            (signet_store_sqlite::prepare(options, now).await?, path.display().to_string())
        }
        StoreConfig::Postgres(database) => {
            (signet_store_postgres::prepare(postgres_options(database)?, now).await?, database.url.clone())
        }
    })
}

/// What is read of a backup, to be written.
type Pages = mpsc::Sender<Result<Rows, StoreFailure>>;

/// Reads a backup and holds it against its statement, on a thread of its own; what is in it goes to `pages`, a page at a time.
async fn read(file: &Path, keys: Arc<[VerifyingKey]>, pages: Option<Pages>) -> anyhow::Result<(Header, Statement)> {
    let input = File::open(file).with_context(|| format!("can't read {}", file.display()))?;
    let reading = tokio::task::spawn_blocking(move || {
        let mut rows: Option<Result<Rows, StoreFailure>> = None;
        let send = |rows: Result<Rows, StoreFailure>| {
            if let Some(pages) = &pages {
                // Whoever takes them has given up: what is read from now on is only checked.
                let _ = pages.blocking_send(rows);
            }
        };
        let mut visit = |section: Section<'_>| match section {
            _ if pages.is_none() => {}
            Section::Table(header) => {
                rows.replace(Rows::of(header)).into_iter().for_each(send);
            }
            Section::Row(_, row) => {
                if let Some(Ok(page)) = &mut rows {
                    let added = page.add(row);
                    let full = page.is_full().then(|| page.take());
                    full.map(Ok).into_iter().chain(added.err().map(Err)).for_each(send);
                }
            }
        };
        let verified = BackupReader::new(BufReader::new(input)).verify(&keys, &mut visit);
        rows.into_iter().for_each(send);
        verified
    });
    Ok(reading.await.context("the backup's reader ended")??)
}

/// Writes every row. Returns the tables that have more columns now than in the backup.
async fn write_rows(
    restoring: &mut Restoring<'_>,
    file: &Path,
    keys: Arc<[VerifyingKey]>,
    statement: &Statement,
    told: &(dyn Fn(u64, u64) + Sync),
) -> anyhow::Result<Vec<&'static str>> {
    let (pages, mut waiting) = mpsc::channel(WAITING);
    let writing = async move {
        let (mut done, mut gained) = (0_u64, Vec::new());
        while let Some(rows) = waiting.recv().await {
            let rows: Rows = rows?;
            done = done.saturating_add(rows.len() as u64);
            gained.extend(rows.gained());
            restoring.write(rows).await?;
            told(done, statement.rows());
        }
        anyhow::Ok(gained)
    };
    let (again, gained) = tokio::join!(read(file, keys, Some(pages)), writing);
    // What failed to be written is the reason, whatever the reader made of it.
    let gained = gained?;
    let (_, again) = again?;
    anyhow::ensure!(again == *statement, "it was replaced by another one while it was read");
    Ok(gained)
}

/// Moves an anchor out of the way that reaches further than the backup: the records that it covers are given up.
fn put_anchor_aside(anchor: &Path, statement: &Statement) -> anyhow::Result<Option<PathBuf>> {
    let further = Anchor::new(anchor)
        .furthest()?
        .is_some_and(|furthest| furthest.sequence > head_of(&statement.heads, &furthest.node).sequence);
    if !further {
        return Ok(None);
    }
    put_aside(anchor, &statement.id).map(Some)
}

/// What became of a store that was put back, or failed over, in its place.
pub(crate) struct WentOn {
    /// What was ended; none where that was done on another node.
    pub(crate) ended: Option<Ended>,
    /// Where the anchor of before is now, if it reached further than the store.
    pub(crate) anchor: Option<PathBuf>,
}

/// Decides to go on with the store as it is, although it is behind what was written to it: ends what nobody can know the state of,
/// on the record, once, and moves this node's anchor aside.
/// Errors: a server runs on this node; the store is not behind anything that is known here.
pub(crate) async fn restore_in_place(config: &Config, why: &str, context: &RequestContext) -> anyhow::Result<WentOn> {
    let _nobody_serves = node::lock(config.store.folder())?;
    let store = wiring::open_to_decide(config).await?;
    let went_on = go_on(config, &store, why, context).await;
    store.close().await;
    went_on
}

async fn go_on(config: &Config, store: &Arc<SqlStore>, why: &str, context: &RequestContext) -> anyhow::Result<WentOn> {
    let path = &config.audit.anchor;
    let kept = Anchor::new(path).furthest()?;
    // Nothing says that it is the newest copy.
    let is_unanchored = kept.is_none() && store.last_checkpoint(store.node()).await?.is_some();
    let lost = match kept {
        Some(kept) if !store.goes_through(&kept).await? => Some(kept),
        _ => None,
    };
    let standstill = store.standstill().await?;
    let is_halted = standstill == Some(Standstill::Behind);
    anyhow::ensure!(
        is_halted || lost.is_some() || is_unanchored,
        "the store is not behind what this node knows of it: there is nothing to decide"
    );
    let now = SystemClock.now();
    let mut record = AuditEvent::new(Event::StoreRestored, Outcome::Done, TenantId::default_tenant().as_str(), context);
    let decided = match &lost {
        Some(lost) if !is_halted => store.was_decided_since(lost.at).await?,
        _ => false,
    };
    let ended = if decided {
        record.detail = Some(format!("in place, as decided on another node; {why}"));
        store.append(vec![record]).await?;
        None
    } else {
        record.detail = Some(format!("in place; {why}"));
        Runtime::open_secret_of(config, store).await?;
        Some(store.go_on(now, record).await?)
    };
    let is_aside = lost.is_some() || (is_unanchored && path.exists());
    let anchor = is_aside.then(|| put_aside(path, &now.unix_millis().to_string())).transpose()?;
    renew_anchor(path, store).await?;
    Ok(WentOn { ended, anchor })
}

/// Moves an anchor out of the way.
fn put_aside(anchor: &Path, before: &str) -> anyhow::Result<PathBuf> {
    let mut name = anchor.file_name().unwrap_or_default().to_owned();
    name.push(format!(".before-{before}"));
    let aside = anchor.with_file_name(name);
    std::fs::rename(anchor, &aside).with_context(|| format!("{} can't be moved aside", anchor.display()))?;
    Ok(aside)
}

/// Where there is no anchor, begins one with what the restored store holds.
async fn renew_anchor(anchor: &Path, store: &SqlStore) -> anyhow::Result<()> {
    if !anchor.exists()
        && let Some(last) = store.last_checkpoint(store.node()).await?
    {
        Anchor::new(anchor).append(&last).await?;
    }
    Ok(())
}
