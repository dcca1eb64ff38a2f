//! A group of jobs as one transaction: the node's row, the names that the jobs lock, each job's statements, what is recorded of
//! them, and the commit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use super::chain::{self, Tail};
use super::engine::{Connection, Lock, Result, WriteConnection, query};
use super::failpoints::{Point, reach};
use super::locks::Scope;
use super::texts::texts;
use super::writer::Job;
use signet_core::audit::{AuditEvent, NodeId};
use signet_jose::clock::Clock;
use signet_store::{Generations, StoreFailure};

texts! {
    RAISE = "INSERT INTO generations (tenant, noun, value) VALUES ($1, $2, 1)
        ON CONFLICT (tenant, noun) DO UPDATE SET value = generations.value + 1";
}

/// How often a job is passed over before its names are waited for.
const PASSED_OVER: u32 = 3;
/// For how long they are.
const PATIENCE: Duration = Duration::from_millis(250);
/// The most names that one transaction locks: the server has a table of them for all, of 6,400 where nobody raised it.
const MAX_NAMES: usize = 600;

/// What a group's commit tells: the generations of the tenants that were asked for.
#[derive(Debug, Default)]
pub(super) struct Committed(pub(super) Vec<(String, Generations)>);

/// How far a transaction came before it failed.
pub(super) enum Broken {
    /// It never began: no job ran.
    Begin(StoreFailure),
    /// Somebody held for too long what the first job locks: no job ran.
    Waited,
    /// A job, or what is recorded of it, failed; all was rolled back.
    Run(StoreFailure),
    /// The commit did not succeed: whether it took place is unknown.
    Commit(StoreFailure),
}

/// As whom, and after what, a transaction writes.
pub(super) struct Terms {
    pub(super) node: NodeId,
    pub(super) lease: Arc<AtomicI64>,
    /// Whether this is who decides what becomes of a store that is behind.
    pub(super) decides: bool,
    /// Set while the store is known to be behind what was written to it.
    pub(super) is_behind: Arc<AtomicBool>,
    /// The furthest tail that this process saw committed. A stored head behind it means that an old copy is in place.
    pub(super) seen: Tail,
    pub(super) clock: Arc<dyn Clock>,
}

impl Terms {
    /// Has every node stand still.
    pub(super) async fn halt(&self, connection: &mut dyn WriteConnection) -> Result<()> {
        chain::halt(connection, &self.node, self.clock.as_ref()).await
    }

    /// Jobs that have no statements of their own are records alone: they take one turn of the connection where nobody else wrote
    /// as this node since this process did, and the long way where somebody did.
    pub(super) async fn transaction(
        &self,
        connection: &mut dyn WriteConnection,
        jobs: &mut [Job],
    ) -> Result<(Tail, Committed), Broken> {
        let (seen, clock) = (self.seen, self.clock.as_ref());
        let lease = self.lease.load(Ordering::Relaxed);
        for job in jobs.iter_mut() {
            job.waits = false;
        }
        if let Some(tenant) = tenant_of_records_alone(jobs) {
            let drafts: Vec<&AuditEvent> = jobs.iter().flat_map(|job| job.work.drafts()).collect();
            reach(Point::BeforeCommit);
            let appended = chain::append_at_once(connection, (&self.node, lease), seen, &drafts, tenant, clock).await;
            if let Some((tail, generations)) = appended.map_err(Broken::Commit)? {
                reach(Point::Committed);
                return Ok((tail, Committed(vec![(tenant.to_owned(), generations)])));
            }
        }
        let before = chain::begin(connection, &self.node, lease, self.decides, clock).await.map_err(Broken::Begin)?;
        reach(Point::Begun);
        let behind = chain::check_not_behind(connection.statements(), &self.node, before.head, seen.head).await;
        behind.map_err(Broken::Begin)?;
        lock_names(connection, jobs).await?;
        let (tail, committed) = self.run_all(connection.statements(), jobs, before).await.map_err(Broken::Run)?;
        reach(Point::BeforeCommit);
        connection.commit().await.map_err(Broken::Commit)?;
        reach(Point::Committed);
        Ok((tail, committed))
    }

    /// Runs each job that is not passed over, then writes what is recorded of them and the new tail.
    async fn run_all(&self, connection: &mut Connection, jobs: &mut [Job], before: Tail) -> Result<(Tail, Committed)> {
        for job in jobs.iter_mut().filter(|job| !job.waits && job.work.scope().is_some()) {
            job.work.run(connection).await?;
        }
        let done = || jobs.iter().filter(|job| !job.waits).map(|job| &job.work);
        let renewed = done().filter(|work| work.renews()).filter_map(|work| work.scope());
        let raised: BTreeSet<_> = renewed.flat_map(|scope| scope.raises.clone()).collect();
        let asked: BTreeSet<String> = done().filter_map(|work| work.asks_for()).map(str::to_owned).collect();
        let drafts: Vec<&AuditEvent> = done().flat_map(|work| work.drafts()).collect();
        for (tenant, noun) in raised {
            query(RAISE).bind(tenant).bind(noun.name()).execute(connection).await?;
        }
        let tail = chain::append(connection, &self.node, before, &drafts, self.clock.as_ref()).await?;
        let mut committed = Committed::default();
        for tenant in asked {
            let generations = chain::generations(connection, &tenant).await?;
            committed.0.push((tenant, generations));
        }
        Ok((tail, committed))
    }
}

/// The tenant of jobs that are nothing but its records.
fn tenant_of_records_alone(jobs: &[Job]) -> Option<&str> {
    let tenant = jobs.first()?.work.asks_for()?;
    let are_alike = jobs.iter().all(|job| job.work.scope().is_none() && job.work.asks_for() == Some(tenant));
    are_alike.then_some(tenant)
}

/// Locks what the jobs lock, and marks those whose names somebody else holds. Where the first one was passed over often, its
/// names are waited for, before any other is locked.
async fn lock_names(connection: &mut dyn WriteConnection, jobs: &mut [Job]) -> Result<(), Broken> {
    let first = jobs.first().filter(|job| job.passed_over >= PASSED_OVER).and_then(|job| job.work.scope());
    if let Some(first) = first.map(|scope| in_order(&scope.locks)) {
        match connection.wait_for(&first, PATIENCE).await {
            Err(StoreFailure::Busy(_)) => return Err(Broken::Waited),
            waited => waited.map_err(Broken::Begin)?,
        }
    }
    let mut room = MAX_NAMES;
    for job in jobs.iter_mut() {
        let names = job.work.scope().map_or(0, |scope| scope.locks.len());
        // The first one always runs.
        job.waits = names > room && room < MAX_NAMES;
        room = room.saturating_sub(if job.waits { 0 } else { names });
    }
    let scopes = jobs.iter().filter(|job| !job.waits).filter_map(|job| job.work.scope());
    let locks = in_order(scopes.flat_map(|scope| &scope.locks));
    let busy = if locks.is_empty() { Vec::new() } else { connection.lock(&locks).await.map_err(Broken::Begin)? };
    for job in jobs.iter_mut().filter(|_| !busy.is_empty()) {
        let is_busy = |scope: &Scope| scope.locks.iter().any(|lock| busy.contains(&lock.name));
        if job.work.scope().is_some_and(is_busy) {
            (job.waits, job.passed_over) = (true, job.passed_over.saturating_add(1));
        }
    }
    Ok(())
}

/// Each name once, and alone where somebody needs it alone.
fn in_order<'l>(locks: impl IntoIterator<Item = &'l Lock>) -> Vec<Lock> {
    let mut names = BTreeMap::<i64, bool>::new();
    for lock in locks {
        *names.entry(lock.name).or_default() |= lock.alone;
    }
    names.into_iter().map(|(name, alone)| Lock { name, alone }).collect()
}
