//! Servers as people see them.

use std::collections::{BTreeMap, HashMap, HashSet};

use fleet::{Millis, ServerId, Status, wire::v1::Host};

use crate::{
    Page, Registry, RegistryError, Roll, ServerFilter, Sort, count, id, json,
    list::Listing,
    on, roll,
    statement::{Dialect, Statement, Text, one_of, rows_of},
    text,
};

/// A server as people see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// Its id.
    pub id: ServerId,
    /// As it was given; no other server has it, regardless of case.
    pub name: String,
    /// A fact about it, never its identity.
    pub address: Option<String>,
    /// Lowest generation of its credential that is accepted.
    pub generation: u32,
    /// Its state, as the roll that was passed tells it.
    pub status: Status,
    /// Key to value.
    pub labels: BTreeMap<String, String>,
    /// Gate time (Unix ms) at which it was heard last, behind by at most
    /// [`SIGHTING_SLACK`](fleet::liveness::SIGHTING_SLACK).
    pub last_seen_at: Option<Millis>,
    /// When it enrolled, in Unix ms.
    pub created_at: Millis,
    /// When a person changed it last, in Unix ms.
    pub updated_at: Millis,
    /// What it told of itself.
    pub facts: Option<Host>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    name: String,
    address: Option<String>,
    generation: i64,
    status: String,
    received_at: Option<Millis>,
    created_at: Millis,
    updated_at: Millis,
    facts: Option<String>,
}

const LABELS: Text = one_of!("SELECT server_id, key, value FROM labels WHERE server_id", "$1", "");

impl Registry {
    /// One page of the list and the total, both of one moment. Ties are broken by id, so that paging is complete.
    pub async fn servers(
        &self,
        filter: &ServerFilter,
        sort: &[Sort],
        page: Page,
        roll: &Roll,
    ) -> Result<(Vec<Server>, u64), RegistryError> {
        let listing = Listing::new(filter, sort, page, roll, self.dialect())?;
        let (ids, total, rows, labels) = on!(self, db => {
            let mut tx = db.begin_read().await?;
            let hits = rows_of!((String, i64), listing.ids()?).fetch_all(&mut *tx).await?;
            let total = match hits.first() {
                Some((_, total)) => *total,
                None => rows_of!((i64,), listing.total()?).fetch_one(&mut *tx).await?.0,
            };
            let mut ids: Vec<ServerId> = Vec::with_capacity(hits.len());
            for (hit, _) in hits {
                ids.push(id("servers", "id", &hit)?);
            }
            let rows = rows_of!(Row, details(&ids, roll, self.dialect())?).fetch_all(&mut *tx).await?;
            let labels = sqlx::query_as(LABELS.on(self.dialect())).bind(json(&ids)?).fetch_all(&mut *tx).await?;
            tx.commit().await?;
            (ids, total, rows, labels)
        });
        let mut servers: HashMap<_, _> =
            assemble(rows, labels)?.into_iter().map(|server| (server.id, server)).collect();
        let page = ids.iter().filter_map(|id| servers.remove(id)).collect();
        Ok((page, count("servers", "total", "", total)?))
    }

    /// One server; `None` if there is none of this id.
    pub async fn server(&self, id: ServerId, roll: &Roll) -> Result<Option<Server>, RegistryError> {
        let (rows, labels) = on!(self, db => {
            let mut tx = db.begin_read().await?;
            let rows = rows_of!(Row, details(&[id], roll, self.dialect())?).fetch_all(&mut *tx).await?;
            let labels = sqlx::query_as(LABELS.on(self.dialect())).bind(json(&[id])?).fetch_all(&mut *tx).await?;
            tx.commit().await?;
            (rows, labels)
        });
        Ok(assemble(rows, labels)?.pop())
    }

    /// Replaces all labels of a server; false: no such server.
    pub async fn set_labels(
        &self,
        id: ServerId,
        labels: &BTreeMap<String, String>,
        now: Millis,
    ) -> Result<bool, RegistryError> {
        // First, so that nobody renames it meanwhile.
        const CHANGE: &str = "UPDATE servers SET version = version + 1, updated_at = $2 WHERE id = $1
            RETURNING name, address";
        const FIND_BY: &str = "UPDATE servers SET search = $2 WHERE id = $1";
        const CLEAR: &str = "DELETE FROM labels WHERE server_id = $1";
        const ADD: Text = Text {
            sqlite: "INSERT INTO labels (server_id, key, value) SELECT $1, key, value FROM json_each($2)",
            postgres: "INSERT INTO labels (server_id, key, value)
                SELECT $1, key, value FROM jsonb_each_text(CAST($2 AS JSONB))",
        };
        let id = id.to_string();
        Ok(on!(self, db => {
            let mut tx = db.begin_write().await?;
            let found: Option<(String, Option<String>)> =
                sqlx::query_as(CHANGE).bind(&id).bind(now).fetch_optional(&mut *tx).await?;
            let Some((name, address)) = found else { return Ok(false) };
            let texts = [Some(name.as_str()), address.as_deref()].into_iter().flatten();
            let search = text::searchable(texts.chain(labels.values().map(String::as_str)));
            sqlx::query(FIND_BY).bind(&id).bind(search).execute(&mut *tx).await?;
            sqlx::query(CLEAR).bind(&id).execute(&mut *tx).await?;
            sqlx::query(ADD.on(self.dialect())).bind(&id).bind(json(labels)?).execute(&mut *tx).await?;
            tx.commit().await?;
            true
        }))
    }
}

/// All there is to tell about these servers but their labels, in no order.
fn details(ids: &[ServerId], roll: &Roll, dialect: Dialect) -> Result<Statement, RegistryError> {
    let wanted: HashSet<_> = ids.iter().collect();
    let judge = roll.judge(|id| wanted.contains(id))?;
    let mut statement = Statement::new(dialect);
    judge.push_roll(&mut statement);
    statement.push(" SELECT s.id, s.name, s.address, s.generation, ");
    judge.push_status(&mut statement);
    statement.push(" AS status, g.received_at, s.created_at, s.updated_at, f.facts FROM servers s");
    statement.push(" LEFT JOIN sightings g ON g.server_id = s.id LEFT JOIN facts f ON f.server_id = s.id");
    statement.push(" WHERE s.id").one_of(json(&ids)?);
    Ok(statement)
}

fn assemble(rows: Vec<Row>, labels: Vec<(String, String, String)>) -> Result<Vec<Server>, RegistryError> {
    let mut labels_of: HashMap<String, BTreeMap<String, String>> = HashMap::new();
    for (server, key, value) in labels {
        labels_of.entry(server).or_default().insert(key, value);
    }
    let mut servers = Vec::with_capacity(rows.len());
    for row in rows {
        servers.push(Server {
            id: id("servers", "id", &row.id)?,
            generation: count("servers", "generation", &row.id, row.generation)?,
            status: roll::read(&row.status)?,
            labels: labels_of.remove(&row.id).unwrap_or_default(),
            facts: row.facts.map(|facts| read_facts(&row.id, &facts)).transpose()?,
            name: row.name,
            address: row.address,
            last_seen_at: row.received_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
        });
    }
    Ok(servers)
}

fn read_facts(server: &str, facts: &str) -> Result<Host, RegistryError> {
    serde_json::from_str(facts).map_err(|_| RegistryError::Corrupt {
        table: "facts",
        column: "facts",
        row: server.to_owned(),
    })
}
