//! A registry of its own for each test, and what most cases need in it.

use std::collections::BTreeMap;

use fleet::{Interval, Millis, ServerId, id::EnrolmentTokenId, wire::v1::Host};
use registry::{
    Actor, AuditFilter, Enrol, Enrolled, EnrolmentToken, Page, PasswordChange, Profile, ProfileChange,
    RefreshToken, Registry, Roll, Server, ServerFilter, Sighting, Sort, SortKey,
};
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use testkit::TempDir;

use crate::schema::Schema;

/// When the cases happen: 2026-09-21, in Unix ms.
pub const NOW: Millis = 1_790_000_000_000;

/// The generation of what is issued at [`NOW`].
pub const FIRST: u32 = 1_790_000_000;

/// What beats are judged by: after all that happens in a test.
pub const CLOCK: Millis = NOW + 30 * 86_400_000;
/// SHA-256 of the token that [`Store::enrol`] uses.
pub const TOKEN: [u8; 32] = [7; 32];
pub const ALL: Page = Page { page: 1, page_size: 500 };

/// All of them.
pub const KEYS: [SortKey; 6] = [
    SortKey::Name,
    SortKey::Address,
    SortKey::Status,
    SortKey::LastSeenAt,
    SortKey::CreatedAt,
    SortKey::UpdatedAt,
];

/// A password to set, which leaves API tokens as they are.
pub fn password(hash: &str, epoch: Option<i64>) -> PasswordChange<'_> {
    PasswordChange { hash, epoch, ends_tokens: false }
}

/// A refresh token of the session whose first one has the number `family`.
pub fn refresh_token(family: u8, number: u8) -> RefreshToken {
    RefreshToken { hash: [number; 32], family: [family; 32] }
}

/// A registry with its schema, and the way past it to the engine.
pub struct Store {
    pub registry: Registry,
    engine: Engine,
}

enum Engine {
    Sqlite(TempDir),
    Postgres(Schema),
}

impl Store {
    pub async fn sqlite() -> Self {
        Self::on(Engine::Sqlite(testkit::tempdir().unwrap())).await
    }

    pub async fn postgres(schema: Schema) -> Self {
        Self::on(Engine::Postgres(schema)).await
    }

    async fn on(engine: Engine) -> Self {
        let registry = engine.open("registry.db").await;
        registry.migrate().await.unwrap();
        let store = Self { registry, engine };
        store.token(TOKEN, 1_000, NOW + 3_600_000).await;
        store
    }

    /// A registry that nobody migrated; this one is gone on PostgreSQL.
    pub async fn empty(&self) -> Registry {
        if let Engine::Postgres(schema) = &self.engine {
            schema.clear().await;
        }
        self.engine.open("empty.db").await
    }

    /// Closes the registry and opens it again, as a restart does.
    pub async fn restart(&mut self) {
        self.registry.close().await;
        self.registry = self.engine.open("registry.db").await;
        self.registry.migrate().await.unwrap();
    }

    /// Does what no method does, or not yet.
    pub async fn execute(&self, sql: &str) {
        let query = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        match &self.engine {
            Engine::Sqlite(folder) => {
                let url = format!("sqlite://{}", folder.path().join("registry.db").display());
                query.execute(&mut SqliteConnection::connect(&url).await.unwrap()).await.map(drop)
            }
            Engine::Postgres(schema) => {
                query.execute(&mut PgConnection::connect(&schema.url()).await.unwrap()).await.map(drop)
            }
        }
        .unwrap();
    }

    /// The one number that a statement answers, which no method tells.
    pub async fn number(&self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(sql.to_owned());
        match &self.engine {
            Engine::Sqlite(folder) => {
                let url = format!("sqlite://{}", folder.path().join("registry.db").display());
                let mut connection = SqliteConnection::connect(&url).await.unwrap();
                sqlx::query_scalar(sql).fetch_one(&mut connection).await
            }
            Engine::Postgres(schema) => {
                let mut connection = PgConnection::connect(&schema.url()).await.unwrap();
                sqlx::query_scalar(sql).fetch_one(&mut connection).await
            }
        }
        .unwrap()
    }

    /// Does what PostgreSQL does by itself within a minute after a fleet was heard first: it sees how large it is.
    pub async fn settle(&self) {
        if let Engine::Postgres(_) = &self.engine {
            self.execute("ANALYZE sightings, facts").await;
        }
    }

    /// Opens every connection that it may have, so that calls at once are at once.
    pub async fn warm(&self) {
        let mut pings = Vec::new();
        for _ in 0..16 {
            let registry = self.registry.clone();
            pings.push(tokio::spawn(async move { registry.ping().await.unwrap() }));
        }
        for ping in pings {
            ping.await.unwrap();
        }
    }

    pub async fn token(&self, hash: [u8; 32], uses: u32, expires_at: Millis) -> EnrolmentToken {
        let token = token(hash, uses, expires_at);
        self.registry.make_enrolment_token(&token, hash, &Actor::system()).await.unwrap();
        token
    }

    /// False: there is no such server.
    pub async fn set_labels(&self, id: ServerId, labels: &BTreeMap<String, String>, now: Millis) -> bool {
        let change = ProfileChange { labels: Some(labels.clone()), ..ProfileChange::default() };
        let changed = self.registry.change_server(id, None, &change, &Actor::system(), now).await.unwrap();
        changed == Ok(())
    }

    /// Makes a server that has no credential yet.
    pub async fn make(&self, number: u64, name: &str) -> ServerId {
        let profile = Profile { name: name.to_owned(), ..Profile::default() };
        let id = server_id(number);
        self.registry.make_server(id, &profile, &Actor::system(), NOW).await.unwrap().unwrap();
        id
    }

    /// Actions in the audit log, the oldest first.
    pub async fn actions(&self) -> Vec<String> {
        let (entries, _) = self.registry.audit(&AuditFilter::default(), ALL).await.unwrap();
        entries.into_iter().rev().map(|entry| entry.action).collect()
    }

    /// Enrols the server of this number, named so.
    pub async fn enrol(&self, number: u64, name: &str) -> ServerId {
        let enrol = ask(number, name);
        match self.registry.enrol(&enrol).await.unwrap() {
            Ok(Enrolled { id, generation: FIRST, replaces: false }) => id,
            other => panic!("{name}: {other:?}"),
        }
    }

    /// Names of those that the filter lets through, by name.
    pub async fn names(&self, filter: ServerFilter) -> Vec<String> {
        let (servers, total) = self.list(&filter, &[by(SortKey::Name)], ALL).await;
        assert_eq!(total, servers.len() as u64);
        servers.into_iter().map(|server| server.name).collect()
    }

    pub async fn list(&self, filter: &ServerFilter, sort: &[Sort], page: Page) -> (Vec<Server>, u64) {
        self.registry.servers(filter, sort, page, &Roll::default()).await.unwrap()
    }

    pub async fn server(&self, id: ServerId) -> Server {
        self.registry.server(id, &Roll::default()).await.unwrap().unwrap()
    }
}

impl Engine {
    async fn open(&self, file: &str) -> Registry {
        match self {
            Self::Sqlite(folder) => Registry::open_sqlite(&folder.path().join(file)).await.unwrap(),
            Self::Postgres(schema) => schema.open(),
        }
    }
}

pub fn token(hash: [u8; 32], uses: u32, expires_at: Millis) -> EnrolmentToken {
    EnrolmentToken {
        id: EnrolmentTokenId::new(NOW, [hash[0]; 10]),
        uses,
        used: 0,
        expires_at,
        revoked_at: None,
        created_at: NOW,
        labels: BTreeMap::new(),
        server: None,
    }
}

/// A request to enrol as the server of this number, with a key of its own.
pub fn ask(number: u64, name: &str) -> Enrol<'_> {
    let mut key_hash = [0; 32];
    key_hash[..8].copy_from_slice(&number.to_be_bytes());
    Enrol {
        token_hash: TOKEN,
        key_hash,
        name,
        address: None,
        server: server_id(number),
        from: None,
        now: NOW,
    }
}

pub fn server_id(number: u64) -> ServerId {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&number.to_be_bytes());
    ServerId::new(NOW, random)
}

pub fn by(key: SortKey) -> Sort {
    Sort { key, descending: false }
}

pub fn sighting(server: ServerId, at: Millis) -> Sighting {
    let interval = Interval::DEFAULT;
    let silent_at = fleet::liveness::silent_at(at, interval);
    Sighting { server, received_at: at, silent_at, interval, sampled_at: at, facts: None }
}

pub fn host(hostname: &str) -> Host {
    Host { hostname: Some(hostname.to_owned()), ..Host::default() }
}
