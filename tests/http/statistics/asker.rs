//! One connection that is kept alive, and how long answers on it take.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::http::Stage;
use crate::support::application::PASSWORD;
use crate::support::requests::{self, form};

/// What a person types.
#[derive(Debug, Clone)]
pub(in crate::http) struct Shown {
    pub(in crate::http) name: String,
    pub(in crate::http) password: String,
    pub(in crate::http) code: String,
}

impl Shown {
    /// With the right password.
    pub(in crate::http) fn new(name: &str, code: impl Into<String>) -> Self {
        Self { name: name.to_owned(), password: PASSWORD.to_owned(), code: code.into() }
    }

    /// With a wrong password of the same length: what is typed is the same for everybody.
    pub(in crate::http) fn with_wrong_password(mut self) -> Self {
        self.password = format!("{}?", &PASSWORD[..PASSWORD.len() - 1]);
        self
    }
}

/// A connection to the token endpoint.
pub(in crate::http) struct Asker {
    stream: TcpStream,
    head: String,
    answer: Vec<u8>,
}

impl Asker {
    pub(in crate::http) fn new(stage: &Stage) -> Self {
        let address = stage.address();
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let (content, authorization) = (requests::FORM, requests::basic(&stage.app.id, &stage.app.secret));
        let head = format!(
            "POST /oauth2/token HTTP/1.1\r\nHost: {address}\r\nAuthorization: {authorization}\r\nContent-Type: {content}\r\n"
        );
        Self { stream, head, answer: Vec::with_capacity(4096) }
    }

    /// Seconds from the request's first byte to the answer's last one, and the answer's status and body.
    pub(in crate::http) fn ask(&mut self, shown: &Shown) -> (f64, u16, String) {
        let Shown { name, password, code } = shown;
        let body = form(&[("grant_type", "password"), ("username", name), ("password", password), ("otp", code)]);
        let request = format!("{}Content-Length: {}\r\n\r\n{body}", self.head, body.len());
        self.answer.clear();
        let began = Instant::now();
        self.stream.write_all(request.as_bytes()).unwrap();
        let body = self.read();
        let took = began.elapsed().as_secs_f64();
        let text = String::from_utf8(self.answer.clone()).unwrap();
        (took, requests::status(&text), text[body..].to_owned())
    }

    /// Reads an answer; gives where its body begins.
    fn read(&mut self) -> usize {
        let mut part = [0; 4096];
        loop {
            let length = self.stream.read(&mut part).unwrap();
            assert!(length > 0, "the server closed the connection");
            self.answer.extend_from_slice(&part[..length]);
            if let Some((body, length)) = frame(&self.answer)
                && self.answer.len() >= body + length
            {
                return body;
            }
        }
    }
}

/// Where the body begins, and how long it is, once the header is there.
fn frame(answer: &[u8]) -> Option<(usize, usize)> {
    let header = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let text = std::str::from_utf8(&answer[..header]).unwrap().to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:")).unwrap();
    Some((header + 4, length.trim().parse().unwrap()))
}
