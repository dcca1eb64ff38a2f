//! What tokens, refreshes and the store's part of sign-ins cost as a deployment grows, on both engines: rows made in bulk
//! through the contract, a database for each size, measured in turns so that whatever else the machine does falls on all.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use signet_core::audit::Event;
use signet_core::keys::OtpHash;
use signet_core::mfa::{HotpState, Lockout, Spending};
use signet_core::secret::SecretHash;
use signet_store::{
    AuditLog as _, AuditOnOutcome, Candidates as _, Clients as _, Factor, FactorDetail, Factors as _, Grants as _,
    Judged, ProofSpending, RotateOutcome, Settled, Settling, StoreError, Tries as _, TriesOf, Users as _,
};
use signet_store_sql::SqlStore;

use crate::support::postgres::Database;
use crate::support::store::{Place, client, draft, grant, now, tenant, totp_factor, user};

/// How many tasks ask at once, and how often all of them together in a turn.
const AT_ONCE: usize = 16;
const ASKED: usize = 800;
const TURNS: usize = 7;
/// How many rows are made at once.
const IN_BULK: usize = 512;

pub(crate) const WHAT: [(&str, Job); 3] =
    [("token for software", Job::Token), ("refresh", Job::Refresh), ("sign-in", Job::SignIn)];

/// What is done many times: a row made, or a request's calls.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Job {
    User,
    Client,
    Grant,
    Token,
    Refresh,
    SignIn,
}

/// So many rows of each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    users: usize,
    clients: usize,
    grants: usize,
}

impl Size {
    pub(crate) fn of(users: usize) -> Self {
        Self { users, clients: users.min(10_000), grants: users.saturating_mul(10) }
    }
}

/// A deployment of one size, with what is needed to go on where the last turn ended.
pub(crate) struct Grown {
    store: Arc<SqlStore>,
    size: Size,
    tick: AtomicI64,
    /// The live refresh token of each grant.
    live: Vec<AtomicU32>,
}

impl Grown {
    pub(crate) async fn of(store: Arc<SqlStore>, size: Size) -> Arc<Self> {
        let live = (0..size.grants).map(|_| AtomicU32::new(0)).collect();
        let grown = Arc::new(Self { store, size, tick: AtomicI64::new(1), live });
        for (job, rows) in [(Job::User, size.users), (Job::Client, size.clients), (Job::Grant, size.grants)] {
            grown.all(job, rows, IN_BULK).await;
        }
        grown
    }

    /// Runs a job for each number below `count`, so many at once.
    pub(crate) async fn all(self: &Arc<Self>, job: Job, count: usize, at_once: usize) {
        let next = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..at_once)
            .map(|_| {
                let (grown, next) = (Arc::clone(self), Arc::clone(&next));
                tokio::spawn(async move {
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        if at >= count {
                            break;
                        }
                        grown.run(job, at).await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    }

    async fn run(&self, job: Job, at: usize) -> Result<(), StoreError> {
        match job {
            Job::User => self.add_user(at).await,
            Job::Client => self.add_client(at).await,
            Job::Grant => self.add_grant(at).await,
            Job::Token => self.token().await,
            Job::Refresh => self.refresh().await,
            Job::SignIn => self.sign_in().await,
        }
    }

    async fn add_user(&self, at: usize) -> Result<(), StoreError> {
        let person = user(&format!("person-{at}"));
        assert!(self.store.add_user(&person, vec![]).await?);
        let detail = FactorDetail::Hotp(HotpState { hash: OtpHash::Sha1, digits: 6, next_counter: 0 });
        let factor = Factor { detail, ..totp_factor(&format!("factor-{at}"), &person) };
        assert!(self.store.add_factor(&factor, vec![]).await?);
        Ok(())
    }

    async fn add_client(&self, at: usize) -> Result<(), StoreError> {
        assert!(self.store.add_client(&client(&format!("app-{at}")), vec![]).await?);
        Ok(())
    }

    async fn add_grant(&self, at: usize) -> Result<(), StoreError> {
        let family = self.family(at);
        assert!(self.store.add_grant(&family, &SecretHash::of(&format!("{at} 0")), 0, vec![]).await?);
        Ok(())
    }

    fn family(&self, at: usize) -> signet_store::Grant {
        let person = user(&format!("person-{}", at % self.size.users));
        grant(&format!("grant-{at}"), &person, &client(&format!("app-{}", at % self.size.clients)))
    }

    /// A number that no other call has, and a row that the calls beside it do not have.
    fn one_of(&self, rows: usize) -> (i64, usize) {
        let tick = self.tick.fetch_add(1, Ordering::Relaxed);
        (tick, usize::try_from(tick).unwrap().wrapping_mul(7919) % rows)
    }

    async fn token(&self) -> Result<(), StoreError> {
        let (_, at) = self.one_of(self.size.clients);
        let app = self.store.client(&tenant(), &client(&format!("app-{at}")).id).await?.unwrap();
        self.store.append(vec![draft(Event::TokenIssued).client(app.id.as_str())]).await?;
        Ok(())
    }

    async fn refresh(&self) -> Result<(), StoreError> {
        let (_, at) = self.one_of(self.size.grants);
        let generation = self.live[at].fetch_add(1, Ordering::Relaxed);
        let spent = SecretHash::of(&format!("{at} {generation}"));
        let found = self.store.refresh_token(&tenant(), &spent).await?.unwrap();
        let successor = SecretHash::of(&format!("{at} {}", generation + 1));
        let told = AuditOnOutcome { applied: vec![draft(Event::TokenRefreshed)], rejected: vec![] };
        let rotated = self.store.rotate(&found.grant, &spent, &successor, None, now(), told).await?;
        assert_eq!(rotated, RotateOutcome::Rotated);
        Ok(())
    }

    /// The rows that a sign-in by password and HOTP reads and writes.
    async fn sign_in(&self) -> Result<(), StoreError> {
        let (tick, at) = self.one_of(self.size.users);
        let (tenant, store) = (tenant(), &self.store);
        let person = store.sign_in_candidate(&tenant, &format!("person-{at}")).await?.unwrap();
        let factors = store.factors_of_candidate(&tenant, &person.id).await?;
        let spending = ProofSpending::of(&factors[0], &Spending::Counter(tick), now());
        let settling = Settling {
            tenant,
            of: TriesOf::User(person.id.clone()),
            beside: 7,
            judged: Judged::Right { spending, is_digits: true },
            rule: Lockout::DEFAULT,
            at: now(),
        };
        let told = AuditOnOutcome { applied: vec![draft(Event::SignIn)], rejected: vec![] };
        assert_eq!(store.settle(&settling, told).await?, Settled::Spent);
        let app = client(&format!("app-{}", at % self.size.clients));
        let (family, first) = (grant(&format!("new-{tick}"), &person, &app), SecretHash::of(&format!("new {tick}")));
        assert!(store.add_grant(&family, &first, 0, vec![draft(Event::TokenIssued)]).await?);
        Ok(())
    }

    /// The time that one of these takes, in microseconds, where sixteen run at once.
    async fn turn(self: &Arc<Self>, job: Job) -> f64 {
        let begun = Instant::now();
        self.all(job, ASKED, AT_ONCE).await;
        micros(begun.elapsed()) / ASKED as f64
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

/// The median of each size's turns.
async fn measured(grown: &[Arc<Grown>], job: Job) -> Vec<f64> {
    let mut times = vec![Vec::new(); grown.len()];
    for _ in 0..TURNS {
        for (deployment, times) in grown.iter().zip(&mut times) {
            times.push(deployment.turn(job).await);
        }
    }
    times.into_iter().map(median).collect()
}

/// Prints a table for each engine, and draws them: sizes of ten times as many users each, from a hundred to `most`.
pub(crate) async fn measure(most: usize, plot: Option<&Path>) {
    let users = std::iter::successors(Some(100), |users| Some(users * 10)).take_while(|users| *users <= most);
    let sizes: Vec<Size> = users.map(Size::of).collect();
    let (places, databases): (Vec<_>, Vec<_>) = sizes.iter().map(|_| (Place::new(), Database::new())).unzip();
    let (mut in_sqlite, mut in_postgres) = (Vec::new(), Vec::new());
    for ((size, place), database) in sizes.iter().zip(&places).zip(&databases) {
        in_sqlite.push(Grown::of(place.open().await, *size).await);
        in_postgres.push(Grown::of(database.open().await, *size).await);
        // As autovacuum does within a minute.
        database.sql("ANALYZE");
        eprintln!("made: {size:?}");
    }
    println!("| engine | what | users | clients | grants | µs each, {AT_ONCE} at once | to the smallest |");
    println!("|---|---|---|---|---|---|---|");
    let mut lines = Vec::new();
    for (engine, grown) in [("SQLite", &in_sqlite), ("PostgreSQL", &in_postgres)] {
        for (what, job) in WHAT {
            let medians = measured(grown, job).await;
            let ratios: Vec<f64> = medians.iter().map(|median| median / medians[0]).collect();
            for ((size, micros), ratio) in sizes.iter().zip(&medians).zip(&ratios) {
                let Size { users, clients, grants } = size;
                println!("| {engine} | {what} | {users} | {clients} | {grants} | {micros:.0} | {ratio:.2} |");
            }
            lines.push((format!("{engine}, {what}"), ratios));
        }
    }
    if let Some(plot) = plot {
        std::fs::write(plot, drawn(&sizes, &lines)).unwrap();
    }
}

/// The ratios over the numbers of users, which stand equally far apart.
fn drawn(sizes: &[Size], lines: &[(String, Vec<f64>)]) -> String {
    const COLOURS: [&str; 6] = ["#1b6ca8", "#4d9de0", "#0b3954", "#c8553d", "#f28f3b", "#7a2e1f"];
    let step = 360.0 / (sizes.len().max(2) - 1) as f64;
    let (x, y) = (|at: usize| 60.0 + step * at as f64, |ratio: f64| 260.0 - 120.0 * ratio);
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 660 310\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"660\" height=\"310\" fill=\"white\"/>\n",
    );
    for ratio in [0.0, 0.8, 1.0, 1.2, 2.0] {
        let (high, dash) = (y(ratio), if ratio == 1.0 { "" } else { " stroke-dasharray=\"3\"" });
        writeln!(
            svg,
            "<path d=\"M60 {high:.0}H420\" stroke=\"#999\"{dash}/><text x=\"30\" y=\"{high:.0}\">{ratio}</text>"
        )
        .unwrap();
    }
    for (at, size) in sizes.iter().enumerate() {
        writeln!(svg, "<text x=\"{:.0}\" y=\"280\" text-anchor=\"middle\">{}</text>", x(at), size.users).unwrap();
    }
    svg.push_str("<text x=\"240\" y=\"300\" text-anchor=\"middle\">users; time of each, to the smallest</text>\n");
    for (number, ((name, ratios), colour)) in lines.iter().zip(COLOURS).enumerate() {
        let points = ratios.iter().enumerate().map(|(at, ratio)| format!("{:.0},{:.0}", x(at), y(*ratio)));
        let (points, high) = (points.collect::<Vec<_>>().join(" "), 40 + 20 * number);
        writeln!(svg, "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>").unwrap();
        writeln!(svg, "<text x=\"440\" y=\"{high}\" fill=\"{colour}\">{name}</text>").unwrap();
    }
    svg + "</svg>\n"
}
