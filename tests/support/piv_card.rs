//! A virtual PIV card behind pcscd: what a YubiKey 5 answers to the commands of a sign-in, and no more.
//!
//! pcscd's driver `vpcd` listens on a TCP port; the card connects to it. A message is a length (u16, big-endian) and as
//! many bytes: a command APDU, or one byte of control (0 off, 1 on, 2 reset, 4 asks for the ATR).

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::piv::{PivKey, SERIAL_NUMBER};

/// A YubiKey 5's: it speaks T=1.
const ATR: [u8; 23] = [
    0x3b, 0xfd, 0x13, 0x00, 0x00, 0x81, 0x31, 0xfe, 0x15, 0x80, 0x73, 0xc0, 0x21, 0xc0, 0x57, 0x59, 0x75, 0x62, 0x69,
    0x4b, 0x65, 0x79, 0x40,
];
const OK: [u8; 2] = [0x90, 0x00];
/// The PIN, filled up to eight bytes.
const PIN: [u8; 8] = *b"654321\xff\xff";
/// pcscd's own, which is the same for the whole machine.
const SOCKET: &str = "/run/pcscd/pcscd.comm";
const PATIENCE: Duration = Duration::from_secs(30);

/// pcscd with one reader, and the card in it. pcscd has one socket a machine, so there is one of these at a time.
pub(crate) struct CardReader {
    pcscd: Child,
    state: Arc<State>,
}

/// What tests look at.
#[derive(Default)]
pub(crate) struct State {
    /// Tries of the PIN that are left.
    tries: AtomicU8,
    /// PINs that were shown.
    shown: AtomicU32,
}

impl CardReader {
    /// Starts pcscd and puts a card with this key in. Panics where another pcscd runs.
    pub(crate) fn start(folder: &Path, key: PivKey) -> Self {
        assert!(UnixStream::connect(SOCKET).is_err(), "another pcscd runs here: stop it for this test");
        let port = two_free_ports();
        let configuration = folder.join("reader.conf.d");
        std::fs::create_dir(&configuration).unwrap();
        let driver = "/usr/lib/pcsc/drivers/serial/libifdvpcd.so";
        let text = format!(
            "FRIENDLYNAME \"Signet test reader\"\nDEVICENAME /dev/null:0x{port:04X}\nLIBPATH {driver}\nCHANNELID 0x{port:04X}\n"
        );
        std::fs::write(configuration.join("vpcd"), text).unwrap();
        let mut command = Command::new("/usr/sbin/pcscd");
        command.arg("--foreground").arg("--config").arg(&configuration).stdin(Stdio::null());
        let log = std::fs::File::create(folder.join("pcscd.log")).unwrap();
        let pcscd = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().expect("Debian's pcscd is installed");
        let state = Arc::new(State { tries: AtomicU8::new(3), shown: AtomicU32::new(0) });
        let mut reader = Self { pcscd, state: state.clone() };
        let stream = reader.connect(port, folder);
        std::thread::spawn(move || Card { key, state, verified: false, chained: Vec::new() }.serve(stream));
        reader
    }

    fn connect(&mut self, port: u16, folder: &Path) -> TcpStream {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // The socket comes after the reader, and without it there is nobody to ask for cards.
            if UnixStream::connect(SOCKET).is_ok()
                && let Ok(stream) = TcpStream::connect(("127.0.0.1", port))
            {
                return stream;
            }
            let ended = self.pcscd.try_wait().unwrap();
            let log = || std::fs::read_to_string(folder.join("pcscd.log")).unwrap_or_default();
            assert!(ended.is_none() && Instant::now() < deadline, "pcscd has no reader ({ended:?}):\n{}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn tries(&self) -> u8 {
        self.state.tries.load(Ordering::SeqCst)
    }

    /// How many PINs were shown to the card.
    pub(crate) fn pins_shown(&self) -> u32 {
        self.state.shown.load(Ordering::SeqCst)
    }
}

impl Drop for CardReader {
    fn drop(&mut self) {
        let _ = self.pcscd.kill();
        let _ = self.pcscd.wait();
    }
}

/// The first of two neighbouring ports, which the driver's two slots listen on; below those that the system gives out.
fn two_free_ports() -> u16 {
    let is_free = |port: u16| TcpListener::bind(("0.0.0.0", port)).is_ok();
    let start = 20_000 + u16::try_from(std::process::id() % 5_000).unwrap() * 2;
    (start..32_000).step_by(2).find(|port| is_free(*port) && is_free(port + 1)).expect("two ports are free")
}

struct Card {
    key: PivKey,
    state: Arc<State>,
    verified: bool,
    chained: Vec<u8>,
}

impl Card {
    /// Answers until pcscd goes away.
    fn serve(mut self, mut stream: TcpStream) {
        let mut length = [0; 2];
        while stream.read_exact(&mut length).is_ok() {
            let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
            if stream.read_exact(&mut message).is_err() {
                return;
            }
            let answer = match message[..] {
                [4] => ATR.to_vec(),
                [_] => {
                    self.verified = false;
                    continue;
                }
                _ => self.command(&message),
            };
            let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
            if stream.write_all(&[&length[..], &answer].concat()).is_err() {
                return;
            }
        }
    }

    fn command(&mut self, apdu: &[u8]) -> Vec<u8> {
        let [class, instruction, first, second, rest @ ..] = apdu else { return vec![0x67, 0x00] };
        let data = match rest {
            [length, data @ ..] => &data[..usize::from(*length).min(data.len())],
            [] => &[],
        };
        self.chained.extend_from_slice(data);
        if class & 0x10 != 0 {
            return OK.to_vec();
        }
        let data = std::mem::take(&mut self.chained);
        match (instruction, first, second) {
            (0xa4, 0x04, _) => {
                self.verified = false;
                OK.to_vec()
            }
            (0xfd, ..) => [&[5, 4, 3][..], &OK].concat(),
            (0xf8, ..) => [&SERIAL_NUMBER.to_be_bytes()[..], &OK].concat(),
            (0x20, 0x00, 0x80) => self.verify(&data),
            (0xf7, _, 0x9a) => self.metadata(),
            (0x87, 0x11, 0x9a) => self.sign(&data),
            _ => vec![0x6d, 0x00],
        }
    }

    fn verify(&mut self, pin: &[u8]) -> Vec<u8> {
        let tries = self.state.tries.load(Ordering::SeqCst);
        if !pin.is_empty() {
            self.state.shown.fetch_add(1, Ordering::SeqCst);
        }
        match (tries, pin) {
            (0, _) => vec![0x69, 0x83],
            (_, []) if self.verified => OK.to_vec(),
            (_, []) => vec![0x63, 0xc0 | tries],
            (_, pin) if *pin == PIN => {
                self.state.tries.store(3, Ordering::SeqCst);
                self.verified = true;
                OK.to_vec()
            }
            (_, _) => {
                self.state.tries.store(tries - 1, Ordering::SeqCst);
                vec![0x63, 0xc0 | (tries - 1)]
            }
        }
    }

    /// P-256, PIN once, touch never, generated, and the point.
    fn metadata(&self) -> Vec<u8> {
        let point = [&[0x86, 65][..], self.key.point()].concat();
        let head = [0x01, 1, 0x11, 0x02, 2, 2, 1, 0x03, 1, 1, 0x04, u8::try_from(point.len()).unwrap()];
        [&head[..], &point, &OK].concat()
    }

    /// `7c L (82 00, 81 L digest)` gives `7c L (82 L signature)`.
    fn sign(&self, data: &[u8]) -> Vec<u8> {
        if !self.verified {
            return vec![0x69, 0x82];
        }
        let Some([0x7c, _, 0x82, 0x00, 0x81, 32, digest @ ..]) = data.get(..) else { return vec![0x6a, 0x80] };
        let signature = self.key.sign_digest(digest);
        let length = u8::try_from(signature.len()).unwrap();
        [&[0x7c, length + 2, 0x82, length][..], &signature, &OK].concat()
    }
}
