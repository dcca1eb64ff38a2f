//! The load generator: so many connections, each asking again as soon as it is answered.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::deployment::Server;
use crate::{Failure, Measured};

/// What a load gave.
pub(crate) struct Load {
    pub(crate) measured: Measured,
    /// How many tokens there were, and how many before the measurement began.
    pub(crate) count: f64,
    pub(crate) warmed: f64,
    pub(crate) p50_millis: f64,
    pub(crate) p99_millis: f64,
}

/// One request on a connection of its own; the answer's first piece.
pub(crate) fn ask_once(port: u16, request: &[u8]) -> Result<String, Failure> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(request)?;
    let mut answer = vec![0; 64 * 1024];
    let length = stream.read(&mut answer)?;
    answer.truncate(length);
    Ok(String::from_utf8(answer)?)
}

/// Asks for tokens over so many connections.
pub(crate) fn run(server: &Server<'_>, connections: usize, time: Duration) -> Result<Load, Failure> {
    run_on(std::slice::from_ref(server), connections, time)
}

/// Asks several nodes for tokens over so many connections, shared out among them.
pub(crate) fn run_on(servers: &[Server<'_>], connections: usize, time: Duration) -> Result<Load, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let request = servers.first().ok_or("no server")?.deployment.token_request();
    let ports: Vec<u16> = servers.iter().map(|server| server.port).collect();
    let cpu_seconds = || servers.iter().map(Server::cpu_seconds).sum::<Result<f64, Failure>>();
    let warming = runtime.block_on(load(&ports, &request, 4 * ports.len(), Duration::from_millis(300)))?;
    let before = cpu_seconds()?;
    let started = Instant::now();
    let times = runtime.block_on(load(&ports, &request, connections, time))?.sorted();
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds()? - before);
    let count = times.count() as f64;
    let measured = Measured { rate: count / seconds, cpu_micros: cpu * 1e6 / count };
    Ok(Load {
        measured,
        count,
        warmed: warming.count() as f64,
        p50_millis: times.millis(50),
        p99_millis: times.millis(99),
    })
}

async fn load(ports: &[u16], request: &[u8], connections: usize, time: Duration) -> Result<Times, Failure> {
    let end = Instant::now() + time;
    let tasks: Vec<_> = ports
        .iter()
        .copied()
        .cycle()
        .take(connections)
        .map(|port| {
            let request = request.to_vec();
            async move { connection(port, &request, end).await.map_err(|error| error.to_string()) }
        })
        .collect();
    let mut set = tokio::task::JoinSet::new();
    let local = tokio::task::LocalSet::new();
    for task in tasks {
        set.spawn_local_on(task, &local);
    }
    let mut all = Times::default();
    local
        .run_until(async {
            while let Some(done) = set.join_next().await {
                all.extend(done??);
            }
            Ok::<(), Failure>(())
        })
        .await?;
    Ok(all)
}

/// Asks again and again; the microseconds that each answer took. Anything but a token is a failure of the benchmark.
async fn connection(port: u16, request: &[u8], end: Instant) -> Result<Vec<u64>, Failure> {
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let mut taken = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    while Instant::now() < end {
        let asked = Instant::now();
        stream.write_all(request).await?;
        let answer = read_answer(&mut stream, &mut buffer).await?;
        if !answer.starts_with(b"HTTP/1.1 200") {
            return Err(String::from_utf8_lossy(answer).into());
        }
        taken.push(u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    Ok(taken)
}

/// The next answer, whole.
pub(crate) async fn read_answer<'b>(
    stream: &mut tokio::net::TcpStream,
    buffer: &'b mut [u8],
) -> Result<&'b [u8], Failure> {
    let mut filled = 0;
    while !is_whole(buffer.get(..filled).unwrap_or_default()) {
        let read = stream.read(buffer.get_mut(filled..).ok_or("the answer is too long")?).await?;
        if read == 0 {
            return Err("the server closed the connection".into());
        }
        filled += read;
    }
    Ok(buffer.get(..filled).unwrap_or_default())
}

/// How long answers took, in microseconds.
#[derive(Default)]
pub(crate) struct Times(Vec<u64>);

impl Times {
    pub(crate) fn extend(&mut self, more: Vec<u64>) {
        self.0.extend(more);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn sorted(mut self) -> Self {
        self.0.sort_unstable();
        self
    }

    /// The time within which so many of a hundred were answered, in milliseconds; of sorted ones.
    pub(crate) fn millis(&self, of_hundred: usize) -> f64 {
        self.0.get(self.0.len() * of_hundred / 100).copied().unwrap_or(0) as f64 / 1000.0
    }
}

/// Whether a whole answer has arrived: head, and as much body as `content-length` says.
fn is_whole(answer: &[u8]) -> bool {
    let Some(head) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let Some(text) = answer.get(..head).and_then(|head| std::str::from_utf8(head).ok()) else { return false };
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    length.is_some_and(|length| answer.len() >= head + 4 + length)
}
