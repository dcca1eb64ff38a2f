//! A small HTTP server of a test's own: it stands between a client and a server, or in the place of one.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What it answers to the target of a request (path and query): a body, or nothing at all, ever.
pub(crate) type Answering = dyn Fn(&str) -> Option<String> + Send + Sync;

/// Listens on loopback until the test's process ends.
pub(crate) struct Responder {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Responder {
    pub(crate) fn new(answering: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, asked) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let (answering, counter): (Arc<Answering>, _) = (Arc::new(answering), asked.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answering, counter) = (answering.clone(), counter.clone());
                std::thread::spawn(move || serve(stream, answering.as_ref(), &counter));
            }
        });
        Self { address, asked }
    }

    /// Hands every request on to a server, and changes the body that comes back.
    pub(crate) fn between(server: SocketAddr, change: impl Fn(String) -> String + Send + Sync + 'static) -> Self {
        Self::new(move |target| Some(change(get(server, target))))
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn serve(mut stream: TcpStream, answering: &Answering, asked: &AtomicUsize) {
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(length) => request.extend_from_slice(&buffer[..length]),
        }
    }
    asked.fetch_add(1, Ordering::SeqCst);
    let request = String::from_utf8_lossy(&request).into_owned();
    // A body that is left unread would reset the connection under the answer.
    let (head, body) = request.split_once("\r\n\r\n").unwrap_or_default();
    let length = head
        .to_ascii_lowercase()
        .split_once("content-length: ")
        .map_or(0, |(_, rest)| rest.lines().next().and_then(|number| number.parse().ok()).unwrap_or(0));
    let left = usize::saturating_sub(length, body.len());
    if stream.read_exact(&mut vec![0; left]).is_err() {
        return;
    }
    let Some(body) = answering(request.split(' ').nth(1).unwrap_or_default()) else {
        // The caller gives up first.
        let _ = stream.read(&mut buffer);
        return;
    };
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: {}", body.len());
    // A caller that is gone has its verdict already.
    let _ = stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes());
}

/// The body of a GET.
fn get(server: SocketAddr, target: &str) -> String {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "GET {target} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n").unwrap();
    let answer = super::requests::read_all(&mut stream);
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}
