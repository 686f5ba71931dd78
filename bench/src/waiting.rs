//! What memory a notifier takes while many messages wait.

use std::{
    fs,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use chassis::{Clock, random};
use fleet::{
    Millis,
    alert::{
        channel::{Config, Kind, Secret, target_key},
        seal::ChannelKeys,
    },
    id::ChannelId,
    words::Language,
};
use registry::{Actor, Channel, Registry};
use serde_json::json;
use simulator::process::{Started, free_address};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use testkit::{Receiver, Server, Servers, Service};
use tokio::{process::Command, time::sleep};

use crate::table::{Table, thousands};

/// Places among which the messages are shared: more than a notifier is busy with at once.
const PLACES: usize = 64;
/// How long it sends meanwhile.
const LASTS: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn run(binary: &Path, messages: usize) -> Result<()> {
    let place = Servers::of(&[Server::PostgreSql]).await;
    let database_url = &place.postgresql().direct;
    let registry = Registry::open_postgres(&database_url.parse()?);
    registry.migrate().await?;
    let receiver = Receiver::start(Service::Webhook).await;
    queue(&registry, database_url, &receiver, messages).await?;
    let mut command = Command::new(binary);
    command.env_clear().args(["--listen", &free_address()?.to_string()]);
    command.env("DATABASE_URL", database_url).env("CHANNEL_KEY", key()).env("LOG_LEVEL", "error");
    command.env("NOTIFY_ALLOW", receiver.address().to_string()).stdout(Stdio::null());
    let notifier = Started::spawn(&mut command).with_context(|| format!("starting {}", binary.display()))?;
    let begun = Instant::now();
    while receiver.count() < PLACES / 2 {
        ensure!(begun.elapsed() < PATIENCE, "{} messages came", receiver.count());
        sleep(Duration::from_millis(50)).await;
    }
    sleep(LASTS).await;
    let (now, most) = (memory(notifier.pid(), "VmRSS")?, memory(notifier.pid(), "VmHWM")?);
    let (waiting, _) = registry.notification_counts().await?;
    let mut table = Table::new(&["messages that wait", "resident, MB", "at most, MB", "wait still"]);
    let megabytes = |bytes: u64| format!("{:.1}", bytes as f64 / 1e6);
    let count = thousands(messages as f64);
    table.row([count, megabytes(now), megabytes(most), waiting.to_string()]);
    table.print("The notifier beside a queue, after some seconds of sending; the target is 40 MB");
    notifier.kill().await?;
    registry.close().await;
    Ok(())
}

fn key() -> String {
    "7".repeat(64)
}

/// A channel with a secret that the notifier of this measurement can open.
pub fn channel(kind: Kind, url: &str, now: Millis) -> Result<Channel> {
    let id = ChannelId::new(now, random());
    let bad = |bad: fleet::alert::channel::BadChannel| anyhow!("{bad}");
    let config = Config::read(kind, &json!({})).map_err(bad)?;
    let secret = Secret::read(kind, &json!({"url": url})).map_err(bad)?;
    let keys = ChannelKeys::new(key().parse().map_err(|error| anyhow!("{error}"))?, None);
    let sealed = keys.seal(id, kind, &secret, random()).map_err(|error| anyhow!("{error}"))?;
    Ok(Channel {
        id,
        name: format!("channel {id}"),
        target_key: target_key(id, &config, Some(&secret)),
        language: Language::English,
        time_zone: "UTC".to_owned(),
        template: None,
        secret: Some(sealed),
        secret_origin: secret.origin(),
        secret_set_at: Some(now),
        config,
        disabled: None,
        version: 1,
        created_at: now,
        updated_at: now,
    })
}

/// Makes messages of one incident each, shared among channels of as many places.
async fn queue(registry: &Registry, database_url: &str, receiver: &Receiver, messages: usize) -> Result<()> {
    let now = Clock::system().now();
    let mut server = PgConnection::connect(database_url).await?;
    let each = messages.div_ceil(PLACES);
    for number in 0..PLACES {
        let channel = channel(Kind::Webhook, &format!("{}/{number}", receiver.url()), now)?;
        registry.make_channel(&channel, &Actor::system()).await?.map_err(|refusal| anyhow!("{refusal:?}"))?;
        let (id, target) = (channel.id, &channel.target_key);
        let (from, to) = (number * each, (number * each + each).min(messages));
        let key = "md5('host-' || n)::uuid::text";
        let sql = format!(
            "INSERT INTO incidents (id, rule, rule_name, kind, metric, server, server_name, instance, level, state,
                 transition, events, opened_at, began_at, updated_at)
             SELECT {key}, {key}, 'Processor overloaded', 'value', 'cpu.total', {key}, 'host-' || n, '', 'warning',
                 'open', 1, 1, {now}, {now}, {now} FROM generate_series({from} + 1, {to}) AS n;
             INSERT INTO notifications (id, channel, channel_name, target_key, kind, state, attempts, due_at, created_at,
                 updated_at)
             SELECT {key}, '{id}', '', '{target}', 'incidents', 'queued', 0, n, {now}, {now}
             FROM generate_series({from} + 1, {to}) AS n;
             INSERT INTO notification_items (channel, incident, transition, reminder, round, notification, kind, level)
             SELECT '{id}', {key}, 1, 0, 0, {key}, 'alert', 'warning' FROM generate_series({from} + 1, {to}) AS n"
        );
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut server).await?;
    }
    Ok(())
}

/// Bytes, by their name in `/proc/<pid>/status`.
fn memory(pid: u32, name: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib: u64 = line.context("no such line")?.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024)
}
