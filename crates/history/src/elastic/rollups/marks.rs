//! Marks: which hours a late snapshot has touched.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    io::Write,
    ops::Range,
};

use fleet::{
    Millis, Record, ServerId,
    hours::{self, CLOSES_AFTER, Closing, HOUR, Rolled, of_hour},
    uptime::Piece,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    State,
    make::{self, Entry, Fleet, MOST, Step, Version},
    read::{Hit, PAGE},
};
use crate::{
    HistoryError,
    elastic::{
        Elastic,
        client::unavailable,
        layout::hour_id,
        read::{LENIENT, pages},
    },
};

/// An hour gets a mark if a snapshot for it is stored later than this after its end. Hours are not closed that early, so
/// clocks of ours may differ by what lies between.
const MARKED_AFTER: Millis = CLOSES_AFTER - 120_000;

#[derive(Deserialize)]
struct Mark {
    server: ServerId,
    hour: i64,
}

impl Elastic {
    /// See [`crate::History::note_late`].
    pub async fn note_late(&self, records: &[Record], now: Millis) -> Result<(), HistoryError> {
        let _open = self.under_way().await?;
        let mut late: HashSet<(ServerId, i64)> = HashSet::new();
        for Record { server, snapshot, .. } in records {
            let touched = hours::touched(snapshot.from(), snapshot.sampled_at());
            let closed = hours::hour(now - MARKED_AFTER);
            late.extend(touched.filter(|hour| *hour < closed).map(|hour| (*server, hour)));
        }
        self.mark(&late).await
    }

    /// Marks these hours.
    pub async fn mark(&self, hours: &HashSet<(ServerId, i64)>) -> Result<(), HistoryError> {
        let (mut lines, index) = (Vec::new(), self.0.layout.dirty());
        for (server, hour) in hours {
            let id = hour_id(*server, *hour);
            let line = json!({"index": {"_index": index, "_id": id}});
            writeln!(lines, "{line}\n{}", json!({"server": server, "hour": hour})).map_err(unavailable)?;
        }
        self.bulk(lines, hours.len()).await.map(drop)
    }

    /// Of whom something was forgotten since these states were read, what was just made may be of that: it is to be made
    /// again, and read from the snapshots until then.
    pub async fn mark_forgotten(
        &self,
        hours: &Range<i64>,
        members: &[ServerId],
        before: &HashMap<ServerId, State>,
    ) -> Result<(), HistoryError> {
        let after = self.states(members).await?;
        let changed = |server: &&ServerId| {
            let [was, is] = [before, &after].map(|states| states.get(*server).map_or(0, |of| of.version(0)));
            was != is
        };
        let hours =
            members.iter().filter(changed).flat_map(|server| hours.clone().map(move |hour| (*server, hour)));
        self.mark(&hours.collect()).await
    }

    /// How many hours are marked at least, and of which the oldest are to be made again.
    pub async fn marked(
        &self,
        fleet: &mut Fleet,
        closing: &Closing,
        oldest: Millis,
    ) -> Result<(u64, Option<Step>), HistoryError> {
        let index = self.0.layout.dirty();
        self.refresh(&index).await?;
        let search = json!({
            "size": MOST, "track_total_hits": false, "seq_no_primary_term": true,
            "sort": [{"hour": {"order": "asc", "unmapped_type": "long"}}], "query": {"match_all": {}},
        });
        let marks = self.hits::<Mark>(&index, search).await?;
        let mut count = 0;
        let mut by_hour: BTreeMap<i64, Vec<(ServerId, Version)>> = BTreeMap::new();
        let mut needless = Vec::new();
        for make::Hit { id, version, source: Mark { server, hour } } in marks {
            let newest = of_hour(hour).from;
            let entry = fleet.servers.entry(server).or_insert(Entry::new(newest, newest));
            let rolled = entry.rolled.unwrap_or_else(|| Rolled::none(closing.before(server), entry.newest));
            if hour * HOUR < oldest {
                // What it was made of is gone, and it stays as it is.
                needless.push((id, version));
            } else if hour >= rolled.until {
                // It is not made yet, as far as this process knows; another one may have made it.
                entry.newest = entry.newest.max(newest);
            } else if rolled.contains(hour) {
                by_hour.entry(hour).or_default().push((server, version));
                count += 1;
            } else {
                // History that is older than what was known of.
                entry.oldest_start = entry.oldest_start.min(newest);
            }
        }
        self.unmark(&needless).await?;
        let step = by_hour.pop_first().map(|(hour, marks)| {
            let members = marks.iter().map(|(server, _)| *server).collect();
            Step { hours: hour..hour + 1, members, marks }
        });
        Ok((count, step))
    }

    /// Removes marks, as far as they are as they were read.
    pub async fn unmark(&self, marks: &[(String, Version)]) -> Result<(), HistoryError> {
        let (mut lines, index) = (Vec::new(), self.0.layout.dirty());
        for (id, Version { seq_no, primary_term }) in marks {
            let line = json!({"delete": {
                "_index": index, "_id": id, "if_seq_no": seq_no, "if_primary_term": primary_term,
            }});
            writeln!(lines, "{line}").map_err(unavailable)?;
        }
        self.bulk(lines, marks.len()).await.map(drop)
    }

    /// The hours of these servers that are marked, of those in which `reach` lies.
    pub async fn marks(
        &self,
        servers: &[ServerId],
        reach: Piece,
    ) -> Result<HashMap<ServerId, BTreeSet<i64>>, HistoryError> {
        let index = self.0.layout.dirty();
        self.refresh(&index).await?;
        let mut marks: HashMap<ServerId, BTreeSet<i64>> = HashMap::new();
        for page in pages(servers) {
            let mut after: Option<[Value; 2]> = None;
            loop {
                let mut search = json!({
                    "size": PAGE, "track_total_hits": false, "_source": false, "docvalue_fields": ["server", "hour"],
                    "query": {"bool": {"filter": [
                        {"terms": {"server": page}},
                        {"range": {"hour": {"gte": hours::hour(reach.from), "lte": hours::hour(reach.to)}}},
                    ]}},
                    "sort": [
                        {"server": {"order": "asc", "unmapped_type": "keyword"}},
                        {"hour": {"order": "asc", "unmapped_type": "long"}},
                    ],
                });
                if let Some(after) = after.take() {
                    search["search_after"] = json!(after);
                }
                let path = format!(
                    "{index}/_search?{LENIENT}&allow_partial_search_results=false&filter_path=hits.hits.fields"
                );
                let hits: Vec<Hit> = self.found(&path, search).await?;
                let full = hits.len() == PAGE;
                for Hit { fields } in hits {
                    let value =
                        |name: &str| fields.get(name).map(|value| value[0].clone()).unwrap_or_default();
                    let (server, hour) = (value("server"), value("hour"));
                    after = Some([server.clone(), hour.clone()]);
                    let server = serde_json::from_value(server).map_err(unavailable)?;
                    marks.entry(server).or_default().extend(hour.as_i64());
                }
                if !full {
                    break;
                }
            }
        }
        Ok(marks)
    }
}
