//! The frames between server and worker: a little-endian `u32` length, then postcard.
//!
//! The first frame to a worker is its [`Greeting`], which holds no secret: the worker reads the PIN itself.
//! Requests are pipelined and answered in any order; the id joins the two. A frame is bounded, so that neither side
//! can be made to allocate without limit.

use std::fmt;

use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroize;

use crate::HsmConfig;
use signet_core::keys::{
    HsmFailure, KeyPurpose, KeyReport, KeyTally, LoginOutcome, LoginQuestion, OtpHash, OtpSecretKind, TokenReport,
};
use signet_jose::Algorithm;
use signet_jose::algorithm::KeyType;

/// The longest frame: a listing of some thousand keys fits.
pub(super) const MAX_FRAME: usize = 1 << 20;

/// The id of the worker's first answer, which says whether it started.
pub(super) const START_ID: u64 = u64::MAX;

/// The id of what is said about a login, on both sides.
pub(super) const LOGIN_ID: u64 = u64::MAX - 1;

const LENGTH_BYTES: usize = 4;

/// What a server says first.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Greeting<C = HsmConfig> {
    pub(super) config: C,
    /// Whether the server is asked before a PIN is presented, and is told how that ended.
    pub(super) judges_logins: bool,
}

/// What a server answers to whoever is about to present a PIN.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum LoginReply {
    /// Once, now.
    Present,
    /// Ask again in a moment.
    Wait,
    /// No, with why and what to do.
    Stop(String),
}

/// Bytes on the wire: encoded as one run, wiped when dropped, never printed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Octets(pub(super) Vec<u8>);

impl Octets {
    /// Takes the bytes out, leaving nothing behind.
    pub(super) fn take(mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

impl Drop for Octets {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Octets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Octets({} bytes)", self.0.len())
    }
}

impl Serialize for Octets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_byte_buf(OctetsVisitor).map(Self)
    }
}

struct OctetsVisitor;

impl Visitor<'_> for OctetsVisitor {
    type Value = Vec<u8>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("bytes")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }
}

/// A key as the store knows it. The thumbprint of a pair stands for its whole public key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct KeyRef {
    pub(super) cka_id: Octets,
    pub(super) key_id: String,
    pub(super) purpose: KeyPurpose,
}

/// The keys of one HSM token that keep secrets.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct VaultKeys {
    pub(super) sealing: Option<KeyRef>,
    pub(super) wrapping: Option<KeyRef>,
    pub(super) binding: Option<KeyRef>,
}

/// A secret at rest: the keys that made it, the row that it is bound to, and what is kept of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SealedSecret {
    pub(super) keys: VaultKeys,
    pub(super) row: Octets,
    pub(super) blob: Octets,
}

/// Where a secret that comes in an envelope is sealed: by which keys, for which row, as what.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SealingPlace {
    pub(super) keys: VaultKeys,
    pub(super) row: Octets,
    pub(super) kind: SecretKind,
}

/// A key to judge, and for a pair the algorithm that it signs with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct CheckedKey {
    pub(super) key: KeyRef,
    pub(super) algorithm: Option<Algorithm>,
}

/// What a secret at rest is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum SecretKind {
    /// Opened again by the server: a password's hash.
    Opened,
    /// Used by the worker only.
    Otp(OtpSecretKind),
}

impl SecretKind {
    /// What an OTP's secret is; `None` for one that is opened.
    pub(super) const fn wrapped(self) -> Option<OtpSecretKind> {
        match self {
            Self::Opened => None,
            Self::Otp(kind) => Some(kind),
        }
    }

    /// The byte that binds a blob to its kind.
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Opened => 0,
            Self::Otp(kind) => kind.code(),
        }
    }
}

/// One request. Where it is sent the operation is lent to it, which reads as the same bytes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request<O = Operation> {
    pub(super) id: u64,
    /// How long the caller still waits; counted from when the worker reads the frame.
    pub(super) patience_ms: u32,
    pub(super) operation: O,
}

/// What a worker can be asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Operation {
    Sign {
        key: KeyRef,
        algorithm: Algorithm,
        message: Octets,
    },
    Seal {
        keys: VaultKeys,
        row: Octets,
        kind: SecretKind,
        secret: Octets,
    },
    Open(SealedSecret),
    OtpHmac {
        sealed: SealedSecret,
        hash: OtpHash,
        messages: Vec<Octets>,
    },
    DecryptBlock {
        sealed: SealedSecret,
        block: [u8; 16],
    },
    /// Take an OTP's secret out, for another HSM token to be given it too.
    ExportSecret {
        sealed: SealedSecret,
        kind: OtpSecretKind,
    },
    /// Bind an OTP secret to another row.
    Rebind {
        sealed: SealedSecret,
        to: Octets,
        kind: OtpSecretKind,
    },
    Derive {
        key: KeyRef,
        input: Octets,
    },
    /// Open an envelope by a transport key, and seal what is in it for the same token.
    TakeEnvelope {
        transport: KeyRef,
        place: SealingPlace,
        sealed: Octets,
    },
    /// Open the envelope of the deployment's secret by a transport key.
    OpenDeploymentSecret {
        transport: KeyRef,
        sealed: Octets,
    },
    /// Open a secret and encrypt it to the transport key at this point.
    PutInEnvelope {
        sealed: SealedSecret,
        wrapped: Option<OtpSecretKind>,
        to: Octets,
    },
    Describe,
    List,
    /// What was signed with each key.
    Tally,
    /// Find and judge each key, and whether what it is for is offered.
    Check {
        keys: Vec<CheckedKey>,
    },
    GeneratePair {
        purpose: KeyPurpose,
        tenant: String,
        key_type: KeyType,
        bits: u32,
        cka_id: Octets,
    },
    GenerateSecret {
        purpose: KeyPurpose,
        tenant: String,
    },
    Destroy {
        key: KeyRef,
    },
    /// A key was destroyed through another worker: forget every cached handle.
    Forget,
    /// The answer to [`Answer::LoginAsked`]; it is answered by [`Answer::LoginEnded`] where the PIN was presented.
    Login(LoginReply),
}

impl Operation {
    /// The name in errors and logs.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Sign { .. } => "sign",
            Self::Seal { .. } => "seal",
            Self::Open(_) => "open",
            Self::OtpHmac { .. } => "otp hmac",
            Self::DecryptBlock { .. } => "decrypt block",
            Self::ExportSecret { .. } => "export secret",
            Self::Rebind { .. } => "rebind",
            Self::Derive { .. } => "derive",
            Self::TakeEnvelope { .. } => "take envelope",
            Self::OpenDeploymentSecret { .. } => "open deployment secret",
            Self::PutInEnvelope { .. } => "put in envelope",
            Self::Describe => "describe",
            Self::List => "list keys",
            Self::Tally => "tally",
            Self::Check { .. } => "check keys",
            Self::GeneratePair { .. } => "generate key pair",
            Self::GenerateSecret { .. } => "generate secret key",
            Self::Destroy { .. } => "destroy key",
            Self::Forget => "forget keys",
            Self::Login(_) => "log in",
        }
    }

    /// Whether the operation changes or lists the token's objects: one at a time, on a session of its own.
    pub(super) const fn is_management(&self) -> bool {
        matches!(
            self,
            Self::Describe
                | Self::List
                | Self::Tally
                | Self::Check { .. }
                | Self::GeneratePair { .. }
                | Self::GenerateSecret { .. }
                | Self::Destroy { .. }
                | Self::Forget
        )
    }

    /// Whether doing it twice is as good as doing it once.
    pub(super) const fn is_idempotent(&self) -> bool {
        !matches!(self, Self::GeneratePair { .. } | Self::GenerateSecret { .. } | Self::Destroy { .. })
    }
}

/// One answer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Response {
    pub(super) id: u64,
    pub(super) result: Result<Answer, HsmFailure>,
}

/// What a worker answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Ready(TokenReport),
    /// Whether the PIN may be presented.
    LoginAsked(LoginQuestion),
    /// How it ended.
    LoginEnded(LoginOutcome),
    Signature(Octets),
    Bytes(Octets),
    Hmacs(Vec<Octets>),
    Block([u8; 16]),
    Report(TokenReport),
    Keys(Vec<KeyReport>),
    Tally(Vec<KeyTally>),
    /// Of each key that was asked about, in that order, what is wrong with it.
    Checked(Vec<Option<HsmFailure>>),
    /// A new key; the public half of a pair as DER of a `SubjectPublicKeyInfo`.
    Generated {
        key_id: String,
        cka_id: Octets,
        public: Option<Octets>,
    },
    Done,
}

/// What is wrong with a frame: the peer is not to be trusted any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    #[error("a frame is longer than {MAX_FRAME} bytes")]
    TooLong,
    #[error("a frame can't be read")]
    Malformed,
}

/// Appends one frame.
/// Errors: [`FrameError::TooLong`]; the buffer is then as it was.
pub(super) fn append<T: Serialize>(buffer: &mut Vec<u8>, value: &T) -> Result<(), FrameError> {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; LENGTH_BYTES]);
    let written = postcard::to_io(value, &mut *buffer).map_err(|_| FrameError::Malformed).map(|_| ());
    let length = buffer.len() - start - LENGTH_BYTES;
    if written.is_err() || length > MAX_FRAME {
        buffer.truncate(start);
        return Err(written.err().unwrap_or(FrameError::TooLong));
    }
    let prefix = u32::try_from(length).map_err(|_| FrameError::TooLong)?.to_le_bytes();
    if let Some(place) = buffer.get_mut(start..start + LENGTH_BYTES) {
        place.copy_from_slice(&prefix);
    }
    Ok(())
}

/// Collects bytes and gives frames. What was read is wiped, since a frame may carry a secret.
#[derive(Default)]
pub(super) struct FrameBuffer {
    bytes: Vec<u8>,
    start: usize,
}

impl FrameBuffer {
    /// Adds what was received.
    pub(super) fn extend(&mut self, received: &[u8]) {
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        }
        self.bytes.extend_from_slice(received);
    }

    /// The next whole frame, if there is one.
    /// Errors: [`FrameError`]: nothing that follows can be trusted.
    pub(super) fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let pending = self.bytes.get_mut(self.start..).unwrap_or_default();
        let Some((prefix, rest)) = pending.split_first_chunk_mut::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_le_bytes(*prefix)).map_err(|_| FrameError::TooLong)?;
        if length > MAX_FRAME {
            return Err(FrameError::TooLong);
        }
        let Some(frame) = rest.get_mut(..length) else {
            return Ok(None);
        };
        let value = postcard::from_bytes(frame).map_err(|_| FrameError::Malformed);
        frame.fill(0);
        self.start += LENGTH_BYTES + length;
        value.map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(id: u64) -> Request {
        Request {
            id,
            patience_ms: 10,
            operation: Operation::Derive {
                key: KeyRef { cka_id: Octets(vec![1, 2]), key_id: "k".into(), purpose: KeyPurpose::Binding },
                input: Octets(b"secret".to_vec()),
            },
        }
    }

    #[test]
    fn frames_survive_any_fragmentation() {
        let mut stream = Vec::new();
        append(&mut stream, &request(1)).unwrap();
        append(&mut stream, &request(2)).unwrap();
        for step in 1..stream.len() {
            let mut buffer = FrameBuffer::default();
            let mut ids = Vec::new();
            for chunk in stream.chunks(step) {
                buffer.extend(chunk);
                while let Some(request) = buffer.next::<Request>().unwrap() {
                    ids.push(request.id);
                }
            }
            assert_eq!(ids, [1, 2], "chunks of {step}");
        }
    }

    #[test]
    fn a_frame_over_the_bound_is_refused_before_it_is_collected_and_garbage_does_not_panic() {
        let garbage = [3, 0, 0, 0, 0xff, 0xff, 0xff];
        for (bytes, error) in [(&[0xff; 4][..], FrameError::TooLong), (&garbage, FrameError::Malformed)] {
            let mut buffer = FrameBuffer::default();
            buffer.extend(bytes);
            assert_eq!(buffer.next::<Request>().unwrap_err(), error);
        }
        let mut stream = Vec::new();
        assert_eq!(append(&mut stream, &Octets(vec![0; MAX_FRAME + 1])), Err(FrameError::TooLong));
        assert!(stream.is_empty());
    }

    #[test]
    fn what_was_read_is_wiped() {
        let mut stream = Vec::new();
        append(&mut stream, &request(1)).unwrap();
        let mut buffer = FrameBuffer::default();
        buffer.extend(&stream);
        buffer.next::<Request>().unwrap().unwrap();
        assert!(!buffer.bytes.windows(6).any(|window| window == b"secret"));
    }

    #[test]
    fn debug_shows_no_bytes() {
        assert!(!format!("{:?}", request(1)).contains("115"));
    }
}
