//! How a worker asks its server whether it may present its PIN: other nodes may have presented theirs (promise 9). A worker
//! of a command asks nobody, and goes by its machine's own files.

use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::response_writer::ResponseWriter;
use crate::wire::{Answer, FrameBuffer, LOGIN_ID, LoginReply, Operation, Request};
use signet_core::keys::login::PERMIT_IS_FRESH;
use signet_core::keys::{HsmFailure, LoginOutcome, LoginQuestion};

/// How long until a worker that is to wait asks again.
const PAUSE: Duration = Duration::from_millis(250);

/// The way to whoever judges logins.
pub(super) trait LoginTalk {
    /// Asks once; `None` where the server has gone.
    fn ask(&self, question: LoginQuestion) -> Option<LoginReply>;

    /// Says how the login ended that was permitted.
    fn ended(&self, outcome: LoginOutcome);
}

/// Asks until the PIN may be presented, or must not be. A permit that was long under way is given back: its lease may be
/// over before the login is.
/// Errors: [`HsmFailure::PinRefused`] where it must not be; [`HsmFailure::Unavailable`] where the server has gone.
pub(super) fn permitted(talk: &dyn LoginTalk, question: &LoginQuestion) -> Result<(), HsmFailure> {
    loop {
        let asked_at = Instant::now();
        match talk.ask(question.clone()) {
            Some(LoginReply::Present) if asked_at.elapsed() < PERMIT_IS_FRESH => return Ok(()),
            Some(LoginReply::Present) => talk.ended(LoginOutcome::NotCounted),
            Some(LoginReply::Wait) => thread::sleep(PAUSE),
            Some(LoginReply::Stop(why)) => return Err(HsmFailure::PinRefused(why)),
            None => return Err(HsmFailure::Unavailable("the server has gone".to_owned())),
        }
    }
}

/// The way while the worker starts, when nobody else reads what the server sends.
pub(super) struct StartingTalk<'a> {
    stream: Mutex<(&'a UnixStream, &'a mut FrameBuffer)>,
    responses: &'a ResponseWriter,
}

impl<'a> StartingTalk<'a> {
    /// Over the stream of a conversation that has begun, with what was already received of it.
    pub(super) fn new(stream: &'a UnixStream, frames: &'a mut FrameBuffer, responses: &'a ResponseWriter) -> Self {
        Self { stream: Mutex::new((stream, frames)), responses }
    }
}

impl LoginTalk for StartingTalk<'_> {
    fn ask(&self, question: LoginQuestion) -> Option<LoginReply> {
        self.responses.send(LOGIN_ID, Ok(Answer::LoginAsked(question)));
        let mut guard = self.stream.lock();
        let (stream, frames) = &mut *guard;
        let mut chunk = [0; 4096];
        loop {
            // A server that says anything else now does not speak this worker's language.
            match frames.next::<Request>().ok()? {
                Some(Request { operation: Operation::Login(reply), .. }) => return Some(reply),
                Some(_) => return None,
                None => {}
            }
            match stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(length) => frames.extend(chunk.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
    }

    fn ended(&self, outcome: LoginOutcome) {
        self.responses.send(LOGIN_ID, Ok(Answer::LoginEnded(outcome)));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use signet_core::keys::{PinMarker, TokenInfo};

    struct Script {
        replies: RefCell<Vec<Option<LoginReply>>>,
        ended: RefCell<Vec<LoginOutcome>>,
    }

    impl LoginTalk for Script {
        fn ask(&self, _: LoginQuestion) -> Option<LoginReply> {
            self.replies.borrow_mut().remove(0)
        }

        fn ended(&self, outcome: LoginOutcome) {
            self.ended.borrow_mut().push(outcome);
        }
    }

    fn asked(replies: Vec<Option<LoginReply>>) -> Result<(), HsmFailure> {
        let script = Script { replies: RefCell::new(replies), ended: RefCell::default() };
        let (token, marker) = (TokenInfo::default(), PinMarker::None);
        let question = LoginQuestion { token, marker, was_taken: true, is_typed: false, counts_tries: false };
        let answer = permitted(&script, &question);
        assert!(script.replies.borrow().is_empty() && script.ended.borrow().is_empty());
        answer
    }

    #[test]
    fn a_worker_asks_again_until_there_is_a_word() {
        assert_eq!(asked(vec![Some(LoginReply::Wait), Some(LoginReply::Present)]), Ok(()));
        let stopped = asked(vec![Some(LoginReply::Stop("so".to_owned()))]);
        assert_eq!(stopped, Err(HsmFailure::PinRefused("so".to_owned())));
        assert!(matches!(asked(vec![None]), Err(HsmFailure::Unavailable(_))));
    }
}
