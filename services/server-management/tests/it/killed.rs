//! Three processes that judge and tell, killed with -9 at any moment: between any two of their statements.

use std::time::Duration;

use cache::{Cache, Seen};
use chassis::Clock;
use fleet::{
    Interval, Millis, ServerId,
    alert::{
        Level,
        channel::{Config, Kind, Step, target_key},
        route::{Match, Route},
        seal::Sealed,
    },
    id::{AlertRouteId, ChannelId},
    liveness::{Progress, silent_at},
    words::Language,
};
use registry::{Actor, Channel, Profile, Registry, Sighting};
use sqlx::Row;
use testkit::eventually;
use tokio::time::sleep;

use crate::{
    process::Running,
    real::{Real, with},
};

/// Servers that fall silent together.
const TOGETHER: u64 = 150;

/// How often, unless ROLLCALL_KILLS says otherwise.
const KILLS: u64 = 6;

fn kills() -> u64 {
    std::env::var("ROLLCALL_KILLS").map_or(KILLS, |kills| kills.parse().unwrap())
}

fn id_of(number: u64) -> ServerId {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&number.to_be_bytes());
    ServerId::new(1_790_000_000_000, random)
}

/// The stores, as workers have them, and what keeps the pipeline up to date.
struct Stores {
    registry: Registry,
    cache: Cache,
}

impl Stores {
    fn of(real: &Real) -> Self {
        let registry = Registry::open_postgres(&real.database_url().parse().unwrap());
        Self { registry, cache: Cache::redis(&real.redis_url().parse().unwrap(), &real.prefix) }
    }

    /// These were heard so long ago.
    async fn hear(&self, servers: &[ServerId], ago: Millis) {
        let now = Clock::system().now();
        let at = now - ago;
        let silent_at = silent_at(at, Interval::DEFAULT);
        let sighting = |server: &ServerId| Sighting {
            server: *server,
            received_at: at,
            silent_at,
            interval: Interval::DEFAULT,
            sampled_at: at,
            facts: None,
        };
        let sightings: Vec<Sighting> = servers.iter().map(sighting).collect();
        self.registry.sight(&sightings, now).await.unwrap();
        let seen = |server: &ServerId| Seen {
            server: *server,
            received_at: at,
            silent_at,
            latest: "{}".into(),
            sampled_at: at,
        };
        self.cache.see(servers.iter().map(seen).collect(), now).await.unwrap();
    }

    /// What a worker writes each second.
    async fn settle(&self) {
        let now = Clock::system().now();
        let progress = Progress {
            newest_settled: Some(now),
            oldest_in_hand: None,
            open_since: Some(now - 3_600_000),
            written_at: now,
        };
        self.registry.put_progress("worker", &progress).await.unwrap();
    }

    /// A channel on which everything is told. Nobody sends what waits for it.
    async fn tell_somewhere(&self) {
        let (by, now) = (Actor::system(), Clock::system().now());
        let id = ChannelId::new(now, [1; 10]);
        let config = Config::read(Kind::Wecom, &serde_json::json!({})).unwrap();
        let channel = Channel {
            id,
            name: "ops".to_owned(),
            target_key: target_key(id, &config, None),
            language: Language::English,
            time_zone: "UTC".to_owned(),
            template: None,
            config,
            secret: Some(Sealed { key: "k".to_owned(), text: "sealed".to_owned() }),
            secret_origin: None,
            secret_set_at: Some(now),
            disabled: None,
            version: 1,
            created_at: now,
            updated_at: now,
        };
        self.registry.make_channel(&channel, &by).await.unwrap().unwrap();
        let route = Route {
            id: AlertRouteId::new(now, [1; 10]),
            matches: Match::default(),
            min_level: Level::Warning,
            steps: vec![Step { after_ms: 0, channels: vec![id] }],
            reminder_ms: 0,
            goes_on: false,
        };
        self.registry.make_alert_route(&route, "", None, &by, now).await.unwrap().unwrap();
    }
}

/// Processes, one of which is killed now and then, and another starts.
struct Fleet<'a> {
    real: &'a Real,
    running: Vec<Running>,
    dice: u64,
}

impl Fleet<'_> {
    fn below(&mut self, most: u64) -> u64 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) % most
    }

    /// Kills until all that is asked for is done, a few times at least. Meanwhile these are heard.
    async fn kill_until(
        &mut self,
        stores: &Stores,
        heard: &[ServerId],
        kills: u64,
        (done, number): (&str, usize),
    ) {
        let mut killed = 0;
        eventually(done, async || {
            stores.settle().await;
            stores.hear(heard, 0).await;
            sleep(Duration::from_millis(self.below(900))).await;
            let rows = self.real.sql(done).await;
            let all = rows[0].get::<i64, _>(0) >= number as i64;
            if killed < kills {
                let place = self.below(3) as usize;
                // The one that is replaced is killed as it is dropped.
                self.running[place] = Running::start(self.real);
                killed += 1;
                return false;
            }
            all
        })
        .await;
    }
}

const OPEN: &str = "SELECT COUNT(*) FROM incidents WHERE kind = 'silent'";
const OVER: &str = "SELECT COUNT(*) FROM incidents WHERE kind = 'silent' AND resolution = 'recovered'";
const ALERTS: &str = "SELECT COUNT(*) FROM notification_items i JOIN incidents t ON t.id = i.incident
    WHERE t.kind = 'silent' AND i.kind = 'alert'";
const RECOVERIES: &str = "SELECT COUNT(*) FROM notification_items i JOIN incidents t ON t.id = i.incident
    WHERE t.kind = 'silent' AND i.kind = 'recovery'";
/// Of each server what it has more or less of than one: incidents, openings, ends, alerts, recoveries.
const ODD: &str = "SELECT COUNT(*) FROM servers s WHERE
    (SELECT COUNT(*) FROM incidents i WHERE i.server = s.id) <> 1
    OR (SELECT COUNT(*) FROM incidents i JOIN incident_events e ON e.incident = i.id WHERE i.server = s.id
        AND e.kind = 'opened') <> 1
    OR (SELECT COUNT(*) FROM incidents i JOIN incident_events e ON e.incident = i.id WHERE i.server = s.id
        AND e.kind = 'resolved') <> 1
    OR (SELECT COUNT(*) FROM incidents i JOIN incident_events e ON e.incident = i.id WHERE i.server = s.id) <> 2
    OR (SELECT COUNT(*) FROM incidents i JOIN notification_items n ON n.incident = i.id WHERE i.server = s.id
        AND n.kind = 'alert') <> 1
    OR (SELECT COUNT(*) FROM incidents i JOIN notification_items n ON n.incident = i.id WHERE i.server = s.id
        AND n.kind = 'recovery') <> 1";

#[actix_web::test]
async fn processes_that_are_killed_while_they_judge_leave_one_incident_one_alert_and_one_recovery() {
    with(async |real| {
        let running: Vec<Running> = (0..3).map(|_| Running::start(&real)).collect();
        running[0].becomes_ready().await;
        let stores = Stores::of(&real);
        stores.tell_somewhere().await;
        let (rounds, by) = (kills().div_ceil(3), Actor::system());
        let mut fleet = Fleet { real: &real, running, dice: 7 };
        let mut servers = Vec::new();
        for round in 1..=rounds {
            let together: Vec<ServerId> = (1..=TOGETHER).map(|n| id_of(round * 1_000 + n)).collect();
            for server in &together {
                let profile = Profile { name: server.to_string(), ..Profile::default() };
                stores
                    .registry
                    .make_server(*server, &profile, &by, Clock::system().now())
                    .await
                    .unwrap()
                    .unwrap();
            }
            // They are silent since a second ago.
            stores.hear(&together, 121_000).await;
            servers.extend(together);
            fleet.kill_until(&stores, &[], 2, (OPEN, servers.len())).await;
        }
        fleet.kill_until(&stores, &[], 1, (ALERTS, servers.len())).await;
        real.sql("UPDATE notifications SET state = 'sent' WHERE state = 'queued'").await;
        fleet.kill_until(&stores, &servers, rounds, (OVER, servers.len())).await;
        fleet.kill_until(&stores, &servers, 1, (RECOVERIES, servers.len())).await;
        let odd = real.sql(ODD).await;
        assert_eq!(odd[0].get::<i64, _>(0), 0, "servers with more or less than one of something");
    })
    .await;
}
