//! `signet audit list` and `signet audit follow`: records as they are read, or as they come.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::Output;
use super::admin::{self, Admin, Found, Refused};
use crate::causes::with_causes;
use crate::config::Config;
use crate::server::Need;
use signet_admin_api::audit::{AuditRecord, ChainEnd, RecordQuery};
use signet_admin_api::{Page, PageQuery};

/// How often it is looked whether there are further records.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long a server that does not answer is given until it is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(2);

const COLUMNS: [&str; 6] = ["at", "event", "outcome", "about", "by", "detail"];

/// Which records.
#[derive(Debug, Args)]
pub(super) struct List {
    /// Not before this: 2026-11-30T08:00:00Z (RFC 3339).
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Before this.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Of this event alone, e.g. sign_in.
    #[arg(long)]
    event: Option<String>,
    /// About this user, by name or id.
    #[arg(long)]
    user: Option<String>,
    /// About this client, by name or id.
    #[arg(long)]
    client: Option<String>,
    /// Of this node alone, by id.
    #[arg(long, value_name = "ID")]
    node: Option<String>,
    /// The newest of them, this many.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    last: u32,
}

impl List {
    pub(super) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        let admin = Admin::open(config, Need::Store, output).await?;
        let read = self.read(&admin).await;
        admin.close().await?;
        output.list("such records", &read?, COLUMNS, row)
    }

    async fn read(self, admin: &Admin) -> anyhow::Result<Vec<AuditRecord>> {
        let last = usize::try_from(self.last)?;
        let mut query = RecordQuery {
            after: None,
            limit: Some(PageQuery::MOST),
            node: self.node,
            since: self.since,
            until: self.until,
            event: self.event,
            user: self.user,
            client: self.client,
        };
        let mut records: Vec<AuditRecord> = Vec::new();
        loop {
            let page: Page<AuditRecord> = admin.ask(&["audit", "records"], &query).await?;
            records.extend(page.items);
            // Chain by chain they come; of all together the newest are kept.
            if records.len() > 2 * last + usize::from(PageQuery::MOST) {
                newest(&mut records, last);
            }
            query.after = page.next;
            if query.after.is_none() {
                newest(&mut records, last);
                return Ok(records);
            }
        }
    }
}

/// Leaves the newest, in the order of time.
fn newest(records: &mut Vec<AuditRecord>, last: usize) {
    records.sort_by(|one, other| (&one.at, &one.node, one.seq).cmp(&(&other.at, &other.node, other.seq)));
    records.drain(..records.len().saturating_sub(last));
}

fn row(record: &AuditRecord) -> [String; 6] {
    let text = |name: &str| record.more.get(name).and_then(|value| value.as_str()).map(str::to_owned);
    let about = [text("user"), text("client"), text("key"), text("factor")].into_iter().flatten().collect::<Vec<_>>();
    let detail = text("detail").unwrap_or_default();
    // Many details begin with the change.
    let change = text("change").filter(|change| !detail.starts_with(change.as_str()));
    let why = [text("reason"), change, Some(detail).filter(|detail| !detail.is_empty())];
    let why = why.into_iter().flatten().collect::<Vec<_>>();
    let by = text("operator").or_else(|| text("client_address")).unwrap_or_default();
    let (at, event, outcome) = (record.at.clone(), record.event.clone(), record.outcome.clone());
    [at, event, outcome, about.join(" "), by, why.join(": ")]
}

/// Where to begin.
#[derive(Debug, Args)]
pub(super) struct Follow {
    /// Keep in this file how far it came, and go on from there the next time. What was printed right before an end may come once more.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Begin at the first record, where nothing is kept; with what comes from now on where not given.
    #[arg(long)]
    from_start: bool,
}

/// The last record that was printed, of each node.
type Places = BTreeMap<String, i64>;

impl Follow {
    /// Prints records as they come, until it is ended.
    pub(super) async fn run(self, config: &Path, output: &Output) -> anyhow::Result<()> {
        let admin = match Admin::named().await? {
            Some(admin) => admin,
            None => match admin::find(&Config::load_with_environment(config)?, output).await? {
                Found::Server(admin) => admin,
                Found::Nobody(_) => anyhow::bail!(
                    "no server runs here, so that nothing follows; `signet audit list` and `audit export` read what is there"
                ),
            },
        };
        let mut places = match self.kept()? {
            Some(kept) => kept,
            None if self.from_start => Places::new(),
            None => ends(&admin).await?,
        };
        let mut is_told = false;
        loop {
            let wait = match self.print_new(&admin, &mut places).await {
                Ok(()) => {
                    is_told = false;
                    LOOK_EVERY
                }
                Err(error) if is_broken_pipe(&error) => return Ok(()),
                Err(error) if Refused::is_final(&error) => return Err(error),
                Err(error) => {
                    if !std::mem::replace(&mut is_told, true) {
                        output.note(&format!("{}; asking again until it answers", with_causes(&error)));
                    }
                    ASK_AGAIN
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    fn kept(&self) -> anyhow::Result<Option<Places>> {
        let Some(path) = &self.state else { return Ok(None) };
        let unusable = || format!("{} can't be used (--state)", path.display());
        match std::fs::read(path) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text).with_context(unusable)?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(unusable),
        }
    }

    async fn print_new(&self, admin: &Admin, places: &mut Places) -> anyhow::Result<()> {
        for (node, end) in ends(admin).await? {
            let mut place = places.get(&node).copied().unwrap_or(0);
            while place < end {
                let after = Some(format!("{node}.{place}"));
                let query = RecordQuery { after, node: Some(node.clone()), ..RecordQuery::default() };
                let page: Page<AuditRecord> = admin.ask(&["audit", "records"], &query).await?;
                let Some(last) = page.items.last().map(|record| record.seq) else { break };
                print(&page.items)?;
                place = last;
                places.insert(node.clone(), place);
                self.keep(places)?;
            }
        }
        Ok(())
    }

    fn keep(&self, places: &Places) -> anyhow::Result<()> {
        let Some(path) = &self.state else { return Ok(()) };
        let text = serde_json::to_vec(places)?;
        signet_state_file::replace(path, &text).with_context(|| format!("{} can't be written", path.display()))
    }
}

/// The last record of each node.
async fn ends(admin: &Admin) -> anyhow::Result<Places> {
    let ends: Vec<ChainEnd> = admin.get(&["audit", "ends"]).await?;
    Ok(ends.into_iter().map(|end| (end.node, end.records)).collect())
}

fn print(records: &[AuditRecord]) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    for record in records {
        writeln!(stdout, "{}", serde_json::to_string(record)?)?;
    }
    Ok(stdout.flush()?)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
