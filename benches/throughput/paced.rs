//! A load whose pace does not depend on the answers: requests are due at fixed times, as of many independent clients.
//! What a request waited since it was due counts, so that a server that falls behind can't hide it.

use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;
use tokio::sync::{Mutex, mpsc};

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

/// The moments at which requests are due; whichever connection is free takes the next.
type Due = Rc<Mutex<mpsc::UnboundedReceiver<Instant>>>;

/// Makes requests due, each at its moment, from a thread of its own: the runtime's timers go by milliseconds, which is a
/// quarter of an operation.
fn make_due(per_second: f64, time: Duration) -> Due {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let started = Instant::now();
        for number in 0_u64.. {
            let since = Duration::from_secs_f64(number as f64 / per_second);
            let due = started + since;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if since >= time || sender.send(due).is_err() {
                break;
            }
        }
    });
    Rc::new(Mutex::new(receiver))
}

/// Asks for so many tokens a second for so long, over as many connections as it takes, but no more than these.
pub(crate) fn run(server: &Server<'_>, per_second: f64, connections: usize, time: Duration) -> Result<Paced, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (port, request) = (server.port, Rc::new(server.deployment.token_request()));
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let mut streams = Vec::new();
        for _ in 0..connections {
            let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
            stream.set_nodelay(true)?;
            streams.push(stream);
        }
        let (before, started) = (server.cpu_seconds()?, Instant::now());
        let due = make_due(per_second, time);
        let mut set = tokio::task::JoinSet::new();
        for stream in streams {
            let (due, request) = (Rc::clone(&due), Rc::clone(&request));
            set.spawn_local(async move { connection(stream, &request, &due).await.map_err(|e| e.to_string()) });
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
    due: &Due,
) -> Result<(Vec<u64>, Vec<u64>), Failure> {
    let (mut granted, mut refused) = (Vec::new(), Vec::new());
    let mut buffer = vec![0; 8 * 1024];
    loop {
        // The guard is gone before the request is sent: the next connection waits for the next moment meanwhile.
        let next = due.lock().await.recv().await;
        let Some(due) = next else { break };
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
