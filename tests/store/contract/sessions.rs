use signet_core::audit::Event;
use signet_core::mfa::UsedFactor;
use signet_core::secret::SecretHash;
use signet_store::{Session, SessionId, Store, User};

use crate::support::store::OwnChain as _;
use crate::support::store::{after, draft, now, seals, tenant, user};

pub(super) fn session(id: &str, user: &User) -> Session {
    Session {
        tenant: user.tenant.clone(),
        id: SessionId::new(id),
        user: user.id.clone(),
        credentials_version: user.credentials_version,
        address: Some("192.0.2.7".to_owned()),
        auth_time: now(),
        acr: "urn:signet:aal2".to_owned(),
        amr: vec!["pwd".to_owned(), "otp".to_owned()],
        factors: vec![UsedFactor::Password, "totp:one".parse().unwrap()],
        created_at: now(),
        last_seen_at: now(),
        expires_at: after(3600),
    }
}

async fn signed_in(store: &dyn Store) -> (User, Session, SecretHash) {
    let alice = user("alice");
    assert!(store.add_user(&alice, vec![]).await.unwrap());
    let (session, secret) = (session("one", &alice), SecretHash::of("first"));
    assert!(store.add_session(&session, &secret, vec![draft(Event::SessionStarted)]).await.unwrap());
    (alice, session, secret)
}

pub(super) async fn a_session_comes_back_while_it_holds(store: &dyn Store) {
    let (alice, one, secret) = signed_in(store).await;
    let found = async |at, seen_after| store.session(&tenant(), &secret, at, seen_after).await.unwrap();
    assert_eq!(found(after(10), now().minus(std::time::Duration::from_secs(1))).await.as_ref(), Some(&one));
    assert_eq!(found(after(3600), now().minus(std::time::Duration::from_secs(1))).await, None, "expired");
    assert_eq!(found(after(10), now()).await, None, "not seen since");
    store.touch_session(&tenant(), &one.id, after(5)).await.unwrap();
    assert_eq!(found(after(10), now()).await.map(|session| session.last_seen_at), Some(after(5)));
    let unknown = SecretHash::of("unknown");
    assert_eq!(store.session(&tenant(), &unknown, after(10), now()).await.unwrap(), None);
    store.set_user_password(&tenant(), &alice.id, &seals(2), None, now(), vec![]).await.unwrap();
    assert_eq!(found(after(10), now()).await, None, "other credentials");
    assert_eq!(store.sessions(&tenant(), &alice.id, after(10), now()).await.unwrap(), []);
    let told = vec![draft(Event::SessionStarted)];
    assert!(!store.add_session(&session("two", &alice), &unknown, told).await.unwrap(), "judged by the old ones");
    assert_eq!(store.head().await.unwrap().sequence, 1);
}

pub(super) async fn a_session_is_renewed_once_by_its_secret(store: &dyn Store) {
    let (_, one, first) = signed_in(store).await;
    let proved = Session { auth_time: after(60), acr: "urn:signet:aal3".to_owned(), ..one.clone() };
    let told = || vec![draft(Event::SessionRenewed)];
    let (second, third) = (SecretHash::of("second"), SecretHash::of("third"));
    assert!(store.renew_session(&proved, &first, &second, told()).await.unwrap());
    assert!(!store.renew_session(&proved, &first, &third, told()).await.unwrap(), "the secret is spent");
    assert_eq!(store.session(&tenant(), &first, after(61), now()).await.unwrap(), None);
    let found = store.session(&tenant(), &second, after(61), now()).await.unwrap();
    assert_eq!(found, Some(Session { last_seen_at: after(60), ..proved }));
    assert_eq!(store.head().await.unwrap().sequence, 2);
}

pub(super) async fn a_session_is_ended_by_its_user_alone(store: &dyn Store) {
    let (alice, one, _) = signed_in(store).await;
    let bob = user("bob");
    store.add_user(&bob, vec![]).await.unwrap();
    let told = || vec![draft(Event::SessionEnded)];
    assert!(!store.end_session(&tenant(), &bob.id, &one.id, told()).await.unwrap());
    assert!(store.end_session(&tenant(), &alice.id, &one.id, told()).await.unwrap());
    assert!(!store.end_session(&tenant(), &alice.id, &one.id, told()).await.unwrap());
    assert!(store.sign_out_everywhere(&tenant(), &alice.id, now(), told()).await.unwrap());
    let version = store.user(&tenant(), &alice.id).await.unwrap().map(|alice| alice.credentials_version);
    assert_eq!(version, Some(alice.credentials_version + 1));
    assert_eq!(store.head().await.unwrap().sequence, 3);
}
