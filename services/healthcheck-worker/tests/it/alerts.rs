//! What breaks a rule becomes a state, and nothing else does.

use fleet::{
    Interval, Millis, Record, Snapshot,
    alert::{Draft, Holds, Level, Phase, Sample, Verdict},
    id::AlertRuleId,
    wire::v1,
};
use registry::{Actor, AlertRule, Observation, StateKey};

use crate::app::{self, App, BEAT, FIRST, NOW, server};

const SECOND: Millis = 1_000;

/// A rule that is raised after a minute and cleared after half of one.
async fn rule(app: &App, needs: &[(&str, &str)]) {
    let mut draft = Draft {
        kind: "value".to_owned(),
        metric: "cpu.total".to_owned(),
        op: "above".to_owned(),
        warning: Some(80.0),
        hold_ms: 60 * SECOND,
        clear_hold_ms: 30 * SECOND,
        ..Draft::default()
    };
    draft.binding.needs = needs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let rule = AlertRule::new(AlertRuleId::new(NOW, [1; 10]), "busy", true, draft, NOW);
    app.registry.make_alert_rule(&rule, &Actor::system()).await.unwrap().unwrap();
}

fn busy(number: u8, received_at: Millis, sampled_at: Millis, total: f32) -> Record {
    let cpu = Some(v1::Cpu { total: Some(total), ..v1::Cpu::default() });
    let raw = v1::Snapshot { sampled_at, covers_ms: BEAT, cpu, ..v1::Snapshot::default() };
    let snapshot = Snapshot::check(raw, Interval::DEFAULT).unwrap();
    Record { server: server(number), generation: FIRST, received_at, interval: Interval::DEFAULT, snapshot }
}

/// Since when the state of this server breaches, and how far it is.
async fn state(app: &App, number: u8) -> Option<(Millis, Phase)> {
    let states = app.registry.alert_states(&[server(number)]).await.unwrap();
    states.values().next().map(|state| (state.began_at - NOW, state.phase))
}

#[tokio::test]
async fn a_value_that_stays_beyond_its_threshold_is_raised_and_cleared_once_it_stays_inside() {
    let app = app::spawn().await;
    app.enrol(1).await;
    rule(&app, &[]).await;
    for (beat, total, expected) in [
        (0, 80.0, None),
        (1, 90.0, Some((30 * SECOND, Phase::Pending))),
        (2, 70.0, None),
        (3, 90.0, Some((90 * SECOND, Phase::Pending))),
        (4, 90.0, Some((90 * SECOND, Phase::Pending))),
        (5, 90.0, Some((90 * SECOND, Phase::Raised))),
        (6, 78.0, Some((90 * SECOND, Phase::Raised))),
        (7, 76.0, Some((90 * SECOND, Phase::Raised))),
        (8, 10.0, Some((90 * SECOND, Phase::Cleared))),
    ] {
        let at = NOW + beat * BEAT;
        app.publish(vec![busy(1, at, at, total)]).await.unwrap();
        assert_eq!(state(&app, 1).await, expected, "beat {beat}");
    }
}

#[tokio::test]
async fn back_fill_and_servers_that_are_not_bound_begin_nothing() {
    let app = app::spawn().await;
    app.enrol(1).await;
    app.enrol(2).await;
    rule(&app, &[("env", "prod")]).await;
    let labels = [("env".to_owned(), "prod".to_owned())].into();
    let change = registry::ProfileChange { labels: Some(labels), ..Default::default() };
    app.registry.change_server(server(1), None, &change, &Actor::system(), NOW).await.unwrap().unwrap();
    app.publish(vec![busy(1, NOW, NOW - 90 * SECOND - 1, 99.0), busy(2, NOW, NOW, 99.0)]).await.unwrap();
    assert_eq!((state(&app, 1).await, state(&app, 2).await), (None, None));
    app.publish(vec![busy(1, NOW, NOW - 90 * SECOND, 99.0)]).await.unwrap();
    assert_eq!(state(&app, 1).await, Some((0, Phase::Pending)));
}

#[tokio::test]
async fn what_did_not_last_is_not_raised_though_only_the_newest_is_looked_at() {
    let app = app::spawn().await;
    app.enrol(1).await;
    rule(&app, &[]).await;
    app.publish(vec![busy(1, NOW, NOW, 99.0)]).await.unwrap();
    // The worker was slow: what came meanwhile is one batch.
    let beat = |beat, total| busy(1, NOW + beat * BEAT, NOW + beat * BEAT, total);
    app.publish(vec![beat(1, 99.0), beat(2, 10.0), beat(3, 99.0)]).await.unwrap();
    assert_eq!(state(&app, 1).await, Some((3 * BEAT, Phase::Pending)));
    app.publish(vec![beat(4, 99.0), beat(5, 99.0)]).await.unwrap();
    assert_eq!(state(&app, 1).await, Some((3 * BEAT, Phase::Raised)));
}

/// A sample that was committed at once when it was received, before the worker was away.
async fn observed(app: &App, number: u8, received_at: Millis, verdict: Verdict) {
    let (_, rules) = app.registry.enabled_alert_rules().await.unwrap();
    let rule = rules.iter().find(|rule| rule.name == "busy").unwrap();
    let (server, instance, level) = (server(number), String::new(), Level::Warning);
    let key = StateKey { server, rule: rule.id, instance, level };
    let sample = Sample { verdict, value: 99.0, sampled_at: received_at, received_at, afresh: false };
    let holds = Holds { raise: 60 * SECOND, clear: 30 * SECOND };
    let observation = Observation { key, version: rule.version, sample, holds };
    app.registry.observe(&[observation], Some(received_at)).await.unwrap();
}

/// Workers, or the broker, were away for ten minutes; by a fixed clock.
#[tokio::test]
async fn what_waited_for_ten_minutes_raises_and_resolves_nothing_and_what_is_so_now_does() {
    let app = app::spawn().await;
    for number in 1..=3 {
        app.enrol(number).await;
    }
    rule(&app, &[]).await;
    // Before: the first is pending, the second is raised, the third is neither.
    let before = NOW - 720 * SECOND;
    observed(&app, 1, before + 90 * SECOND, Verdict::Over).await;
    observed(&app, 2, before, Verdict::Over).await;
    observed(&app, 2, before + 60 * SECOND, Verdict::Over).await;
    let (pending, raised) = ((before + 90 * SECOND - NOW, Phase::Pending), (before - NOW, Phase::Raised));
    assert_eq!((state(&app, 1).await, state(&app, 2).await), (Some(pending), Some(raised)));

    // Then everything comes that waited: the first and the third were over for long, the second was not any more.
    for beat in 1..20 {
        let at = NOW - 600 * SECOND + beat * BEAT;
        app.publish(vec![busy(1, at, at, 99.0), busy(2, at, at, 1.0), busy(3, at, at, 99.0)]).await.unwrap();
    }
    assert_eq!((state(&app, 1).await, state(&app, 2).await), (Some(pending), Some(raised)));
    assert_eq!(state(&app, 3).await, Some((BEAT - 600 * SECOND, Phase::Pending)), "it may begin");

    // What is so now counts.
    for (at, second) in [(NOW, raised), (NOW + BEAT, (before - NOW, Phase::Cleared))] {
        app.publish(vec![busy(1, at, at, 99.0), busy(2, at, at, 1.0), busy(3, at, at, 1.0)]).await.unwrap();
        assert_eq!(state(&app, 1).await, Some((pending.0, Phase::Raised)));
        assert_eq!((state(&app, 2).await, state(&app, 3).await), (Some(second), None));
    }
}
