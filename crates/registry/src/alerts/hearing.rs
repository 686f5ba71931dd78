//! Whether anybody is heard: canaries, and everybody else.

use fleet::{
    Interval, Millis, ServerId,
    alert::deaf::{CANARY, Canary},
    liveness::SILENT_INTERVALS,
};

use super::{
    judge::{batch, per_engine},
    silence::{Lasting, keys},
};
use crate::{
    engine::{PerEngine, Registry, RegistryError, corrupt, id, json, query},
    servers::is_expected,
};

/// Most canaries that are asked.
const MOST_CANARIES: i64 = 1_000;

/// Of whom has to be heard again first after a pause, nothing is known.
const CANARIES: &str = concat!(
    "SELECT s.id, g.silent_at, g.interval_ms FROM labels l JOIN servers s ON s.id = l.server_id
    JOIN sightings g ON g.server_id = s.id WHERE l.key = $1 AND l.value = $2 AND ",
    is_expected!("s"),
    " AND NOT EXISTS (SELECT 1 FROM pauses p WHERE p.server_id = s.id
        AND COALESCE(p.resumed_at, p.ends_at) >= $3 - g.interval_ms * $4) ORDER BY s.id LIMIT $5"
);
/// Anybody but the canaries who was sighted at `$2` or later.
const SIGHTED: PerEngine = PerEngine {
    sqlite: "SELECT server_id FROM sightings WHERE received_at >= $2
        AND server_id NOT IN (SELECT value FROM json_each($1)) LIMIT 1",
    postgres: "SELECT server_id FROM sightings WHERE received_at >= $2
        AND server_id <> ALL (ARRAY(SELECT jsonb_array_elements_text(CAST($1 AS JSONB)))) LIMIT 1",
};
/// Anybody who, by the moment from which they count as silent and their interval, was heard at `$2` or later.
const HEARD: PerEngine = PerEngine {
    sqlite: "SELECT g.server_id FROM json_each($1) AS line JOIN sightings g ON g.server_id = line.value ->> 0
        WHERE line.value ->> 1 - g.interval_ms * $3 >= $2 LIMIT 1",
    postgres: "SELECT g.server_id FROM jsonb_array_elements(CAST($1 AS JSONB)) AS line
        JOIN sightings g ON g.server_id = line ->> 0
        WHERE CAST(line ->> 1 AS BIGINT) - g.interval_ms * $3 >= $2 LIMIT 1",
};
const CLEAR_LATER: PerEngine = per_engine!(
    "UPDATE alert_states SET clear_at = $2 FROM ",
    " WHERE alert_states.server = b.server AND alert_states.rule = b.rule AND alert_states.instance = b.instance
        AND alert_states.phase = 'raised'"
);
const ENDED: &str =
    "SELECT MAX(resolved_at) FROM incidents WHERE server = '' AND kind = 'self' AND metric = $1";

impl Registry {
    /// The canaries that are expected and were heard, each with its sighting; a thousand at the most.
    #[crate::engine::boxed]
    pub async fn canaries(&self, watermark: Millis) -> Result<Vec<(ServerId, Canary)>, RegistryError> {
        let canaries = query(CANARIES)
            .bind(CANARY.0)
            .bind(CANARY.1)
            .bind(watermark)
            .bind(SILENT_INTERVALS)
            .bind(MOST_CANARIES);
        let rows: Vec<(String, Millis, Millis)> = self.reader().all(canaries).await?;
        let read = |(server, silent_at, interval): (String, Millis, Millis)| {
            let interval =
                Interval::try_from(interval).map_err(|_| corrupt("sightings", "interval_ms", &server))?;
            Ok((id("servers", "id", &server)?, Canary { silent_at, interval }))
        };
        rows.into_iter().map(read).collect()
    }

    /// Whether anybody but these was heard at this time (Unix ms) or later, as far as sightings say, which are up to 5 min
    /// behind.
    #[crate::engine::boxed]
    pub async fn is_sighted_since(&self, since: Millis, but: &[ServerId]) -> Result<bool, RegistryError> {
        self.reader().any(query(SIGHTED).bind(json(&but)?).bind(since)).await
    }

    /// Whether any of these was heard at this time (Unix ms) or later, each with the moment from which it counts as silent.
    /// In sets, so call it with some thousand at the most.
    #[crate::engine::boxed]
    pub async fn is_heard_since(
        &self,
        since: Millis,
        silent: &[(ServerId, Millis)],
    ) -> Result<bool, RegistryError> {
        let heard = query(HEARD).bind(json(&silent)?).bind(since).bind(SILENT_INTERVALS);
        self.reader().any(heard).await
    }

    /// This is over at this time (Unix ms), or not (`None`), unless something happens.
    #[crate::engine::boxed]
    pub async fn clear_at(&self, over: &Lasting, at: Option<Millis>) -> Result<(), RegistryError> {
        let keys = keys(std::slice::from_ref(over))?;
        self.writer().run(query(CLEAR_LATER).bind(keys).bind(at)).await.map(drop)
    }

    /// When the suite's own trouble of this name was over last, in Unix ms; `None`: it never was.
    #[crate::engine::boxed]
    pub async fn own_trouble_ended(&self, check: &str) -> Result<Option<Millis>, RegistryError> {
        let (ended,): (Option<Millis>,) = self.reader().one(query(ENDED).bind(check)).await?;
        Ok(ended)
    }
}
