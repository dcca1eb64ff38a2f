//! Which token is chosen, and how one that failed is tried, at the supervisor itself: two real tokens, no server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use signet_core::keys::{
    AnnouncedKey, HsmFailure, HsmHealth as _, HsmKey, HsmName, KeyAdmin as _, KeyPurpose, Signer as _, TokenHealth,
};
use signet_hsm::{HsmEvent, HsmGroup};
use signet_jose::{Algorithm, VerifyingKey};

use crate::support::hsm::{Events, SoftToken, announced, hsm, probe, start, stored};
use crate::support::process::signal;

const NOTHING_SPENT: Duration = Duration::ZERO;

struct Scene {
    group: Arc<HsmGroup>,
    events: Events,
    names: [HsmName; 2],
    keys: [HsmKey; 2],
    _tokens: [SoftToken; 2],
}

impl Scene {
    /// Two tokens with a key each; the second has two workers.
    async fn new() -> Self {
        let tokens = [SoftToken::new(), SoftToken::new()];
        let mut second = tokens[1].config();
        second.name = HsmName::new("second");
        second.workers = 2;
        let names = [hsm(), second.name.clone()];
        let (group, events) = start(vec![tokens[0].config(), second]);
        group.ready(Duration::from_secs(20)).await.unwrap();
        while group.worker_process_ids(&names[1]).len() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut keys = Vec::new();
        for name in &names {
            let algorithm = Algorithm::Es256;
            let announced = AnnouncedKey { hsm: name.clone(), ..announced(KeyPurpose::TokenSigning, algorithm) };
            let made = group.generate_announced(&announced, 0).await;
            keys.push(HsmKey {
                hsm: name.clone(),
                ..stored(&made.unwrap(), KeyPurpose::TokenSigning, Some(algorithm))
            });
        }
        Self { group, events, names, keys: keys.try_into().unwrap(), _tokens: tokens }
    }

    fn among(&self) -> [&HsmName; 2] {
        [&self.names[0], &self.names[1]]
    }

    /// Waits until this token is chosen each time, as it is once all that was asked is counted.
    async fn is_soon_chosen(&self, index: usize) {
        let until = Instant::now() + Duration::from_secs(5);
        while !(0..4).all(|_| self.chosen() == Some(index)) {
            let health =
                self.names.each_ref().map(|name| (self.group.health(name), self.group.worker_process_ids(name)));
            assert!(Instant::now() < until, "token {index} is not chosen: {health:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Which token is chosen first.
    fn chosen(&self) -> Option<usize> {
        self.group.choose(&self.among(), &[], NOTHING_SPENT).map(|choice| choice.index)
    }

    /// Signs and checks, as the service does.
    async fn sign(&self, index: usize) -> Result<(), HsmFailure> {
        let (asked_at, key) = (Instant::now(), &self.keys[index]);
        let raw = self.group.sign(key, Algorithm::Es256, probe(key)).await.map_err(|error| error.failure)?;
        raw.check(&VerifyingKey::new(key.public.clone().unwrap()), &probe(key)).unwrap();
        self.group.trust(key, asked_at);
        Ok(())
    }

    /// Signs until it works again.
    async fn signs_again(&self, index: usize) {
        let until = Instant::now() + Duration::from_secs(10);
        while self.sign(index).await.is_err() {
            assert!(Instant::now() < until);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn idle_tokens_take_turns_and_half_of_the_time_is_left_for_the_other() {
    let scene = Scene::new().await;
    let chosen: Vec<_> = (0..6).map(|_| scene.chosen().unwrap()).collect();
    assert!(chosen == [0, 1, 0, 1, 0, 1] || chosen == [1, 0, 1, 0, 1, 0], "{chosen:?}");
    let first = scene.group.choose(&scene.among(), &[], Duration::from_secs(1)).unwrap();
    assert_eq!(first.patience, Duration::from_secs(2), "half of what is left of five seconds");
    let other = 1 - first.index;
    let second = scene.group.choose(&scene.among(), &[first.index], Duration::from_secs(3)).unwrap();
    assert_eq!((second.index, second.patience), (other, Duration::from_secs(2)), "all that is left");
    assert!(scene.group.choose(&scene.among(), &[0, 1], NOTHING_SPENT).is_none());
    assert!(scene.group.choose(&scene.among(), &[0], Duration::from_secs(5)).is_none(), "the time is up");
    let unknown = HsmName::new("elsewhere");
    assert_eq!(scene.group.choose(&[&unknown, &scene.names[1]], &[], NOTHING_SPENT).unwrap().index, 1);
    scene.group.shutdown().await;
}

#[tokio::test]
async fn the_token_with_the_least_load_for_its_sessions_and_workers_is_chosen() {
    let scene = Scene::new().await;
    for name in &scene.names {
        scene.group.worker_process_ids(name).into_iter().for_each(|id| signal(id, "STOP"));
    }
    let ask = |index: usize| {
        let (group, key) = (Arc::clone(&scene.group), scene.keys[index].clone());
        tokio::spawn(async move { group.sign(&key, Algorithm::Es256, probe(&key)).await.map(drop) })
    };
    // Three wait for four sessions of the second, two for two of the first.
    let waiting = [ask(1), ask(1), ask(1), ask(0), ask(0)];
    scene.is_soon_chosen(1).await;
    let more = [ask(1), ask(1)];
    // Five for four, two for two.
    scene.is_soon_chosen(0).await;
    for name in &scene.names {
        scene.group.worker_process_ids(name).into_iter().for_each(|id| signal(id, "CONT"));
    }
    for answer in waiting.into_iter().chain(more) {
        answer.await.unwrap().unwrap();
    }
    scene.group.shutdown().await;
}

#[tokio::test]
async fn hazard_67_a_wrong_signature_suspends_its_token_until_a_test_signature_verifies() {
    let mut scene = Scene::new().await;
    let asked_before = Instant::now();
    scene.group.distrust(&scene.keys[0]);
    assert!(matches!(scene.group.health(&scene.names[0]), TokenHealth::Suspended { .. } | TokenHealth::Away(_)));
    assert!((0..4).all(|_| scene.chosen() == Some(1)));
    // A signature that was under way when the wrong one came proves nothing.
    scene.group.trust(&scene.keys[0], asked_before);
    assert!(!matches!(scene.group.health(&scene.names[0]), TokenHealth::Serving));
    let until = Instant::now() + Duration::from_secs(10);
    let trial = loop {
        if let Some((name, trial)) = scene.group.trials_due().pop() {
            assert_eq!(name, scene.names[0]);
            break trial;
        }
        assert!(Instant::now() < until, "the token is tried when its worker is back");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert!(scene.group.trials_due().is_empty(), "one trial at a time");
    assert!((0..4).all(|_| scene.chosen() == Some(1)), "no client tries it while another is healthy");
    scene.signs_again(0).await;
    drop(trial);
    assert_eq!(scene.group.health(&scene.names[0]), TokenHealth::Serving);
    let both: std::collections::BTreeSet<_> = (0..4).map(|_| scene.chosen().unwrap()).collect();
    assert_eq!(both.len(), 2);
    let mut told = Vec::new();
    while let Ok(event) = scene.events.try_recv() {
        told.push(event);
    }
    assert!(told.iter().any(|event| matches!(event, HsmEvent::Resumed { hsm } if *hsm == scene.names[0])), "{told:?}");
    scene.group.shutdown().await;
}

#[tokio::test]
async fn where_no_token_is_healthy_one_request_tries_and_the_others_are_told_at_once() {
    let scene = Scene::new().await;
    for key in &scene.keys {
        scene.group.distrust(key);
    }
    let until = Instant::now() + Duration::from_secs(10);
    while scene.names.iter().any(|name| matches!(scene.group.health(name), TokenHealth::Away(_))) {
        assert!(Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let first = scene.group.choose(&scene.among(), &[], NOTHING_SPENT).unwrap();
    let second = scene.group.choose(&scene.among(), &[], NOTHING_SPENT).unwrap();
    assert!(first.trial.is_some() && second.trial.is_some() && first.index != second.index);
    assert!(scene.group.choose(&scene.among(), &[], NOTHING_SPENT).is_none(), "one trial for each token");
    drop(second);
    let again = scene.group.choose(&scene.among(), &[], NOTHING_SPENT).unwrap();
    assert!(again.trial.is_some());
    drop((first, again));
    // It answered: nobody waits in vain any more, and the signature that verified makes it healthy.
    scene.signs_again(1).await;
    assert_eq!(scene.chosen(), Some(1));
    scene.group.shutdown().await;
}
