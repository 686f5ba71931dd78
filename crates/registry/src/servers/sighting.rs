//! What workers saw of servers: one row a server, which only workers write.

use std::collections::{BTreeMap, HashMap};

use fleet::{
    Interval, Millis, ServerId,
    access::SAME_BOOT,
    liveness::{Beat, FROM_A_WRONG_CLOCK},
    wire::v1::Host,
};

use crate::engine::{
    Dialect, PerEngine, Query, Registry, RegistryError, corrupt, count, fold, id, json, one_of, query, row,
};

/// What a worker needs to know of a server before it stores its snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Lowest generation of its credential that is accepted.
    pub generation: u32,
    /// How far its sighting has got, if there is one.
    pub sighting: Option<Marks>,
    /// Whether it breaks a rule, or did.
    pub has_states: bool,
}

/// How far a sighting has got. Times in Unix ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    /// The newest beat written.
    pub beat: Beat,
    /// How often the server reports, by that beat.
    pub interval: Interval,
    /// Greatest `sampled_at` written.
    pub sampled_at: Millis,
    /// `sampled_at` of the facts written, if there are any.
    pub facts_at: Option<Millis>,
}

row! {
    struct StandingRow {
        id: String,
        generation: i64,
        received_at: Option<Millis>,
        silent_at: Option<Millis>,
        interval_ms: Option<Millis>,
        sampled_at: Option<Millis>,
        facts_at: Option<Millis>,
        has_states: i64,
    }
}

/// What a worker saw of one server. All times in Unix ms.
#[derive(Debug, Clone, PartialEq)]
pub struct Sighting {
    /// Which server.
    pub server: ServerId,
    /// Gate time of its newest beat.
    pub received_at: Millis,
    /// From when it counts as silent after that beat.
    pub silent_at: Millis,
    /// How often it reports, by that beat.
    pub interval: Interval,
    /// When its newest sample was taken.
    pub sampled_at: Millis,
    /// Facts and the `sampled_at` they came with, if it told any.
    pub facts: Option<(Millis, Host)>,
}

/// The end of the statement that writes sightings: [`Beat::replaces`] in SQL. The placeholder is the latest time that a
/// right clock can have told. A macro, because `concat!` takes nothing but literals.
macro_rules! keep_newest_beat {
    ($latest:literal) => {
        concat!(
            "
ON CONFLICT (server_id) DO UPDATE SET
    received_at = CASE WHEN ",
            keep_newest_beat!(@replaces $latest),
            " THEN excluded.received_at ELSE sightings.received_at END,
    silent_at = CASE WHEN ",
            keep_newest_beat!(@replaces $latest),
            " THEN excluded.silent_at ELSE sightings.silent_at END,
    interval_ms = CASE WHEN ",
            keep_newest_beat!(@replaces $latest),
            " THEN excluded.interval_ms ELSE sightings.interval_ms END,
    sampled_at = CASE WHEN excluded.sampled_at > sightings.sampled_at
                      THEN excluded.sampled_at ELSE sightings.sampled_at END
WHERE ",
            keep_newest_beat!(@replaces $latest),
            " OR excluded.sampled_at > sightings.sampled_at"
        )
    };
    (@replaces $latest:literal) => {
        concat!(
            "(sightings.received_at > ",
            $latest,
            " OR (excluded.received_at, excluded.silent_at) > (sightings.received_at, sightings.silent_at))"
        )
    };
}

/// The end of the statement that writes facts; the placeholder is [`SAME_BOOT`]. A boot that was told neither last nor before
/// begins anew; one that was told before is one more change between these two. A macro for the same reason.
macro_rules! keep_newest {
    ($same_boot:literal) => {
        concat!(
            "
ON CONFLICT (server_id) DO UPDATE SET
    facts_at = excluded.facts_at, facts = excluded.facts, search = excluded.search,
    boot_at = COALESCE(excluded.boot_at, facts.boot_at),
    boot_before = CASE WHEN ",
            keep_newest!(@other "facts.boot_at", $same_boot),
            " THEN facts.boot_at ELSE facts.boot_before END,
    changed_1 = CASE WHEN ",
            keep_newest!(@other "facts.boot_at", $same_boot),
            " THEN excluded.facts_at ELSE facts.changed_1 END,
    changed_2 = CASE WHEN ",
            keep_newest!(@other "facts.boot_at", $same_boot),
            " THEN CASE WHEN ",
            keep_newest!(@other "facts.boot_before", $same_boot),
            " THEN NULL ELSE facts.changed_1 END ELSE facts.changed_2 END,
    changed_3 = CASE WHEN ",
            keep_newest!(@other "facts.boot_at", $same_boot),
            " THEN CASE WHEN ",
            keep_newest!(@other "facts.boot_before", $same_boot),
            " THEN NULL ELSE facts.changed_2 END ELSE facts.changed_3 END
WHERE excluded.facts_at > facts.facts_at"
        )
    };
    (@other $boot:literal, $same_boot:literal) => {
        concat!("abs(excluded.boot_at - ", $boot, ") > ", $same_boot)
    };
}

const STANDING: PerEngine = one_of!(
    "SELECT s.id, s.generation, g.received_at, g.silent_at, g.interval_ms, g.sampled_at, f.facts_at,
    CAST(CASE WHEN EXISTS (SELECT 1 FROM alert_states a WHERE a.server = s.id) THEN 1 ELSE 0 END AS BIGINT) AS has_states
FROM servers s LEFT JOIN sightings g ON g.server_id = s.id LEFT JOIN facts f ON f.server_id = s.id
WHERE s.id",
    ""
);

/// A batch is joined with `servers`, so that a server which was deleted meanwhile is left out and fails nothing.
/// `WHERE true` because SQLite otherwise takes `ON` for a part of the join; `ORDER BY` because PostgreSQL joins in any
/// order, and writers that lock rows in one order never wait for each other in a ring.
const SIGHT: PerEngine = PerEngine {
    sqlite: concat!(
        "INSERT INTO sightings (server_id, received_at, silent_at, interval_ms, sampled_at)
SELECT s.id, json_extract(batch.value, '$[1]'), json_extract(batch.value, '$[2]'),
       json_extract(batch.value, '$[3]'), json_extract(batch.value, '$[4]')
FROM json_each($1) AS batch JOIN servers s ON s.id = json_extract(batch.value, '$[0]')
WHERE true",
        keep_newest_beat!("$2")
    ),
    postgres: concat!(
        "INSERT INTO sightings (server_id, received_at, silent_at, interval_ms, sampled_at)
SELECT s.id, batch.received_at, batch.silent_at, batch.interval_ms, batch.sampled_at
FROM UNNEST($1, $2, $3, $4, $5) AS batch (server_id, received_at, silent_at, interval_ms, sampled_at)
JOIN servers s ON s.id = batch.server_id
ORDER BY s.id",
        keep_newest_beat!("$6")
    ),
};

const TELL: PerEngine = PerEngine {
    sqlite: concat!(
        "INSERT INTO facts (server_id, facts_at, facts, search, boot_at)
SELECT s.id, json_extract(batch.value, '$[1]'), json_extract(batch.value, '$[2]'), json_extract(batch.value, '$[3]'),
       json_extract(batch.value, '$[4]')
FROM json_each($1) AS batch JOIN servers s ON s.id = json_extract(batch.value, '$[0]')
WHERE true",
        keep_newest!("$2")
    ),
    postgres: concat!(
        "INSERT INTO facts (server_id, facts_at, facts, search, boot_at)
SELECT s.id, batch.facts_at, batch.facts, batch.search, batch.boot_at
FROM UNNEST($1, $2, $3, $4, $5) AS batch (server_id, facts_at, facts, search, boot_at)
JOIN servers s ON s.id = batch.server_id
ORDER BY s.id",
        keep_newest!("$6")
    ),
};

const SLOW: &str = "SELECT server_id, interval_ms FROM sightings WHERE interval_ms > $1";

const CORRECT: &str = "
UPDATE sightings SET received_at = $1, silent_at = silent_at - received_at + $1 WHERE received_at > $2";

/// What one server told of itself: when, what, the text in which a search finds it, and when it booted.
type Told = (ServerId, Millis, String, String, Option<Millis>);

impl Registry {
    /// What is known of these servers, by one query; one that is unknown or deleted is left out.
    #[crate::engine::boxed]
    pub async fn standing(&self, servers: &[ServerId]) -> Result<HashMap<ServerId, Standing>, RegistryError> {
        if servers.is_empty() {
            return Ok(HashMap::new());
        }
        let ids = json(&servers)?;
        // By the writer, though it only reads: lists that take long must not hold up the worker.
        let rows: Vec<StandingRow> = self.writer().all(query(STANDING).bind(ids)).await?;
        let mut standing = HashMap::with_capacity(rows.len());
        for row in rows {
            let generation = count("servers", "generation", &row.id, row.generation)?;
            let (sighting, has_states) = (row.marks()?, row.has_states != 0);
            standing.insert(id("servers", "id", &row.id)?, Standing { generation, sighting, has_states });
        }
        Ok(standing)
    }

    /// Writes sightings, by one statement, and one more if any of them brings facts; all of it or nothing.
    ///
    /// In whatever order they come and however often, the newest beat stays with its interval, the greatest `sampled_at`,
    /// and the facts of the greatest `sampled_at` that had any; a beat that is ahead of the clock, which says `now`,
    /// [loses to any](Beat::replaces). A server that is not there (any more) is left out. Every row costs a write, so
    /// send only those that say something new.
    #[crate::engine::boxed]
    pub async fn sight(&self, sightings: &[Sighting], now: Millis) -> Result<(), RegistryError> {
        if sightings.is_empty() {
            return Ok(());
        }
        let merged = merge(sightings, now);
        let mut told: Vec<Told> = Vec::new();
        for one in merged.values() {
            if let Some((at, host)) = &one.facts {
                let search = fold::searchable(host.hostname.as_deref());
                told.push((one.server, *at, json(host)?, search, host.boot_at));
            }
        }
        let see = see(self.dialect(), &merged, now)?;
        if told.is_empty() {
            return self.writer().run(see).await.map(drop);
        }
        let tell = tell(self.dialect(), &told)?;
        self.write(async |tx| {
            tx.run(see).await?;
            tx.run(tell).await.map(drop)
        })
        .await
    }

    /// The servers that report less often than `interval` says, in milliseconds, each with its interval.
    ///
    /// # Errors
    /// `Unavailable`, and `Corrupt` for a row that no release writes.
    #[crate::engine::boxed]
    pub async fn slow_servers(&self, interval: Millis) -> Result<Vec<(ServerId, Interval)>, RegistryError> {
        let rows: Vec<(String, Millis)> = self.reader().all(query(SLOW).bind(interval)).await?;
        let slow = |(server, interval_ms): (String, Millis)| {
            let interval = Interval::try_from(interval_ms);
            let interval = interval.map_err(|_| corrupt("sightings", "interval_ms", &server))?;
            Ok((id("sightings", "server_id", &server)?, interval))
        };
        rows.into_iter().map(slow).collect()
    }

    /// Takes beats that are ahead of the clock, which says `now`, as heard now, and answers how many there were: whoever
    /// sent them and is gone is then silent in time.
    #[crate::engine::boxed]
    pub async fn correct_beats(&self, now: Millis) -> Result<u64, RegistryError> {
        self.writer().run(query(CORRECT).bind(now).bind(now + FROM_A_WRONG_CLOCK)).await
    }
}

impl StandingRow {
    fn marks(&self) -> Result<Option<Marks>, RegistryError> {
        let Self { id, received_at, silent_at, interval_ms, sampled_at, facts_at, .. } = self;
        let Some((((received_at, silent_at), interval_ms), sampled_at)) =
            received_at.zip(*silent_at).zip(*interval_ms).zip(*sampled_at)
        else {
            return Ok(None);
        };
        let interval =
            Interval::try_from(interval_ms).map_err(|_| corrupt("sightings", "interval_ms", id))?;
        Ok(Some(Marks { beat: Beat { received_at, silent_at }, interval, sampled_at, facts_at: *facts_at }))
    }
}

fn see(dialect: Dialect, merged: &BTreeMap<ServerId, Sighting>, now: Millis) -> Result<Query, RegistryError> {
    let latest = now + FROM_A_WRONG_CLOCK;
    match dialect {
        Dialect::Sqlite => {
            let row =
                |one: &Sighting| (one.server, one.received_at, one.silent_at, one.interval, one.sampled_at);
            Ok(query(SIGHT).bind(json(&merged.values().map(row).collect::<Vec<_>>())?).bind(latest))
        }
        Dialect::Postgres => {
            let times = |of: fn(&Sighting) -> Millis| merged.values().map(of).collect::<Vec<_>>();
            Ok(query(SIGHT)
                .bind(merged.keys().map(ServerId::to_string).collect::<Vec<_>>())
                .bind(times(|one| one.received_at))
                .bind(times(|one| one.silent_at))
                .bind(times(|one| one.interval.millis()))
                .bind(times(|one| one.sampled_at))
                .bind(latest))
        }
    }
}

fn tell(dialect: Dialect, told: &[Told]) -> Result<Query, RegistryError> {
    match dialect {
        Dialect::Sqlite => Ok(query(TELL).bind(json(&told)?).bind(SAME_BOOT)),
        Dialect::Postgres => Ok(query(TELL)
            .bind(told.iter().map(|(server, ..)| server.to_string()).collect::<Vec<_>>())
            .bind(told.iter().map(|(_, at, ..)| *at).collect::<Vec<_>>())
            .bind(told.iter().map(|(_, _, facts, ..)| facts.clone()).collect::<Vec<_>>())
            .bind(told.iter().map(|(.., search, _)| search.clone()).collect::<Vec<_>>())
            .bind(told.iter().map(|(.., boot_at)| *boot_at).collect::<Vec<_>>())
            .bind(SAME_BOOT)),
    }
}

/// At most one a server, in the order of ids: the key, so that a page of the table is met once.
fn merge(sightings: &[Sighting], now: Millis) -> BTreeMap<ServerId, Sighting> {
    let mut merged: BTreeMap<ServerId, Sighting> = BTreeMap::new();
    for sighting in sightings {
        merged
            .entry(sighting.server)
            .and_modify(|held| held.take(sighting, now))
            .or_insert_with(|| sighting.clone());
    }
    merged
}

impl Sighting {
    fn beat(&self) -> Beat {
        Beat { received_at: self.received_at, silent_at: self.silent_at }
    }

    fn take(&mut self, other: &Self, now: Millis) {
        if other.beat().replaces(self.beat(), now) {
            (self.received_at, self.silent_at) = (other.received_at, other.silent_at);
            self.interval = other.interval;
        }
        self.sampled_at = self.sampled_at.max(other.sampled_at);
        let told_at = |facts: &Option<(Millis, Host)>| facts.as_ref().map(|(at, _)| *at);
        if told_at(&other.facts) > told_at(&self.facts) {
            self.facts.clone_from(&other.facts);
        }
    }
}
