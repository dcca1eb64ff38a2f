//! What an audit record costs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use signet_core::audit::{AuditEvent, Event, Head, NodeId, chain};
use signet_store::AuditLog as _;
use signet_store_sql::SqlStore;

use crate::support::store::{Place, draft, now};

/// What this process's threads spent so far, from the kernel's books.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    let ticks: u64 = rest.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

fn token_issued() -> AuditEvent {
    let mut issued = draft(Event::TokenIssued).client("019a0000-0000-7000-8000-000000000001");
    issued.context.request_id = Some("019a0000-0000-7000-8000-000000000002".to_owned());
    issued.context.address = Some([127, 0, 0, 1].into());
    issued.key = Some("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs".to_owned());
    issued.jti = Some("019a0000-0000-7000-8000-000000000003".to_owned());
    issued.scope = Some("read write".to_owned());
    issued.audience = vec!["https://api.example".to_owned()];
    issued
}

async fn append_for(store: &Arc<SqlStore>, tasks: usize, each: usize) {
    let appending: Vec<_> = (0..tasks)
        .map(|_| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                for _ in 0..each {
                    store.append(vec![token_issued()]).await.unwrap();
                }
            })
        })
        .collect();
    for task in appending {
        task.await.unwrap();
    }
}

/// Prints what a record costs, alone and by how many are written at once.
pub(crate) async fn measure() {
    let (issued, mut head, started) = (token_issued(), Head::default(), Instant::now());
    for _ in 0..10_000 {
        head = chain(&NodeId::new("one"), head, now(), &issued).1;
    }
    println!("the chain alone: {:?} a record", started.elapsed() / 10_000);
    let place = Place::new();
    let store = place.open().await;
    append_for(&store, 64, 20).await;
    for (tasks, each) in [(1, 2000), (8, 1000), (64, 1000), (256, 400)] {
        let (started, spent) = (Instant::now(), cpu());
        append_for(&store, tasks, each).await;
        let records = u32::try_from(tasks * each).unwrap();
        let (elapsed, cpu) = (started.elapsed(), cpu() - spent);
        println!("{tasks:>4} at once: {:?} of CPU and {:?} of time a record", cpu / records, elapsed / records);
    }
    store.close().await;
}
