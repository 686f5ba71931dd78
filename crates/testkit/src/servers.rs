//! The real servers that `dev/services` starts, under names of a test's own.

use std::{
    env, fmt,
    hash::{BuildHasher, RandomState},
    net::SocketAddr,
    thread,
};

use lapin::{Connection, ConnectionProperties, options::QueueDeleteOptions};
use redis::{AsyncConnectionConfig, aio::MultiplexedConnection};
use reqwest::Url;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::{runtime, time::timeout};

use crate::{PATIENCE, Proxy, http};

/// Last parts of the names of queues that tests make; each has its dead letters beside it.
const QUEUES: [&str; 3] = ["snapshots", "mail", "numbers"];

/// Indices that one request deletes: a URL has its bounds.
const AT_ONCE: usize = 20;

/// A server that tests use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// The broker, at `AMQP_URL`.
    RabbitMq,
    /// The registry's engine, at `DATABASE_URL`.
    PostgreSql,
    /// The cache's, at `REDIS_URL`.
    Redis,
    /// The history's, at `ELASTICSEARCH_URL`.
    Elasticsearch,
}

/// A place of a test's own on those servers that it asked for: a prefix that no other test has, an empty schema of that
/// name, and a way to each server that can be broken.
///
/// Dropped, all that bears the prefix is removed from these servers, also when the test fails. Whoever uses the place has to
/// go first, so it is declared first; who is still connected to PostgreSQL by its URLs loses the connection.
///
/// It is a schema and not a database, because PostgreSQL writes out everything before it drops a database, and waits until
/// every backend of the server has taken note. One that is in the middle of a log-in takes none for up to a minute, and on a
/// busy machine there always is one.
#[derive(Debug)]
pub struct Servers {
    prefix: String,
    doors: Vec<(Server, Door)>,
}

/// The two ways to a server.
#[derive(Debug)]
pub struct Door {
    /// What a test breaks.
    pub proxy: Proxy,
    /// The server's URL by way of the proxy.
    pub url: String,
    /// Its URL past the proxy.
    pub direct: String,
}

impl Server {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::RabbitMq, Self::PostgreSql, Self::Redis, Self::Elasticsearch];

    /// The variable of the environment that tells where it is.
    pub fn variable(self) -> &'static str {
        match self {
            Self::RabbitMq => "AMQP_URL",
            Self::PostgreSql => "DATABASE_URL",
            Self::Redis => "REDIS_URL",
            Self::Elasticsearch => "ELASTICSEARCH_URL",
        }
    }

    /// Where it is.
    ///
    /// # Panics
    /// When its variable is not set, which fails the test and says how the servers are started.
    pub fn url(self) -> String {
        let name = self.variable();
        let url = env::var(name);
        url.unwrap_or_else(|_| {
            panic!("{name} is not set: `make services` starts the servers, and `make test` uses them")
        })
    }

    /// Fails the test because of this trouble with the server, and says how the servers are started.
    ///
    /// # Panics
    /// Always.
    pub fn nobody(self, trouble: impl fmt::Display) -> ! {
        let name = self.variable();
        panic!(
            "nobody answers at {name} ({trouble}): `make services` starts the servers, and `make test` uses them"
        )
    }

    fn usual_port(self) -> u16 {
        match self {
            Self::RabbitMq => 5672,
            Self::PostgreSql => 5432,
            Self::Redis => 6379,
            Self::Elasticsearch => 9200,
        }
    }
}

impl Servers {
    /// A place on these servers. The schema is made; queues, keys and indices are made by who is tested.
    ///
    /// # Panics
    /// When a server's URL is not set, or PostgreSQL is asked for and does not answer; that fails the test.
    pub async fn of(which: &[Server]) -> Self {
        let prefix = format!("test-{:016x}", RandomState::new().hash_one(0));
        let mut servers = Self { prefix, doors: Vec::with_capacity(which.len()) };
        for server in which {
            let door = Door::open(*server, &servers.schema()).await;
            servers.doors.push((*server, door));
        }
        if which.contains(&Server::PostgreSql) {
            let made = on_postgresql(format!("CREATE SCHEMA {}", servers.schema())).await;
            made.unwrap_or_else(|trouble| Server::PostgreSql.nobody(trouble));
        }
        servers
    }

    /// First part of all names of the test.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The broker.
    pub fn rabbitmq(&self) -> &Door {
        self.door(Server::RabbitMq)
    }

    /// PostgreSQL; by both URLs a connection finds the test's own schema.
    pub fn postgresql(&self) -> &Door {
        self.door(Server::PostgreSql)
    }

    /// The server of the cache.
    pub fn redis(&self) -> &Door {
        self.door(Server::Redis)
    }

    /// The server of the history.
    pub fn elasticsearch(&self) -> &Door {
        self.door(Server::Elasticsearch)
    }

    /// The way to a server.
    ///
    /// # Panics
    /// When the test did not ask for it.
    pub fn door(&self, server: Server) -> &Door {
        let found = self.doors.iter().find(|(of, _)| *of == server);
        found.map(|(_, door)| door).unwrap_or_else(|| panic!("the test did not ask for {server:?}"))
    }

    /// A connection to Redis past the proxy, patient as no service is.
    ///
    /// # Panics
    /// When Redis does not answer, which fails the test.
    pub async fn redis_connection(&self) -> MultiplexedConnection {
        let connected = redis_connection(&self.redis().direct).await;
        connected.unwrap_or_else(|trouble| Server::Redis.nobody(trouble))
    }

    /// The names of all keys of the test.
    ///
    /// # Panics
    /// When Redis does not answer, which fails the test.
    pub async fn keys(&self) -> Vec<String> {
        let listed = keys(&mut self.redis_connection().await, &self.prefix).await;
        listed.unwrap_or_else(|trouble| Server::Redis.nobody(trouble))
    }

    /// Removes all keys of the test.
    ///
    /// # Panics
    /// When Redis does not answer, which fails the test.
    pub async fn forget_keys(&self) {
        let forgotten = forget_keys(&self.redis().direct, &self.prefix).await;
        forgotten.unwrap_or_else(|trouble| Server::Redis.nobody(trouble));
    }

    /// What Elasticsearch answers to this request, past the proxy, whatever the status.
    ///
    /// # Panics
    /// When it does not answer, which fails the test.
    pub async fn ask_elasticsearch(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let answer = ask_elasticsearch(&self.elasticsearch().direct, method, path, body).await;
        answer.unwrap_or_else(|trouble| Server::Elasticsearch.nobody(trouble))
    }

    /// Its name is a word for PostgreSQL, which a prefix with its hyphen is not.
    fn schema(&self) -> String {
        self.prefix.replace('-', "_")
    }

    async fn remove_all(&self) {
        for (server, door) in &self.doors {
            let removed = timeout(PATIENCE, self.remove(*server, &door.direct)).await;
            if let Err(trouble) = removed.map_err(told).flatten() {
                // No test promises anything about it, and this one may be failing already.
                eprintln!("{} stays on {server:?}: {trouble}", self.prefix);
            }
        }
    }

    async fn remove(&self, server: Server, direct: &str) -> Result<(), String> {
        match server {
            Server::RabbitMq => delete_queues(direct, &self.prefix).await.map_err(told),
            Server::PostgreSql => drop_schema(&self.schema()).await.map_err(told),
            Server::Redis => forget_keys(direct, &self.prefix).await.map_err(told),
            Server::Elasticsearch => delete_indices(direct, &self.prefix).await.map_err(told),
        }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        // A thread and a runtime of its own: this one is busy with the test, which may be unwinding.
        let remove = || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            runtime.map(|runtime| runtime.block_on(self.remove_all()))
        };
        thread::scope(|scope| drop(scope.spawn(remove).join()));
    }
}

impl Door {
    async fn open(server: Server, schema: &str) -> Self {
        let text = server.url();
        let parsed = Url::parse(&text).ok().and_then(|url| Some((address(server, &url)?, url)));
        let Some((address, mut url)) = parsed else { server.nobody("it is not the URL of a server") };
        if server == Server::PostgreSql {
            let mut parameters = url.query_pairs_mut();
            parameters.append_pair("options[search_path]", schema).append_pair("application_name", schema);
        }
        let proxy = Proxy::start(address).await;
        let direct = url.to_string();
        let moved = url.set_ip_host(proxy.addr().ip()).and_then(|()| url.set_port(Some(proxy.addr().port())));
        if moved.is_err() {
            server.nobody("its URL has no host");
        }
        Self { proxy, url: url.into(), direct }
    }
}

fn address(server: Server, url: &Url) -> Option<SocketAddr> {
    url.socket_addrs(|| Some(server.usual_port())).ok()?.first().copied()
}

fn told(error: impl fmt::Display) -> String {
    error.to_string()
}

/// Past the schema of a test.
async fn on_postgresql(statement: String) -> sqlx::Result<()> {
    let mut connection = PgConnection::connect(&Server::PostgreSql.url()).await?;
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
    connection.close().await
}

/// Those who are still connected may be in a transaction that nobody will end.
async fn drop_schema(schema: &str) -> sqlx::Result<()> {
    let statements = [
        // It would say for each table that it goes too, and wait for the disk.
        "SET client_min_messages = warning; SET synchronous_commit = off".to_owned(),
        format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{schema}'"),
        format!("DROP SCHEMA IF EXISTS {schema} CASCADE"),
    ];
    on_postgresql(statements.join("; ")).await
}

async fn delete_queues(url: &str, prefix: &str) -> lapin::Result<()> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    for name in QUEUES {
        for end in ["", ".dead"] {
            let queue = format!("{prefix}.{name}{end}");
            channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await?;
        }
    }
    connection.close(200, "done".into()).await
}

async fn redis_connection(url: &str) -> redis::RedisResult<MultiplexedConnection> {
    let patient = AsyncConnectionConfig::new();
    let patient = patient.set_connection_timeout(Some(PATIENCE)).set_response_timeout(Some(PATIENCE));
    redis::Client::open(url)?.get_multiplexed_async_connection_with_config(&patient).await
}

async fn keys(redis: &mut MultiplexedConnection, prefix: &str) -> redis::RedisResult<Vec<String>> {
    redis::cmd("KEYS").arg(format!("{prefix}:*")).query_async(redis).await
}

async fn forget_keys(url: &str, prefix: &str) -> redis::RedisResult<()> {
    let mut redis = redis_connection(url).await?;
    let keys = keys(&mut redis, prefix).await?;
    if keys.is_empty() {
        return Ok(());
    }
    redis::cmd("DEL").arg(keys).query_async(&mut redis).await
}

async fn ask_elasticsearch(
    url: &str,
    method: &str,
    path: &str,
    body: Option<Value>,
) -> Result<Value, String> {
    let url = format!("{}/{path}", url.trim_end_matches('/'));
    let mut request = http().request(method.parse().map_err(told)?, url);
    if let Some(body) = body {
        request = request.json(&body);
    }
    request.send().await.map_err(told)?.json().await.map_err(told)
}

/// With the templates of indices, or whoever comes late would make an index again.
async fn delete_indices(url: &str, prefix: &str) -> Result<(), String> {
    let delete = async |path: &str| ask_elasticsearch(url, "DELETE", path, None).await;
    delete(&format!("_index_template/{prefix}-*")).await?;
    let listed = ask_elasticsearch(url, "GET", &format!("{prefix}-*/_alias"), None).await?;
    let names: Vec<String> = listed.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
    for names in names.chunks(AT_ONCE) {
        delete(&names.join(",")).await?;
    }
    Ok(())
}
