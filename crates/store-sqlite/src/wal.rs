//! Keeps the write-ahead log short beside the writer: its pages are moved to the database (a checkpoint, in SQLite's words)
//! on a connection of its own.
//!
//! A checkpoint syncs the log, writes each page that the log holds, and syncs the database: ten milliseconds after a
//! second of load, in which the writer would commit nothing. One that is passive waits for nobody and holds up nobody.
//! What is written while it runs stays in the log, so that the writer's own checkpoint (`wal_autocheckpoint`) finds little
//! left to move, and begins the log anew. Where this connection fails, that one does it all.

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection as _, Executor as _};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// After how many commits the log is moved.
const COMMITS: u32 = 64;

/// Says when it is time.
pub(super) struct LogKeeper {
    due: mpsc::Sender<()>,
    task: JoinHandle<()>,
    commits: u32,
}

impl LogKeeper {
    pub(super) fn start(options: SqliteConnectOptions) -> Self {
        let (due, times) = mpsc::channel(1);
        Self { due, task: tokio::spawn(keep(options, times)), commits: 0 }
    }

    /// To be called after each commit.
    pub(super) fn committed(&mut self) {
        self.commits += 1;
        if self.commits >= COMMITS {
            self.commits = 0;
            // A full queue says that the last one is not even begun.
            let _ = self.due.try_send(());
        }
    }

    /// Ends once the connection is closed.
    pub(super) async fn close(self) {
        let Self { due, task, .. } = self;
        drop(due);
        // An error says that the task is gone, and the connection with it.
        let _ = task.await;
    }
}

async fn keep(options: SqliteConnectOptions, mut times: mpsc::Receiver<()>) {
    let mut connection = None;
    while times.recv().await.is_some() {
        if let Err(error) = checkpoint(&options, &mut connection).await {
            tracing::debug!(%error, "the log's pages could not be moved beside the writer, which does it itself");
            connection = None;
        }
    }
    if let Some(connection) = connection {
        // Nothing is lost where this fails.
        let _ = connection.close().await;
    }
}

async fn checkpoint(
    options: &SqliteConnectOptions,
    connection: &mut Option<SqliteConnection>,
) -> Result<(), sqlx::Error> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(SqliteConnection::connect_with(options).await?),
    };
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").await?;
    Ok(())
}
