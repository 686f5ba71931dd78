//! Many servers at once, out of a sheet: judged as a whole, then changed as a whole or not at all.

use std::collections::{BTreeMap, HashMap, HashSet, hash_map::Entry};

use fleet::{Millis, ServerId};

use crate::{
    Actor, Profile, ProfileChange, Registry, RegistryError, audit, id, json, on,
    profile::of_server,
    statement::{Text, one_of},
    text,
};

/// What a row of a sheet asks for.
#[derive(Debug, Clone)]
pub struct ImportRow {
    /// By which people find it in the sheet.
    pub number: u32,
    /// The server that it is about; without it, the one of its name or, if there is none, a new one.
    pub id: Option<ServerId>,
    /// The id of that new one.
    pub new_id: ServerId,
    /// What it says of the server.
    pub change: ProfileChange,
}

/// What would become of a row, or what did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
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
const HOLD: Text =
    Text { sqlite: "SELECT 1 WHERE false", postgres: "LOCK TABLE servers IN SHARE ROW EXCLUSIVE MODE" };
/// From so many rows on, an import leaves statistics behind: PostgreSQL would make its own within a minute, and until then
/// take every label and name for rare.
const MANY: usize = 1_000;
const ANALYZE: Text = Text { sqlite: "SELECT 1 WHERE false", postgres: "ANALYZE servers, labels" };
const BY_ID: Text = one_of!("SELECT id, name, address FROM servers WHERE id", "$1", "");
const BY_NAME: Text = one_of!("SELECT id, name, address FROM servers WHERE name_folded", "$1", "");
const LABELS: Text = one_of!("SELECT server_id, key, value FROM labels WHERE server_id", "$1", "");
/// No name begins with a blank, so that names can be exchanged whatever the order.
const FREE_NAMES: Text = one_of!("UPDATE servers SET name_folded = ' ' || id WHERE id", "$1", "");
const UPDATE: Text = Text {
    sqlite: "UPDATE servers SET name = batch.value ->> 1, name_folded = batch.value ->> 2,
        address = batch.value ->> 3, search = batch.value ->> 4, updated_at = $2, version = version + 1
        FROM json_each($1) AS batch WHERE servers.id = batch.value ->> 0",
    postgres: "UPDATE servers SET name = batch.value ->> 1, name_folded = batch.value ->> 2,
        address = batch.value ->> 3, search = batch.value ->> 4, updated_at = $2, version = version + 1
        FROM jsonb_array_elements(CAST($1 AS JSONB)) AS batch (value) WHERE servers.id = batch.value ->> 0",
};
const CREATE: Text = Text {
    sqlite: "INSERT INTO servers
        (id, name, name_folded, address, search, generation, version, created_at, updated_at)
        SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, 0, 1, $2, $2 FROM json_each($1)",
    postgres: "INSERT INTO servers
        (id, name, name_folded, address, search, generation, version, created_at, updated_at)
        SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, 0, 1, $2, $2
        FROM jsonb_array_elements(CAST($1 AS JSONB)) AS batch (value)",
};
const CLEAR_LABELS: Text = one_of!("DELETE FROM labels WHERE server_id", "$1", "");
const ADD_LABELS: Text = Text {
    sqlite: "INSERT INTO labels (server_id, key, value)
        SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each($1)",
    postgres: "INSERT INTO labels (server_id, key, value)
        SELECT value ->> 0, value ->> 1, value ->> 2 FROM jsonb_array_elements(CAST($1 AS JSONB)) AS batch (value)",
};

type Found = (String, String, Option<String>);

impl Registry {
    /// Judges every row, in their order. With `apply`, and if no row is wrong, does what they ask for in one transaction,
    /// with an audit row for each server that is made or changed.
    pub async fn import(
        &self,
        rows: &[ImportRow],
        apply: bool,
        by: &Actor,
        now: Millis,
    ) -> Result<Vec<Verdict>, RegistryError> {
        let (ids, names) = (json(&ids_of(rows))?, json(&names_of(rows))?);
        let dialect = self.dialect();
        Ok(on!(self, db => {
            let mut tx = if apply { db.begin_write().await? } else { db.begin_read().await? };
            if apply {
                sqlx::query(HOLD.on(dialect)).execute(&mut *tx).await?;
            }
            let mut found: Vec<Found> = sqlx::query_as(BY_ID.on(dialect)).bind(ids).fetch_all(&mut *tx).await?;
            let named: Vec<Found> = sqlx::query_as(BY_NAME.on(dialect)).bind(names).fetch_all(&mut *tx).await?;
            found.extend(named);
            let known = json(&found.iter().map(|(id, ..)| id).collect::<HashSet<_>>())?;
            let labels = sqlx::query_as(LABELS.on(dialect)).bind(known).fetch_all(&mut *tx).await?;
            let verdicts = Known::of(found, labels)?.judge(rows);
            let wrong = verdicts.iter().any(|verdict| matches!(verdict, Verdict::Wrong(_)));
            if !apply || wrong {
                return Ok(verdicts);
            }
            let Work { freed, update, create, cleared, labels } = Work::of(&verdicts);
            sqlx::query(FREE_NAMES.on(dialect)).bind(json(&freed)?).execute(&mut *tx).await?;
            sqlx::query(UPDATE.on(dialect)).bind(json(&update)?).bind(now).execute(&mut *tx).await?;
            sqlx::query(CREATE.on(dialect)).bind(json(&create)?).bind(now).execute(&mut *tx).await?;
            sqlx::query(CLEAR_LABELS.on(dialect)).bind(json(&cleared)?).execute(&mut *tx).await?;
            sqlx::query(ADD_LABELS.on(dialect)).bind(json(&labels)?).execute(&mut *tx).await?;
            let changes: Vec<_> = verdicts.iter().filter_map(|verdict| verdict.told(by, now)).collect();
            audit::record(dialect, &changes)?.execute(&mut *tx).await?;
            if changes.len() >= MANY {
                sqlx::query(ANALYZE.on(dialect)).execute(&mut *tx).await?;
            }
            tx.commit().await?;
            verdicts
        }))
    }
}

fn ids_of(rows: &[ImportRow]) -> Vec<ServerId> {
    rows.iter().filter_map(|row| row.id).collect()
}

/// Folded.
fn names_of(rows: &[ImportRow]) -> Vec<String> {
    rows.iter().filter_map(|row| row.change.name.as_deref()).map(text::fold_name).collect()
}

/// What is written, as statements take it.
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
    fn of(verdicts: &'a [Verdict]) -> Self {
        let mut work = Self::default();
        for verdict in verdicts {
            match verdict {
                Verdict::Create { id, profile } => {
                    work.create.push(written(*id, profile));
                    work.label(*id, profile);
                }
                Verdict::Update { id, before, after } => {
                    work.update.push(written(*id, after));
                    if before.folded() != after.folded() {
                        work.freed.push(*id);
                    }
                    if before.labels != after.labels {
                        work.cleared.push(*id);
                        work.label(*id, after);
                    }
                }
                Verdict::Unchanged { .. } | Verdict::Wrong(_) => {}
            }
        }
        work
    }

    fn label(&mut self, id: ServerId, profile: &'a Profile) {
        self.labels.extend(profile.labels.iter().map(|(key, value)| (id, key.as_str(), value.as_str())));
    }
}

fn written(id: ServerId, profile: &Profile) -> Written<'_> {
    (id, &profile.name, profile.folded(), profile.address.as_deref(), profile.search())
}

impl Verdict {
    fn told<'a>(&self, by: &'a Actor, now: Millis) -> Option<crate::Change<'a>> {
        match self {
            Self::Create { id, profile } => {
                Some(of_server(by, now, "server.create", *id, None, Some(profile.told())))
            }
            Self::Update { id, before, after } => {
                Some(of_server(by, now, "server.change", *id, Some(before.told()), Some(after.told())))
            }
            Self::Unchanged { .. } | Self::Wrong(_) => None,
        }
    }
}

impl Known {
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
    fn judge(&self, rows: &[ImportRow]) -> Vec<Verdict> {
        let mut verdicts: Vec<Verdict> = rows.iter().map(|row| self.judge_alone(row)).collect();
        let (mut servers, mut names) = (HashMap::new(), HashMap::new());
        for (row, verdict) in rows.iter().zip(&mut verdicts) {
            let Some((server, profile)) = self.outcome(verdict) else { continue };
            let folded = profile.folded();
            if let Some(first) = servers.insert(server, row.number) {
                *verdict = Verdict::Wrong(ImportFault::SameServer(first));
            } else if let Some(first) = names.insert(folded, row.number) {
                *verdict = Verdict::Wrong(ImportFault::SameName(first));
            }
        }
        // Names that become free are free for the others.
        for verdict in &mut verdicts {
            let Some((server, profile)) = self.outcome(verdict) else { continue };
            let owner = self.by_name.get(&profile.folded()).filter(|owner| **owner != server);
            if owner.is_some_and(|owner| !servers.contains_key(owner)) {
                *verdict = Verdict::Wrong(ImportFault::NameTaken);
            }
        }
        verdicts
    }

    fn judge_alone(&self, row: &ImportRow) -> Verdict {
        let folded = row.change.name.as_deref().map(text::fold_name);
        let server = match (row.id, &folded) {
            (Some(id), _) => Some(id),
            (None, Some(folded)) => self.by_name.get(folded).copied(),
            (None, None) => return Verdict::Wrong(ImportFault::NoName),
        };
        let Some(id) = server else {
            return Verdict::Create { id: row.new_id, profile: Profile::default().with(&row.change) };
        };
        let Some(before) = self.profiles.get(&id) else { return Verdict::Wrong(ImportFault::UnknownId) };
        let after = before.with(&row.change);
        if *before == after {
            Verdict::Unchanged { id }
        } else {
            Verdict::Update { id, before: before.clone(), after }
        }
    }

    /// The server of a row, as it will be.
    fn outcome<'a>(&'a self, verdict: &'a Verdict) -> Option<(ServerId, &'a Profile)> {
        match verdict {
            Verdict::Create { id, profile } | Verdict::Update { id, after: profile, .. } => {
                Some((*id, profile))
            }
            Verdict::Unchanged { id } => Some((*id, self.profiles.get(id)?)),
            Verdict::Wrong(_) => None,
        }
    }
}
