//! The server's part of a worker's login: what is asked of [`LoginPermits`] on its behalf, and what becomes of a permit
//! whose worker never said how its login ended.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::token::HsmToken;
use super::workers::Stage;
use crate::wire::LoginReply;
use signet_core::keys::{HsmFailure, LoginAnswer, LoginOutcome, LoginPermit, LoginQuestion};

/// How often a token at which logins are stopped is looked at: somebody may have allowed one.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The logins of one worker process.
#[derive(Default)]
pub(super) struct WorkerLogin {
    /// What it asked last.
    question: Mutex<Option<LoginQuestion>>,
    /// The permit that it has.
    permit: Mutex<Option<LoginPermit>>,
}

impl WorkerLogin {
    /// Answers the worker.
    pub(super) async fn answer(&self, token: &HsmToken, index: usize, question: LoginQuestion) -> LoginReply {
        *self.question.lock() = Some(question.clone());
        let Some(permits) = &token.permits else {
            return LoginReply::Stop("this server does not judge logins".to_owned());
        };
        match permits.ask(token.name(), &question).await {
            LoginAnswer::Present(permit) => {
                *self.permit.lock() = Some(permit);
                LoginReply::Present
            }
            LoginAnswer::Wait(why) => {
                tracing::debug!(hsm = %token.name(), why, "the HSM worker waits with its PIN");
                // One that was logged out stays where it is.
                if !token.workers.is_up(index) {
                    token.workers.set(index, Stage::Down(HsmFailure::Unavailable(why)));
                }
                LoginReply::Wait
            }
            LoginAnswer::Stop(why) => LoginReply::Stop(why),
        }
    }

    /// Writes down how the worker's login ended.
    pub(super) async fn ended(&self, token: &HsmToken, outcome: LoginOutcome) {
        let permit = self.permit.lock().take();
        if let (Some(permits), Some(permit)) = (&token.permits, permit) {
            permits.end(permit, outcome).await;
        }
    }

    /// The worker has gone. One that was in its login left nobody knowing how that ended; where it is not known to be dead,
    /// its lease is left to run out.
    pub(super) async fn gone(&self, token: &HsmToken, how: &str) {
        if token.config.worker_socket.is_none() {
            self.ended(token, LoginOutcome::Unknown(format!("its worker ended in C_Login: {how}"))).await;
        }
        drop(self.permit.lock().take());
    }

    /// After a refusal: waits until the record of all nodes stops this one's PIN no more. `false` where nothing will change
    /// that without a new start: nobody judges for all nodes, the token itself said no, or the group ends.
    pub(super) async fn until_allowed(&self, token: &HsmToken, stopping: &mut watch::Receiver<bool>) -> bool {
        let question = self.question.lock().clone();
        let (Some(permits), Some(question)) = (&token.permits, question) else { return false };
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                // An error means that the group was dropped.
                _ = stopping.wait_for(|stop| *stop) => return false,
            }
            if !permits.is_stopped(token.name(), &question).await {
                return true;
            }
        }
    }
}
