//! Many servers at once, out of a sheet: judged as a whole, then changed as a whole or not at all.

use std::collections::{BTreeMap, HashMap, HashSet, hash_map::Entry};

use fleet::{Millis, ServerId};

use super::profile::{Profile, ProfileChange};
use crate::{
    audit::{self, Action, Actor, Change},
    engine::{PerEngine, Registry, RegistryError, Tx, fold, id, json, one_of, query},
};

/// What a row of a sheet asks for.
#[derive(Debug, Clone)]
pub struct ImportRow {
    /// Its number in the sheet, by which people find it.
    pub number: u32,
    /// The server that it is about; without it, the one of its name or, if there is none, a new one.
    pub id: Option<ServerId>,
    /// The id of that new one.
    pub new_id: ServerId,
    /// What it says of the server.
    pub change: ProfileChange,
}

/// What becomes of a row or, without `apply`, would.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportOutcome {
    /// A server without a credential, which enrols later by its name.
    Create {
        /// Its id.
        id: ServerId,
        /// As it is made.
        profile: Profile,
    },
    /// A server is changed.
    Update {
        /// Its id.
        id: ServerId,
        /// As it was.
        before: Profile,
        /// As it becomes.
        after: Profile,
    },
    /// A server is as the row says.
    Unchanged {
        /// Its id.
        id: ServerId,
    },
    /// The row cannot be followed.
    Wrong(ImportFault),
}

/// Why a row cannot be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportFault {
    /// There is no server of its id.
    UnknownId,
    /// It has neither an id nor a name.
    NoName,
    /// A server that the sheet does not rename has this name.
    NameTaken,
    /// It changes how many approve orders, which no sheet does.
    Approvals,
    /// Another row, of this number, is about the same server.
    SameServer(u32),
    /// Another row, of this number, gives the same name.
    SameName(u32),
}

/// The servers that the rows may be about.
#[derive(Default)]
struct Known {
    profiles: HashMap<ServerId, Profile>,
    by_name: HashMap<String, ServerId>,
}

/// Nobody else changes servers until the end of the transaction. SQLite has one writer in any case.
const HOLD: PerEngine =
    PerEngine { sqlite: "SELECT 1 WHERE false", postgres: "LOCK TABLE servers IN SHARE ROW EXCLUSIVE MODE" };
/// From so many rows on, an import leaves statistics behind: PostgreSQL would make its own within a minute, and until then
/// take every label and name for rare.
const MANY: usize = 1_000;
const ANALYZE: PerEngine = PerEngine { sqlite: "SELECT 1 WHERE false", postgres: "ANALYZE servers, labels" };
const BY_ID: PerEngine = one_of!("SELECT id, name, address FROM servers WHERE id", "");
const BY_NAME: PerEngine = one_of!("SELECT id, name, address FROM servers WHERE name_folded", "");
const LABELS: PerEngine = one_of!("SELECT server_id, key, value FROM labels WHERE server_id", "");
/// Gives servers names that nobody can have, since no name begins with a blank: so rows may exchange names in any order.
const FREE_NAMES: PerEngine = one_of!("UPDATE servers SET name_folded = ' ' || id WHERE id", "");
const UPDATE: PerEngine = PerEngine {
    sqlite: "UPDATE servers SET name = batch.value ->> 1, name_folded = batch.value ->> 2,
        address = batch.value ->> 3, search = batch.value ->> 4, updated_at = $2, version = version + 1
        FROM json_each($1) AS batch WHERE servers.id = batch.value ->> 0",
    postgres: "UPDATE servers SET name = batch.value ->> 1, name_folded = batch.value ->> 2,
        address = batch.value ->> 3, search = batch.value ->> 4, updated_at = $2, version = version + 1
        FROM jsonb_array_elements(CAST($1 AS JSONB)) AS batch (value) WHERE servers.id = batch.value ->> 0",
};
const CREATE: PerEngine = PerEngine {
    sqlite: "INSERT INTO servers
        (id, name, name_folded, address, search, generation, version, created_at, updated_at)
        SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, 0, 1, $2, $2 FROM json_each($1)",
    postgres: "INSERT INTO servers
        (id, name, name_folded, address, search, generation, version, created_at, updated_at)
        SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, 0, 1, $2, $2
        FROM jsonb_array_elements(CAST($1 AS JSONB)) AS batch (value)",
};
const CLEAR_LABELS: PerEngine = one_of!("DELETE FROM labels WHERE server_id", "");
const ADD_LABELS: PerEngine = PerEngine {
    sqlite: "INSERT INTO labels (server_id, key, value)
        SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each($1)",
    postgres: "INSERT INTO labels (server_id, key, value)
        SELECT value ->> 0, value ->> 1, value ->> 2 FROM jsonb_array_elements(CAST($1 AS JSONB)) AS batch (value)",
};

type Found = (String, String, Option<String>);

impl Registry {
    /// Judges every row, in their order. With `apply`, and if no row is wrong, does what they ask for in one transaction,
    /// with an audit row for each server that is made or changed.
    #[crate::engine::boxed]
    pub async fn import(
        &self,
        rows: &[ImportRow],
        apply: bool,
        by: &Actor,
        now: Millis,
    ) -> Result<Vec<ImportOutcome>, RegistryError> {
        if !apply {
            return self.read(async |tx| Ok(Known::find(tx, rows).await?.judge(rows))).await;
        }
        self.write(async |tx| {
            tx.run(HOLD).await?;
            let outcomes = Known::find(tx, rows).await?.judge(rows);
            if outcomes.iter().any(|outcome| matches!(outcome, ImportOutcome::Wrong(_))) {
                return Ok(outcomes);
            }
            Work::of(&outcomes).write(tx, now).await?;
            let changes: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.told(by, now)).collect();
            audit::record(tx, &changes).await?;
            if changes.len() >= MANY {
                tx.run(ANALYZE).await?;
            }
            Ok(outcomes)
        })
        .await
    }
}

fn ids_of(rows: &[ImportRow]) -> Vec<ServerId> {
    rows.iter().filter_map(|row| row.id).collect()
}

/// The names that the rows give, folded.
fn names_of(rows: &[ImportRow]) -> Vec<String> {
    rows.iter().filter_map(|row| row.change.name.as_deref()).map(fold::fold_name).collect()
}

/// What an import writes, as statements take it.
#[derive(Default)]
struct Work<'a> {
    freed: Vec<ServerId>,
    update: Vec<Written<'a>>,
    create: Vec<Written<'a>>,
    cleared: Vec<ServerId>,
    labels: Vec<(ServerId, &'a str, &'a str)>,
}

/// Id, name, the same folded, address, and what a search looks in.
type Written<'a> = (ServerId, &'a str, String, Option<&'a str>, String);

impl<'a> Work<'a> {
    fn of(outcomes: &'a [ImportOutcome]) -> Self {
        let mut work = Self::default();
        for outcome in outcomes {
            match outcome {
                ImportOutcome::Create { id, profile } => {
                    work.create.push(written(*id, profile));
                    work.label(*id, profile);
                }
                ImportOutcome::Update { id, before, after } => {
                    work.update.push(written(*id, after));
                    if before.folded() != after.folded() {
                        work.freed.push(*id);
                    }
                    if before.labels != after.labels {
                        work.cleared.push(*id);
                        work.label(*id, after);
                    }
                }
                ImportOutcome::Unchanged { .. } | ImportOutcome::Wrong(_) => {}
            }
        }
        work
    }

    /// Writes it by one statement for each table and each way to write there.
    async fn write(&self, tx: &mut Tx<'_>, now: Millis) -> Result<(), RegistryError> {
        tx.run(query(FREE_NAMES).bind(json(&self.freed)?)).await?;
        tx.run(query(UPDATE).bind(json(&self.update)?).bind(now)).await?;
        tx.run(query(CREATE).bind(json(&self.create)?).bind(now)).await?;
        tx.run(query(CLEAR_LABELS).bind(json(&self.cleared)?)).await?;
        tx.run(query(ADD_LABELS).bind(json(&self.labels)?)).await.map(drop)
    }

    fn label(&mut self, id: ServerId, profile: &'a Profile) {
        self.labels.extend(profile.labels.iter().map(|(key, value)| (id, key.as_str(), value.as_str())));
    }
}

fn written(id: ServerId, profile: &Profile) -> Written<'_> {
    (id, &profile.name, profile.folded(), profile.address.as_deref(), profile.search())
}

impl ImportOutcome {
    fn told<'a>(&self, by: &'a Actor, now: Millis) -> Option<Change<'a>> {
        match self {
            Self::Create { id, profile } => {
                Some(Change::new(by, now, Action::ServerCreate, id).after(profile.told()))
            }
            Self::Update { id, before, after } => {
                let change = Change::new(by, now, Action::ServerChange, id);
                Some(change.before(before.told()).after(after.told()))
            }
            Self::Unchanged { .. } | Self::Wrong(_) => None,
        }
    }
}

impl Known {
    async fn find(tx: &mut Tx<'_>, rows: &[ImportRow]) -> Result<Self, RegistryError> {
        let mut found: Vec<Found> = tx.all(query(BY_ID).bind(json(&ids_of(rows))?)).await?;
        found.extend(tx.all::<Found>(query(BY_NAME).bind(json(&names_of(rows))?)).await?);
        let servers = json(&found.iter().map(|(id, ..)| id).collect::<HashSet<_>>())?;
        let labels = tx.all(query(LABELS).bind(servers)).await?;
        Self::of(found, labels)
    }

    fn of(found: Vec<Found>, labels: Vec<(String, String, String)>) -> Result<Self, RegistryError> {
        let mut labels_of: HashMap<String, BTreeMap<String, String>> = HashMap::new();
        for (server, key, value) in labels {
            labels_of.entry(server).or_default().insert(key, value);
        }
        let mut known = Self::default();
        for (key, name, address) in found {
            let server = id("servers", "id", &key)?;
            let Entry::Vacant(vacant) = known.profiles.entry(server) else { continue };
            let labels = labels_of.remove(&key).unwrap_or_default();
            let profile = vacant.insert(Profile { name, address, labels });
            known.by_name.insert(profile.folded(), server);
        }
        Ok(known)
    }

    /// In the order of the rows.
    fn judge(&self, rows: &[ImportRow]) -> Vec<ImportOutcome> {
        let mut outcomes: Vec<ImportOutcome> = rows.iter().map(|row| self.judge_alone(row)).collect();
        let (mut servers, mut names) = (HashMap::new(), HashMap::new());
        for (row, outcome) in rows.iter().zip(&mut outcomes) {
            let Some((server, profile)) = self.server_of(outcome) else { continue };
            let folded = profile.folded();
            if let Some(first) = servers.insert(server, row.number) {
                *outcome = ImportOutcome::Wrong(ImportFault::SameServer(first));
            } else if let Some(first) = names.insert(folded, row.number) {
                *outcome = ImportOutcome::Wrong(ImportFault::SameName(first));
            }
        }
        // A name that one row gives up is free for another.
        for outcome in &mut outcomes {
            let Some((server, profile)) = self.server_of(outcome) else { continue };
            let owner = self.by_name.get(&profile.folded()).filter(|owner| **owner != server);
            if owner.is_some_and(|owner| !servers.contains_key(owner)) {
                *outcome = ImportOutcome::Wrong(ImportFault::NameTaken);
            }
        }
        outcomes
    }

    fn judge_alone(&self, row: &ImportRow) -> ImportOutcome {
        let folded = row.change.name.as_deref().map(fold::fold_name);
        let server = match (row.id, &folded) {
            (Some(id), _) => Some(id),
            (None, Some(folded)) => self.by_name.get(folded).copied(),
            (None, None) => return ImportOutcome::Wrong(ImportFault::NoName),
        };
        let Some(id) = server else {
            return ImportOutcome::Create { id: row.new_id, profile: Profile::default().with(&row.change) };
        };
        let Some(before) = self.profiles.get(&id) else {
            return ImportOutcome::Wrong(ImportFault::UnknownId);
        };
        let after = before.with(&row.change);
        if *before == after {
            ImportOutcome::Unchanged { id }
        } else if !before.is_approved_like(&after) {
            ImportOutcome::Wrong(ImportFault::Approvals)
        } else {
            ImportOutcome::Update { id, before: before.clone(), after }
        }
    }

    /// The server that a row is about, and what it will say of it.
    fn server_of<'a>(&'a self, outcome: &'a ImportOutcome) -> Option<(ServerId, &'a Profile)> {
        match outcome {
            ImportOutcome::Create { id, profile } | ImportOutcome::Update { id, after: profile, .. } => {
                Some((*id, profile))
            }
            ImportOutcome::Unchanged { id } => Some((*id, self.profiles.get(id)?)),
            ImportOutcome::Wrong(_) => None,
        }
    }
}
