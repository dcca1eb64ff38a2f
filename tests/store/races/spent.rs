//! What one proof spends.

use signet_core::audit::Event;
use signet_core::keys::{HsmName, OtpHash};
use signet_core::mfa::lockout::Failure;
use signet_core::mfa::{HotpState, PivState, RecoveryState, Spending, WebAuthnState};
use signet_core::secret::SecretHash;
use signet_store::{
    AuditOnOutcome, Ceremonies as _, Factor, FactorDetail, FactorId, Factors as _, Grants as _, Judged, OtpSpending,
    OtpValidation as _, RecoveryCodes as _, RotateOutcome, Settled, Settling, ShownOtp, Tries as _, UserId, Users as _,
};

use super::{Nodes, RACERS, bytes, number, one_won, told};
use crate::support::store::{after, draft, granted, now, settling, spends, tenant, totp_factor, user, yubico_factor};

/// Alice with this factor.
pub(super) async fn enrolled(nodes: &Nodes, factor: &Factor) -> FactorId {
    nodes.one.add_user(&user("alice"), vec![]).await.unwrap();
    assert!(nodes.one.add_factor(factor, vec![]).await.unwrap());
    factor.id.clone()
}

pub(super) fn piv(id: &str) -> Factor {
    let detail = FactorDetail::Piv(PivState {
        key_thumbprint: format!("thumbprint of {id}"),
        public_key: "key".to_owned(),
        serial: None,
        attested: false,
    });
    Factor { detail, ..totp_factor(id, &user("alice")) }
}

pub(super) async fn one_use_of_a_totp_step(nodes: &Nodes) {
    let id = enrolled(nodes, &totp_factor("f", &user("alice"))).await;
    for round in 0..nodes.rounds {
        let won = nodes.race(|store, _| {
            let id = id.clone();
            async move {
                store.spend_proof(&spends(&id, Spending::TotpStep { step: number(round), drift: 0 }), told()).await
            }
        });
        one_won(&won.await, round);
    }
    nodes.told_one_a_round().await;
}

pub(super) async fn one_use_of_a_yubico_counter(nodes: &Nodes) {
    let id = enrolled(nodes, &yubico_factor("f", "cccccccccccb", &user("alice"))).await;
    for round in 0..nodes.rounds {
        let won = nodes.race(|store, _| {
            let id = id.clone();
            async move { store.spend_proof(&spends(&id, Spending::YubicoCounter(number(round))), told()).await }
        });
        one_won(&won.await, round);
    }
    nodes.told_one_a_round().await;
}

pub(super) async fn one_use_of_a_hotp_counter(nodes: &Nodes) {
    let hotp = FactorDetail::Hotp(HotpState { hash: OtpHash::Sha1, digits: 6, next_counter: 0 });
    let id = enrolled(nodes, &Factor { detail: hotp, ..totp_factor("h", &user("alice")) }).await;
    for round in 0..nodes.rounds {
        let won = nodes.race(|store, _| {
            let id = id.clone();
            async move { store.spend_proof(&spends(&id, Spending::Counter(number(round) + 1)), told()).await }
        });
        one_won(&won.await, round);
    }
    nodes.told_one_a_round().await;
}

pub(super) async fn one_use_of_a_recovery_code(nodes: &Nodes) {
    nodes.one.add_user(&user("alice"), vec![]).await.unwrap();
    let codes: Vec<SecretHash> = (0..nodes.rounds).map(|round| SecretHash::of(&format!("code {round}"))).collect();
    let detail = FactorDetail::Recovery(RecoveryState { made: u32::try_from(codes.len()).unwrap() });
    let factor = Factor { detail, ..totp_factor("r", &user("alice")) };
    assert!(nodes.one.add_recovery(None, &factor, &codes, vec![]).await.unwrap());
    for (round, code) in codes.into_iter().enumerate() {
        let won = nodes.race(|store, _| async move {
            store.spend_proof(&spends(&FactorId::new("r"), Spending::RecoveryCode(code)), told()).await
        });
        one_won(&won.await, round);
    }
    assert_eq!(nodes.two.recovery_codes_left(&tenant(), &factor.id).await.unwrap(), 0);
    nodes.told_one_a_round().await;
}

pub(super) async fn one_use_of_a_piv_nonce(nodes: &Nodes) {
    let id = enrolled(nodes, &piv("p")).await;
    for round in 0..nodes.rounds {
        let won = nodes.race(|store, _| {
            let id = id.clone();
            async move { store.spend_proof(&spends(&id, Spending::PivNonce(bytes(round))), told()).await }
        });
        one_won(&won.await, round);
    }
    nodes.told_one_a_round().await;
}

pub(super) async fn one_use_of_a_challenge(nodes: &Nodes) {
    for round in 0..nodes.rounds {
        let won = nodes.race(|store, _| async move {
            store.spend_challenge(&tenant(), &SecretHash::of(&format!("challenge {round}")), after(300)).await
        });
        one_won(&won.await, round);
    }
}

/// By its challenge where the key has no counter, and by its counter where each shows a challenge of its own.
pub(super) async fn one_use_of_an_assertion(nodes: &Nodes) {
    let state = WebAuthnState {
        credential_id: "credential".to_owned(),
        credential: "{}".to_owned(),
        aaguid: None,
        attested: false,
        verifies: true,
        counter: 0,
    };
    let key = Factor { detail: FactorDetail::WebAuthn(state), ..totp_factor("w", &user("alice")) };
    let id = enrolled(nodes, &key).await;
    // Once a counter has risen it is never 0 again, so the rounds without one come first.
    let without = nodes.rounds / 2;
    for round in 0..nodes.rounds {
        let won = nodes.race(|store, racer| {
            let (factor, has_counter) = (id.clone(), round >= without);
            let challenge = if has_counter { format!("{round} {racer}") } else { format!("{round}") };
            let counter = if has_counter { number(round) + 1 } else { 0 };
            async move {
                let (challenge, until) = (SecretHash::of(&challenge), after(300));
                store.spend_proof(&spends(&factor, Spending::Assertion { challenge, until, counter }), told()).await
            }
        });
        one_won(&won.await, round);
    }
    nodes.told_one_a_round().await;
}

/// A hundred guesses at once, the right one among them: it succeeds only while fewer than the most stand there, on whatever node.
pub(super) async fn a_right_code_among_guesses_wins_as_one_of_the_first_alone(nodes: &Nodes) {
    let id = enrolled(nodes, &totp_factor("f", &user("alice"))).await;
    let alice = UserId::new("user-alice");
    for round in 0..nodes.rounds {
        let (place, at) = (round % RACERS, after(3600 * u64::try_from(round).unwrap()));
        let settled = nodes.race(|store, racer| {
            let spending = spends(&id, Spending::TotpStep { step: number(round), drift: 0 });
            let right = Judged::Right { spending, is_digits: true };
            let judged = if racer == place { right } else { Judged::Wrong(Failure::Code) };
            let settling = Settling { judged, at, ..settling(Failure::Code) };
            async move { store.settle(&settling, AuditOnOutcome::default()).await }
        });
        let settled = settled.await;
        let stands = nodes.two.tries(&tenant(), &alice).await.unwrap();
        assert_eq!(stands.unanswered(), 3, "round {round}: so many were counted, and the rest for nothing");
        assert!(matches!(settled[place], Settled::Spent | Settled::Locked), "round {round}: {:?}", settled[place]);
        let mut answered = stands.clone();
        answered.answer();
        assert!(nodes.one.change_tries(&tenant(), &alice, &stands, &answered, vec![]).await.unwrap());
    }
}

pub(super) async fn one_use_of_a_validated_otp(nodes: &Nodes) {
    enrolled(nodes, &yubico_factor("f", "cccccccccccb", &user("alice"))).await;
    for round in 0..nodes.rounds {
        let outcomes = nodes.race(|store, racer| async move {
            let (public_id, nonce) = ("cccccccccccb".to_owned(), format!("nonce {racer}"));
            let shown = ShownOtp { tenant: tenant(), public_id, counter: number(round), nonce, at: after(1) };
            store.spend_validated_otp(&shown, vec![draft(Event::OtpValidated).detail("won")]).await
        });
        let won: Vec<bool> = outcomes.await.iter().map(|outcome| *outcome == OtpSpending::Spent).collect();
        one_won(&won, round);
    }
    assert_eq!(nodes.told().await, (nodes.rounds, nodes.rounds), "each success is told, and nothing else");
}

pub(super) async fn one_successor_of_a_refresh_token(nodes: &Nodes) {
    let (_, _, family) = granted(nodes.one.as_ref()).await;
    let mut live = "r0".to_owned();
    for round in 0..nodes.rounds {
        let successor = |racer: usize| format!("r{round}-{racer}");
        let outcomes = nodes.race(|store, racer| {
            let (family, spent, successor) = (family.clone(), SecretHash::of(&live), SecretHash::of(&successor(racer)));
            async move {
                store.rotate(&family, &spent, &successor, Some(&HsmName::new("primary")), now(), told()).await
            }
        });
        let outcomes = outcomes.await;
        let winners: Vec<usize> = (0..RACERS).filter(|racer| outcomes[*racer] == RotateOutcome::Rotated).collect();
        assert_eq!(winners.len(), 1, "round {round}");
        for racer in 0..RACERS {
            let hash = SecretHash::of(&successor(racer));
            let found = nodes.two.refresh_token(&tenant(), &hash).await.unwrap();
            assert_eq!(found.is_some(), winners == [racer]);
        }
        live = successor(winners[0]);
    }
    nodes.told_one_a_round().await;
}
