//! Appending: the only way in which snapshots get into the indices.

use std::{collections::HashSet, io::Write, ops::Range};

use fleet::{Record, series::Figures};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Elastic, chain,
    client::{self, BULK_PATIENCE, Method, Refusal, unavailable},
    layout::{self, Kind, PROCESS_CPU, day},
};
use crate::{HistoryError, Rejected};

/// A bulk request is sent once it has so many bytes. It may be longer by one record.
const FULL: usize = 8 << 20;
/// `timeout` is how long the server waits for a shard that is away; `filter_path` leaves out of the answer what is
/// not read.
const BULK: &str = "_bulk?timeout=20s&filter_path=items.*.status,items.*.error";

#[derive(Deserialize)]
struct Bulk {
    #[serde(default)]
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    create: Created,
}

/// What the server says of one `create`.
#[derive(Deserialize)]
struct Created {
    status: u16,
    #[serde(default)]
    error: Value,
}

/// What became of one record.
#[derive(Debug, PartialEq, Eq)]
enum ItemOutcome {
    /// It is stored, by this request or by an earlier one.
    Stored,
    /// It will never be stored.
    Refused,
    /// There is no index of its day.
    DayMissing,
    /// It was not stored, but may be later.
    NotNow,
}

impl Elastic {
    /// See [`crate::History::append`].
    pub async fn append(&self, records: &[Record]) -> Result<Vec<Rejected>, HistoryError> {
        let _open = self.under_way().await?;
        let appended = self.append_all(records).await;
        if matches!(appended, Err(HistoryError::Unavailable(_))) {
            // The server that answers next may be another one, without the template.
            self.known().template = false;
        }
        appended
    }

    async fn append_all(&self, records: &[Record]) -> Result<Vec<Rejected>, HistoryError> {
        let mut rejected = Vec::new();
        let mut waiting: Vec<usize> = (0..records.len()).collect();
        // Twice, since another process may have deleted an index after this one saw it.
        for _ in 0..2 {
            if waiting.is_empty() {
                break;
            }
            self.prepare().await?;
            // First, so that no row is there before the text that it names.
            self.write_commands(records).await?;
            let days = waiting.iter().map(|index| day_of(&records[*index])).collect();
            let oldest = self.make_days(&days).await?;
            waiting.retain(|index| {
                let kept = records[*index].snapshot.sampled_at() >= oldest;
                if !kept {
                    rejected.push(Rejected { index: *index, reason: "its day is no longer kept".into() });
                }
                kept
            });
            waiting = self.send(records, &waiting, &mut rejected).await?;
            self.forget_days(waiting.iter().map(|index| day_of(&records[*index])).collect());
        }
        if !waiting.is_empty() {
            return Err(unavailable("an index is deleted again and again"));
        }
        rejected.sort_unstable_by_key(|rejected| rejected.index);
        Ok(rejected)
    }

    /// Sends the records at these indices, one request after the other, so that of two records with one identity the
    /// first wins. Returns the indices of those whose day has no index in Elasticsearch.
    async fn send(
        &self,
        records: &[Record],
        these: &[usize],
        rejected: &mut Vec<Rejected>,
    ) -> Result<Vec<usize>, HistoryError> {
        let mut missing = Vec::new();
        let mut sent = 0;
        while sent < these.len() {
            let (body, range) = self.body(records, these, sent)?;
            sent = range.end;
            let these = &these[range];
            let answer = self.0.client.send(Method::Post, BULK, Some(body), BULK_PATIENCE).await?;
            let items = answer.read::<Bulk>()?.items;
            if items.len() != these.len() {
                return Err(unavailable("a bulk answer does not tell of every record"));
            }
            for (index, Item { create: Created { status, error } }) in these.iter().zip(items) {
                match item_outcome(status, error["type"].as_str().unwrap_or_default()) {
                    ItemOutcome::Stored => {}
                    ItemOutcome::DayMissing => missing.push(*index),
                    ItemOutcome::Refused => {
                        rejected.push(Rejected { index: *index, reason: client::reason(&error) });
                    }
                    ItemOutcome::NotNow => {
                        return Err(unavailable(Refusal { status, reason: client::reason(&error) }));
                    }
                }
            }
        }
        Ok(missing)
    }

    /// The body of a bulk request with the records from `these[first]` on, and the range of `these` that is in it.
    fn body(
        &self,
        records: &[Record],
        these: &[usize],
        first: usize,
    ) -> Result<(Vec<u8>, Range<usize>), HistoryError> {
        let mut body = Vec::new();
        let mut last = first;
        let mut index = (i64::MIN, String::new());
        while last < these.len() && body.len() < FULL {
            let record = &records[these[last]];
            let day = day_of(record);
            if index.0 != day {
                index = (day, self.0.layout.index(day));
            }
            write_item(&mut body, &index.1, record).map_err(|error| HistoryError::Corrupt {
                table: "a batch".into(),
                row: format!("{} at {}", record.server, record.snapshot.sampled_at()),
                reason: error.to_string(),
            })?;
            last += 1;
        }
        Ok((body, first..last))
    }

    fn forget_days(&self, days: HashSet<i64>) {
        self.known().days.retain(|day| !days.contains(day));
    }
}

fn day_of(record: &Record) -> i64 {
    day(record.snapshot.sampled_at())
}

/// Two lines of a bulk request.
fn write_item(body: &mut Vec<u8>, index: &str, record: &Record) -> std::io::Result<()> {
    let Record { server, snapshot, .. } = record;
    let (at, from, covers) = (snapshot.sampled_at(), snapshot.from(), snapshot.covers());
    let id = layout::id(*server, at);
    writeln!(body, r#"{{"create":{{"_index":"{index}","_id":"{id}"}}}}"#)?;
    let link = chain::link(from, at);
    write!(body, r#"{{"server":"{server}","sampled_at":{at},"from":{from},"covers":{covers},"link":{link}"#)?;
    for (name, value) in Figures::NAMES.iter().zip(Figures::of(snapshot).values()) {
        let Some(value) = value else { continue };
        match layout::kind(name) {
            Kind::Float => write!(body, ",\"{name}\":{}", value as f32)?,
            // The cast saturates: a number that the store's type cannot hold becomes the greatest that it can.
            Kind::Long => write!(body, ",\"{name}\":{}", value as i64)?,
            Kind::Double => write!(body, ",\"{name}\":{value}")?,
        }
    }
    if let Some(section) = &snapshot.as_wire().processes {
        let largest = section.rows.iter().map(|row| row.cpu).fold(0.0, f32::max);
        write!(body, ",\"{PROCESS_CPU}\":{largest}")?;
    }
    body.extend_from_slice(b",\"body\":");
    serde_json::to_writer(&mut *body, snapshot.as_wire())?;
    body.extend_from_slice(b"}\n");
    Ok(())
}

/// By the status of an item and the type of its error.
fn item_outcome(status: u16, kind: &str) -> ItemOutcome {
    match (status, kind) {
        (200..=299, _) | (409, "version_conflict_engine_exception") => ItemOutcome::Stored,
        (404, "index_not_found_exception") => ItemOutcome::DayMissing,
        (
            400,
            "document_parsing_exception" | "mapper_parsing_exception" | "strict_dynamic_mapping_exception",
        ) => ItemOutcome::Refused,
        // Whatever else the server answers, a 400 for a closed index too, is not the record's fault: full queues,
        // disks at their watermark, shards and nodes that are away, missing rights.
        _ => ItemOutcome::NotNow,
    }
}

#[cfg(test)]
mod tests {
    use fleet::{Interval, ServerId, Snapshot};

    use super::*;

    #[test]
    fn only_what_the_record_is_to_blame_for_is_refused() {
        for (status, kind, expected) in [
            (201, "", ItemOutcome::Stored),
            (409, "version_conflict_engine_exception", ItemOutcome::Stored),
            (409, "something_else", ItemOutcome::NotNow),
            (400, "document_parsing_exception", ItemOutcome::Refused),
            (400, "mapper_parsing_exception", ItemOutcome::Refused),
            (400, "strict_dynamic_mapping_exception", ItemOutcome::Refused),
            (404, "index_not_found_exception", ItemOutcome::DayMissing),
            (400, "index_closed_exception", ItemOutcome::NotNow),
            (404, "", ItemOutcome::NotNow),
            (403, "cluster_block_exception", ItemOutcome::NotNow),
            (429, "es_rejected_execution_exception", ItemOutcome::NotNow),
            (500, "illegal_state_exception", ItemOutcome::NotNow),
            (503, "unavailable_shards_exception", ItemOutcome::NotNow),
        ] {
            assert_eq!(item_outcome(status, kind), expected, "{status} {kind}");
        }
    }

    #[test]
    fn an_item_is_two_lines_of_json() {
        let json = serde_json::json!({
            "sampled_at": 60_000, "covers_ms": 30_000, "cpu": {"total": 12.3}, "host": {"os": "a\"b\\"},
            "memory": {"used": i64::MAX as u64}, "disks": [{"used": i64::MAX as u64}, {"used": i64::MAX as u64}],
        });
        let raw = serde_json::from_value(json.clone()).unwrap();
        let snapshot = Snapshot::check(raw, Interval::DEFAULT).unwrap();
        let server = ServerId::new(5, [1; 10]);
        let interval = Interval::DEFAULT;
        let record = Record { server, generation: 1, received_at: 0, interval, snapshot };
        let mut body = Vec::new();
        write_item(&mut body, "index", &record).unwrap();
        let lines: Vec<Value> = std::str::from_utf8(&body)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["create"]["_index"], "index");
        assert_eq!(lines[1]["from"], 30_000);
        assert_eq!(lines[1]["cpu"], 12.3);
        assert_eq!(lines[1]["disk_used"], i64::MAX);
        assert_eq!(lines[1]["body"]["host"], json["host"]);
        assert_eq!(lines[1].get("temperature"), None);
        assert_eq!(lines[1].get(PROCESS_CPU), None);
    }
}
