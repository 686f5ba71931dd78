//! A schema of its own, on the PostgreSQL server of the tests, for each of them.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    process,
    str::FromStr,
    sync::atomic::{AtomicU32, Ordering},
};

use registry::Registry;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};
use testkit::Server;

#[derive(Clone)]
pub struct Schema {
    pub name: String,
}

impl Schema {
    pub async fn make() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let schema = Self { name: format!("registry_test_{}_{number}", process::id()) };
        schema.clear().await;
        schema
    }

    /// Takes everything out of it.
    pub async fn clear(&self) {
        let name = &self.name;
        run(&format!("DROP SCHEMA IF EXISTS {name} CASCADE; CREATE SCHEMA {name}")).await;
    }

    pub async fn remove(&self) {
        run(&format!("DROP SCHEMA {} CASCADE", self.name)).await;
    }

    pub fn open(&self) -> Registry {
        Registry::open_postgres(&self.url().parse().unwrap())
    }

    pub fn url(&self) -> String {
        self.url_of(options())
    }

    /// The same by another way.
    pub fn url_at(&self, addr: SocketAddr) -> String {
        self.url_of(options().host(&addr.ip().to_string()).port(addr.port()))
    }

    pub fn url_of(&self, options: PgConnectOptions) -> String {
        let mut url = options.to_url_lossy();
        url.query_pairs_mut().append_pair("options[search_path]", &self.name);
        url.into()
    }
}

/// Where the server listens.
pub fn server() -> SocketAddr {
    let options = options();
    (options.get_host(), options.get_port()).to_socket_addrs().unwrap().next().unwrap()
}

pub fn options() -> PgConnectOptions {
    PgConnectOptions::from_str(&Server::PostgreSql.url()).unwrap()
}

pub async fn run(sql: &str) {
    let connected = PgConnection::connect_with(&options()).await;
    let mut server = connected.unwrap_or_else(|trouble| Server::PostgreSql.nobody(trouble));
    // It would say for each table that it goes too, and wait for the disk.
    sqlx::raw_sql("SET client_min_messages = warning; SET synchronous_commit = off")
        .execute(&mut server)
        .await
        .unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut server).await.unwrap();
    server.close().await.unwrap();
}
