//! The real servers of the fleet composition, under a name of a test's own, and proxies that break the way to them.

use std::sync::Arc;

use lapin::{ConnectionProperties, options::QueueDeleteOptions};
use queue::rabbitmq;
use sqlx::{AssertSqlSafe, Connection, PgConnection, postgres::PgRow};
use testkit::{Proxy, Server, Servers};

/// A schema, and what begins with a prefix elsewhere.
#[derive(Clone)]
pub struct Real {
    pub prefix: String,
    servers: Arc<Servers>,
    /// The three stores are reached by way of proxies; the broker never is.
    proxied: bool,
}

/// Ways to the same servers that a test can break.
pub struct Proxies {
    pub postgresql: Proxy,
    pub elasticsearch: Proxy,
    pub redis: Proxy,
}

/// Runs a case, and removes what it left behind, also when it fails.
pub async fn with(case: impl AsyncFnOnce(Real)) {
    let servers = Arc::new(Servers::of(&Server::ALL).await);
    case(Real { prefix: servers.prefix().to_owned(), servers, proxied: false }).await;
}

/// The same by way of proxies; the broker is reached directly.
pub async fn with_proxies(case: impl AsyncFnOnce(Real, &Proxies)) {
    with(async |real| {
        let proxies = Proxies {
            postgresql: real.servers.postgresql().proxy.clone(),
            elasticsearch: real.servers.elasticsearch().proxy.clone(),
            redis: real.servers.redis().proxy.clone(),
        };
        case(Real { proxied: true, ..real }, &proxies).await;
    })
    .await;
}

impl Real {
    pub fn database_url(&self) -> &str {
        self.store_url(Server::PostgreSql)
    }

    pub fn elasticsearch_url(&self) -> &str {
        self.store_url(Server::Elasticsearch)
    }

    pub fn redis_url(&self) -> &str {
        self.store_url(Server::Redis)
    }

    pub fn rabbitmq_url(&self) -> &str {
        &self.servers.rabbitmq().direct
    }

    fn store_url(&self, server: Server) -> &str {
        let door = self.servers.door(server);
        if self.proxied { &door.url } else { &door.direct }
    }

    pub fn queue(&self, name: &str) -> rabbitmq::Settings {
        rabbitmq::Settings::new(self.rabbitmq_url().parse().unwrap(), self.prefix.as_str(), name)
    }

    /// Runs a statement in the database.
    pub async fn sql(&self, statement: &str) -> Vec<PgRow> {
        let mut connection = PgConnection::connect(self.database_url()).await.unwrap();
        let rows = sqlx::query(AssertSqlSafe(statement.to_owned())).fetch_all(&mut connection).await;
        connection.close().await.unwrap();
        rows.unwrap()
    }

    /// Runs a command on the cache's server, past any proxy; `{}` in it is the prefix.
    pub async fn redis(&self, command: &[&str]) -> redis::Value {
        let mut question = redis::Cmd::new();
        for word in command {
            question.arg(word.replace("{}", &self.prefix));
        }
        question.query_async(&mut self.servers.redis_connection().await).await.unwrap()
    }

    /// The names of all keys.
    pub async fn keys(&self) -> Vec<String> {
        self.servers.keys().await
    }

    /// Forgets all keys.
    pub async fn flush(&self) {
        self.servers.forget_keys().await;
    }

    /// Removes the queues, of those who have left them: whoever has not makes them again.
    pub async fn remove_queues(&self) {
        let connected =
            lapin::Connection::connect(self.rabbitmq_url(), ConnectionProperties::default()).await;
        let connection = connected.unwrap_or_else(|trouble| Server::RabbitMq.nobody(trouble));
        let channel = connection.create_channel().await.unwrap();
        for name in ["snapshots", "snapshots.dead", "mail", "mail.dead"] {
            let queue = format!("{}.{name}", self.prefix);
            channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
        }
        connection.close(200, "done".into()).await.unwrap();
    }
}
