//! Of a hundred at once, on two nodes over one database, one wins: on every engine, round after round. The suite runs some
//! rounds; `make soak` runs ten thousand racers for each thing that is spent, or as many rounds as `SIGNET_SOAK_ROUNDS` says.

mod ends;
mod made_once;
mod order;
mod spent;

use std::sync::Arc;
use std::time::{Duration, Instant};

use signet_core::audit::{ChainCheck, Event, NodeId};
use signet_store::{AuditOnOutcome, Nodes as _, StoreError};
use signet_store_sql::SqlStore;

use crate::support::postgres::Database;
use crate::support::store::{OwnChain as _, Place, draft, keyed};

const RACERS: usize = 100;
/// How many rounds the suite runs.
const ROUNDS: usize = 10;

/// How many rounds a soak runs.
pub(crate) fn rounds_of_soak() -> usize {
    std::env::var("SIGNET_SOAK_ROUNDS").map_or(100, |rounds| rounds.parse().unwrap())
}

macro_rules! on_every_engine {
    ($($subject:ident :: $case:ident),+ $(,)?) => {
        on_every_engine!(@ sqlite Place::new(); $($subject::$case),+);
        on_every_engine!(@ postgres Database::new(); $($subject::$case),+);
    };
    (@ $engine:ident $place:expr; $($subject:ident :: $case:ident),+) => {
        mod $engine {
            #[expect(unused_imports, reason = "each engine has a place of its own")]
            use crate::support::{postgres::Database, store::Place};
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $case() {
                    let place = $place;
                    let nodes = super::Nodes::of(&place, super::ROUNDS).await;
                    super::$subject::$case(&nodes).await;
                    nodes.end(&place).await;
                }
            )+

            mod soak {
                #[expect(unused_imports, reason = "each engine has a place of its own")]
                use crate::support::{postgres::Database, store::Place};
                $(
                    #[tokio::test(flavor = "multi_thread")]
                    #[ignore = "ten thousand racers: make soak"]
                    async fn $case() {
                        let place = $place;
                        let nodes = super::super::Nodes::of(&place, super::super::rounds_of_soak()).await;
                        super::super::$subject::$case(&nodes).await;
                        let (rounds, spent) = (nodes.rounds, nodes.since.elapsed());
                        nodes.end(&place).await;
                        println!("{}: {} in {spent:.1?}", stringify!($engine $subject $case), rounds);
                    }
                )+
            }
        }
    };
}

on_every_engine!(
    spent::one_use_of_a_totp_step,
    spent::one_use_of_a_yubico_counter,
    spent::one_use_of_a_hotp_counter,
    spent::one_use_of_a_recovery_code,
    spent::one_use_of_a_piv_nonce,
    spent::one_use_of_a_challenge,
    spent::one_use_of_an_assertion,
    spent::one_use_of_a_validated_otp,
    spent::one_successor_of_a_refresh_token,
    made_once::a_stock_token_becomes_one_users,
    made_once::one_user_of_a_name,
    made_once::one_client_of_a_name,
    made_once::one_revocation_of_a_jti,
    spent::a_right_code_among_guesses_wins_as_one_of_the_first_alone,
    made_once::one_login_at_an_hsm_token,
    order::the_same_proofs_in_opposite_order,
    order::one_nonce_by_two_cards_in_opposite_order,
    ends::nothing_of_a_family_after_its_end,
    ends::nothing_of_a_user_after_they_were_disabled,
    ends::nothing_of_a_user_after_another_password,
    ends::nothing_of_a_client_after_it_was_disabled,
);

/// Where nodes have their database.
trait Shared {
    async fn open_as(&self, node: NodeId) -> Arc<SqlStore>;
    /// How many deadlocks the database has seen, once nobody is connected; `None` where it knows none.
    fn deadlocks(&self) -> Option<String>;
}

impl Shared for Place {
    async fn open_as(&self, node: NodeId) -> Arc<SqlStore> {
        keyed(signet_store_sqlite::open(self.options(), node, self.clock.clone()).await.unwrap())
    }

    fn deadlocks(&self) -> Option<String> {
        None
    }
}

impl Shared for Database {
    async fn open_as(&self, node: NodeId) -> Arc<SqlStore> {
        keyed(signet_store_postgres::open(self.options(), node, self.clock.clone()).await.unwrap())
    }

    fn deadlocks(&self) -> Option<String> {
        // A connection's counts are told when it has ended.
        let others = "SELECT COUNT(*) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()";
        let asked = Instant::now();
        while self.sql(others) != "0" {
            assert!(asked.elapsed() < Duration::from_secs(10), "a connection has not ended");
        }
        Some(self.sql("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"))
    }
}

/// Two nodes over one database.
struct Nodes {
    one: Arc<SqlStore>,
    two: Arc<SqlStore>,
    rounds: usize,
    since: Instant,
}

impl Nodes {
    async fn of(place: &impl Shared, rounds: usize) -> Self {
        let (one, two) = (place.open_as(NodeId::new("one")).await, place.open_as(NodeId::new("two")).await);
        Self { one, two, rounds, since: Instant::now() }
    }

    /// Runs a hundred tasks at once, every other one on the other node.
    async fn race<T, F>(&self, run: impl Fn(Arc<SqlStore>, usize) -> F) -> Vec<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let nodes = [&self.one, &self.two];
        let tasks: Vec<_> = (0..RACERS).map(|racer| tokio::spawn(run(Arc::clone(nodes[racer % 2]), racer))).collect();
        let mut outcomes = Vec::new();
        for task in tasks {
            outcomes.push(task.await.unwrap().unwrap());
        }
        outcomes
    }

    /// How many of both nodes' records tell of a win, and of all; each chain is whole.
    async fn told(&self) -> (usize, usize) {
        let (mut won, mut all) = (0, 0);
        for node in [&self.one, &self.two] {
            let mut check = ChainCheck::of(node.node().clone());
            loop {
                let page = node.own_records(check.head().sequence + 1, 1000).await.unwrap();
                if page.is_empty() {
                    break;
                }
                for record in &page {
                    check.record(record).unwrap();
                    won += usize::from(record.text.contains(r#""detail":"won""#));
                    all += 1;
                }
            }
            check.finish_at(node.head().await.unwrap()).unwrap();
        }
        (won, all)
    }

    /// One of a hundred won in each round, and all that was tried is told.
    async fn told_one_a_round(&self) {
        assert_eq!(self.told().await, (self.rounds, self.rounds * RACERS));
    }

    async fn end(self, place: &impl Shared) {
        self.one.close().await;
        self.two.close().await;
        assert_eq!(place.deadlocks().as_deref().unwrap_or("0"), "0", "deadlocks");
    }
}

/// Asserts that one of these is true.
fn one_won(outcomes: &[bool], round: usize) {
    assert_eq!(outcomes.iter().filter(|won| **won).count(), 1, "round {round}");
}

fn told() -> AuditOnOutcome {
    AuditOnOutcome {
        applied: vec![draft(Event::SignIn).detail("won")],
        rejected: vec![draft(Event::SignIn).detail("lost")],
    }
}

fn number(round: usize) -> i64 {
    i64::try_from(round).unwrap()
}

/// Thirty-two bytes that stand for a number.
fn bytes(number: usize) -> [u8; 32] {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes
}
