//! The status of servers, judged in SQL by the rule of [`fleet::liveness`].

use fleet::{
    Millis, Pipeline, ServerId, Status,
    liveness::{SIGHTING_SLACK, SILENT_INTERVALS},
};

use crate::engine::{Dialect, Registry, RegistryError, Statement, corrupt, count, json};
use crate::servers::pause::{is_expected, paused};

/// How far the pipeline has got, and which servers the cache knows to be silent: what the status of servers is judged by.
///
/// A server that was heard, and is not paused, is down when gates have been open for more than four of its intervals and
/// either its sighting is older than the watermark by more than [`SIGHTING_SLACK`], or the cache says that it is silent.
/// What the cache says of a server is out of date, and counts for nothing, if its sighting is newer. So without the cache
/// the verdict comes later, and is never wrong.
#[derive(Debug, Clone, Default)]
pub struct Roll {
    /// How far the pipeline has got.
    pub pipeline: Pipeline,
    /// Servers that the cache knows to be silent, each with the moment (Unix ms) since when. A moment that the watermark has
    /// not passed is ignored. Of several moments of one server the latest counts.
    pub silent: Vec<(ServerId, Millis)>,
}

/// How many servers have each status.
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
    /// Gates have been open for long enough to judge a server whose interval is at most this.
    listened_to: Option<Millis>,
    /// The servers that the cache says are silent, if there are any: `[[id, silent_at], …]`.
    silent: Option<String>,
}

impl Roll {
    /// A judge for a statement that needs the status of the servers `of` and of no others. What the cache says of others is
    /// left out: when the whole fleet is silent it names every server.
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
    /// Appends a `WITH` whose first table is `roll`: the ids of the servers that are silent by what the cache says, unless it
    /// is out of date.
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

    /// Appends a query for the ids of all silent servers. Those of them that are not paused are down.
    pub(crate) fn push_silent(&self, statement: &mut Statement) {
        statement.push("SELECT g.server_id FROM sightings g WHERE ");
        self.push_late(statement);
    }

    /// Appends the condition that a sighting `g` is that of a silent server. What is not known of the pipeline is NULL, so
    /// that the condition is then never true.
    fn push_late(&self, statement: &mut Statement) {
        statement.push("g.interval_ms <= ").bind(self.listened_to);
        statement.push(" AND (g.silent_at < ").bind(self.silent_before);
        if self.silent.is_some() {
            // Not a join: SQLite would compare each server with each entry.
            statement.push(" OR g.server_id IN (SELECT server_id FROM roll)");
        }
        statement.push(")");
    }

    /// Appends the word for the status of `servers s LEFT JOIN sightings g`.
    pub(crate) fn push_status<'a>(&self, statement: &'a mut Statement) -> &'a mut Statement {
        statement.push(concat!(
            "CASE WHEN s.id IN (",
            paused!(),
            ") THEN 'paused' WHEN g.server_id IS NULL THEN 'unknown'"
        ));
        statement.push(" WHEN ");
        self.push_late(statement);
        statement.push(" THEN 'down' ELSE 'up' END")
    }

    /// Appends the condition that `servers s LEFT JOIN sightings g` has this status. It could compare with
    /// [`push_status`](Self::push_status), but no planner uses an index for a `CASE`.
    pub(crate) fn push_is(&self, statement: &mut Statement, status: Status) {
        match status {
            Status::Paused => {
                statement.push(concat!("s.id IN (", paused!(), ")"));
            }
            Status::Unknown => {
                statement.push(concat!(is_expected!("s"), " AND g.server_id IS NULL"));
            }
            Status::Down => {
                statement.push(concat!(is_expected!("s"), " AND "));
                self.push_late(statement);
            }
            Status::Up => {
                statement.push(concat!(is_expected!("s"), " AND g.server_id IS NOT NULL AND ("));
                self.push_late(statement);
                statement.push(") IS NOT TRUE");
            }
        }
    }

    /// A query for how many servers have each status: rows of the word for a status and a number.
    ///
    /// It counts each table by itself, because to join each server with its sighting takes several times as long. It looks
    /// up the sightings of paused servers alone, of which there are few as a rule.
    pub(crate) fn tally(&self, dialect: Dialect) -> Statement {
        let mut statement = Statement::new(dialect);
        self.push_roll(&mut statement);
        statement.push(concat!(", paused (id) AS MATERIALIZED (", paused!(), ")"));
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
    /// How many servers have each status.
    #[crate::engine::boxed]
    pub async fn counts(&self, roll: &Roll) -> Result<Counts, RegistryError> {
        let statement = roll.judge(|_| true)?.tally(self.dialect());
        let rows: Vec<(String, i64)> = self.reader().all(statement).await?;
        let mut counts = Counts::default();
        for (status, servers) in rows {
            let servers = count("servers", "status", &status, servers)?;
            match status_of(&status)? {
                Status::Up => counts.up = servers,
                Status::Down => counts.down = servers,
                Status::Unknown => counts.unknown = servers,
                Status::Paused => counts.paused = servers,
            }
        }
        Ok(counts)
    }
}

/// The status of this word.
pub(crate) fn status_of(word: &str) -> Result<Status, RegistryError> {
    word.parse().map_err(|_| corrupt("servers", "status", word))
}
