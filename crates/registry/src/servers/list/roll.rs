//! The state of servers, judged in SQL by the rule of [`fleet::liveness`].

use fleet::{
    Millis, Pipeline, ServerId, Status,
    liveness::{SIGHTING_SLACK, SILENT_INTERVALS},
};

use crate::{
    Registry, RegistryError, json, on,
    statement::{Dialect, Statement, rows_of},
};

/// How the pipeline stands, and whom the cache knows to be silent: what states are judged by.
///
/// A server that was heard, and is not paused, is down when we have listened for more than four of its intervals and
/// either its sighting is older than the watermark by more than [`SIGHTING_SLACK`], or the cache says that it is silent.
/// An entry that is older than the sighting is out of date and says nothing. So a lost cache makes us later, never wrong.
#[derive(Debug, Clone, Default)]
pub struct Roll {
    /// How far the pipeline has got.
    pub pipeline: Pipeline,
    /// Servers that the cache knows to be silent, with the moment (Unix ms) from which they are. Entries from the
    /// watermark on are ignored, and all but the latest of one server.
    pub silent: Vec<(ServerId, Millis)>,
}

/// How many servers are in each state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Heard, and not silent yet.
    pub up: u64,
    /// Silent, while we were listening.
    pub down: u64,
    /// Never heard.
    pub unknown: u64,
    /// A person said not to expect them.
    pub paused: u64,
}

/// A [`Roll`] as a statement takes it.
pub(crate) struct Judge {
    /// A sighting whose `silent_at` is before this is silent whatever the cache says.
    silent_before: Option<Millis>,
    /// We have listened for long enough to servers of at most this interval.
    listened_to: Option<Millis>,
    /// Whom the cache says to be silent, if anyone: `[[id, silent_at], …]`.
    silent: Option<String>,
}

impl Roll {
    /// For a statement that judges these servers and no others: after a long silence the cache names the whole fleet.
    pub(crate) fn judge(&self, of: impl Fn(&ServerId) -> bool) -> Result<Judge, RegistryError> {
        let Pipeline { watermark, open_since } = self.pipeline;
        let past = |at: Millis| watermark.is_some_and(|watermark| at < watermark);
        let mut silent: Vec<_> =
            self.silent.iter().filter(|(server, at)| past(*at) && of(server)).copied().collect();
        silent.sort_unstable();
        silent.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                kept.1 = later.1;
            }
            same
        });
        Ok(Judge {
            silent_before: watermark.map(|watermark| watermark - SIGHTING_SLACK),
            // 4 × interval < listened, for whole numbers.
            listened_to: watermark
                .zip(open_since)
                .map(|(watermark, open)| (watermark - open - 1).div_euclid(SILENT_INTERVALS)),
            silent: if silent.is_empty() { None } else { Some(json(&silent)?) },
        })
    }
}

impl Judge {
    /// The table `roll` of those who are silent by the cache's word, out-of-date entries left out; the first of a `WITH`.
    pub(crate) fn push_roll(&self, statement: &mut Statement) {
        let Some(silent) = &self.silent else {
            statement.push("WITH roll (server_id) AS (SELECT '' WHERE false)");
            return;
        };
        statement.push("WITH roll (server_id) AS MATERIALIZED (SELECT g.server_id FROM ");
        match statement.dialect() {
            Dialect::Sqlite => statement
                .push("json_each(")
                .bind(silent.as_str())
                .push(") AS entry JOIN sightings g ON g.server_id = json_extract(entry.value, '$[0]')")
                .push(" WHERE json_extract(entry.value, '$[1]') >= g.silent_at)"),
            Dialect::Postgres => statement
                .push("jsonb_array_elements(CAST(")
                .bind(silent.as_str())
                .push(" AS JSONB)) AS entry (value) JOIN sightings g ON g.server_id = entry.value ->> 0")
                .push(" WHERE CAST(entry.value ->> 1 AS BIGINT) >= g.silent_at)"),
        };
    }

    /// The ids of all that are silent, of which those that are not paused are down.
    pub(crate) fn push_silent(&self, statement: &mut Statement) {
        statement.push("SELECT g.server_id FROM sightings g WHERE ");
        self.push_late(statement);
    }

    /// Whether a sighting `g` is that of a silent server. What is unknown of the pipeline is NULL, and every comparison
    /// with it fails.
    fn push_late(&self, statement: &mut Statement) {
        statement.push("g.interval_ms <= ").bind(self.listened_to);
        statement.push(" AND (g.silent_at < ").bind(self.silent_before);
        if self.silent.is_some() {
            // Not a join: SQLite would compare each server with each entry.
            statement.push(" OR g.server_id IN (SELECT server_id FROM roll)");
        }
        statement.push(")");
    }

    /// The state of `servers s LEFT JOIN sightings g`.
    pub(crate) fn push_status<'a>(&self, statement: &'a mut Statement) -> &'a mut Statement {
        statement
            .push("CASE WHEN s.paused_at IS NOT NULL THEN 'paused' WHEN g.server_id IS NULL THEN 'unknown'");
        statement.push(" WHEN ");
        self.push_late(statement);
        statement.push(" THEN 'down' ELSE 'up' END")
    }

    /// The condition that `servers s LEFT JOIN sightings g` is in this state; planners see through it, as they do not
    /// through a `CASE`.
    pub(crate) fn push_is(&self, statement: &mut Statement, status: Status) {
        match status {
            Status::Paused => {
                statement.push("s.paused_at IS NOT NULL");
            }
            Status::Unknown => {
                statement.push("s.paused_at IS NULL AND g.server_id IS NULL");
            }
            Status::Down => {
                statement.push("s.paused_at IS NULL AND ");
                self.push_late(statement);
            }
            Status::Up => {
                statement.push("s.paused_at IS NULL AND g.server_id IS NOT NULL AND (");
                self.push_late(statement);
                statement.push(") IS NOT TRUE");
            }
        }
    }

    /// How many of all servers are in each state: rows of a state's word and a number.
    ///
    /// Each table is counted by itself, because to join each server with its sighting takes several times as long. Only
    /// paused ones, which are few as a rule, are looked up.
    pub(crate) fn tally(&self, dialect: Dialect) -> Statement {
        let mut statement = Statement::new(dialect);
        self.push_roll(&mut statement);
        statement.push(", paused (id) AS MATERIALIZED (SELECT id FROM servers WHERE paused_at IS NOT NULL)");
        statement.push(", seen (heard, late) AS MATERIALIZED (SELECT COUNT(*), COUNT(CASE WHEN ");
        self.push_late(&mut statement);
        statement.push(" THEN 1 END) FROM sightings g)");
        statement.push(", idle (heard, late) AS MATERIALIZED (SELECT COUNT(*), COUNT(CASE WHEN ");
        self.push_late(&mut statement);
        statement.push(" THEN 1 END) FROM paused JOIN sightings g ON g.server_id = paused.id)");
        statement.push(" SELECT 'paused', COUNT(*) FROM paused");
        statement.push(" UNION ALL SELECT 'down', seen.late - idle.late FROM seen, idle");
        statement.push(
            " UNION ALL SELECT 'up', seen.heard - idle.heard - (seen.late - idle.late) FROM seen, idle",
        );
        statement.push(" UNION ALL SELECT 'unknown', (SELECT COUNT(*) FROM servers)");
        statement.push(" - (SELECT COUNT(*) FROM paused) - (seen.heard - idle.heard) FROM seen, idle");
        statement
    }
}

impl Registry {
    /// How many servers are in each state.
    pub async fn counts(&self, roll: &Roll) -> Result<Counts, RegistryError> {
        let statement = roll.judge(|_| true)?.tally(self.dialect());
        let rows = on!(self, db => rows_of!((String, i64), statement).fetch_all(db.reader()).await?);
        let mut counts = Counts::default();
        for (status, servers) in rows {
            let servers = crate::count("servers", "status", &status, servers)?;
            match read(&status)? {
                Status::Up => counts.up = servers,
                Status::Down => counts.down = servers,
                Status::Unknown => counts.unknown = servers,
                Status::Paused => counts.paused = servers,
            }
        }
        Ok(counts)
    }
}

/// As [`Judge::push_status`] spells it.
pub(crate) const fn spell(status: Status) -> &'static str {
    match status {
        Status::Up => "up",
        Status::Down => "down",
        Status::Unknown => "unknown",
        Status::Paused => "paused",
    }
}

pub(crate) fn read(text: &str) -> Result<Status, RegistryError> {
    let all = [Status::Up, Status::Down, Status::Unknown, Status::Paused];
    all.into_iter().find(|status| spell(*status) == text).ok_or_else(|| RegistryError::Corrupt {
        table: "servers",
        column: "status",
        row: text.to_owned(),
    })
}
