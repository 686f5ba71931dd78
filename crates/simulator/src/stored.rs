//! What is in a history file, read past the library that wrote it: the oracle must not believe what it judges.
//!
//! All that this crate knows of the layout is here: `day_<n>` has a row a snapshot, whose `key` is the slot of five
//! minutes, the server's number (28 bits) and the milliseconds into the slot (19 bits), and whose `place` is a pack and
//! the line in it (8 bits); `bodies_<n>` of each hour has the packs, which are LZ4 with a length in front.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use anyhow::{Context, Result, ensure};
use fleet::{Millis, ServerId};
use sqlx::{AssertSqlSafe, ConnectOptions, SqliteConnection, sqlite::SqliteConnectOptions};

/// Which snapshot.
pub type Identity = (ServerId, Millis);

const DAY: Millis = 86_400_000;
const HOUR: Millis = 3_600_000;
const SLOT: Millis = 300_000;
const TIME_BITS: u32 = 19;
const NUMBER_BITS: u32 = 28;
const INDEX_BITS: u32 = 8;

/// Every snapshot in the file, once for each time it is stored.
///
/// # Errors
/// Also when a snapshot is only half there: its body is missing or is that of another time.
pub async fn stored_snapshots(history_db: &Path) -> Result<Vec<Identity>> {
    // Not read-only: after a kill the first to open the file recovers its log.
    let options = SqliteConnectOptions::new().filename(history_db).create_if_missing(false);
    let mut connection: SqliteConnection =
        options.connect().await.with_context(|| format!("opening {}", history_db.display()))?;
    // One moment for all tables, if the suite is running.
    sqlx::query("BEGIN").execute(&mut connection).await?;
    let mut stored = Vec::new();
    let mut hours: BTreeMap<i64, Vec<(i64, Millis)>> = BTreeMap::new();
    let servers = servers(&mut connection).await?;
    for day in tables(&mut connection, "day_").await? {
        let sql = format!("SELECT key, place FROM day_{day}");
        let rows: Vec<(i64, i64)> = sqlx::query_as(AssertSqlSafe(sql)).fetch_all(&mut connection).await?;
        for (key, place) in rows {
            let number = key >> TIME_BITS & ((1 << NUMBER_BITS) - 1);
            let server = servers.get(&number).with_context(|| format!("no server has number {number}"))?;
            let slot = key >> (TIME_BITS + NUMBER_BITS);
            let sampled_at = day * DAY + slot * SLOT + (key & ((1 << TIME_BITS) - 1));
            stored.push((*server, sampled_at));
            hours.entry(sampled_at / HOUR).or_default().push((place, sampled_at));
        }
    }
    for (hour, mut places) in hours {
        places.sort_unstable();
        check_bodies(&mut connection, hour, &places).await?;
    }
    Ok(stored)
}

async fn servers(connection: &mut SqliteConnection) -> Result<HashMap<i64, ServerId>> {
    let rows: Vec<(i64, Vec<u8>)> =
        sqlx::query_as("SELECT number, id FROM servers").fetch_all(connection).await?;
    let mut servers = HashMap::with_capacity(rows.len());
    for (number, id) in rows {
        let id = id.try_into().ok().context("an id is not 16 bytes long")?;
        servers.insert(number, ServerId::from_bytes(id));
    }
    Ok(servers)
}

/// The numbers of the tables whose names begin with `prefix`.
async fn tables(connection: &mut SqliteConnection, prefix: &str) -> Result<Vec<i64>> {
    let names: Vec<String> = sqlx::query_scalar("SELECT name FROM sqlite_schema WHERE type = 'table'")
        .fetch_all(connection)
        .await?;
    Ok(names.iter().filter_map(|name| name.strip_prefix(prefix)?.parse().ok()).collect())
}

/// Each of these sorted places of an hour must hold a snapshot of this time.
async fn check_bodies(connection: &mut SqliteConnection, hour: i64, places: &[(i64, Millis)]) -> Result<()> {
    let sql = format!("SELECT pack FROM bodies_{hour} WHERE id = $1");
    for of_pack in places.chunk_by(|a, b| a.0 >> INDEX_BITS == b.0 >> INDEX_BITS) {
        let id = of_pack[0].0 >> INDEX_BITS;
        let missing = || format!("hour {hour} has no pack {id}");
        let pack: Option<Vec<u8>> =
            sqlx::query_scalar(AssertSqlSafe(sql.clone())).bind(id).fetch_optional(&mut *connection).await?;
        let text = lz4_flex::block::decompress_size_prepended(&pack.with_context(missing)?)?;
        let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
        for (place, sampled_at) in of_pack {
            let line =
                lines.get(usize::try_from(place & ((1 << INDEX_BITS) - 1))?).copied().unwrap_or_default();
            let begins = format!(r#"{{"sampled_at":{sampled_at},"covers_ms":"#);
            ensure!(
                line.starts_with(begins.as_bytes()) && line.ends_with(b"}"),
                "the body of {sampled_at} (hour {hour}, pack {id}) is {:?}",
                String::from_utf8_lossy(line)
            );
        }
    }
    Ok(())
}
