use signet_core::audit::Reason;
use signet_core::audit::{AuditEvent, ChainCheck, Checkpoint, Event, Head};
use signet_store::{KeptCounts, KeyMention, Store};

use crate::support::store::{OwnChain as _, node, tenant};
use crate::support::store::{after, draft, now, user};

async fn checked(store: &dyn Store) -> Head {
    let mut check = ChainCheck::of(node());
    loop {
        let page = store.own_records(check.head().sequence + 1, 100).await.unwrap();
        if page.is_empty() {
            break;
        }
        for record in &page {
            check.record(record).unwrap();
        }
    }
    check.finish_at(store.head().await.unwrap()).unwrap().head
}

pub(super) async fn records_are_chained_in_order(store: &dyn Store) {
    assert_eq!(checked(store).await, Head::default());
    // More than one statement's rows, and a rest of every size.
    let told: Vec<_> = (0..150).map(|index| draft(Event::SignIn).detail(format!("number {index}"))).collect();
    store.append(told).await.unwrap();
    store.append(vec![]).await.unwrap();
    assert_eq!(checked(store).await.sequence, 150);
    let page = store.own_records(100, 2).await.unwrap();
    assert_eq!(page.iter().map(|record| record.sequence).collect::<Vec<_>>(), [100, 101]);
    assert!(
        page[0].text.starts_with(r#"{"v":1,"node":"one","seq":100,"at":"2027-01-15T08:00:00.000Z","event":"sign_in","#)
    );
    assert!(page[0].text.contains("number 99"));
    assert_eq!(page[0].at, now());
}

pub(super) async fn an_append_gives_the_generation_of_its_commit(store: &dyn Store) {
    let first = store.append(vec![draft(Event::ServerStarted)]).await.unwrap();
    store.add_user(&user("alice"), vec![]).await.unwrap();
    let second = store.append(vec![draft(Event::SignIn)]).await.unwrap();
    assert!(second.secrets > first.secrets);
    assert_eq!(second, store.generations(&tenant()).await.unwrap());
}

pub(super) async fn many_concurrent_appends_make_one_chain(store: &dyn Store) {
    let appends = (0..300).map(|_| store.append(vec![draft(Event::TokenIssued), draft(Event::TokenRefreshed)]));
    let appended = futures_join(appends).await;
    assert!(appended.iter().all(Result::is_ok));
    assert_eq!(checked(store).await.sequence, 600);
}

/// Polls all of them at once, on this task.
async fn futures_join<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        for (future, output) in waiting.iter_mut().filter(|(_, output)| output.is_none()) {
            if let std::task::Poll::Ready(ready) = future.as_mut().poll(context) {
                *output = Some(ready);
            }
        }
        if waiting.iter().all(|(_, output)| output.is_some()) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    waiting.into_iter().filter_map(|(_, output)| output).collect()
}

pub(super) async fn checkpoints_are_kept_in_order(store: &dyn Store) {
    assert_eq!(store.last_own_checkpoint().await.unwrap(), None);
    let checkpoint = |sequence, jws: &str| Checkpoint { node: node(), sequence, at: after(1), jws: jws.to_owned() };
    let (first, second) = (checkpoint(3, "a.b.c"), checkpoint(8, "d.e.f"));
    assert!(store.add_checkpoint(&second).await.unwrap());
    assert!(store.add_checkpoint(&first).await.unwrap());
    assert!(!store.add_checkpoint(&checkpoint(3, "g.h.i")).await.unwrap(), "another one was kept first");
    assert_eq!(store.own_checkpoints(1, 10).await.unwrap(), [first, second.clone()]);
    assert_eq!(store.own_checkpoints(4, 10).await.unwrap(), std::slice::from_ref(&second));
    assert_eq!(store.own_checkpoints(1, 1).await.unwrap().len(), 1);
    assert_eq!(store.last_own_checkpoint().await.unwrap(), Some(second));
}

pub(super) async fn records_and_checkpoints_are_counted_by_what_they_say_of_a_key(store: &dyn Store) {
    let of_key = |event, key: &str| AuditEvent { key: Some(key.to_owned()), ..draft(event) };
    let settled = |count, reason: Reason| AuditEvent {
        signed: Some("token".to_owned()),
        signatures: Some(count),
        ..of_key(Event::CustodySettled, "k").because(reason)
    };
    let told = vec![
        draft(Event::CustodyBegun),
        draft(Event::SignIn),
        of_key(Event::TokenIssued, "k"),
        of_key(Event::TokenIssued, "k"),
        of_key(Event::TokenIssued, "other"),
        settled(3, Reason::RequestLost),
        settled(-1, Reason::RequestLost),
        settled(5, Reason::Operator),
    ];
    store.append(told).await.unwrap();
    let mut mentions = store.key_mentions(0, 8).await.unwrap();
    mentions.sort_by_key(|mention| (mention.event.clone(), mention.key.clone(), mention.reason.clone()));
    let counted =
        |event: &str, key: &str, signed: Option<&str>, reason: Option<&str>, records, signatures| KeyMention {
            event: event.to_owned(),
            key: key.to_owned(),
            signed: signed.map(str::to_owned),
            reason: reason.map(str::to_owned),
            records,
            signatures,
        };
    let expected = [
        counted("custody.begun", "", None, None, 1, 0),
        counted("custody.settled", "k", Some("token"), Some("operator"), 1, 5),
        counted("custody.settled", "k", Some("token"), Some("request_lost"), 2, 2),
        counted("token.issued", "k", None, None, 2, 0),
        counted("token.issued", "other", None, None, 1, 0),
    ];
    assert_eq!(mentions, expected);
    // Two places bound what is counted: the first is left out, the last is not.
    assert_eq!(store.key_mentions(3, 4).await.unwrap(), [counted("token.issued", "k", None, None, 1, 0)]);
    for (sequence, jws) in [(2, "a.b.c"), (5, "a.d.e"), (8, "x.y.z")] {
        let checkpoint = Checkpoint { node: node(), sequence, at: now(), jws: jws.to_owned() };
        store.add_checkpoint(&checkpoint).await.unwrap();
    }
    let mut headers = store.checkpoint_headers(0, i64::MAX).await.unwrap();
    headers.sort();
    assert_eq!(headers, [("a".to_owned(), 2), ("x".to_owned(), 1)]);
    assert_eq!(store.checkpoint_headers(2, 5).await.unwrap(), [("a".to_owned(), 1)]);
}

pub(super) async fn counts_are_kept_in_the_place_of_those_that_are_known(store: &dyn Store) {
    let counts = |sequence, text: &str| KeptCounts { up_to: Head { sequence, hash: [1; 32] }, counts: text.to_owned() };
    let (first, second, other) = (counts(3, "{}"), counts(8, "{\"a\":1}"), counts(8, "{\"a\":2}"));
    assert_eq!(store.kept_counts().await.unwrap(), None);
    assert!(!store.forget_counts(vec![draft(Event::CustodyRecounted)]).await.unwrap());
    assert!(!store.keep_counts(Some(&first), &second).await.unwrap(), "there are none");
    assert!(store.keep_counts(None, &first).await.unwrap());
    assert!(!store.keep_counts(None, &second).await.unwrap(), "there are some");
    assert!(store.keep_counts(Some(&first), &second).await.unwrap());
    assert!(!store.keep_counts(Some(&first), &other).await.unwrap(), "others are there by now");
    assert!(!store.keep_counts(Some(&other), &first).await.unwrap(), "they say something else");
    assert_eq!(store.kept_counts().await.unwrap(), Some(second));
    assert_eq!(store.head().await.unwrap().sequence, 0);
    assert!(store.forget_counts(vec![draft(Event::CustodyRecounted)]).await.unwrap());
    assert_eq!((store.kept_counts().await.unwrap(), store.head().await.unwrap().sequence), (None, 1));
}
