//! A load whose pace does not depend on the answers: requests are due at fixed times, as of many independent clients.
//! What a request waited since it was due counts, so that a server that falls behind can't hide it.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;

use crate::Failure;
use crate::deployment::Server;
use crate::load::{Times, read_answer};

/// What a paced load gave.
pub(crate) struct Paced {
    /// Requests a second that were sent.
    pub(crate) offered: f64,
    /// Answers of 200, and of 503 or 429 with `Retry-After`.
    pub(crate) granted: Times,
    pub(crate) refused: Times,
    /// CPU seconds a second of the server and its workers.
    pub(crate) cores: f64,
    pub(crate) seconds: f64,
}

struct Schedule {
    started: Instant,
    end: Instant,
    per_second: f64,
    next: Cell<u64>,
}

impl Schedule {
    /// When the next request is due.
    fn take(&self) -> Option<Instant> {
        let number = self.next.replace(self.next.get() + 1);
        let due = self.started + Duration::from_secs_f64(number as f64 / self.per_second);
        (due < self.end).then_some(due)
    }
}

/// Asks for so many tokens a second for so long, over as many connections as it takes, but no more than these.
pub(crate) fn run(server: &Server<'_>, per_second: f64, connections: usize, time: Duration) -> Result<Paced, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (port, request) = (server.deployment.port, Rc::new(server.deployment.token_request()));
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let mut streams = Vec::new();
        for _ in 0..connections {
            let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
            stream.set_nodelay(true)?;
            streams.push(stream);
        }
        let (before, started) = (server.cpu_seconds()?, Instant::now());
        let schedule = Rc::new(Schedule { started, end: started + time, per_second, next: Cell::new(0) });
        let mut set = tokio::task::JoinSet::new();
        for stream in streams {
            let (schedule, request) = (Rc::clone(&schedule), Rc::clone(&request));
            set.spawn_local(async move { connection(stream, &request, &schedule).await.map_err(|e| e.to_string()) });
        }
        let (mut granted, mut refused) = (Times::default(), Times::default());
        while let Some(done) = set.join_next().await {
            let (more, fewer) = done??;
            granted.extend(more);
            refused.extend(fewer);
        }
        let seconds = started.elapsed().as_secs_f64();
        let cores = (server.cpu_seconds()? - before) / seconds;
        let offered = (granted.count() + refused.count()) as f64 / time.as_secs_f64();
        Ok(Paced { offered, granted, refused, cores, seconds })
    })
}

async fn connection(
    mut stream: tokio::net::TcpStream,
    request: &[u8],
    schedule: &Schedule,
) -> Result<(Vec<u64>, Vec<u64>), Failure> {
    let (mut granted, mut refused) = (Vec::new(), Vec::new());
    let mut buffer = vec![0; 8 * 1024];
    while let Some(due) = schedule.take() {
        if due > Instant::now() {
            tokio::time::sleep_until(due.into()).await;
        }
        stream.write_all(request).await?;
        let answer = read_answer(&mut stream, &mut buffer).await?;
        let taken = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
        if answer.starts_with(b"HTTP/1.1 200") {
            granted.push(taken);
        } else if is_refusal(answer) {
            refused.push(taken);
        } else {
            return Err(String::from_utf8_lossy(answer).into());
        }
    }
    Ok((granted, refused))
}

fn is_refusal(answer: &[u8]) -> bool {
    let is_one = answer.starts_with(b"HTTP/1.1 503") || answer.starts_with(b"HTTP/1.1 429");
    is_one && String::from_utf8_lossy(answer).to_ascii_lowercase().contains("\r\nretry-after: ")
}
