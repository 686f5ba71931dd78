//! The real servers of the fleet composition, under a name of a test's own, and proxies that break the way to them.

use std::{
    env,
    hash::{BuildHasher, RandomState},
    net::{SocketAddr, ToSocketAddrs},
    panic::{AssertUnwindSafe, resume_unwind},
};

use futures_util::FutureExt;
use lapin::{ConnectionProperties, options::QueueDeleteOptions};
use queue::rabbitmq;
use reqwest::Url;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection, postgres::PgRow};
use testkit::Proxy;

/// A database, and what begins with a prefix elsewhere.
#[derive(Clone)]
pub struct Real {
    pub prefix: String,
    database: String,
    urls: Urls,
}

#[derive(Clone)]
struct Urls {
    postgresql: Url,
    elasticsearch: Url,
    redis: Url,
    rabbitmq: Url,
}

/// Ways to the same servers that a test can break.
pub struct Proxies {
    pub postgresql: Proxy,
    pub elasticsearch: Proxy,
    pub redis: Proxy,
}

/// Runs a case, and removes what it left behind, also when it fails.
pub async fn with(case: impl AsyncFnOnce(Real)) {
    let real = Real::make().await;
    let outcome = AssertUnwindSafe(case(real.clone())).catch_unwind().await;
    real.remove().await;
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
}

/// The same by way of proxies; the broker is reached directly.
pub async fn with_proxies(case: impl AsyncFnOnce(Real, &Proxies)) {
    with(async |mut real| {
        let proxies = Proxies {
            postgresql: through(&mut real.urls.postgresql).await,
            elasticsearch: through(&mut real.urls.elasticsearch).await,
            redis: through(&mut real.urls.redis).await,
        };
        case(real, &proxies).await;
    })
    .await;
}

async fn through(url: &mut Url) -> Proxy {
    let host = (url.host_str().unwrap(), url.port().unwrap());
    let proxy = Proxy::start(host.to_socket_addrs().unwrap().next().unwrap()).await;
    let SocketAddr::V4(at) = proxy.addr() else { panic!("a proxy listens on 127.0.0.1") };
    url.set_host(Some(&at.ip().to_string())).unwrap();
    url.set_port(Some(at.port())).unwrap();
    proxy
}

fn url(name: &str) -> Url {
    let text = env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: `make services` starts the servers, and `make test` uses them")
    });
    text.parse().unwrap()
}

fn nobody(name: &str, error: impl std::fmt::Display) -> ! {
    panic!(
        "nobody answers at {name} ({error}): `make services` starts the servers, and `make test` uses them"
    )
}

impl Real {
    async fn make() -> Self {
        let urls = Urls {
            postgresql: url("DATABASE_URL"),
            elasticsearch: url("ELASTICSEARCH_URL"),
            redis: url("REDIS_URL"),
            rabbitmq: url("AMQP_URL"),
        };
        let name = format!("{:016x}", RandomState::new().hash_one(0));
        let real = Self { prefix: format!("test-{name}"), database: format!("test_{name}"), urls };
        real.on_server(&format!("CREATE DATABASE {}", real.database)).await;
        real
    }

    pub fn database_url(&self) -> String {
        let mut url = self.urls.postgresql.clone();
        url.set_path(&self.database);
        url.into()
    }

    pub fn elasticsearch_url(&self) -> &str {
        self.urls.elasticsearch.as_str()
    }

    pub fn redis_url(&self) -> &str {
        self.urls.redis.as_str()
    }

    pub fn rabbitmq_url(&self) -> &str {
        self.urls.rabbitmq.as_str()
    }

    pub fn queue(&self, name: &str) -> rabbitmq::Settings {
        rabbitmq::Settings::new(self.rabbitmq_url().parse().unwrap(), self.prefix.as_str(), name)
    }

    /// Runs a statement in the database.
    pub async fn sql(&self, statement: &str) -> Vec<PgRow> {
        let mut connection = PgConnection::connect(&self.database_url()).await.unwrap();
        let rows = sqlx::query(AssertSqlSafe(statement.to_owned())).fetch_all(&mut connection).await;
        connection.close().await.unwrap();
        rows.unwrap()
    }

    /// Runs a statement on the server, past any proxy.
    async fn on_server(&self, statement: &str) {
        let connected = PgConnection::connect(url("DATABASE_URL").as_str()).await;
        let mut connection = connected.unwrap_or_else(|error| nobody("DATABASE_URL", error));
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    /// Runs a command on the cache's server, past any proxy; `{}` in it is the prefix.
    pub async fn redis(&self, command: &[&str]) -> redis::Value {
        let client = redis::Client::open(url("REDIS_URL").as_str()).unwrap();
        let connected = client.get_multiplexed_async_connection().await;
        let mut connection = connected.unwrap_or_else(|error| nobody("REDIS_URL", error));
        let mut question = redis::Cmd::new();
        for word in command {
            question.arg(word.replace("{}", &self.prefix));
        }
        question.query_async(&mut connection).await.unwrap()
    }

    /// The names of all keys.
    pub async fn keys(&self) -> Vec<String> {
        redis::from_redis_value(self.redis(&["KEYS", "{}:*"]).await).unwrap()
    }

    /// Forgets all keys.
    pub async fn flush(&self) {
        for key in self.keys().await {
            self.redis(&["DEL", &key]).await;
        }
    }

    async fn remove(&self) {
        self.on_server(&format!("DROP DATABASE {} WITH (FORCE)", self.database)).await;
        self.flush().await;
        let base = url("ELASTICSEARCH_URL");
        let indices =
            testkit::http().get(base.join(&format!("{}-*/_alias", self.prefix)).unwrap()).send().await;
        let indices = indices.unwrap_or_else(|error| nobody("ELASTICSEARCH_URL", error));
        let indices: Value = indices.json().await.unwrap();
        let names: Vec<String> = indices.as_object().unwrap().keys().cloned().collect();
        let template = format!("_index_template/{}-snapshots", self.prefix);
        for path in names.chunks(20).map(|names| names.join(",")).chain([template]) {
            testkit::http().delete(base.join(&path).unwrap()).send().await.unwrap();
        }
        self.remove_queues().await;
    }

    /// Removes the queues, of those who have left them: whoever has not makes them again.
    pub async fn remove_queues(&self) {
        let connected =
            lapin::Connection::connect(self.rabbitmq_url(), ConnectionProperties::default()).await;
        let connection = connected.unwrap_or_else(|error| nobody("AMQP_URL", error));
        let channel = connection.create_channel().await.unwrap();
        for name in ["snapshots", "snapshots.dead", "mail", "mail.dead"] {
            let queue = format!("{}.{name}", self.prefix);
            channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
        }
        connection.close(200, "done".into()).await.unwrap();
    }
}
