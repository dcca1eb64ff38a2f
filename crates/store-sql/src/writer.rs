//! The writer: one task owns the connection that writes, and commits the jobs of concurrent requests together.
//!
//! A group is one transaction: the node's row, by which its chain goes on and which says that this process may still write as
//! the node; the names that the jobs lock, without waiting; each job's statements; all that is recorded of them; one commit
//! and so one sync. Nobody hears of an outcome before that commit. A job whose name another transaction holds goes to the next
//! group; one that was passed over several times stands first, and its names are waited for before any other is locked. Where
//! a job fails, the group is rolled back and each job runs again alone; where the commit itself fails, the outcome of every
//! job is unknown, and all hear so.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::authority::{Trust, Trusted};
use super::chain::Tail;
use super::engine::{Connection, Engine, Result, WriteConnection};
use super::group::{Broken, Committed, Terms};
use super::locks::Scope;
use super::outcome::{Recorded, WriteOutcome};
use signet_core::audit::{AuditEvent, NodeId};
use signet_jose::clock::Clock;
use signet_store::{AuditOnOutcome, Generations, StoreError, StoreFailure};

/// The most jobs in one transaction.
const GROUP: usize = 256;
/// The size of a group that shows load.
const BUSY: usize = 12;
/// How long a group that is smaller than the last one waits for more jobs under load.
const COMPANY: Duration = Duration::from_millis(1);
/// The most jobs that wait.
const QUEUE: usize = 4096;
/// How long a caller waits for the outcome of a job.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long where that is somebody who puts a whole store back.
const SLOW_DEADLINE: Duration = Duration::from_secs(3600);
/// The pause before the next try where a whole group was passed over.
const PAUSE: Duration = Duration::from_millis(1);

/// A future that a job runs as.
pub(super) type Running<'c, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'c>>;

/// The statements of a change: an `async fn` of what is changed and of the transaction. It may run twice, the second time
/// after all of the first was rolled back.
pub(super) trait Change<'c, I, A>: Copy + Send + Sync + 'static {
    type Running: Future<Output = Result<WriteOutcome<A>>> + Send + 'c;

    fn run(self, input: &'c I, connection: &'c mut Connection) -> Self::Running;
}

impl<'c, I: 'c, A, C, R> Change<'c, I, A> for C
where
    C: Fn(&'c I, &'c mut Connection) -> R + Copy + Send + Sync + 'static,
    R: Future<Output = Result<WriteOutcome<A>>> + Send + 'c,
{
    type Running = R;

    fn run(self, input: &'c I, connection: &'c mut Connection) -> R {
        self(input, connection)
    }
}

/// A job of the queue.
pub(super) struct Job {
    since: Instant,
    /// How often it was passed over, because somebody else held what it locks.
    pub(super) passed_over: u32,
    /// Whether it did not run in the last group.
    pub(super) waits: bool,
    pub(super) work: Box<dyn Work>,
}

/// What the writer needs of a job, whatever its answer's type.
pub(super) trait Work: Send + Sync {
    /// Runs the job's own statements.
    fn run<'c>(&'c mut self, connection: &'c mut Connection) -> Running<'c, ()>;
    /// What is locked before it runs; `None` where [`run`](Self::run) has no statements.
    fn scope(&self) -> Option<&Scope>;
    /// What is recorded of it, after it ran.
    fn drafts(&self) -> &[AuditEvent];
    /// Whether the generation rises, after it ran.
    fn renews(&self) -> bool;
    /// The tenant whose generations it is answered with.
    fn asks_for(&self) -> Option<&str>;
    /// Answers the caller how it ended.
    fn answer(self: Box<Self>, committed: Result<&Committed, StoreFailure>);
}

type Reply<A> = oneshot::Sender<Result<A, StoreFailure>>;

/// Nothing but records: it costs no statement of its own.
struct Appending {
    drafts: Vec<AuditEvent>,
    reply: Reply<Generations>,
}

impl Work for Appending {
    fn run<'c>(&'c mut self, _: &'c mut Connection) -> Running<'c, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn scope(&self) -> Option<&Scope> {
        None
    }

    fn drafts(&self) -> &[AuditEvent] {
        &self.drafts
    }

    fn renews(&self) -> bool {
        false
    }

    fn asks_for(&self) -> Option<&str> {
        self.drafts.first().map(|draft| draft.tenant.as_str())
    }

    fn answer(self: Box<Self>, committed: Result<&Committed, StoreFailure>) {
        let of_tenant = |committed: &Committed| {
            let found = committed.0.iter().find(|(tenant, _)| Some(tenant.as_str()) == self.asks_for());
            found.map_or_else(Generations::default, |(_, generations)| *generations)
        };
        let answer = committed.map(of_tenant);
        // A caller that is gone needs no answer.
        let _ = self.reply.send(answer);
    }
}

/// A change with what is recorded of it.
struct Changing<I, A, C> {
    scope: Scope,
    input: I,
    change: C,
    audit: AuditOnOutcome,
    outcome: Option<WriteOutcome<A>>,
    reply: Reply<A>,
}

impl<I, A, C> Work for Changing<I, A, C>
where
    I: Send + Sync,
    A: Send + Sync,
    C: for<'c> Change<'c, I, A>,
{
    fn run<'c>(&'c mut self, connection: &'c mut Connection) -> Running<'c, ()> {
        Box::pin(async move {
            self.outcome = Some(self.change.run(&self.input, connection).await?);
            Ok(())
        })
    }

    fn scope(&self) -> Option<&Scope> {
        Some(&self.scope)
    }

    fn drafts(&self) -> &[AuditEvent] {
        match self.outcome.as_ref().map_or(Recorded::Nothing, |outcome| outcome.recorded) {
            Recorded::Applied => &self.audit.applied,
            Recorded::Rejected => &self.audit.rejected,
            Recorded::Nothing => &[],
        }
    }

    fn renews(&self) -> bool {
        self.outcome.as_ref().is_some_and(|outcome| outcome.renews)
    }

    fn asks_for(&self) -> Option<&str> {
        None
    }

    fn answer(self: Box<Self>, committed: Result<&Committed, StoreFailure>) {
        let Self { outcome, reply, .. } = *self;
        let did_not_run = || StoreFailure::Unavailable("the change did not run".to_owned());
        let _ = reply.send(committed.and_then(|_| outcome.map(|outcome| outcome.answer).ok_or_else(did_not_run)));
    }
}

enum Message {
    Job(Job),
    Close(oneshot::Sender<()>),
}

/// The way to the writer.
pub(super) struct Writer {
    queue: mpsc::Sender<Message>,
    /// The lease of the node that this process holds; 0 where it needs none.
    lease: Arc<AtomicI64>,
    is_behind: Arc<AtomicBool>,
}

impl Writer {
    /// Whether the store is known to be behind what was written to it.
    pub(super) fn is_behind(&self) -> bool {
        self.is_behind.load(Ordering::Relaxed)
    }

    /// Starts the writer on a connection that is open already.
    pub(super) fn start(
        connection: Box<dyn WriteConnection>,
        engine: Arc<dyn Engine>,
        (node, decides): (NodeId, bool),
        seen: Tail,
        clock: Arc<dyn Clock>,
        trust: Trust,
    ) -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let (lease, is_behind) = (Arc::<AtomicI64>::default(), Arc::<AtomicBool>::default());
        let terms = Terms { node, lease: Arc::clone(&lease), decides, is_behind: Arc::clone(&is_behind), seen, clock };
        let connection: Box<dyn WriteConnection> =
            Box::new(Trusted { connection, trust: trust.clone(), generation: None });
        let task = Task { connection: Some(connection), engine, terms, trust };
        tokio::spawn(task.serve(jobs));
        Self { queue, lease, is_behind }
    }

    /// From now on nothing is committed but under this lease of the node.
    pub(super) fn write_under(&self, lease: i64) {
        self.lease.store(lease, Ordering::Relaxed);
    }

    /// Runs a change and records it, both in one commit.
    pub(super) async fn change<I, A, C>(
        &self,
        operation: &'static str,
        scope: Scope,
        input: I,
        audit: impl Into<AuditOnOutcome> + Send,
        change: C,
    ) -> Result<A, StoreError>
    where
        I: Send + Sync + 'static,
        A: Send + Sync + 'static,
        C: for<'c> Change<'c, I, A>,
    {
        let (reply, answer) = oneshot::channel();
        let deadline = if scope.is_slow { SLOW_DEADLINE } else { DEADLINE };
        let work = Changing { scope, input, change, audit: audit.into(), outcome: None, reply };
        self.submit(operation, Box::new(work), answer, deadline).await
    }

    /// Appends records, and returns the generations of the first one's tenant.
    pub(super) async fn append(&self, drafts: Vec<AuditEvent>) -> Result<Generations, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.submit("append audit records", Box::new(Appending { drafts, reply }), answer, DEADLINE).await
    }

    async fn submit<A>(
        &self,
        operation: &'static str,
        work: Box<dyn Work>,
        answer: oneshot::Receiver<Result<A, StoreFailure>>,
        deadline: Duration,
    ) -> Result<A, StoreError> {
        let unavailable = |text: &str| StoreError { operation, failure: StoreFailure::Unavailable(text.to_owned()) };
        let job = Job { since: Instant::now(), passed_over: 0, waits: false, work };
        self.queue.try_send(Message::Job(job)).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => unavailable("too many writes wait already"),
            mpsc::error::TrySendError::Closed(_) => unavailable("it is closed"),
        })?;
        match tokio::time::timeout(deadline, answer).await {
            Ok(Ok(outcome)) => outcome.map_err(|failure| StoreError { operation, failure }),
            Ok(Err(_)) => Err(unavailable("the writer ended before it answered; the outcome is unknown")),
            Err(_) => Err(unavailable("no answer in time; the outcome is unknown")),
        }
    }

    /// Lets the jobs that wait finish, then closes the connection.
    pub(super) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.queue.send(Message::Close(done)).await.is_ok() {
            // An error says that the task is gone, and the connection with it.
            let _ = closed.await;
        }
    }
}

struct Task {
    connection: Option<Box<dyn WriteConnection>>,
    engine: Arc<dyn Engine>,
    terms: Terms,
    trust: Trust,
}

impl Task {
    async fn serve(mut self, mut messages: mpsc::Receiver<Message>) {
        let mut taken = Vec::with_capacity(GROUP);
        let mut closing = Vec::new();
        let mut last_group = 0;
        // Jobs that were passed over, the oldest first.
        let mut waiting: Vec<Job> = Vec::new();
        loop {
            let room = GROUP.saturating_sub(waiting.len()).max(1);
            if waiting.is_empty() && messages.recv_many(&mut taken, room).await == 0 {
                break;
            }
            // Under load a group that is still small waits for company: the next sync then serves more jobs.
            if taken.len() < last_group && last_group >= BUSY && closing.is_empty() {
                tokio::time::sleep(COMPANY).await;
            }
            while taken.len() < room
                && let Ok(message) = messages.try_recv()
            {
                taken.push(message);
            }
            last_group = taken.len();
            let mut jobs = std::mem::take(&mut waiting);
            for message in taken.drain(..) {
                match message {
                    Message::Job(job) => jobs.push(job),
                    Message::Close(done) => closing.push(done),
                }
            }
            if !closing.is_empty() {
                messages.close();
            }
            let asked = jobs.len();
            waiting = self.run(jobs).await;
            if !waiting.is_empty() && waiting.len() == asked {
                tokio::time::sleep(PAUSE).await;
            }
        }
        if let Some(connection) = self.connection.take() {
            connection.close().await;
        }
        for done in closing {
            let _ = done.send(());
        }
    }

    /// Runs a group and answers every job of it but those that were passed over, which it gives back.
    async fn run(&mut self, jobs: Vec<Job>) -> Vec<Job> {
        let (mut jobs, late): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| job.since.elapsed() < DEADLINE);
        for job in late {
            job.work.answer(Err(StoreFailure::Unavailable("it waited too long, and was not done".to_owned())));
        }
        if jobs.is_empty() {
            return jobs;
        }
        match self.attempt(&mut jobs).await {
            Ok(committed) => answer_all(jobs, Ok(&committed)),
            Err(Broken::Waited) => {
                // It has its turn again after the others, until it has waited for too long.
                let mut first = jobs.remove(0);
                first.passed_over = 0;
                jobs.push(first);
                jobs
            }
            Err(Broken::Run(failure)) if jobs.len() > 1 || matches!(failure, StoreFailure::Busy(_)) => {
                let mut waiting = Vec::new();
                for job in jobs {
                    waiting.extend(self.run_alone(job).await);
                }
                waiting
            }
            Err(broken) => answer_all(jobs, Err(failure_of(&broken))),
        }
    }

    /// Runs a job of a group that failed; gives it back where somebody was in the way.
    async fn run_alone(&mut self, job: Job) -> Vec<Job> {
        let mut alone = vec![job];
        match self.attempt(&mut alone).await {
            Ok(committed) => answer_all(alone, Ok(&committed)),
            Err(Broken::Run(StoreFailure::Busy(_))) => pass_over(alone),
            Err(broken) => answer_all(alone, Err(failure_of(&broken))),
        }
    }

    /// One transaction. Which jobs were passed over stands in them.
    async fn attempt(&mut self, jobs: &mut [Job]) -> Result<Committed, Broken> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let connection = self.engine.connect().await.map_err(Broken::Begin)?;
                Box::new(Trusted { connection, trust: self.trust.clone(), generation: None })
            }
        };
        let outcome = self.terms.transaction(connection.as_mut(), jobs).await;
        let mut is_usable = outcome.is_ok() || connection.rollback().await.is_ok();
        let is_rolled_back = matches!(outcome, Err(Broken::Begin(StoreFailure::RolledBack)));
        let is_behind = is_rolled_back || matches!(outcome, Err(Broken::Begin(StoreFailure::Unanswered)));
        if is_rolled_back && is_usable {
            // Where this fails, each node still finds its own records gone.
            is_usable = self.terms.halt(connection.as_mut()).await.is_ok();
        }
        // A failure of another kind says nothing of it.
        if is_behind || outcome.is_ok() {
            self.terms.is_behind.store(is_behind, Ordering::Relaxed);
        }
        if is_usable {
            self.connection = Some(connection);
        }
        let (tail, committed) = outcome?;
        self.terms.seen = tail;
        Ok(committed)
    }
}

/// Answers the jobs that ran, and gives back those that were passed over.
fn answer_all(jobs: Vec<Job>, outcome: Result<&Committed, StoreFailure>) -> Vec<Job> {
    let (waiting, done): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| job.waits && outcome.is_ok());
    for job in done {
        job.work.answer(outcome.clone());
    }
    waiting
}

/// Gives back jobs that others were in the way of.
fn pass_over(mut jobs: Vec<Job>) -> Vec<Job> {
    for job in &mut jobs {
        job.passed_over = job.passed_over.saturating_add(1);
    }
    jobs
}

fn failure_of(broken: &Broken) -> StoreFailure {
    match broken {
        Broken::Begin(failure) | Broken::Run(failure) => failure.clone(),
        Broken::Waited => StoreFailure::Busy("another transaction was in the way for too long".to_owned()),
        Broken::Commit(failure) => {
            StoreFailure::Unavailable(format!("the outcome of the commit is unknown: {failure}"))
        }
    }
}
