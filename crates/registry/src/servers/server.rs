//! Servers as people see them.

use std::collections::{BTreeMap, HashMap, HashSet};

use fleet::{Millis, ServerId, Status, access::Alternation, wire::v1::Host};

use super::{
    list::{Candidate, Listing, Roll, ServerFilter, Sort, status_of},
    pause::Pause,
};
use crate::engine::{
    Dialect, Page, PerEngine, Registry, RegistryError, Statement, Tx, corrupt, count, fold, id, json, one_of,
    query, row,
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
    /// Lowest generation of its credential that is accepted; 0 while it never had one.
    pub generation: u32,
    /// Rises with every change by a person.
    pub version: i64,
    /// Its status, as the roll that was passed tells it.
    pub status: Status,
    /// Key to value.
    pub labels: BTreeMap<String, String>,
    /// Gate time (Unix ms) at which it was heard last, behind by at most
    /// [`SIGHTING_SLACK`](fleet::liveness::SIGHTING_SLACK).
    pub last_seen_at: Option<Millis>,
    /// How often it reports, by its newest sample.
    pub interval_ms: Option<Millis>,
    /// Since when (Unix ms) and how it is paused, if it is.
    pub paused: Option<(Millis, Pause)>,
    /// When it enrolled first, in Unix ms; `None` while it never did.
    pub enrolled_at: Option<Millis>,
    /// When it was made, by a person or by enrolling, in Unix ms.
    pub created_at: Millis,
    /// When a person changed it last, in Unix ms.
    pub updated_at: Millis,
    /// Snapshots from before this time (Unix ms) count no longer, if somebody asked for that.
    pub history_from: Option<Millis>,
    /// What it told of itself.
    pub facts: Option<Host>,
    /// When it told two boots in turn, if it did at least three times.
    pub alternation: Option<Alternation>,
}

row! {
    struct Row {
        id: String,
        name: String,
        address: Option<String>,
        generation: i64,
        version: i64,
        status: String,
        received_at: Option<Millis>,
        interval_ms: Option<Millis>,
        paused_at: Option<Millis>,
        ends_at: Option<Millis>,
        reason: Option<String>,
        enrolled_at: Option<Millis>,
        created_at: Millis,
        updated_at: Millis,
        history_from: Option<Millis>,
        facts: Option<String>,
        changed_1: Option<Millis>,
        changed_3: Option<Millis>,
    }
}

const LABELS: PerEngine = one_of!("SELECT server_id, key, value FROM labels WHERE server_id", "");
const NAMES: PerEngine = one_of!("SELECT id, name FROM servers WHERE id", "");

impl Registry {
    /// The names of these servers; one that is not known is left out.
    #[crate::engine::boxed]
    pub async fn names(&self, servers: &[ServerId]) -> Result<HashMap<ServerId, String>, RegistryError> {
        if servers.is_empty() {
            return Ok(HashMap::new());
        }
        let rows: Vec<(String, String)> = self.reader().all(query(NAMES).bind(json(&servers)?)).await?;
        rows.into_iter().map(|(server, name)| Ok((id("servers", "id", &server)?, name))).collect()
    }

    /// One page of the list and the total, both of one moment. Ties are broken by id, so that paging is complete.
    #[crate::engine::boxed]
    pub async fn servers(
        &self,
        filter: &ServerFilter,
        sort: &[Sort],
        page: Page,
        roll: &Roll,
    ) -> Result<(Vec<Server>, u64), RegistryError> {
        let listing = Listing::new(filter, sort, page, roll, self.dialect())?;
        let (found, total) = self
            .read(async |tx| {
                let (total, hits) = match few(tx, &listing).await? {
                    Some(whole) => whole,
                    None => many(tx, &listing).await?,
                };
                Ok((Found::read(tx, ids_of(hits)?, roll).await?, total))
            })
            .await?;
        Ok((found.servers()?, count("servers", "total", "", total)?))
    }

    /// One server; `None` if there is none of this id.
    #[crate::engine::boxed]
    pub async fn server(&self, id: ServerId, roll: &Roll) -> Result<Option<Server>, RegistryError> {
        let found = self.read(async |tx| Found::read(tx, vec![id], roll).await).await?;
        Ok(found.servers()?.pop())
    }

    /// At most `limit` servers that the filter lets through, by name, after the one of the name `after`: to read all of
    /// them, part by part. A server that is renamed meanwhile may be left out or come twice.
    #[crate::engine::boxed]
    pub async fn servers_after(
        &self,
        filter: &ServerFilter,
        after: Option<&str>,
        limit: u32,
        roll: &Roll,
    ) -> Result<Vec<Server>, RegistryError> {
        let part = Listing::part(filter, after.map(fold::fold_name), limit, roll, self.dialect())?;
        let found = self
            .read(async |tx| {
                let hits: Vec<(String,)> = tx.all(part).await?;
                Found::read(tx, ids_of(hits.into_iter().map(|(id,)| id))?, roll).await
            })
            .await?;
        found.servers()
    }
}

/// The total and the ids of the page, if there are few hits; `None` if there may be many.
async fn few(tx: &mut Tx<'_>, listing: &Listing<'_>) -> Result<Option<(i64, Vec<String>)>, RegistryError> {
    let Some(few) = listing.few()? else { return Ok(None) };
    Ok(Listing::whole(tx.all(few).await?))
}

/// The total and the ids of the page, of however many hits.
async fn many(tx: &mut Tx<'_>, listing: &Listing<'_>) -> Result<(i64, Vec<String>), RegistryError> {
    let counts: Vec<(String, i64)> = tx.all(listing.counts()?).await?;
    let (total, runs) = listing.runs(&counts);
    let mut hits: Vec<String> = Vec::new();
    for run in runs {
        let mut found: Vec<String> = Vec::new();
        for Candidate { ids, backward } in listing.candidates(&run)? {
            found = tx.all::<(String,)>(ids).await?.into_iter().map(|(id,)| id).collect();
            if backward {
                found.reverse();
            }
            if found.len() == run.len() {
                break;
            }
        }
        hits.extend(found);
    }
    Ok((total, hits))
}

fn ids_of(hits: impl IntoIterator<Item = String>) -> Result<Vec<ServerId>, RegistryError> {
    hits.into_iter().map(|hit| id("servers", "id", &hit)).collect()
}

/// What was read of servers, and the order in which they are wanted.
struct Found {
    ids: Vec<ServerId>,
    rows: Vec<Row>,
    labels: Vec<(String, String, String)>,
}

impl Found {
    async fn read(tx: &mut Tx<'_>, ids: Vec<ServerId>, roll: &Roll) -> Result<Self, RegistryError> {
        let rows = tx.all(details(&ids, roll, tx.dialect())?).await?;
        let labels = tx.all(query(LABELS).bind(json(&ids)?)).await?;
        Ok(Self { ids, rows, labels })
    }

    fn servers(self) -> Result<Vec<Server>, RegistryError> {
        let mut servers: HashMap<_, _> =
            assemble(self.rows, self.labels)?.into_iter().map(|server| (server.id, server)).collect();
        Ok(self.ids.iter().filter_map(|id| servers.remove(id)).collect())
    }
}

/// All there is to tell about these servers but their labels, in no order.
fn details(ids: &[ServerId], roll: &Roll, dialect: Dialect) -> Result<Statement, RegistryError> {
    let wanted: HashSet<_> = ids.iter().collect();
    let judge = roll.judge(|id| wanted.contains(id))?;
    let mut statement = Statement::new(dialect);
    judge.push_roll(&mut statement);
    statement.push(" SELECT s.id, s.name, s.address, s.generation, s.version, ");
    judge.push_status(&mut statement);
    statement
        .push(" AS status, g.received_at, g.interval_ms, p.paused_at, p.ends_at, p.reason, s.enrolled_at,");
    statement.push(
        " s.created_at, s.updated_at, s.history_from, f.facts, f.changed_1, f.changed_3 FROM servers s",
    );
    statement.push(" LEFT JOIN sightings g ON g.server_id = s.id LEFT JOIN facts f ON f.server_id = s.id");
    statement
        .push(" LEFT JOIN pauses p ON p.server_id = s.id AND p.origin = '' AND p.paused_at = s.paused_at");
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
        let pause = Pause { until: row.ends_at, reason: row.reason };
        let changes = row.changed_1.zip(row.changed_3);
        servers.push(Server {
            id: id("servers", "id", &row.id)?,
            generation: count("servers", "generation", &row.id, row.generation)?,
            status: status_of(&row.status)?,
            labels: labels_of.remove(&row.id).unwrap_or_default(),
            facts: row.facts.map(|facts| read_facts(&row.id, &facts)).transpose()?,
            name: row.name,
            address: row.address,
            version: row.version,
            last_seen_at: row.received_at,
            interval_ms: row.interval_ms,
            paused: row.paused_at.map(|since| (since, pause)),
            // A row that an earlier release wrote does not tell; that release made a server by enrolling it.
            enrolled_at: row.enrolled_at.or(Some(row.created_at)).filter(|_| row.generation > 0),
            created_at: row.created_at,
            updated_at: row.updated_at,
            history_from: row.history_from,
            alternation: changes.map(|(last, third_last)| Alternation { last, third_last }),
        });
    }
    Ok(servers)
}

fn read_facts(server: &str, facts: &str) -> Result<Host, RegistryError> {
    serde_json::from_str(facts).map_err(|_| corrupt("facts", "facts", server))
}
