//! What a crowd may take: connections that do nothing, streams that are reset at once, passwords that are wrong.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::Stage;
use crate::support::requests::{self, Answer, FORM, basic, form};

/// How much longer nine in ten other requests may take while somebody floods the server than they take at the same moment at
/// a server that nobody floods, and the slowest of them.
const PROMPT: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];
/// How many times as long they may take, beside that: what else this machine does slows both servers down, and not evenly.
const TIMES: u32 = 3;
/// How long anything is waited for that must happen soon.
const PATIENCE: Duration = Duration::from_secs(30);

/// A figure of `/proc/ID/status` in MiB: `VmRSS` is the memory in use, `VmHWM` the most that it ever was.
fn memory(stage: &Stage, what: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", stage.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':')).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
}

/// What was asked of a server that is flooded, and of one beside it that is not: how long each request took.
struct Probes {
    ends: Arc<AtomicBool>,
    flooded: JoinHandle<Vec<Duration>>,
    quiet: JoinHandle<Vec<Duration>>,
}

impl Probes {
    /// Starts a server that nobody floods, and begins to ask both.
    fn start(flooded: &Arc<Stage>) -> Self {
        let (ends, quiet) = (Arc::new(AtomicBool::new(false)), Arc::new(Stage::new("")));
        let [one, other] = [flooded, &quiet].map(|stage| ask(stage.clone(), ends.clone()));
        Self { ends, flooded: tokio::spawn(one), quiet: tokio::spawn(other) }
    }

    /// Ends the asking, and judges the flooded server by the other one. Gives how many requests the flooded one answered.
    async fn assert_prompt(self) -> usize {
        self.ends.store(true, Ordering::Relaxed);
        let [flooded, quiet] = [self.flooded.await.unwrap(), self.quiet.await.unwrap()].map(|mut took| {
            took.sort_unstable();
            took
        });
        let count = flooded.len();
        let of = |took: &[Duration]| [took[took.len() * 9 / 10], took[took.len() - 1]];
        let (flooded, quiet) = (of(&flooded), of(&quiet));
        for ((took, rest), more) in flooded.iter().zip(quiet).zip(PROMPT) {
            let most = TIMES * rest + more;
            assert!(
                *took < most,
                "nine in ten and the slowest took {flooded:?}, and {quiet:?} at a server without flood"
            );
        }
        count
    }
}

/// Asks for everything but a sign-in, again and again, until it is told to stop. Gives how long each request took.
async fn ask(stage: Arc<Stage>, ends: Arc<AtomicBool>) -> Vec<Duration> {
    let mut took = Vec::new();
    let token = stage.client_token().await;
    loop {
        let started = Instant::now();
        stage.get("/oauth2/jwks").await.ok();
        took.push(started.elapsed());
        let started = Instant::now();
        assert!(stage.is_active(&stage.app, &token).await);
        took.push(started.elapsed());
        let started = Instant::now();
        stage.client_token().await;
        took.push(started.elapsed());
        if ends.load(Ordering::Relaxed) {
            return took;
        }
    }
}

/// Opens a connection, says `start` and waits. Gives how long the server kept it open.
async fn idle(address: SocketAddr, start: &'static [u8], opened: Arc<AtomicUsize>) -> Duration {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let at = Instant::now();
    opened.fetch_add(1, Ordering::Relaxed);
    // The server may have closed it already.
    let _ = stream.write_all(start).await;
    let _ = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await;
    at.elapsed()
}

/// Peers that are silent, that stop in a header, and that open HTTP/2 and answer no ping.
#[tokio::test]
async fn hazard_84_idle_connections_are_bounded_and_closed() {
    const LIMIT: usize = 200;
    const PEERS: usize = 2 * LIMIT;
    let limits = "[server.limits]\nmax_connections = 200\nheader_timeout = \"3s\"\nidle_timeout = \"3s\"\n\
                  request_timeout = \"3s\"";
    let stage = Stage::new(limits);
    stage.client_token().await;
    let before = memory(&stage, "VmRSS");
    let opened = Arc::new(AtomicUsize::new(0));
    let mut peers = JoinSet::new();
    for start in [&b""[..], b"GET /healthz HT", PREFACE].iter().cycle().take(PEERS) {
        peers.spawn(idle(stage.address(), start, opened.clone()));
    }
    let mut kept = Vec::new();
    // Those beyond the limit leave while the others stay.
    while kept.len() < PEERS - LIMIT {
        kept.push(peers.join_next().await.unwrap().unwrap());
    }
    let slowest = kept.iter().max().unwrap();
    assert!(*slowest < Duration::from_secs(2), "a connection beyond the limit was open for {slowest:?}");
    let grown = memory(&stage, "VmRSS").saturating_sub(before);
    assert!(grown < 20, "{LIMIT} idle connections take {grown} MiB");
    while let Some(open) = peers.join_next().await {
        let open = open.unwrap();
        assert!(
            (Duration::from_secs(2)..PATIENCE).contains(&open),
            "a connection within the limit was open for {open:?}"
        );
    }
    assert_eq!(opened.load(Ordering::Relaxed), PEERS);
    stage.client_token().await;
    let grown = memory(&stage, "VmRSS").saturating_sub(before);
    assert!(grown < 20, "{grown} MiB are left after the idle connections");
}

/// The start of an HTTP/2 connection whose client knows that the server speaks it, and empty settings (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// RFC 9113 §7.
const ENHANCE_YOUR_CALM: u8 = 0xb;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A request, and its cancellation in the same breath (CVE-2023-44487).
fn cancelled_request(stream: u32, authority: &str) -> Vec<u8> {
    // RFC 7541 §6: `:method GET` and `:scheme http` by their index, `:path` and `:authority` as texts.
    let path = "/oauth2/jwks";
    let text = |index: u8, text: &str| [&[index, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let block = [&[0x82, 0x86][..], &text(4, path), &text(1, authority)].concat();
    [frame(1, 0x5, stream, &block), frame(3, 0, stream, &8_u32.to_be_bytes())].concat()
}

/// Reads the next frame: its kind and payload.
async fn next_frame(stream: &mut TcpStream) -> std::io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await?;
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    stream.read_exact(&mut payload).await?;
    Ok((head[3], payload))
}

/// Two thousand streams in batches. Gives the error code of the server's GOAWAY, and none where it answered every ping.
async fn reset_rapidly(address: SocketAddr, batch: u32) -> Option<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(PREFACE).await.unwrap();
    let authority = address.to_string();
    let numbers: Vec<u32> = (0..2_000).map(|number| 2 * number + 1).collect();
    for numbers in numbers.chunks(batch as usize) {
        let mut bytes: Vec<u8> = numbers.iter().flat_map(|number| cancelled_request(*number, &authority)).collect();
        bytes.extend(frame(6, 0, 0, b"answered"));
        // It may break: the server need not read on.
        let _ = stream.write_all(&bytes).await;
        loop {
            match timeout(PATIENCE, next_frame(&mut stream)).await.expect("no answer") {
                Ok((6, echo)) if echo == b"answered" => break,
                Ok((7, payload)) => return Some(payload[7]),
                Ok(_) => {}
                Err(error) => panic!("closed without a GOAWAY: {error}"),
            }
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hazard_84_a_rapid_reset_ends_the_connection_and_takes_no_memory() {
    let stage = Arc::new(Stage::new(""));
    let token = stage.client_token().await;
    assert!(stage.is_active(&stage.app, &token).await);
    let before = memory(&stage, "VmRSS");
    let probes = Probes::start(&stage);
    let mut bursts = JoinSet::new();
    for _ in 0..20 {
        bursts.spawn(reset_rapidly(stage.address(), 2_000));
    }
    // One that lets the server take up each stream before it goes on.
    let patient = tokio::spawn(reset_rapidly(stage.address(), 5));
    for code in bursts.join_all().await {
        assert_eq!(code, Some(ENHANCE_YOUR_CALM));
    }
    let code = patient.await.unwrap();
    assert!(matches!(code, None | Some(ENHANCE_YOUR_CALM)), "{code:?}");
    probes.assert_prompt().await;
    let grown = memory(&stage, "VmRSS").saturating_sub(before);
    assert!(grown < 20, "42,000 streams take {grown} MiB");
    stage.client_token().await;
}

/// The body of a sign-in.
fn sign_in(stage: &Stage, name: &str) -> String {
    let credentials = [("client_id", &*stage.app.id), ("client_secret", &*stage.app.secret)];
    let fields = [("grant_type", "password"), ("username", name), ("password", "a guess"), ("otp", "123456")];
    form(&[&fields[..], &credentials].concat())
}

/// How often each of those who hang up comes back. Without it they would take all that this machine can compute, for their
/// connections alone, and whoever else runs beside would decide how long the others wait.
const COMES_BACK: Duration = Duration::from_millis(200);

/// Signs in and hangs up some milliseconds later, again and again: at any point of the sign-in.
fn hang_up_until(ended: Arc<AtomicBool>, stage: &Stage, peer: u64) -> std::thread::JoinHandle<usize> {
    let (address, authorization) = (stage.address(), basic(&stage.app.id, &stage.app.secret));
    let body = form(&[("grant_type", "password"), ("username", "gone"), ("password", "a guess"), ("otp", "123456")]);
    std::thread::spawn(move || {
        let mut times = 0;
        while !ended.load(Ordering::Relaxed) {
            let body = body.replace("gone", &format!("gone-{peer}-{times}"));
            let request = format!(
                "POST /oauth2/token HTTP/1.1\r\nHost: {address}\r\nAuthorization: {authorization}\r\n\
                 Content-Type: {FORM}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let stays = Duration::from_millis(5 * (peer % 20));
            std::thread::sleep(stays);
            drop(stream);
            std::thread::sleep(COMES_BACK - stays);
            times += 1;
        }
        times
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hazard_85_a_flood_of_password_checks_leaves_the_rest_fast() {
    let stage = Arc::new(Stage::new("[server.limits]\npassword_concurrency = 1\n[mfa]\ntries = 5\n"));
    let url = format!("{}/oauth2/token", stage.issuer());
    let guess = |name: String| {
        let (url, body) = (url.clone(), sign_in(&stage, &name));
        requests::send(|http| http.post(url).header("content-type", FORM).body(body))
    };
    stage.client_token().await;
    // The first one also makes what stands in for users that are not there.
    assert_eq!(guess("first".to_owned()).await.refusal(), (400, "invalid_grant".to_owned()));
    let before = memory(&stage, "VmHWM");
    let probes = Probes::start(&stage);
    let hanging_up: Vec<_> = (0..20).map(|peer| hang_up_until(probes.ends.clone(), &stage, peer)).collect();
    let mut flood = JoinSet::new();
    for number in 0..200 {
        // Every fourth one tries the same account.
        let name = if number % 4 == 0 { "somebody".to_owned() } else { format!("made-up-{number}") };
        flood.spawn(guess(name));
    }
    let answers = flood.join_all().await;
    probes.ends.store(true, Ordering::Relaxed);
    let hung_up: usize = hanging_up.into_iter().map(|thread| thread.join().unwrap()).sum();
    let others = probes.assert_prompt().await;
    let grown = memory(&stage, "VmHWM") - before;
    let counts = super::statuses(&answers);
    assert_told_when_to_come_back(&answers, &counts);
    assert!(others > 10, "only {others} other requests");
    // One more hash at once would take 19 MiB; connections and their requests take some 7 MiB.
    assert!(grown < 24, "{hung_up} who hung up and 200 who did not take {grown} MiB more than one sign-in");
}

/// 400 to those who were judged, whoever they named, and 503 to those who were one too many.
fn assert_told_when_to_come_back(answers: &[Answer], counts: &BTreeMap<u16, usize>) {
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), [400, 503], "{counts:?}");
    for answer in answers.iter().filter(|answer| answer.status != 400) {
        assert!(answer.retry_after().is_some_and(|seconds| seconds > 0), "{answer:?}");
    }
}
