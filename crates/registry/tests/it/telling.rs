//! Channels, routes, silences, and what is told by them.

use std::sync::atomic::{AtomicU64, Ordering};

use fleet::{
    Millis, Subject,
    alert::{
        Level,
        channel::{Config, Kind, Step, target_key},
        message::What,
        route::{Match, Route, Silence},
        seal::Sealed,
        verdict::Verdict,
    },
    id::{AlertRouteId, ChannelId, IncidentId, NotificationId, SilenceId},
    words::Language,
};
use registry::{
    Actor, Attempt, Channel, Claim, ClaimedMessage, Notification, NotificationFilter,
    NotificationState as State, Page, Refusal, Registry, Response, Told,
};
use serde_json::json;

use crate::store::{ALL, NOW, Store};

const SECOND: Millis = 1_000;
const MINUTE: Millis = 60 * SECOND;

static COUNT: AtomicU64 = AtomicU64::new(0);

pub fn random() -> [u8; 10] {
    let mut bytes = [0; 10];
    bytes[2..].copy_from_slice(&COUNT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    bytes
}

pub fn channel(kind: Kind, name: &str) -> Channel {
    let id = ChannelId::new(NOW, random());
    let config = match kind {
        Kind::Mail => json!({"recipients": ["a@x.example", "b@x.example"]}),
        _ => json!({}),
    };
    let config = Config::read(kind, &config).unwrap();
    let sealed = Sealed { key: "k1".to_owned(), text: format!("sealed {name}") };
    Channel {
        id,
        name: name.to_owned(),
        target_key: target_key(id, &config, None),
        language: Language::English,
        time_zone: "UTC".to_owned(),
        template: None,
        config,
        secret: kind.has_secret().then_some(sealed),
        secret_origin: None,
        secret_set_at: kind.has_secret().then_some(NOW),
        disabled: None,
        version: 1,
        created_at: NOW,
        updated_at: NOW,
    }
}

pub fn route(channels: &[&Channel]) -> Route {
    let channels = channels.iter().map(|channel| channel.id).collect();
    Route {
        id: AlertRouteId::new(NOW, random()),
        matches: Match::default(),
        min_level: Level::Warning,
        steps: vec![Step { after_ms: 0, channels }],
        reminder_ms: 0,
        goes_on: false,
    }
}

/// A channel that everything is told on.
pub async fn told_on(store: &Store, kind: Kind) -> Channel {
    let (made, system) =
        (channel(kind, &format!("channel {}", COUNT.load(Ordering::Relaxed))), Actor::system());
    store.registry.make_channel(&made, &system).await.unwrap().unwrap();
    store.registry.make_alert_route(&route(&[&made]), "", None, &system, NOW).await.unwrap().unwrap();
    made
}

/// An incident that opened at `NOW`, of the suite itself, which is told at once.
pub async fn incident(store: &Store, instance: &str) -> IncidentId {
    let id = IncidentId::new(NOW, random());
    store
        .execute(&format!(
            "INSERT INTO incidents (id, rule, rule_name, kind, metric, server, server_name, instance, level, state, transition,
             events, opened_at, began_at, updated_at, tell_at)
             VALUES ('{id}', 'rule', 'Rule', 'self', 'late', '', '', '{instance}', 'warning', 'open', 1, 1, {NOW}, {NOW}, {NOW},
             {NOW})"
        ))
        .await;
    id
}

async fn resolve(store: &Store, incident: IncidentId, at: Millis) {
    store
        .execute(&format!(
            "UPDATE incidents SET state = 'resolved', transition = transition + 1, resolved_at = {at},
             resolution = 'recovered', tell_at = {at} WHERE id = '{incident}'"
        ))
        .await;
}

pub async fn tell(registry: &Registry, now: Millis) -> Told {
    registry.tell(0, random, now).await.unwrap()
}

async fn all(registry: &Registry) -> Vec<Notification> {
    let mut all = registry.notifications(&NotificationFilter::default(), ALL).await.unwrap().0;
    all.reverse();
    all
}

async fn states(registry: &Registry) -> Vec<State> {
    all(registry).await.iter().map(|one| one.state).collect()
}

pub async fn claim(registry: &Registry, name: &str, now: Millis) -> Option<ClaimedMessage> {
    let claim = Claim { name, lease: MINUTE, spacing: |_| 2 * SECOND, scale: 1 };
    for place in registry.places_to_tell(10, now).await.unwrap() {
        if let Some(claimed) = registry.claim_message(&place, &claim, now).await.unwrap() {
            return Some(claimed);
        }
    }
    None
}

fn sent() -> Verdict {
    Verdict::Sent { pause: None }
}

pub async fn an_incident_is_told_once_by_any_number_of_replicas(store: Store) {
    told_on(&store, Kind::Slack).await;
    for number in 0..20 {
        incident(&store, &number.to_string()).await;
    }
    let registry = &store.registry;
    assert!(registry.has_to_tell(NOW).await.unwrap() && !registry.has_to_tell(NOW - 1).await.unwrap());
    let (a, b, c) = tokio::join!(tell(registry, NOW), tell(registry, NOW), tell(registry, NOW));
    assert_eq!(a.items + b.items + c.items, 20);
    assert_eq!(a.notifications + b.notifications + c.notifications, 1);
    assert_eq!(all(registry).await[0].incidents, 20);
    assert!(!registry.has_to_tell(NOW + MINUTE).await.unwrap());
}

pub async fn a_message_is_claimed_once_and_settled_by_its_claim(store: Store) {
    let (registry, channel) = (&store.registry, told_on(&store, Kind::Slack).await);
    let opened = incident(&store, "").await;
    tell(registry, NOW).await;
    let claims =
        tokio::join!(claim(registry, "a", NOW), claim(registry, "b", NOW), claim(registry, "c", NOW));
    let claimed: Vec<ClaimedMessage> = [claims.0, claims.1, claims.2].into_iter().flatten().collect();
    let [first] = &claimed[..] else { panic!("{claimed:?}") };
    assert_eq!((first.channel.id, first.rows, first.attempts, first.items.len()), (channel.id, 1, 1, 1));
    assert_eq!((first.items[0].incident, first.items[0].what), (opened, What::Alert));
    assert_eq!(states(registry).await, [State::Sending]);
    // Nothing was sent: it waits again, and its place for as long as it has to.
    let not_sent = Verdict::NotSent("refused".to_owned());
    assert!(registry.settle_message(first, &not_sent, 5 * SECOND, NOW).await.unwrap());
    assert_eq!(states(registry).await, [State::Queued]);
    assert!(claim(registry, "d", NOW + 4 * SECOND).await.is_none());
    let again = claim(registry, "e", NOW + 5 * SECOND).await.unwrap();
    assert_eq!(again.attempts, 2);
    // Whoever had it before has no say any more.
    assert!(!registry.settle_message(first, &sent(), 0, NOW + 5 * SECOND).await.unwrap());
    assert_eq!(states(registry).await, [State::Sending]);
    assert!(registry.settle_message(&again, &sent(), 0, NOW + 5 * SECOND).await.unwrap());
    assert_eq!(states(registry).await, [State::Sent]);
    resolve(&store, opened, NOW + 6 * SECOND).await;
    tell(registry, NOW + 6 * SECOND).await;
    let over = claim(registry, "f", NOW + 20 * SECOND).await.unwrap();
    assert_eq!(over.items[0].what, What::Recovery);
}

pub async fn what_nobody_settles_is_unknown_and_never_sent_by_itself(store: Store) {
    let registry = &store.registry;
    told_on(&store, Kind::Slack).await;
    incident(&store, "").await;
    tell(registry, NOW).await;
    let lost = claim(registry, "a", NOW).await.unwrap();
    assert_eq!(registry.give_up_messages(NOW, NOW + MINUTE).await.unwrap(), 0);
    assert_eq!(registry.give_up_messages(NOW + 1, NOW + MINUTE).await.unwrap(), 1);
    assert_eq!(states(registry).await, [State::Unknown]);
    // It cannot be taken back into the queue, and what is certain of it may still be said.
    let not_sent = Verdict::NotSent("refused".to_owned());
    assert!(!registry.settle_message(&lost, &not_sent, 0, NOW + MINUTE).await.unwrap());
    assert!(claim(registry, "b", NOW + 9 * MINUTE).await.is_none());
    tell(registry, NOW + 9 * MINUTE).await;
    assert_eq!(states(registry).await, [State::Unknown]);
    assert!(registry.settle_message(&lost, &sent(), 0, NOW + MINUTE).await.unwrap());
    assert_eq!(states(registry).await, [State::Sent]);
}

/// Its process stood still until another one had told the same place of something newer.
pub async fn what_waits_again_after_its_turn_says_that_newer_ones_may_have_been_first(store: Store) {
    let registry = &store.registry;
    told_on(&store, Kind::Slack).await;
    incident(&store, "older").await;
    tell(registry, NOW).await;
    let older = claim(registry, "a", NOW).await.unwrap();
    incident(&store, "newer").await;
    tell(registry, NOW + 1).await;
    let newer = claim(registry, "b", NOW + MINUTE).await.unwrap();
    assert_eq!(newer.items[0].instance, "newer");
    assert!(registry.settle_message(&newer, &sent(), 0, NOW + MINUTE).await.unwrap());
    let not_sent = Verdict::NotSent("it took too long to begin".to_owned());
    assert!(registry.settle_message(&older, &not_sent, 0, NOW + MINUTE).await.unwrap());
    // It is not forgotten though its next turn goes well, or another one before that does not.
    let again = claim(registry, "c", NOW + 2 * MINUTE).await.unwrap();
    assert!(registry.settle_message(&again, &not_sent, 0, NOW + 2 * MINUTE).await.unwrap());
    let reasons = async || {
        let told = all(registry).await;
        told.into_iter().map(|one| (one.state, one.reason.unwrap_or_default())).collect::<Vec<_>>()
    };
    let waits = "its turn was over: it took too long to begin".to_owned();
    assert_eq!(reasons().await, [(State::Queued, waits), (State::Sent, String::new())]);
    let last = claim(registry, "d", NOW + 3 * MINUTE).await.unwrap();
    assert!(registry.settle_message(&last, &sent(), 0, NOW + 3 * MINUTE).await.unwrap());
    let late = "its turn was over before it was sent: newer ones may have been sent before".to_owned();
    assert_eq!(reasons().await, [(State::Sent, late), (State::Sent, String::new())]);
}

pub async fn what_is_over_before_it_was_sent_falls(store: Store) {
    let registry = &store.registry;
    told_on(&store, Kind::Slack).await;
    let (one, _stays) = (incident(&store, "1").await, incident(&store, "2").await);
    tell(registry, NOW).await;
    resolve(&store, one, NOW + SECOND).await;
    let alone = incident(&store, "3").await;
    tell(registry, NOW + SECOND).await;
    resolve(&store, alone, NOW + 2 * SECOND).await;
    tell(registry, NOW + 2 * SECOND).await;
    assert_eq!(states(registry).await, [State::Queued, State::Fallen]);
    assert_eq!(claim(registry, "a", NOW + MINUTE).await.unwrap().items.len(), 1);
}

pub async fn after_a_failure_the_channel_is_told_again_and_one_that_is_gone_is_disabled(store: Store) {
    let (registry, channel) = (&store.registry, told_on(&store, Kind::Slack).await);
    incident(&store, "").await;
    tell(registry, NOW).await;
    let failed = |disables| Verdict::Failed { reason: "HTTP 410".to_owned(), disables };
    let first = claim(registry, "a", NOW).await.unwrap();
    registry.settle_message(&first, &failed(false), 0, NOW).await.unwrap();
    tell(registry, NOW + SECOND).await;
    assert_eq!(states(registry).await, [State::Failed]);
    tell(registry, NOW + 5 * MINUTE).await;
    assert_eq!(states(registry).await, [State::Failed, State::Queued]);
    let second = claim(registry, "b", NOW + 5 * MINUTE).await.unwrap();
    registry.settle_message(&second, &failed(true), 0, NOW + 5 * MINUTE).await.unwrap();
    let disabled = registry.channel(channel.id).await.unwrap().unwrap().disabled;
    assert_eq!(disabled, Some((NOW + 5 * MINUTE, "HTTP 410".to_owned())));
    tell(registry, NOW + 60 * MINUTE).await;
    assert_eq!(states(registry).await, [State::Failed, State::Failed]);
    assert!(store.actions().await.contains(&"channel.disable".to_owned()));
    // A person enables it again: what is open is told.
    let channel = registry.channel(channel.id).await.unwrap().unwrap();
    let enabled = Channel { disabled: None, ..channel };
    registry.change_channel(&enabled, &Actor::system(), NOW + 61 * MINUTE).await.unwrap().unwrap();
    tell(registry, NOW + 61 * MINUTE).await;
    assert_eq!(states(registry).await.last(), Some(&State::Queued));
}

pub async fn a_message_of_mail_is_what_its_mails_are_and_falls_with_them(store: Store) {
    let registry = &store.registry;
    told_on(&store, Kind::Mail).await;
    let one = incident(&store, "1").await;
    tell(registry, NOW).await;
    assert!(claim(registry, "a", NOW).await.is_none());
    let due = registry.take_due_deliveries(NOW, NOW + MINUTE, 10).await.unwrap();
    let message = all(registry).await[0].id;
    assert!(due.len() == 2 && due.iter().all(|job| job.about == Some(Subject::Notification(message))));
    resolve(&store, one, NOW + SECOND).await;
    tell(registry, NOW + SECOND).await;
    assert_eq!(states(registry).await, [State::Fallen]);
    assert!(registry.claim_delivery(due[0].delivery, "<1@x>", NOW).await.unwrap().is_none());
    let two = incident(&store, "2").await;
    tell(registry, NOW + SECOND).await;
    let due = registry.take_due_deliveries(NOW + SECOND, NOW + MINUTE, 10).await.unwrap();
    let first = registry.claim_delivery(due[0].delivery, "<1@x>", NOW).await.unwrap().unwrap();
    let (channel, _, items) = registry.message_by_mail(all(registry).await[1].id).await.unwrap().unwrap();
    assert_eq!((channel.secret, items[0].incident), (None, two));
    // One is under way: it does not fall any more.
    resolve(&store, two, NOW + 2 * SECOND).await;
    tell(registry, NOW + 2 * SECOND).await;
    assert_eq!(states(registry).await, [State::Fallen, State::Sending]);
    registry.settle_delivery(&first, &Attempt::Sent, NOW).await.unwrap();
    let second = registry.claim_delivery(due[1].delivery, "<2@x>", NOW).await.unwrap().unwrap();
    registry.settle_delivery(&second, &Attempt::Failed("full".to_owned()), NOW).await.unwrap();
    tell(registry, NOW + 4 * SECOND).await;
    tell(registry, NOW + 5 * SECOND).await;
    assert_eq!(states(registry).await, [State::Fallen, State::Sent, State::Queued]);
}

pub async fn a_silence_mutes_and_what_is_open_at_its_end_is_told_once(store: Store) {
    let registry = &store.registry;
    told_on(&store, Kind::Slack).await;
    let silence = Silence {
        id: SilenceId::new(NOW, random()),
        matches: Match::default(),
        starts_at: NOW,
        ends_at: NOW + 10 * MINUTE,
    };
    let system = Actor::system();
    let made = registry.make_silence(&silence, Some("works"), &system, NOW).await.unwrap().unwrap();
    incident(&store, "").await;
    tell(registry, NOW).await;
    assert!(!registry.has_to_tell(NOW + 10 * MINUTE - 1).await.unwrap());
    assert_eq!(states(registry).await, []);
    let longer = Silence { ends_at: NOW + 20 * MINUTE, ..silence.clone() };
    let changed = registry.change_silence(Some(&[7]), &longer, None, &system, NOW).await.unwrap();
    assert_eq!(changed, Err(Refusal::Stale));
    registry.change_silence(Some(&[made.version]), &longer, None, &system, NOW).await.unwrap().unwrap();
    tell(registry, NOW + 10 * MINUTE).await;
    assert_eq!(states(registry).await, []);
    tell(registry, NOW + 20 * MINUTE).await;
    assert_eq!(states(registry).await, [State::Queued]);
    registry.delete_silence(silence.id, None, &system, NOW).await.unwrap().unwrap();
    assert_eq!(registry.silence(silence.id).await.unwrap(), None);
}

pub async fn what_is_open_again_escalates_from_then_on(store: Store) {
    let (first, second, system) =
        (channel(Kind::Wecom, "first"), channel(Kind::Wecom, "second"), Actor::system());
    let registry = &store.registry;
    for made in [&first, &second] {
        registry.make_channel(made, &system).await.unwrap().unwrap();
    }
    let mut steps = route(&[&first]);
    steps.steps.push(Step { after_ms: 15 * MINUTE, channels: vec![second.id] });
    registry.make_alert_route(&steps, "", None, &system, NOW).await.unwrap().unwrap();
    let id = incident(&store, "").await;
    let step = async || store.number(&format!("SELECT step FROM incidents WHERE id = '{id}'")).await;
    assert_eq!((tell(registry, NOW).await.notifications, step().await), (1, 1));
    let respond = async |response, at| {
        registry.respond(id, response, None, &system, at).await.unwrap().unwrap();
        tell(registry, at).await.notifications
    };
    let ten = NOW + 10 * MINUTE;
    assert_eq!(respond(Response::Acknowledge, ten).await, 0);
    assert_eq!(tell(registry, NOW + 60 * MINUTE).await.notifications, 0, "somebody knows it");
    // It is open again, which is told nobody anew, and the second step has its time.
    let hour = NOW + 60 * MINUTE;
    assert_eq!(respond(Response::Unacknowledge, hour).await, 0);
    assert_eq!((tell(registry, hour + 15 * MINUTE - 1).await.notifications, step().await), (0, 1));
    assert_eq!((tell(registry, hour + 15 * MINUTE).await.notifications, step().await), (1, 2));
}

pub async fn channels_and_routes_are_made_changed_and_deleted(store: Store) {
    let (registry, system) = (&store.registry, Actor::system());
    let one = channel(Kind::Slack, "Ops");
    registry.make_channel(&one, &system).await.unwrap().unwrap();
    assert_eq!(registry.channel(one.id).await.unwrap(), Some(one.clone()));
    let taken = registry.make_channel(&channel(Kind::Slack, "OPS"), &system).await.unwrap();
    assert_eq!(taken, Err(Refusal::NameTaken));
    let moved = Channel { name: "Night".to_owned(), target_key: "elsewhere".to_owned(), ..one.clone() };
    registry.change_channel(&moved, &system, NOW + 1).await.unwrap().unwrap();
    assert_eq!(registry.change_channel(&moved, &system, NOW + 2).await.unwrap(), Err(Refusal::Stale));
    let resealed = Sealed { key: "k2".to_owned(), text: "anew".to_owned() };
    let [old] = &registry.channels_of_another_key("k2").await.unwrap()[..] else { panic!() };
    assert!(registry.reseal_channel(old, &resealed).await.unwrap());
    assert!(!registry.reseal_channel(old, &resealed).await.unwrap());
    assert_eq!(registry.channels_of_another_key("k2").await.unwrap(), []);
    let mut routes = Vec::new();
    for position in [None, None, Some(1), Some(2)] {
        let made =
            registry.make_alert_route(&route(&[&one]), "r", position, &system, NOW).await.unwrap().unwrap();
        routes.push(made.route.id);
    }
    let order = async || {
        let listed = registry.alert_routes(ALL).await.unwrap().0;
        let positions: Vec<u32> = listed.iter().map(|route| route.position).collect();
        assert_eq!(positions, (1..=u32::try_from(listed.len()).unwrap()).collect::<Vec<_>>());
        listed
            .iter()
            .map(|route| routes.iter().position(|id| *id == route.route.id).unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(order().await, [2, 3, 0, 1]);
    let last = registry.alert_route(routes[1]).await.unwrap().unwrap();
    let seen = Some([last.version]);
    let change = registry.change_alert_route(
        seen.as_ref().map(<[i64; 1]>::as_slice),
        &last.route,
        "r",
        Some(1),
        &system,
        NOW,
    );
    change.await.unwrap().unwrap();
    assert_eq!(order().await, [1, 2, 3, 0]);
    registry.delete_alert_route(routes[2], None, &system, NOW).await.unwrap().unwrap();
    assert_eq!(order().await, [1, 3, 0]);
    registry.delete_channel(one.id, None, &system, NOW).await.unwrap().unwrap();
    assert_eq!(registry.channels(Page { page: 1, page_size: 5 }).await.unwrap(), (Vec::new(), 0));
    assert_eq!(registry.delete_channel(one.id, None, &system, NOW).await.unwrap(), Err(Refusal::NotFound));
}

pub async fn what_failed_is_sent_again_if_a_person_wants_it_and_old_messages_are_forgotten(store: Store) {
    let (registry, system) = (&store.registry, Actor::system());
    let channel = told_on(&store, Kind::Slack).await;
    let opened = incident(&store, "").await;
    tell(registry, NOW).await;
    let first = claim(registry, "a", NOW).await.unwrap();
    registry.settle_message(&first, &Verdict::Unknown("lost".to_owned()), 0, NOW).await.unwrap();
    let (lost, id) = (all(registry).await[0].id, NotificationId::new(NOW + 1, random()));
    let new = registry.resend_notification(lost, id, random, &system, NOW + 1).await.unwrap().unwrap();
    assert_eq!((new.resend_of, new.incidents, new.state), (Some(lost), 1, State::Queued));
    let again = claim(registry, "b", NOW + MINUTE).await.unwrap();
    assert_eq!(again.items[0].incident, opened);
    registry.settle_message(&again, &sent(), 0, NOW + MINUTE).await.unwrap();
    let sent_again = registry.resend_notification(id, lost, random, &system, NOW).await.unwrap();
    assert_eq!(sent_again, Err(Refusal::NotLost));
    let test = NotificationId::new(NOW + 2, random());
    let made = registry.test_channel(channel.id, test, random, &system, NOW + 2).await.unwrap().unwrap();
    assert_eq!((made.id, made.incidents), (test, 0));
    let filter = NotificationFilter { incident: Some(opened), ..NotificationFilter::default() };
    assert_eq!(registry.notifications(&filter, ALL).await.unwrap().1, 2);
    // What is open is remembered, however old it is; and what waits.
    let later = NOW + 91 * 86_400_000;
    assert!(!registry.forget_notifications(later).await.unwrap());
    resolve(&store, opened, NOW).await;
    assert!(registry.forget_notifications(later).await.unwrap());
    assert_eq!(states(registry).await, [State::Queued]);
}
