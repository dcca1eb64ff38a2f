//! The writer: one task owns the connection that writes, and commits the jobs of concurrent requests together.
//!
//! A group is one transaction: each job's statements, then all that is recorded of them, chained onto the head that the
//! transaction itself read (other processes append too), then one commit and so one sync. Nobody hears of an outcome
//! before that commit. Where a job fails, the group is rolled back and each job runs again alone; where the commit
//! itself fails, the outcome of every job is unknown, and all hear so.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::chain::{self, Tail};
use super::engine::{Connection, Engine, Result, WriteConnection};
use super::outcome::{Recorded, WriteOutcome};
use signet_core::audit::Draft;
use signet_jose::clock::Clock;
use signet_store::{AuditOnOutcome, StoreError, StoreFailure};

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

/// A future that a job runs as.
type Running<'c, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'c>>;

/// The statements of a change: an `async fn` of what is changed and of the transaction. It may run twice, the second time
/// after all of the first was rolled back.
pub(super) trait Change<'c, I, A>: Copy + Send + 'static {
    type Running: Future<Output = Result<WriteOutcome<A>>> + Send + 'c;

    fn run(self, input: &'c I, connection: &'c mut Connection) -> Self::Running;
}

impl<'c, I: 'c, A, C, R> Change<'c, I, A> for C
where
    C: Fn(&'c I, &'c mut Connection) -> R + Copy + Send + 'static,
    R: Future<Output = Result<WriteOutcome<A>>> + Send + 'c,
{
    type Running = R;

    fn run(self, input: &'c I, connection: &'c mut Connection) -> R {
        self(input, connection)
    }
}

/// A job of the queue.
struct Job {
    since: Instant,
    work: Box<dyn Work>,
}

/// What the writer needs of a job, whatever its answer's type.
trait Work: Send {
    /// Runs the job's own statements.
    fn run<'c>(&'c mut self, connection: &'c mut Connection) -> Running<'c, ()>;
    /// Whether [`run`](Self::run) has statements at all.
    fn has_statements(&self) -> bool;
    /// What is recorded of it, after it ran.
    fn drafts(&self) -> &[Draft];
    /// Whether the generation rises, after it ran.
    fn renews(&self) -> bool;
    /// Answers the caller how it ended: with the generation of the commit, or not.
    fn answer(self: Box<Self>, committed: Result<i64, StoreFailure>);
}

type Reply<A> = oneshot::Sender<Result<A, StoreFailure>>;

/// Nothing but records: it costs no statement of its own.
struct Appending {
    drafts: Vec<Draft>,
    reply: Reply<i64>,
}

impl Work for Appending {
    fn run<'c>(&'c mut self, _: &'c mut Connection) -> Running<'c, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn has_statements(&self) -> bool {
        false
    }

    fn drafts(&self) -> &[Draft] {
        &self.drafts
    }

    fn renews(&self) -> bool {
        false
    }

    fn answer(self: Box<Self>, committed: Result<i64, StoreFailure>) {
        // A caller that is gone needs no answer.
        let _ = self.reply.send(committed);
    }
}

/// A change with what is recorded of it.
struct Changing<I, A, C> {
    input: I,
    change: C,
    audit: AuditOnOutcome,
    outcome: Option<WriteOutcome<A>>,
    reply: Reply<A>,
}

impl<I, A, C> Work for Changing<I, A, C>
where
    I: Send + Sync,
    A: Send,
    C: for<'c> Change<'c, I, A>,
{
    fn run<'c>(&'c mut self, connection: &'c mut Connection) -> Running<'c, ()> {
        Box::pin(async move {
            self.outcome = Some(self.change.run(&self.input, connection).await?);
            Ok(())
        })
    }

    fn has_statements(&self) -> bool {
        true
    }

    fn drafts(&self) -> &[Draft] {
        match self.outcome.as_ref().map_or(Recorded::Nothing, |outcome| outcome.recorded) {
            Recorded::Applied => &self.audit.applied,
            Recorded::Rejected => &self.audit.rejected,
            Recorded::Nothing => &[],
        }
    }

    fn renews(&self) -> bool {
        self.outcome.as_ref().is_some_and(|outcome| outcome.renews)
    }

    fn answer(self: Box<Self>, committed: Result<i64, StoreFailure>) {
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
}

impl Writer {
    /// Starts the writer on a connection that is open already.
    pub(super) fn start(
        connection: Box<dyn WriteConnection>,
        engine: Arc<dyn Engine>,
        seen: Tail,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let task = Task { connection: Some(connection), engine, seen, clock };
        tokio::spawn(task.serve(jobs));
        Self { queue }
    }

    /// Runs a change and records it, both in one commit.
    pub(super) async fn change<I, A, C>(
        &self,
        operation: &'static str,
        input: I,
        audit: impl Into<AuditOnOutcome> + Send,
        change: C,
    ) -> Result<A, StoreError>
    where
        I: Send + Sync + 'static,
        A: Send + 'static,
        C: for<'c> Change<'c, I, A>,
    {
        let (reply, answer) = oneshot::channel();
        let work = Changing { input, change, audit: audit.into(), outcome: None, reply };
        self.submit(operation, Box::new(work), answer).await
    }

    /// Appends records, and returns the generation of the commit.
    pub(super) async fn append(&self, drafts: Vec<Draft>) -> Result<i64, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.submit("append audit records", Box::new(Appending { drafts, reply }), answer).await
    }

    async fn submit<A>(
        &self,
        operation: &'static str,
        work: Box<dyn Work>,
        answer: oneshot::Receiver<Result<A, StoreFailure>>,
    ) -> Result<A, StoreError> {
        let unavailable = |text: &str| StoreError { operation, failure: StoreFailure::Unavailable(text.to_owned()) };
        let job = Job { since: Instant::now(), work };
        self.queue.try_send(Message::Job(job)).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => unavailable("too many writes wait already"),
            mpsc::error::TrySendError::Closed(_) => unavailable("it is closed"),
        })?;
        match tokio::time::timeout(DEADLINE, answer).await {
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

/// How far a transaction came before it failed.
enum Broken {
    /// It never began: no job ran.
    Begin(StoreFailure),
    /// A job, or what is recorded of it, failed; all was rolled back.
    Run(StoreFailure),
    /// The commit did not succeed: whether it took place is unknown.
    Commit(StoreFailure),
}

struct Task {
    connection: Option<Box<dyn WriteConnection>>,
    engine: Arc<dyn Engine>,
    /// The furthest tail that this process saw committed. A stored head behind it means that an old copy is in place.
    seen: Tail,
    clock: Arc<dyn Clock>,
}

impl Task {
    async fn serve(mut self, mut messages: mpsc::Receiver<Message>) {
        let mut taken = Vec::with_capacity(GROUP);
        let mut closing = Vec::new();
        let mut last_group = 0;
        while messages.recv_many(&mut taken, GROUP).await > 0 {
            // Under load a group that is still small waits for company: the next sync then serves more jobs.
            if taken.len() < last_group && last_group >= BUSY && closing.is_empty() {
                tokio::time::sleep(COMPANY).await;
                while taken.len() < GROUP
                    && let Ok(message) = messages.try_recv()
                {
                    taken.push(message);
                }
            }
            last_group = taken.len();
            let mut jobs = Vec::with_capacity(taken.len());
            for message in taken.drain(..) {
                match message {
                    Message::Job(job) => jobs.push(job),
                    Message::Close(done) => closing.push(done),
                }
            }
            if !closing.is_empty() {
                messages.close();
            }
            self.run(jobs).await;
        }
        if let Some(connection) = self.connection.take() {
            connection.close().await;
        }
        for done in closing {
            let _ = done.send(());
        }
    }

    /// Runs a group and answers every job of it.
    async fn run(&mut self, jobs: Vec<Job>) {
        let (mut jobs, late): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| job.since.elapsed() < DEADLINE);
        for job in late {
            job.work.answer(Err(StoreFailure::Unavailable("it waited too long, and was not done".to_owned())));
        }
        if jobs.is_empty() {
            return;
        }
        match self.attempt(&mut jobs).await {
            Ok(generation) => answer_all(jobs, Ok(generation)),
            Err(Broken::Run(_)) if jobs.len() > 1 => {
                for job in jobs {
                    let mut alone = vec![job];
                    let outcome = self.attempt(&mut alone).await.map_err(|broken| failure_of(&broken));
                    answer_all(alone, outcome);
                }
            }
            Err(broken) => answer_all(jobs, Err(failure_of(&broken))),
        }
    }

    /// One transaction; returns the generation after it.
    async fn attempt(&mut self, jobs: &mut [Job]) -> Result<i64, Broken> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.engine.connect().await.map_err(Broken::Begin)?,
        };
        let outcome = transaction(connection.as_mut(), jobs, self.seen, self.clock.as_ref()).await;
        if outcome.is_ok() || connection.rollback().await.is_ok() {
            self.connection = Some(connection);
        }
        let tail = outcome?;
        self.seen = tail;
        Ok(tail.generation)
    }
}

/// Jobs that have no statements of their own are records alone: they take one turn of the connection where nobody else wrote
/// since this process did, and the long way where somebody did.
async fn transaction(
    connection: &mut dyn WriteConnection,
    jobs: &mut [Job],
    seen: Tail,
    clock: &dyn Clock,
) -> Result<Tail, Broken> {
    if !jobs.iter().any(|job| job.work.has_statements()) {
        let drafts: Vec<&Draft> = jobs.iter().flat_map(|job| job.work.drafts()).collect();
        let appended = chain::append_at_once(connection, seen, &drafts, clock).await;
        if let Some(tail) = appended.map_err(Broken::Commit)? {
            return Ok(tail);
        }
    }
    let before = chain::begin(connection).await.map_err(Broken::Begin)?;
    chain::check_not_behind(connection.statements(), before.head, seen.head).await.map_err(Broken::Begin)?;
    let after = run_all(connection.statements(), jobs, before, clock).await.map_err(Broken::Run)?;
    connection.commit().await.map_err(Broken::Commit)?;
    Ok(after)
}

/// Runs each job, then writes what is recorded of them and the new tail.
async fn run_all(connection: &mut Connection, jobs: &mut [Job], before: Tail, clock: &dyn Clock) -> Result<Tail> {
    for job in jobs.iter_mut().filter(|job| job.work.has_statements()) {
        job.work.run(connection).await?;
    }
    let renewals = jobs.iter().filter(|job| job.work.renews()).count();
    let drafts: Vec<&Draft> = jobs.iter().flat_map(|job| job.work.drafts()).collect();
    chain::append(connection, before, &drafts, i64::try_from(renewals).unwrap_or(i64::MAX), clock).await
}

fn answer_all(jobs: Vec<Job>, outcome: Result<i64, StoreFailure>) {
    for job in jobs {
        job.work.answer(outcome.clone());
    }
}

fn failure_of(broken: &Broken) -> StoreFailure {
    match broken {
        Broken::Begin(failure) | Broken::Run(failure) => failure.clone(),
        Broken::Commit(failure) => {
            StoreFailure::Unavailable(format!("the outcome of the commit is unknown: {failure}"))
        }
    }
}
