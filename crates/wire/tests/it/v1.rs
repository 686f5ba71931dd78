//! Each golden file is read into the value that is spelt out here, and that value is written as the file. An older
//! release reads a newer one's files, so every object may hold fields that nobody knows yet.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use wire::{
    bounds::{
        MAX_COMMANDS, MAX_CORES, MAX_DISKS, MAX_NETWORKS, MAX_PINNED, MAX_ROWS, MAX_SESSIONS, MAX_SNAPSHOTS,
        MAX_TEMPERATURES, MAX_UNITS, MAX_USERS,
    },
    v1::{
        Accepted, Agent, Bulletin, Command, Cpu, Disk, GateProblem, Host, LoginSession, MailJob, MailSubject,
        Memory, Message, Network, Order, OrderResult, OtherProcesses, Pinned, Process, ProcessTarget,
        Processes, Record, Refusal, Report, ResultRecord, Results, Signature, SignedOrder, Snapshot,
        Temperature, Unit, UnitState, UserTotal, VERSION, Watch,
    },
};

const AT: i64 = 1_790_000_000_000;
const ID: &str = "01a0c450-6c00-7303-8303-030303030303";

fn parse<T: DeserializeOwned>(golden: &str) -> T {
    serde_json::from_str(golden).unwrap()
}

/// The golden file is this value, also with a field more in each of its objects; this value is the golden file.
#[track_caller]
fn is_both_ways<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(golden: &str, value: T) {
    assert_eq!(parse::<T>(golden), value);
    assert_eq!(serde_json::to_value(&value).unwrap(), parse::<Value>(golden));
    let mut newer = parse(golden);
    grow(&mut newer);
    assert_eq!(serde_json::from_value::<T>(newer).unwrap(), value);
}

fn grow(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(grow);
            members.insert("of_a_later_release".to_owned(), json!({"nested": [1, null]}));
        }
        Value::Array(items) => items.iter_mut().for_each(grow),
        _ => {}
    }
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn full_snapshot() -> Snapshot {
    Snapshot {
        sampled_at: AT,
        covers_ms: 30_000,
        host: Some(Host {
            hostname: text("web-1"),
            os: text("Debian GNU/Linux 13"),
            kernel: text("6.12.0"),
            arch: text("x86_64"),
            cpu_model: text("A model"),
            boot_at: Some(1_780_000_000_000),
            agent_version: text("0.1.0"),
        }),
        cpu: Some(Cpu {
            total: Some(12.5),
            user: Some(8.5),
            system: Some(4.0),
            iowait: Some(0.5),
            steal: Some(0.25),
            cores: vec![20.0, 5.0],
        }),
        load: Some([0.5, 0.25, 0.125]),
        memory: Some(Memory {
            total: Some(8_000_000_000),
            used: Some(3_000_000_000),
            available: Some(5_000_000_000),
            swap_total: Some(1_000_000_000),
            swap_used: Some(0),
        }),
        disks: vec![Disk {
            mount: text("/"),
            device: text("/dev/vda1"),
            filesystem: text("ext4"),
            total: Some(50_000_000_000),
            used: Some(20_000_000_000),
            read: Some(4_096),
            written: Some(8_192),
        }],
        networks: vec![Network { name: text("eth0"), received: Some(1_000), sent: Some(2_000) }],
        temperatures: vec![Temperature { name: text("package"), celsius: Some(48.5) }],
        agent: Some(Agent {
            skew_ms: Some(-2_500),
            spooled: Some(3),
            dropped: Some(0),
            set_aside: Some(1),
            cut: Some(2),
            reporter: true,
            boot: text("0b6f9d3e-5a1c-4a44-9c1e-2f1d3a4b5c6d"),
            hand: vec!["process.terminate".to_owned(), "process.kill".to_owned()],
        }),
        processes: Some(Box::new(full_processes())),
    }
}

fn full_processes() -> Processes {
    let first = Process {
        pid: 4_711,
        start_ms: 86_400_120,
        pin: Some(9_001),
        cpu: 183.5,
        children: 12.25,
        rss: 2_147_483_648,
        pss: 2_000_000_000,
        read: 4_096,
        written: 8_192,
        received: 1_000,
        sent: 2_000,
        threads: Some(17),
        state: text("R"),
        name: text("postgres"),
        ppid: Some(1),
        user: text("postgres"),
        executable: text("/usr/lib/postgresql/17/bin/postgres"),
        command: text("1XgaogKP8mBtR0L1"),
        unit: text("postgresql.service"),
    };
    let second = Process { pid: 7, start_ms: 20, ..Process::default() };
    Processes {
        level: text("full"),
        keyframe: true,
        count: 112,
        running: 3,
        blocked: 1,
        rows: vec![first, second],
        pinned: vec![Pinned { pattern: "nginx*".to_owned(), count: 4, cpu: 1.5, rss: 80_000_000 }],
        users: vec![UserTotal { user: "postgres".to_owned(), cpu: 183.5, rss: 2_147_483_648, count: 9 }],
        other: Some(OtherProcesses { cpu: 4.5, read: 10, written: 20, tcp_received: 30, tcp_sent: 40 }),
        sessions: vec![LoginSession {
            user: "ann".to_owned(),
            tty: text("pts/0"),
            from: text("10.0.0.9"),
            since: Some(1_789_999_000_000),
        }],
        units: vec![Unit {
            name: "postgresql.service".to_owned(),
            running: true,
            cpu: 195.75,
            memory: Some(3_000_000_000),
            pids: Some(26),
        }],
        commands: vec![Command {
            hash: "1XgaogKP8mBtR0L1".to_owned(),
            text: "postgres -D /srv/data".to_owned(),
        }],
    }
}

fn record(snapshot: Snapshot) -> Record {
    Record { server_id: ID.to_owned(), generation: 7, received_at: AT + 250, interval_ms: 30_000, snapshot }
}

#[test]
fn report() {
    let bare = Snapshot { sampled_at: AT + 30_000, covers_ms: 30_000, ..Snapshot::default() };
    let report = Report { interval_ms: 30_000, snapshots: vec![full_snapshot(), bare] };
    is_both_ways(include_str!("golden/report.json"), report);
}

#[test]
fn accepted() {
    let credential =
        "72cd6e84.01a0c450-6c00-7303-8303-030303030303.7.N38iHUMZE23LZWfGSGx_GQH2weN7NckztiHMNTCdxas";
    let signature = Signature { key: "management".to_owned(), sig: "c2ln".to_owned() };
    let order = SignedOrder { payload: "e30".to_owned(), signatures: vec![signature] };
    let bulletin = Bulletin {
        now: AT + 31_000,
        credential: text(credential),
        watch: Some(Watch { lease_ms: 90_000 }),
        orders: vec![order],
    };
    is_both_ways(include_str!("golden/accepted.json"), Accepted { accepted: 2, bulletin });
    let plain: Accepted = parse(r#"{"accepted":1,"bulletin":{"now":7}}"#);
    assert_eq!(plain, Accepted { accepted: 1, bulletin: Bulletin { now: 7, ..Bulletin::default() } });
}

#[test]
fn order() {
    let process = ProcessTarget {
        pid: 4_711,
        start_ms: 86_400_120,
        pin: Some(9_001),
        executable: text("/srv/app/worker"),
    };
    let order = Order {
        version: VERSION,
        order: ID.to_owned(),
        server: ID.to_owned(),
        boot: "0b6f9d3e-5a1c-4a44-9c1e-2f1d3a4b5c6d".to_owned(),
        kind: "process.terminate".to_owned(),
        process: Some(process),
        unit: None,
        dry_run: true,
        not_after: AT + 300_000,
        by: "ada".to_owned(),
        reason: "it filled the disk".to_owned(),
    };
    is_both_ways(include_str!("golden/order.json"), order);
}

#[test]
fn results() {
    let refused = OrderResult {
        order: ID.to_owned(),
        state: "refused".to_owned(),
        code: text("host_clock"),
        detail: text("the host's clock is 400 s ahead"),
        at: AT,
        dry_run: true,
        host_ahead_ms: Some(400_000),
        unit: None,
    };
    let unit = UnitState {
        active: "active".to_owned(),
        sub: "running".to_owned(),
        result: "success".to_owned(),
        main_pid: 4_712,
    };
    let done = OrderResult {
        order: ID.to_owned(),
        state: "done".to_owned(),
        at: AT,
        unit: Some(unit),
        ..OrderResult::default()
    };
    is_both_ways(include_str!("golden/results.json"), Results { results: vec![refused, done] });
}

/// One way: what a gate writes has members that agents do not read.
#[test]
fn problem() {
    let refusal =
        |index, code: &str, reason: &str| Refusal { index, code: code.to_owned(), reason: reason.to_owned() };
    let expected = GateProblem {
        code: "invalid_body".to_owned(),
        detail: text("2 snapshots are refused, so none was taken"),
        now: Some(AT + 31_000),
        refused: vec![
            refusal(0, "invalid_snapshot", "cpu must be 0 to 100"),
            refusal(3, "clock_ahead", "sampled_at is 31000 ms ahead of the gate"),
        ],
    };
    assert_eq!(parse::<GateProblem>(include_str!("golden/problem.json")), expected);
    assert_eq!(parse::<GateProblem>("{}"), GateProblem::default(), "a proxy's problem is one too");
}

#[test]
fn message_of_snapshots() {
    let first = Snapshot {
        sampled_at: AT,
        covers_ms: 30_000,
        host: Some(Host { hostname: text("web-1"), ..Host::default() }),
        cpu: Some(Cpu { total: Some(12.5), ..Cpu::default() }),
        memory: Some(Memory { total: Some(8_000_000_000), used: Some(3_000_000_000), ..Memory::default() }),
        ..Snapshot::default()
    };
    let second = Snapshot { sampled_at: AT + 1, covers_ms: 0, ..Snapshot::default() };
    let message = Message::Snapshots { version: VERSION, records: vec![record(first), record(second)] };
    is_both_ways(include_str!("golden/message_snapshots.json"), message);
}

#[test]
fn message_of_a_tick() {
    let tick = Message::Tick { version: VERSION, gate: "gate-1".to_owned(), at: AT + 5_000, open_since: AT };
    is_both_ways(include_str!("golden/message_tick.json"), tick);
}

#[test]
fn message_of_results() {
    let told =
        |result| ResultRecord { server_id: ID.to_owned(), generation: 7, received_at: AT + 250, result };
    let failed = OrderResult {
        order: ID.to_owned(),
        state: "failed".to_owned(),
        code: text("still_running"),
        detail: text("it ran on for 10 s"),
        at: AT,
        ..OrderResult::default()
    };
    let unit = UnitState {
        active: "active".to_owned(),
        sub: "running".to_owned(),
        result: "success".to_owned(),
        main_pid: 4712,
    };
    let done = OrderResult {
        order: ID.replace("030303030303", "030303030304"),
        state: "done".to_owned(),
        at: AT,
        unit: Some(unit),
        ..OrderResult::default()
    };
    let message = Message::Results { version: VERSION, results: vec![told(failed), told(done)] };
    is_both_ways(include_str!("golden/message_results.json"), message);
}

#[test]
fn mail_job() {
    let about = MailSubject { kind: "report".to_owned(), id: ID.to_owned() };
    is_both_ways(
        include_str!("golden/mail_job.json"),
        MailJob { version: VERSION, delivery_id: ID.to_owned(), about: Some(about) },
    );
}

#[test]
fn mail_job_that_does_not_say_what_it_is_about() {
    is_both_ways(
        include_str!("golden/mail_job_unsaid.json"),
        MailJob { version: VERSION, delivery_id: ID.to_owned(), about: None },
    );
}

/// More than these are not even read.
#[test]
fn a_list_ends_at_its_bound() {
    let snapshot = json!({"sampled_at": 1, "covers_ms": 0});
    let report = |count: usize| json!({"interval_ms": 30_000, "snapshots": vec![snapshot.clone(); count]});
    assert_eq!(
        serde_json::from_value::<Report>(report(MAX_SNAPSHOTS)).unwrap().snapshots.len(),
        MAX_SNAPSHOTS
    );
    let error = serde_json::from_value::<Report>(report(MAX_SNAPSHOTS + 1)).unwrap_err().to_string();
    assert!(error.contains("snapshots has more than 240 entries"), "{error}");
    for (list, most) in [("disks", MAX_DISKS), ("networks", MAX_NETWORKS), ("temperatures", MAX_TEMPERATURES)]
    {
        let with = |count: usize| {
            let mut snapshot = snapshot.clone();
            snapshot[list] = json!(vec![json!({}); count]);
            serde_json::from_value::<Snapshot>(snapshot)
        };
        assert!(with(most).is_ok() && with(most + 1).is_err(), "{list}");
    }
    for (list, most) in [
        ("rows", MAX_ROWS),
        ("pinned", MAX_PINNED),
        ("users", MAX_USERS),
        ("sessions", MAX_SESSIONS),
        ("units", MAX_UNITS),
        ("commands", MAX_COMMANDS),
    ] {
        let with = |count: usize| {
            let mut snapshot = snapshot.clone();
            snapshot["processes"] = json!({list: vec![json!({}); count]});
            serde_json::from_value::<Snapshot>(snapshot)
        };
        assert!(with(most).is_ok() && with(most + 1).is_err(), "{list}");
    }
    let cores = |count: usize| serde_json::from_value::<Cpu>(json!({"cores": vec![1.0; count]}));
    assert!(cores(MAX_CORES).is_ok() && cores(MAX_CORES + 1).is_err());
}

/// Stores cut it off there, see `fleet::processes`.
#[test]
fn processes_are_the_last_member_of_a_snapshot() {
    let with = serde_json::to_string(&full_snapshot()).unwrap();
    let without = serde_json::to_string(&Snapshot { processes: None, ..full_snapshot() }).unwrap();
    let section = serde_json::to_string(&full_processes()).unwrap();
    assert_eq!(with, format!("{},\"processes\":{section}}}", &without[..without.len() - 1]));
}
