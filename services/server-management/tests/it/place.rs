//! Where a test's stores are: in a folder and this process, or on real servers under a name of its own.

use std::{fs, sync::Arc};

use cache::Cache;
use history::History;
use queue::DeadLetters;
use registry::Registry;
use server_management::DeadLetterQueues;
use sqlx::{AssertSqlSafe, ConnectOptions, Row, sqlite::SqliteConnectOptions};
use testkit::{TempDir, tempdir};

use crate::{
    real::{self, Real},
    suite::HISTORY_DAYS,
};

/// Stores with a schema, and nobody in them. Clones share them.
#[derive(Clone)]
pub struct Place {
    pub registry: Registry,
    pub history: History,
    pub cache: Cache,
    engine: Engine,
}

#[derive(Clone)]
enum Engine {
    Embedded(Arc<TempDir>),
    Fleet(Arc<Real>),
}

/// Runs a case on embedded stores.
pub async fn embedded(case: impl AsyncFnOnce(Place)) {
    case(Place::embedded().await).await;
}

/// Runs a case on real servers, and removes what it left there.
pub async fn fleet(case: impl AsyncFnOnce(Place)) {
    real::with(async |real| case(Place::fleet(real).await).await).await;
}

impl Place {
    pub async fn embedded() -> Self {
        let folder = Arc::new(tempdir().unwrap());
        let registry = Registry::open_sqlite(&folder.path().join("registry.db")).await.unwrap();
        registry.migrate().await.unwrap();
        let history = History::open_sqlite(&folder.path().join("history.db"), HISTORY_DAYS).await.unwrap();
        Self { registry, history, cache: Cache::in_process(), engine: Engine::Embedded(folder) }
    }

    pub async fn fleet(real: Real) -> Self {
        let place = Self::on(Arc::new(real));
        place.registry.migrate().await.unwrap();
        place
    }

    fn on(real: Arc<Real>) -> Self {
        let registry = Registry::open_postgres(&real.database_url().parse().unwrap());
        let elasticsearch_url = real.elasticsearch_url().parse().unwrap();
        let history = History::open_elasticsearch(&elasticsearch_url, &real.prefix, HISTORY_DAYS).unwrap();
        let cache = Cache::redis(&real.redis_url().parse().unwrap(), &real.prefix);
        Self { registry, history, cache, engine: Engine::Fleet(real) }
    }

    pub fn is_embedded(&self) -> bool {
        matches!(self.engine, Engine::Embedded(_))
    }

    pub fn real(&self) -> &Arc<Real> {
        match &self.engine {
            Engine::Embedded(_) => panic!("there is one process of it"),
            Engine::Fleet(real) => real,
        }
    }

    /// The same, as another process has it: by connections of its own. Embedded stores have one process; there it is
    /// the same one.
    pub fn replica(&self) -> Self {
        match &self.engine {
            Engine::Embedded(_) => self.clone(),
            Engine::Fleet(real) => Self::on(Arc::clone(real)),
        }
    }

    /// The same, as it is after the cache was emptied.
    pub async fn without_cache(self) -> Self {
        match &self.engine {
            Engine::Embedded(_) => Self { cache: Cache::in_process(), ..self },
            Engine::Fleet(real) => {
                real.flush().await;
                self
            }
        }
    }

    pub fn dead_letters(&self) -> DeadLetterQueues {
        let of = |queue| match &self.engine {
            Engine::Embedded(_) => DeadLetters::InProcess,
            Engine::Fleet(real) => DeadLetters::RabbitMq(Box::new(real.queue(queue))),
        };
        DeadLetterQueues { snapshots: of("snapshots"), mail: of("mail") }
    }

    /// A statement past the registry.
    pub async fn sql(&self, statement: &str) {
        match &self.engine {
            Engine::Embedded(folder) => {
                let file = SqliteConnectOptions::new().filename(folder.path().join("registry.db"));
                let mut connection = file.foreign_keys(true).connect().await.unwrap();
                sqlx::query(AssertSqlSafe(statement.to_owned())).execute(&mut connection).await.unwrap();
            }
            Engine::Fleet(real) => drop(real.sql(statement).await),
        }
    }

    /// All that the registry holds, as text.
    pub async fn stored(&self) -> String {
        match &self.engine {
            Engine::Embedded(folder) => {
                let files = fs::read_dir(folder.path()).unwrap();
                let bytes: Vec<u8> = files.flat_map(|file| fs::read(file.unwrap().path()).unwrap()).collect();
                String::from_utf8_lossy(&bytes).into_owned()
            }
            Engine::Fleet(real) => {
                const TABLES: &str = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()";
                let mut stored = String::new();
                for table in real.sql(TABLES).await {
                    let table: String = table.get(0);
                    let rows = real.sql(&format!("SELECT CAST(row AS TEXT) FROM {table} AS row")).await;
                    stored.extend(rows.iter().map(|row| row.get::<String, _>(0)));
                }
                stored
            }
        }
    }
}
