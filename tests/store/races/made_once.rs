//! What is made once, or counted.

use signet_core::audit::Event;
use signet_core::keys::login::{LOGIN_LEASE, Presenting};
use signet_core::keys::{HsmName, LoginRecord, TokenIdentity, TokenInfo};
use signet_store::{
    AssignOutcome, Client, Clients as _, Factors as _, Grants as _, LoginChange, Logins as _, Revocations as _,
    Stock as _, StockId, StockToken, StoredLogins, User, UserId, Users as _,
};

use super::{Nodes, RACERS, number, one_won};
use crate::support::store::{client, draft, now, seals, tenant, totp_factor, user};

pub(super) async fn a_stock_token_becomes_one_users(nodes: &Nodes) {
    let alice = user("alice");
    nodes.one.add_user(&alice, vec![]).await.unwrap();
    for round in 0..nodes.rounds {
        let id = StockId::new(format!("s{round}"));
        let token = StockToken {
            tenant: tenant(),
            id: id.clone(),
            serial: format!("S-{round}"),
            detail: totp_factor("x", &alice).detail,
            model: None,
            validity: signet_core::mfa::Validity::default(),
            secret: seals(1),
            imported_at: now(),
        };
        nodes.one.add_stock(vec![token], vec![]).await.unwrap();
        let outcomes = nodes.race(|store, racer| {
            let (id, factor) = (id.clone(), totp_factor(&format!("f{round}-{racer}"), &alice));
            async move { store.assign_stock(None, &id, &factor, vec![draft(Event::FactorChanged).detail("won")]).await }
        });
        let outcomes = outcomes.await;
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == AssignOutcome::Assigned).count(), 1);
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == AssignOutcome::Gone).count(), RACERS - 1);
    }
    assert_eq!(nodes.two.factors(&tenant(), &alice.id).await.unwrap().len(), nodes.rounds);
    assert_eq!(nodes.told().await, (nodes.rounds, nodes.rounds));
}

pub(super) async fn one_user_of_a_name(nodes: &Nodes) {
    for round in 0..nodes.rounds {
        let won = nodes.race(|store, racer| {
            let added = User { id: UserId::new(format!("{round}-{racer}")), ..user(&format!("ann {round}")) };
            async move { store.add_user(&added, vec![draft(Event::UserChanged).detail("won")]).await }
        });
        let won = won.await;
        one_won(&won, round);
        let winner = won.iter().position(|won| *won).unwrap();
        let found = nodes.two.user_by_name(&tenant(), &format!("ann {round}")).await.unwrap();
        assert_eq!(found.unwrap().id, UserId::new(format!("{round}-{winner}")));
    }
    assert_eq!(nodes.told().await, (nodes.rounds, nodes.rounds));
}

pub(super) async fn one_client_of_a_name(nodes: &Nodes) {
    for round in 0..nodes.rounds {
        let won = nodes.race(|store, racer| {
            let added = Client { name: format!("app {round}"), ..client(&format!("{round}-{racer}")) };
            async move { store.add_client(&added, vec![draft(Event::ClientChanged).detail("won")]).await }
        });
        one_won(&won.await, round);
    }
    assert_eq!(nodes.two.clients(&tenant(), None, 20_000).await.unwrap().len(), nodes.rounds);
    assert_eq!(nodes.told().await, (nodes.rounds, nodes.rounds));
}

/// Who revokes it is told each time; it is kept once.
pub(super) async fn one_revocation_of_a_jti(nodes: &Nodes) {
    let long_ago = now().minus(std::time::Duration::from_hours(49));
    for round in 0..nodes.rounds {
        let revoked = nodes.race(|store, _| async move {
            let told = vec![draft(Event::TokenRevoked)];
            store.revoke_token(&tenant(), &format!("jti {round}"), long_ago, now(), told).await
        });
        assert_eq!(revoked.await.len(), RACERS);
        assert!(nodes.two.is_revoked(&tenant(), &format!("jti {round}")).await.unwrap());
    }
    assert_eq!(nodes.told().await, (0, nodes.rounds * RACERS));
    assert_eq!(nodes.one.prune(now()).await.unwrap(), u64::try_from(nodes.rounds).unwrap());
}

/// A hundred nodes that never logged in, started at the same moment.
pub(super) async fn one_login_at_an_hsm_token(nodes: &Nodes) {
    let token = TokenIdentity::from(&TokenInfo { serial: "1".to_owned(), ..TokenInfo::default() });
    for round in 0..nodes.rounds {
        let taken = nodes.race(|store, racer| {
            let presenting = Presenting { node: format!("{round}-{racer}"), is_allowed: false, is_over: false };
            let record = LoginRecord { presenting: Some(presenting), ..LoginRecord::default() };
            let (token, hsm, version) = (token.clone(), HsmName::new("a"), number(round));
            let change = LoginChange { logins: StoredLogins { token, hsm, version, record }, lasts: Some(LOGIN_LEASE) };
            async move { store.change_logins(change, now(), vec![]).await }
        });
        let taken = taken.await;
        one_won(&taken, round);
        let winner = taken.iter().position(|taken| *taken).unwrap();
        let stored = nodes.one.logins_of(&token, now()).await.unwrap().unwrap();
        assert_eq!(stored.record.presenting.unwrap().node, format!("{round}-{winner}"));
    }
}
