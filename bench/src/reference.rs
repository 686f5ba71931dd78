//! What the suite is measured against when it takes snapshots.

use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use actix_web::{App, HttpResponse, HttpServer, web};
use anyhow::Result;
use simulator::{
    http::{Connection, Target},
    process::Started,
    snapshot,
};
use sqlx::{
    ConnectOptions, QueryBuilder, Sqlite, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use tokio::time::sleep;

/// Reads each body and answers 204, on as many threads as the suite has.
pub async fn bare(listen: SocketAddr) -> Result<()> {
    let app =
        || App::new().default_service(web::to(async |_body: web::Bytes| HttpResponse::NoContent().finish()));
    Ok(HttpServer::new(app).workers(std::thread::available_parallelism()?.get()).bind(listen)?.run().await?)
}

/// The bare endpoint in a process of its own, so that its CPU can be told from the generator's.
pub async fn start_bare(listen: SocketAddr) -> Result<Started> {
    let mut command = tokio::process::Command::new(std::env::current_exe()?);
    command.args(["bare", "--listen", &listen.to_string()]);
    let process = Started::spawn(&mut command)?;
    let target = Target::resolve(&format!("http://{listen}")).await?;
    while Connection::open(&target).await.is_err() {
        sleep(Duration::from_millis(10)).await;
    }
    Ok(process)
}

/// A table keyed (server, time), one row a snapshot, filled in transactions of `batch` rows with an fsync each.
pub struct Raw {
    connection: SqliteConnection,
    sampled_at: i64,
}

impl Raw {
    pub async fn open(path: &Path) -> Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        let mut connection: SqliteConnection = options.connect().await?;
        sqlx::query(
            "CREATE TABLE snapshots (server BLOB NOT NULL, sampled_at INTEGER NOT NULL, body BLOB NOT NULL,
             PRIMARY KEY (server, sampled_at)) WITHOUT ROWID",
        )
        .execute(&mut connection)
        .await?;
        Ok(Self { connection, sampled_at: 1_790_000_000_000 })
    }

    /// Answers how many rows it wrote. Servers take turns; the rows of a batch come sorted by the key, the fastest
    /// order.
    pub async fn fill(&mut self, batch: usize, servers: &[[u8; 16]], lasting: Duration) -> Result<u64> {
        let mut turns = servers.iter().cycle();
        let mut rows = 0;
        let begun = Instant::now();
        while begun.elapsed() < lasting {
            self.sampled_at += 30;
            let mut keys: Vec<&[u8; 16]> = turns.by_ref().take(batch).collect();
            keys.sort_unstable();
            let mut insert =
                QueryBuilder::<Sqlite>::new("INSERT OR IGNORE INTO snapshots (server, sampled_at, body) ");
            let mut bodies = Vec::with_capacity(batch);
            for number in 0..batch {
                let mut body = Vec::with_capacity(400);
                snapshot::write(&mut body, self.sampled_at, 30_000, rows + number as u64);
                bodies.push(body);
            }
            insert.push_values(keys.into_iter().zip(bodies), |mut row, (server, body)| {
                row.push_bind(server.as_slice()).push_bind(self.sampled_at).push_bind(body);
            });
            // A statement alone is a transaction of its own.
            rows += insert.build().execute(&mut self.connection).await?.rows_affected();
        }
        Ok(rows)
    }
}
