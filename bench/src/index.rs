//! How the history is written to Elasticsearch, beside the same snapshots under the mapping that it would choose.

use std::{io::Write, time::Instant};

use anyhow::{Result, ensure};
use chassis::Clock;
use fleet::{Millis, Record, ServerId};
use history::{ElasticUrl, History};
use serde_json::Value;
use testkit::{Server, Servers};

use crate::{
    elastic::{Elastic, Kept},
    records::{record, strangers},
    servers::{Party, SERVERS},
    table::{Table, median, micros, thousands},
};

const BEAT: Millis = 30_000;
const DAY: Millis = 86_400_000;
/// Documents of the round that nobody counts: the server is faster once it has compiled what it runs.
const WARM: usize = 60_000;

#[derive(clap::Args)]
pub struct Settings {
    /// Snapshots of a run
    #[arg(long, default_value_t = 60_000)]
    documents: usize,
    /// Servers that they are of
    #[arg(long, default_value_t = 1_000)]
    servers: usize,
    /// Snapshots appended at once, which is a bulk request; a worker takes up to 10,000
    #[arg(long, default_value_t = 5_000)]
    batch: usize,
    /// Runs of each, interleaved
    #[arg(long, default_value_t = 3)]
    runs: usize,
}

struct Contender {
    name: &'static str,
    way: Way,
    runs: Vec<Outcome>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// `History::append`.
    Ours,
    /// The mapping that the server chooses, and ids that it chooses.
    Dynamic,
    /// The same with ids by which a repeated snapshot is known.
    DynamicWithIds,
}

struct Outcome {
    /// Documents per second, a refresh included.
    rate: f64,
    /// CPU of the server per document in microseconds: until they can be searched, and for merging them afterwards.
    cpu: f64,
    merging: f64,
    kept: Kept,
}

pub async fn run(settings: &Settings) -> Result<()> {
    let elastic = Elastic::new(&Server::Elasticsearch.url())?;
    let server = Party::server(SERVERS[3]).await?;
    let mut contenders = [
        Contender { name: "our mapping, by History::append", way: Way::Ours, runs: Vec::new() },
        Contender { name: "dynamic default mapping", way: Way::Dynamic, runs: Vec::new() },
        Contender { name: "the same with our ids", way: Way::DynamicWithIds, runs: Vec::new() },
    ];
    let all = records(settings)?;
    for run in 0..=settings.runs {
        eprintln!("run {run} of {}", settings.runs);
        let these = if run == 0 { &all[..WARM.min(all.len())] } else { &all };
        for contender in &mut contenders {
            let servers = Servers::of(&[Server::Elasticsearch]).await;
            let way = contender.way;
            let outcome = write(&elastic, &server, servers.prefix(), way, these, settings.batch).await?;
            eprintln!("  {}: {}/s", contender.name, thousands(outcome.rate));
            if run > 0 {
                contender.runs.push(outcome);
            }
        }
    }
    print(&contenders, settings);
    print_parts(&contenders);
    Ok(())
}

/// In the order in which they come: beat by beat, all of one day.
fn records(settings: &Settings) -> Result<Vec<Record>> {
    let servers: Vec<ServerId> = strangers(settings.servers);
    let today = Clock::system().now() / DAY * DAY;
    let beats = settings.documents.div_ceil(servers.len());
    ensure!(beats as i64 * BEAT < DAY, "these do not fit a day: take more servers");
    let mut records = Vec::with_capacity(settings.documents);
    for beat in 1..=beats as i64 {
        for (number, server) in servers.iter().enumerate() {
            // Each at a moment of its own within the interval.
            let phase = BEAT * number as i64 / servers.len() as i64;
            records.push(record(*server, today + (beat - 1) * BEAT + phase, None)?);
        }
    }
    records.truncate(settings.documents);
    Ok(records)
}

async fn write(
    elastic: &Elastic,
    server: &Party,
    prefix: &str,
    way: Way,
    records: &[Record],
    batch: usize,
) -> Result<Outcome> {
    let url: ElasticUrl = elastic.url().parse()?;
    let history = History::open_elasticsearch(&url, prefix, 30)?;
    let indices = format!("{prefix}-snapshots-*");
    let plain = format!("{prefix}-snapshots-dynamic");
    // Made before it counts, like the bodies: neither is what is compared.
    let bodies = plain_bodies(way, records, batch)?;
    if way != Way::Ours {
        elastic.make(&plain).await?;
    }
    let (cpu, begun) = (server.cpu()?, Instant::now());
    if way == Way::Ours {
        for batch in records.chunks(batch) {
            let rejected = history.append(batch).await?;
            ensure!(rejected.is_empty(), "{} records were rejected", rejected.len());
        }
    }
    for body in bodies {
        elastic.bulk(&plain, body).await?;
    }
    elastic.refresh(&indices).await?;
    let (took, used) = (begun.elapsed(), server.cpu()? - cpu);
    let cpu = server.cpu()?;
    elastic.merge(&indices).await?;
    let kept = elastic.kept(&indices).await?;
    let count = records.len() as f64;
    ensure!(kept.documents == count, "{} documents of {count} are there", kept.documents);
    Ok(Outcome {
        rate: count / took.as_secs_f64(),
        cpu: micros(used) / count,
        merging: micros(server.cpu()? - cpu) / count,
        kept,
    })
}

/// A document is the snapshot and its server.
fn plain_bodies(way: Way, records: &[Record], batch: usize) -> Result<Vec<Vec<u8>>> {
    let mut bodies = Vec::new();
    if way == Way::Ours {
        return Ok(bodies);
    }
    for records in records.chunks(batch) {
        let mut body = Vec::new();
        for Record { server, snapshot, .. } in records {
            let mut document: Value = serde_json::to_value(snapshot.as_wire())?;
            document["server"] = server.to_string().into();
            match way {
                Way::Dynamic | Way::Ours => body.extend_from_slice(b"{\"create\":{}}\n"),
                Way::DynamicWithIds => {
                    let sampled_at = snapshot.sampled_at();
                    writeln!(body, r#"{{"create":{{"_id":"{server}-{sampled_at}"}}}}"#)?;
                }
            }
            serde_json::to_writer(&mut body, &document)?;
            body.push(b'\n');
        }
        bodies.push(body);
    }
    Ok(bodies)
}

fn print(contenders: &[Contender], settings: &Settings) {
    let median_of = |contender: &Contender, figure: fn(&Outcome) -> f64| {
        median(contender.runs.iter().map(figure).collect())
    };
    let ours = &contenders[0];
    let mut table = Table::new(&[
        "median of the runs",
        "documents/s",
        "runs",
        "ours is",
        "CPU µs/document",
        "merging's",
        "bytes/document",
        "ours is",
    ]);
    for contender in contenders {
        let rate = median_of(contender, |run| run.rate);
        let bytes = median_of(contender, |run| run.kept.bytes);
        let runs: Vec<String> = contender.runs.iter().map(|run| thousands(run.rate)).collect();
        table.row([
            contender.name.to_owned(),
            thousands(rate),
            runs.join(" "),
            format!("{:.2}×", median_of(ours, |run| run.rate) / rate),
            format!("{:.1}", median_of(contender, |run| run.cpu)),
            format!("{:.1}", median_of(contender, |run| run.merging)),
            format!("{bytes:.0}"),
            format!("{:.2}×", median_of(ours, |run| run.kept.bytes) / bytes),
        ]);
    }
    let Settings { documents, servers, batch, runs } = settings;
    table.print(&format!(
        "Index: {} snapshots of {} servers in bulks of {}, {runs} runs; the targets are 4× and 0.2×",
        thousands(*documents as f64),
        thousands(*servers as f64),
        thousands(*batch as f64)
    ));
}

/// What the bytes are made of, by the server's own account of the last run.
fn print_parts(contenders: &[Contender]) {
    let mut table = Table::new(&["bytes/document after the merge", "ours", "dynamic", "with our ids"]);
    let parts: Vec<_> =
        contenders.iter().filter_map(|contender| contender.runs.last()).map(|run| &run.kept.parts).collect();
    let [ours, dynamic, with_ids] = parts[..] else { return };
    for ((ours, dynamic), with_ids) in ours.iter().zip(dynamic).zip(with_ids) {
        let [first, second, third] = [ours, dynamic, with_ids].map(|(_, bytes)| format!("{bytes:.1}"));
        table.row([ours.0.clone(), first, second, third]);
    }
    table.print("Index: what the bytes are made of");
}
