//! What a request's failure says of the token, and of what it may have done.

use super::super::workers::Worker;
use super::*;
use crate::config::tests::config;
use crate::wire::{KeyRef, Octets};
use signet_core::keys::{KeyPurpose, TokenReport};
use signet_jose::Algorithm;

fn token() -> HsmToken {
    HsmToken::new(HsmConfig { workers: 2, ..config() }, mpsc::unbounded_channel().0, None)
}

/// A worker that takes a request and answers nothing.
fn come_up(token: &HsmToken, index: usize) -> Arc<Connection> {
    let connection = Connection::new(1, 1);
    token.enter(
        index,
        Stage::Up(
            Arc::clone(&connection),
            Box::new(Worker { number: 1, process_id: 1, report: TokenReport::default() }),
        ),
    );
    connection
}

fn signature() -> Operation {
    let key = KeyRef { cka_id: Octets(vec![1]), key_id: "k".to_owned(), purpose: KeyPurpose::TokenSigning };
    Operation::Sign { key, algorithm: Algorithm::Es256, message: Octets(vec![1]) }
}

fn gone() -> HsmFailure {
    HsmFailure::Unavailable("gone".to_owned())
}

/// An outage must not look like signatures that were perhaps made.
#[tokio::test]
async fn what_no_worker_was_given_was_not_asked() {
    let token = token();
    let away = token.call(signature()).await.unwrap_err();
    assert!(matches!(away.failure, HsmFailure::Unavailable(_)) && !away.was_asked && !away.is_unknown_outcome());
    come_up(&token, 0).close(&gone());
    let closed = token.call(signature()).await.unwrap_err();
    assert_eq!((closed.failure.clone(), closed.was_asked), (gone(), false));
    come_up(&token, 1).close(&gone());
    assert!(!token.call(signature()).await.unwrap_err().was_asked);
    assert_eq!(token.asked_again.load(Ordering::Relaxed), 0, "nobody was asked a first time");
}

#[tokio::test]
async fn what_a_worker_took_may_have_been_signed_whatever_the_next_one_says() {
    let token = token();
    let (first, second) = (come_up(&token, 0), come_up(&token, 1));
    second.close(&gone());
    let calling = token.call(signature());
    let dying = async {
        while first.load() == 0 {
            tokio::task::yield_now().await;
        }
        first.close(&gone());
    };
    let (outcome, ()) = tokio::join!(calling, dying);
    let error = outcome.unwrap_err();
    assert!(error.was_asked && error.is_unknown_outcome(), "{error}");
    assert_eq!(token.asked_again.load(Ordering::Relaxed), 1);
}

/// A key that was revoked goes while it is asked to sign; that is no reason to suspend its token.
#[test]
fn a_missing_key_says_nothing_of_its_token() {
    let missing = HsmFailure::KeyMissing("k".to_owned());
    let refused = HsmFailure::CustodyRefused { key_id: "k".to_owned(), reasons: String::new() };
    assert!(!speaks_of_the_token(&signature(), &missing) && speaks_of_the_token(&signature(), &refused));
}

/// What is settled by the old number must not hide what the new workers are asked again.
#[test]
fn what_was_asked_again_is_counted_on_by_a_tokens_successor() {
    let old = token();
    old.asked_again.store(3, Ordering::Relaxed);
    let new = old.successor(old.config.clone());
    old.asked_again.fetch_add(1, Ordering::Relaxed);
    assert_eq!(new.asked_again.load(Ordering::Relaxed), 4);
}
