//! Of a hundred at once, through two stores on one database, one wins: on every engine.

use std::sync::Arc;

use signet_core::audit::Event;
use signet_core::keys::login::{LOGIN_LEASE, Presenting};
use signet_core::keys::{HsmName, LoginRecord, OtpHash, TokenIdentity, TokenInfo};
use signet_core::mfa::{HotpState, RecoveryState};
use signet_core::secret::SecretHash;
use signet_store::{
    AssignOutcome, AuditOnOutcome, Factor, FactorDetail, FactorId, Factors as _, Grants as _, LoginChange, Logins as _,
    RecoveryCodes as _, RotateOutcome, Stock as _, StockId, StockToken, StoreError, StoredLogins, Throttles as _,
    Users as _,
};
use signet_store_sql::SqlStore;

use crate::support::store::OwnChain as _;
use crate::support::store::{counter, draft, granted, now, seals, tenant, totp_factor, user, verify, yubico_factor};

const RACERS: usize = 100;

macro_rules! on_every_engine {
    ($($case:ident),+ $(,)?) => {
        on_every_engine!(@ sqlite Place::new(); $($case),+);
        on_every_engine!(@ postgres Database::new(); $($case),+);
    };
    (@ $engine:ident $place:expr; $($case:ident),+) => {
        mod $engine {
            #[expect(unused_imports, reason = "each engine has a place of its own")]
            use crate::support::{postgres::Database, store::Place};
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $case() {
                    let place = $place;
                    super::$case(place.open().await, place.open().await).await;
                }
            )+
        }
    };
}

on_every_engine!(
    one_use_of_a_totp_step,
    one_use_of_a_yubico_counter,
    one_use_of_a_hotp_counter_and_of_a_recovery_code,
    a_stock_token_becomes_one_users,
    one_successor_of_a_refresh_token,
    no_more_tries_than_the_most,
    one_login_at_an_hsm_token,
);

fn told() -> AuditOnOutcome {
    AuditOnOutcome {
        applied: vec![draft(Event::SignIn).detail("won")],
        rejected: vec![draft(Event::SignIn).detail("lost")],
    }
}

/// Runs a hundred tasks at once, every other one on the other store.
async fn race<T, F>(stores: [&Arc<SqlStore>; 2], run: impl Fn(Arc<SqlStore>, usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T, StoreError>> + Send + 'static,
{
    let tasks: Vec<_> = (0..RACERS).map(|racer| tokio::spawn(run(Arc::clone(stores[racer % 2]), racer))).collect();
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(task.await.unwrap().unwrap());
    }
    outcomes
}

async fn told_as_won(store: &SqlStore) -> usize {
    let records = store.own_records(1, 1000).await.unwrap();
    records.iter().filter(|record| record.text.contains(r#""detail":"won""#)).count()
}

async fn one_use_of_a_totp_step(one: Arc<SqlStore>, two: Arc<SqlStore>) {
    let factor = totp_factor("f", &user("alice"));
    one.add_user(&user("alice"), vec![]).await.unwrap();
    one.add_factor(&factor, vec![]).await.unwrap();
    let id = factor.id;
    let won = race([&one, &two], |store, _| {
        let id = id.clone();
        async move { store.spend_totp_step(&tenant(), &id, 60, 0, now(), told()).await }
    })
    .await;
    assert_eq!(won.iter().filter(|won| **won).count(), 1);
    assert_eq!(told_as_won(&one).await, 1);
    assert_eq!(verify(two.as_ref()).await.unwrap().head.sequence, 100);
}

async fn one_use_of_a_yubico_counter(one: Arc<SqlStore>, two: Arc<SqlStore>) {
    let factor = yubico_factor("f", "cccccccccccb", &user("alice"));
    one.add_user(&user("alice"), vec![]).await.unwrap();
    one.add_factor(&factor, vec![]).await.unwrap();
    let id = factor.id;
    let won = race([&one, &two], |store, _| {
        let id = id.clone();
        async move { store.spend_yubico_counter(&tenant(), &id, 0x101, now(), told()).await }
    })
    .await;
    assert_eq!(won.iter().filter(|won| **won).count(), 1);
    assert_eq!(told_as_won(&one).await, 1);
    assert_eq!(verify(two.as_ref()).await.unwrap().head.sequence, 100);
}

async fn one_use_of_a_hotp_counter_and_of_a_recovery_code(one: Arc<SqlStore>, two: Arc<SqlStore>) {
    let alice = user("alice");
    one.add_user(&alice, vec![]).await.unwrap();
    let hotp = FactorDetail::Hotp(HotpState { hash: OtpHash::Sha1, digits: 6, next_counter: 0 });
    one.add_factor(&Factor { detail: hotp, ..totp_factor("h", &alice) }, vec![]).await.unwrap();
    let codes = FactorDetail::Recovery(RecoveryState { made: 1 });
    let codes = Factor { detail: codes, ..totp_factor("r", &alice) };
    one.add_recovery(None, &codes, &[SecretHash::of("code")], vec![]).await.unwrap();
    let counters = race([&one, &two], |store, _| async move {
        store.raise_counter(&tenant(), &FactorId::new("h"), 1, now(), told()).await
    });
    assert_eq!(counters.await.iter().filter(|won| **won).count(), 1);
    let spent = race([&one, &two], |store, _| async move {
        let code = SecretHash::of("code");
        store.spend_recovery_code(&tenant(), &FactorId::new("r"), &code, now(), told()).await
    });
    assert_eq!(spent.await.iter().filter(|won| **won).count(), 1);
    assert_eq!(told_as_won(&one).await, 2);
    assert_eq!(verify(two.as_ref()).await.unwrap().head.sequence, 200);
}

async fn a_stock_token_becomes_one_users(one: Arc<SqlStore>, two: Arc<SqlStore>) {
    let alice = user("alice");
    one.add_user(&alice, vec![]).await.unwrap();
    let token = StockToken {
        tenant: tenant(),
        id: StockId::new("s"),
        serial: "S-1".to_owned(),
        detail: totp_factor("x", &alice).detail,
        model: None,
        secret: seals(1),
        imported_at: now(),
    };
    one.add_stock(vec![token], vec![]).await.unwrap();
    let outcomes = race([&one, &two], |store, racer| {
        let factor = totp_factor(&format!("f-{racer}"), &alice);
        async move { store.assign_stock(None, &StockId::new("s"), &factor, vec![draft(Event::FactorChanged)]).await }
    })
    .await;
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == AssignOutcome::Assigned).count(), 1);
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == AssignOutcome::Gone).count(), RACERS - 1);
    assert_eq!(two.factors(&tenant(), &alice.id).await.unwrap().len(), 1);
}

async fn one_successor_of_a_refresh_token(one: Arc<SqlStore>, two: Arc<SqlStore>) {
    let (_, _, family) = granted(one.as_ref()).await;
    let outcomes = race([&one, &two], |store, racer| {
        let family = family.clone();
        async move {
            let successor = SecretHash::of(&format!("r1-{racer}"));
            let hsm = HsmName::new("primary");
            store.rotate(&family, &SecretHash::of("r0"), &successor, Some(&hsm), now(), told()).await
        }
    })
    .await;
    let winners: Vec<usize> = (0..RACERS).filter(|racer| outcomes[*racer] == RotateOutcome::Rotated).collect();
    assert_eq!(winners.len(), 1);
    for racer in 0..RACERS {
        let found = two.refresh_token(&tenant(), &SecretHash::of(&format!("r1-{racer}"))).await.unwrap();
        assert_eq!(found.is_some(), winners == [racer]);
    }
    assert_eq!(told_as_won(&one).await, 1);
    assert_eq!(verify(one.as_ref()).await.unwrap().head.sequence, 100);
}

async fn no_more_tries_than_the_most(one: Arc<SqlStore>, two: Arc<SqlStore>) {
    for (account, most) in [(1, 1), (2, 10)] {
        let denied = race([&one, &two], |store, _| async move {
            store.count_try(&tenant(), &counter(account), now(), most, 600).await
        })
        .await;
        assert_eq!(denied.iter().filter(|until| until.is_none()).count(), most as usize);
    }
}

/// A hundred nodes that never logged in, started at the same moment.
async fn one_login_at_an_hsm_token(one: Arc<SqlStore>, two: Arc<SqlStore>) {
    let token = TokenIdentity::from(&TokenInfo { serial: "1".to_owned(), ..TokenInfo::default() });
    for (round, version) in [(0, 0), (1, 1)] {
        let taken = race([&one, &two], |store, racer| {
            let presenting = Presenting { node: format!("{round}-{racer}"), is_allowed: false, is_over: false };
            let record = LoginRecord { presenting: Some(presenting), ..LoginRecord::default() };
            let logins = StoredLogins { token: token.clone(), hsm: HsmName::new("a"), version, record };
            let change = LoginChange { logins, lasts: Some(LOGIN_LEASE) };
            async move { store.change_logins(change, now(), vec![]).await }
        })
        .await;
        assert_eq!(taken.iter().filter(|taken| **taken).count(), 1);
        let winner = taken.iter().position(|taken| *taken).unwrap();
        let stored = one.logins_of(&token, now()).await.unwrap().unwrap();
        assert_eq!(stored.record.presenting.unwrap().node, format!("{round}-{winner}"));
    }
}
