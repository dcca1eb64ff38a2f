use signet_core::audit::Event;
use signet_core::keys::{HsmKey, HsmName, KeyEnd, KeyPurpose, KeyState, TenantId, TokenInfo};
use signet_core::mfa::Spending;
use signet_core::secret::SecretHash;
use signet_jose::{Jwk, KeyId};
use signet_store::{AuditOnOutcome, Beside, DeclaredNoun, Generations, Rule, SettingStatement, Store};

use crate::support::store::OwnChain as _;
use crate::support::store::{after, client, draft, grant, now, spends, tenant, totp_factor, user};

pub(super) fn token(serial: &str) -> TokenInfo {
    TokenInfo {
        label: "signet".to_owned(),
        manufacturer: "SoftHSM project".to_owned(),
        model: "SoftHSM v2".to_owned(),
        serial: serial.to_owned(),
        firmware: "2.6".to_owned(),
    }
}

pub(super) async fn hsm_tokens_are_bound_once(store: &dyn Store) {
    let told = || vec![draft(Event::DeploymentInitialised)];
    let (first, second) = (HsmName::new("b"), HsmName::new("a"));
    store.bind_hsm_token(&first, &token("1"), now(), told()).await.unwrap();
    store.bind_hsm_token(&second, &token("2"), now(), told()).await.unwrap();
    store.bind_hsm_token(&first, &token("3"), now(), told()).await.unwrap();
    assert_eq!(store.hsm_tokens().await.unwrap(), [(second, token("2")), (first, token("1"))]);
    assert_eq!(store.head().await.unwrap().sequence, 2, "the one that changed nothing is not told");
}

pub(super) fn key(id: &str, hsm: &str) -> HsmKey {
    HsmKey {
        tenant: tenant(),
        hsm: HsmName::new(hsm),
        purpose: KeyPurpose::Binding,
        key_id: KeyId::new(id),
        cka_id: vec![1, 2, 3],
        public: None,
        state: KeyState::Active { since: now() },
        created_at: now(),
    }
}

pub(super) async fn keys_move_from_stage_to_stage(store: &dyn Store) {
    let older = key("z", "a");
    let newer = HsmKey { created_at: after(1), purpose: KeyPurpose::Wrapping, ..key("y", "a") };
    for key in [&newer, &older] {
        let added = store.add_key(key, Beside::Any, vec![draft(Event::KeyGenerated)]).await.unwrap();
        assert_eq!(added, signet_store::KeyAddition::Added);
    }
    assert_eq!(store.keys().await.unwrap(), [older.clone(), newer.clone()]);
    let retiring = KeyState::Retiring { since: after(2), until: after(9) };
    assert!(store.move_key(&older.key_id, &older.state, &retiring, vec![]).await.unwrap());
    assert!(!store.move_key(&older.key_id, &older.state, &retiring, vec![draft(Event::KeyGenerated)]).await.unwrap());
    let other_end = KeyState::Retiring { since: after(2), until: after(8) };
    let withdrawn = KeyState::Withdrawn { since: after(9), end: KeyEnd::Expired };
    let destroyed = KeyState::Destroyed { at: after(10), end: KeyEnd::Expired };
    assert!(!store.move_key(&older.key_id, &other_end, &withdrawn, vec![]).await.unwrap());
    assert_eq!(store.keys().await.unwrap(), [HsmKey { state: retiring, ..older.clone() }, newer.clone()]);
    for (from, to) in [(retiring, withdrawn), (withdrawn, destroyed)] {
        assert!(store.move_key(&older.key_id, &from, &to, vec![]).await.unwrap());
        assert_eq!(store.keys().await.unwrap()[0].state, to);
    }
    assert_eq!(store.keys().await.unwrap(), [HsmKey { state: destroyed, ..older.clone() }, newer]);
    assert!(store.add_key(&older, Beside::Any, vec![draft(Event::KeyGenerated)]).await.is_err(), "a key is added once");
    assert_eq!(store.add_key(&key("z", "b"), Beside::Any, vec![]).await.unwrap(), signet_store::KeyAddition::Added);
    assert_eq!(store.head().await.unwrap().sequence, 2);
}

/// RFC 7515 appendix A.3's key.
const PUBLIC_KEY: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","alg":"ES256"}"#;

pub(super) async fn a_pair_keeps_its_public_half(store: &dyn Store) {
    let public = Jwk::from_json(PUBLIC_KEY).unwrap();
    store.bind_hsm_token(&HsmName::new("a"), &token("1"), now(), vec![]).await.unwrap();
    for purpose in [KeyPurpose::TokenSigning, KeyPurpose::AuditSigning] {
        let pair = HsmKey { purpose, public: Some(public.clone()), ..key(purpose.name(), "a") };
        assert_eq!(store.add_key(&pair, Beside::Any, vec![]).await.unwrap(), signet_store::KeyAddition::Added);
        assert!(store.keys().await.unwrap().contains(&pair));
    }
}

pub(super) async fn a_probe_writes(store: &dyn Store) {
    let first = store.probe(now()).await.unwrap();
    assert!(store.probe(after(1)).await.unwrap() >= first, "a clock goes on: the server's, or the one that is told");
    assert_eq!((store.generation().await.unwrap(), store.head().await.unwrap().sequence), (0, 0));
}

pub(super) async fn each_noun_has_a_generation_of_its_own(store: &dyn Store) {
    let none = store.generations(&tenant()).await.unwrap();
    store.add_user(&user("alice"), vec![]).await.unwrap();
    let with_user = store.generations(&tenant()).await.unwrap();
    assert_eq!(with_user, Generations { secrets: none.secrets + 1, ..none });
    store.add_client(&client("app"), vec![]).await.unwrap();
    let with_client = store.generations(&tenant()).await.unwrap();
    assert_eq!(with_client, Generations { clients: none.clients + 1, ..with_user });
    let elsewhere = store.generations(&TenantId::new("other")).await.unwrap();
    assert_eq!(elsewhere, Generations { clients: 0, ..with_client }, "another tenant's clients were not changed");
}

pub(super) async fn the_generation_rises_with_users_factors_clients_and_keys(store: &dyn Store) {
    let (alice, app) = (user("alice"), client("app"));
    let factor = totp_factor("f", &alice);
    let mut last = store.generation().await.unwrap();
    let mut check = async |rises: bool, what: &str| {
        let generation = store.generation().await.unwrap();
        assert_eq!(generation > last, rises, "{what}");
        last = generation;
    };
    store.add_user(&alice, vec![]).await.unwrap();
    check(true, "user added").await;
    store.add_user(&alice, vec![]).await.unwrap();
    check(false, "user not added").await;
    store.set_user_enabled(&tenant(), &alice.id, true, now(), vec![]).await.unwrap();
    check(false, "user enabled: nobody remembers that").await;
    store.add_factor(&factor, vec![]).await.unwrap();
    check(true, "factor added").await;
    store
        .spend_proof(&spends(&factor.id, Spending::TotpStep { step: 1, drift: 0 }), AuditOnOutcome::default())
        .await
        .unwrap();
    check(false, "step spent").await;
    store.remove_factor(&tenant(), &factor.id, now(), vec![]).await.unwrap();
    check(true, "factor removed").await;
    store.add_client(&app, vec![]).await.unwrap();
    check(true, "client added").await;
    store.add_grant(&grant("g", &alice, &app), &SecretHash::of("r"), 0, vec![draft(Event::TokenIssued)]).await.unwrap();
    check(false, "grant added").await;
    store.set_client_enabled(&tenant(), &app.id, true, now(), vec![]).await.unwrap();
    check(true, "client updated").await;
    store.remove_client(&tenant(), &app.id, vec![]).await.unwrap();
    check(true, "client removed").await;
    assert_eq!(store.add_key(&key("k", "a"), Beside::Any, vec![]).await.unwrap(), signet_store::KeyAddition::Added);
    check(true, "key added").await;
    let next = KeyState::Withdrawn { since: now(), end: KeyEnd::Revoked };
    store.move_key(&KeyId::new("k"), &key("k", "a").state, &next, vec![]).await.unwrap();
    check(true, "key moved").await;
    store.remove_user(&tenant(), &alice.id, vec![]).await.unwrap();
    check(true, "user removed").await;
}

pub(super) async fn a_rule_is_decided_by_what_was_seen_of_it(store: &dyn Store) {
    let holds = Rule { holds: true, lowering_asked_by: None };
    let asked = Rule { lowering_asked_by: Some("ann".to_owned()), ..holds.clone() };
    assert_eq!(store.rule("four_eyes").await.unwrap(), None);
    for (seen, rule, is_decided) in [
        (Some(&asked), &holds, false),
        (None, &holds, true),
        (None, &asked, false),
        (Some(&asked), &holds, false),
        (Some(&holds), &asked, true),
    ] {
        assert_eq!(store.decide_rule("four_eyes", seen, rule, vec![]).await.unwrap(), is_decided, "{seen:?} {rule:?}");
    }
    assert_eq!(store.rule("four_eyes").await.unwrap(), Some(asked));
    assert_eq!(store.rule("another").await.unwrap(), None);
}

fn statement(document: &str) -> SettingStatement {
    SettingStatement { document: document.to_owned(), stated_by: Some("ann".to_owned()), stated_at: now() }
}

pub(super) async fn settings_are_stated_while_those_that_were_seen_hold(store: &dyn Store) {
    let (first, second, third) = (statement("{}"), statement("{\"a\":1}"), statement("{\"a\":2}"));
    assert_eq!(store.settings(&tenant()).await.unwrap(), None);
    let before = store.generations(&tenant()).await.unwrap().settings;
    for (seen, stated, holds) in [
        (Some(&second), &first, false),
        (None, &first, true),
        (None, &second, false),
        (Some(&first), &second, true),
        (Some(&first), &third, false),
    ] {
        assert_eq!(store.state_settings(&tenant(), seen, stated, vec![]).await.unwrap(), holds, "{seen:?} {stated:?}");
    }
    assert_eq!(store.settings(&tenant()).await.unwrap(), Some(second));
    assert_eq!(store.settings(&TenantId::new("another")).await.unwrap(), None);
    let after = store.generations(&tenant()).await.unwrap().settings;
    assert!(after > before, "whoever remembers them hears of it");
}

pub(super) async fn proposed_settings_wait_until_they_hold_or_are_taken_back(store: &dyn Store) {
    let (first, second) = (statement("{\"a\":1}"), statement("{\"a\":2}"));
    let propose = async |seen: Option<&SettingStatement>, proposed: Option<&SettingStatement>| {
        store.propose_settings(&tenant(), seen, proposed, vec![]).await.unwrap()
    };
    assert!(propose(None, Some(&first)).await && !propose(None, Some(&second)).await);
    assert!(propose(Some(&first), Some(&second)).await);
    assert_eq!(store.proposed_settings(&tenant()).await.unwrap(), Some(second.clone()));
    assert_eq!(store.settings(&tenant()).await.unwrap(), None, "they hold for nobody yet");
    assert!(propose(Some(&second), None).await);
    assert_eq!(store.proposed_settings(&tenant()).await.unwrap(), None);
    assert!(propose(None, Some(&first)).await);
    assert!(store.state_settings(&tenant(), None, &first, vec![]).await.unwrap());
    assert_eq!(store.proposed_settings(&tenant()).await.unwrap(), None, "what holds waits no more");
}

pub(super) async fn what_a_file_stated_is_known_until_it_is_removed(store: &dyn Store) {
    let declared = async |noun, after: Option<&str>| store.declared(&tenant(), noun, after, 1).await.unwrap();
    for name in ["a", "b"] {
        assert!(store.declare_user(&user(name), vec![]).await.unwrap());
        assert!(store.declare_client(&client(name), vec![]).await.unwrap());
    }
    assert!(!store.declare_user(&user("a"), vec![]).await.unwrap());
    assert!(store.add_user(&user("c"), vec![]).await.unwrap() && store.add_client(&client("c"), vec![]).await.unwrap());
    let (a, b) = (user("a").id, user("b").id);
    assert_eq!(declared(DeclaredNoun::Users, None).await, [a.as_str()]);
    assert_eq!(declared(DeclaredNoun::Users, Some(a.as_str())).await, [b.as_str()]);
    assert_eq!(declared(DeclaredNoun::Users, Some(b.as_str())).await, [""; 0], "c was added by a person");
    assert!(store.remove_user(&tenant(), &a, vec![]).await.unwrap());
    assert_eq!(declared(DeclaredNoun::Users, None).await, [b.as_str()]);
    let (a, b) = (client("a").id, client("b").id);
    assert!(store.remove_client(&tenant(), &a, vec![]).await.unwrap());
    assert_eq!(declared(DeclaredNoun::Clients, None).await, [b.as_str()]);
}
