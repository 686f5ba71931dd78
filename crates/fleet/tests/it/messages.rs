//! Each golden file of the queue is read into the value that is spelt out here, and that value is written as the file.
//! What no gate and no management writes is refused: a queue may hold anything.

use fleet::{
    Interval, MailJob, Message, Outcome, Record, ServerId, Snapshot, Subject, Tick, messages::HostResult,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use wire::v1;

const SNAPSHOTS: &str = include_str!("../../../wire/tests/it/golden/message_snapshots.json");
const TICK: &str = include_str!("../../../wire/tests/it/golden/message_tick.json");
const RESULTS: &str = include_str!("../../../wire/tests/it/golden/message_results.json");
const MAIL_JOB: &str = include_str!("../../../wire/tests/it/golden/mail_job.json");
const MAIL_JOB_UNSAID: &str = include_str!("../../../wire/tests/it/golden/mail_job_unsaid.json");
const AT: i64 = 1_790_000_000_000;
const ID: &str = "01a0c450-6c00-7303-8303-030303030303";

fn parse<T: DeserializeOwned>(golden: &str) -> T {
    serde_json::from_str(golden).unwrap()
}

/// Also as text: a message and its wire type are written alike to the byte.
#[track_caller]
fn is_both_ways<T, W>(golden: &str, value: T)
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
    W: Serialize + DeserializeOwned,
{
    assert_eq!(parse::<T>(golden), value);
    let written = serde_json::to_string(&value).unwrap();
    assert_eq!(parse::<Value>(&written), parse::<Value>(golden));
    assert_eq!(written, serde_json::to_string(&parse::<W>(golden)).unwrap());
}

fn record(snapshot: v1::Snapshot) -> Record {
    let server: ServerId = ID.parse().unwrap();
    Record {
        server,
        generation: 7,
        received_at: AT + 250,
        interval: Interval::DEFAULT,
        snapshot: Snapshot::check(snapshot, Interval::DEFAULT).unwrap(),
    }
}

#[test]
fn snapshots() {
    let wire: v1::Message = parse(SNAPSHOTS);
    let v1::Message::Snapshots { records, .. } = wire else { panic!("another kind") };
    let records = records.into_iter().map(|sent| record(sent.snapshot)).collect();
    is_both_ways::<_, v1::Message>(SNAPSHOTS, Message::Snapshots(records));
}

#[test]
fn a_tick() {
    let tick = Tick { gate: "gate-1".to_owned(), at: AT + 5_000, open_since: AT };
    is_both_ways::<_, v1::Message>(TICK, Message::Tick(tick));
}

#[test]
fn results() {
    let wire: v1::Message = parse(RESULTS);
    let v1::Message::Results { results, .. } = wire else { panic!("another kind") };
    let outcome = |record: v1::ResultRecord| Outcome {
        server: ID.parse().unwrap(),
        generation: 7,
        received_at: AT + 250,
        result: HostResult::check(record.result).unwrap(),
    };
    is_both_ways::<_, v1::Message>(RESULTS, Message::Results(results.into_iter().map(outcome).collect()));
    let wrong = [
        ("received_at", json!(-1)),
        ("server_id", json!("7")),
        ("result", json!({"order": ID, "state": "", "at": 1})),
    ];
    for (member, value) in wrong {
        let mut message: Value = parse(RESULTS);
        message["results"][1][member] = value;
        let error = serde_json::from_value::<Message>(message).unwrap_err().to_string();
        assert!(error.contains("record 1"), "{member}: {error}");
    }
}

/// The release before knows two kinds. What it cannot read it refuses, and that is kept among the dead letters until a
/// release that can sends it through again.
#[test]
fn the_release_before_refuses_results_and_loses_none() {
    #[derive(serde::Deserialize, Debug)]
    #[serde(tag = "kind", rename_all = "lowercase")]
    enum Before {
        Snapshots {},
        Tick {},
    }
    assert!(serde_json::from_str::<Before>(RESULTS).is_err());
    for known in [SNAPSHOTS, TICK] {
        assert!(matches!(parse::<Before>(known), Before::Snapshots {} | Before::Tick {}));
    }
}

#[test]
fn a_message_of_another_version_is_refused() {
    for golden in [SNAPSHOTS, TICK, RESULTS] {
        for version in [0, 2] {
            let mut message: Value = parse(golden);
            message["version"] = json!(version);
            let error = serde_json::from_value::<Message>(message).unwrap_err().to_string();
            assert!(error.contains(&format!("version {version} is not known")), "{error}");
        }
    }
}

#[test]
fn a_message_that_no_gate_writes_is_refused_with_its_place() {
    let wrong = [
        ("server_id", json!("SERVER")),
        ("interval_ms", json!(0)),
        ("received_at", json!(i64::MAX)),
        ("received_at", json!(-1)),
        ("snapshot", json!({"sampled_at": -1, "covers_ms": 0})),
        ("snapshot", json!({"sampled_at": 1, "covers_ms": 0, "host": {"os": "a\0"}})),
    ];
    for (member, value) in wrong {
        let mut message: Value = parse(SNAPSHOTS);
        message["records"][1][member] = value;
        let error = serde_json::from_value::<Message>(message).unwrap_err().to_string();
        assert!(error.contains("record 1"), "{member}: {error}");
    }
    for member in ["at", "open_since"] {
        let mut message: Value = parse(TICK);
        message[member] = json!(i64::MIN);
        let error = serde_json::from_value::<Message>(message).unwrap_err().to_string();
        assert!(error.contains(&format!("tick: {member}")), "{error}");
    }
}

#[test]
fn a_mail_job() {
    let (delivery, report) = (ID.parse().unwrap(), Subject::Report(ID.parse().unwrap()));
    is_both_ways::<_, v1::MailJob>(MAIL_JOB, MailJob { delivery, about: Some(report) });
    let wrong = [
        ("version", json!(2)),
        ("delivery_id", json!("1")),
        ("about", json!({"kind": "report", "id": "1"})),
        ("about", json!({"kind": "report"})),
    ];
    for (member, value) in wrong {
        let mut job: Value = parse(MAIL_JOB);
        job[member] = value;
        assert!(serde_json::from_value::<MailJob>(job).is_err(), "{member}");
    }
}

/// The queue of a release that is upgraded holds jobs as it wrote them.
#[test]
fn a_mail_job_of_the_release_before_is_understood() {
    is_both_ways::<_, v1::MailJob>(MAIL_JOB_UNSAID, MailJob { delivery: ID.parse().unwrap(), about: None });
}

/// What the release before reads of a job: the members that it knows.
#[test]
fn the_release_before_understands_a_mail_job() {
    #[derive(serde::Deserialize, PartialEq, Debug)]
    struct Before {
        version: u32,
        delivery_id: String,
    }
    assert_eq!(parse::<Before>(MAIL_JOB), Before { version: 1, delivery_id: ID.to_owned() });
}

#[test]
fn a_mail_job_of_a_later_kind_is_kept_as_it_is() {
    let mut job: Value = parse(MAIL_JOB);
    job["about"] = json!({"kind": "incident", "id": "7"});
    let read: MailJob = serde_json::from_value(job.clone()).unwrap();
    let about = Subject::Other { kind: "incident".to_owned(), id: "7".to_owned() };
    assert_eq!(read.about, Some(about));
    assert_eq!(serde_json::to_value(&read).unwrap(), job);
}
