//! Alerts: rules, incidents, maintenance windows, and where all of it is told.

mod alert_routes;
mod channels;
mod edge;
mod fields;
mod incidents;
mod judge;
mod listing;
mod matching;
mod notifications;
mod openings;
mod preview;
mod reporters;
mod rules;
mod sealing;
mod silences;
mod telling;
mod watched;
mod windows;

use chassis::{Room, Trouble, random};
use fleet::{Millis, Scope, id::AlertRuleId};
use registry::RegistryError;
use tokio::time::{Duration, MissedTickBehavior, interval};
use utoipa::OpenApi;

use self::openings::Openings;
pub(crate) use self::{
    incidents::{IncidentItem, open_of as open_incidents},
    judge::Judge,
    openings::{InMaintenance, of as maintenance_of},
    reporters::turn as elect_reporter,
    sealing::Sealing,
    telling::tell,
};
use crate::{
    app::App,
    operations::DeadLetters,
    people::{Access::Needs, Resource, delete, get, list, patch, post},
};

/// How often the judge works.
const JUDGE_EVERY: Duration = Duration::from_secs(1);

/// How often incidents are counted for the metrics, and old ones are forgotten: every so many turns of the judge.
const COUNT_EVERY: u32 = 10;
const FORGET_EVERY: u32 = 3_600;

/// How often the agent is elected that tells when the suite is away: every so many turns of the judge.
const ELECT_EVERY: u32 = 5;

/// For how long incidents are kept after they are resolved, in ms.
const KEPT: Millis = 400 * 86_400_000;

/// Rows that are forgotten at once.
const PART: u32 = 1_000;

/// What is documented of them.
#[derive(OpenApi)]
#[openapi(paths(
    preview::preview,
    rules::list,
    rules::make,
    rules::show,
    rules::change,
    rules::remove,
    incidents::list,
    incidents::show,
    incidents::acknowledge,
    incidents::unacknowledge,
    incidents::close,
    incidents::comment,
    channels::list,
    channels::make,
    channels::show,
    channels::change,
    channels::remove,
    channels::test,
    alert_routes::list,
    alert_routes::make,
    alert_routes::show,
    alert_routes::change,
    alert_routes::remove,
    silences::list,
    silences::make,
    silences::show,
    silences::change,
    silences::remove,
    notifications::list,
    notifications::show,
    notifications::resend,
    windows::list,
    windows::make,
    windows::preview,
    windows::show,
    windows::change,
    windows::remove
))]
pub(crate) struct Document;

/// Where their URLs lead.
pub(crate) fn routes() -> Vec<Resource> {
    let (read, respond, write) = (Scope::AlertRead, Scope::AlertRespond, Scope::AlertWrite);
    vec![
        ("/alert-rules", vec![list(Needs(read), rules::list), post(Needs(write), rules::make)]),
        // Before `/alert-rules/{id}`, which it would be otherwise.
        ("/alert-rules/preview", vec![post(Needs(read), preview::preview)]),
        (
            "/alert-rules/{id}",
            vec![
                get(Needs(read), rules::show),
                patch(Needs(write), rules::change),
                delete(Needs(write), rules::remove),
            ],
        ),
        ("/incidents", vec![list(Needs(read), incidents::list)]),
        ("/incidents/{id}", vec![get(Needs(read), incidents::show)]),
        ("/incidents/{id}/acknowledge", vec![post(Needs(respond), incidents::acknowledge)]),
        ("/incidents/{id}/unacknowledge", vec![post(Needs(respond), incidents::unacknowledge)]),
        ("/incidents/{id}/close", vec![post(Needs(respond), incidents::close)]),
        ("/incidents/{id}/comments", vec![post(Needs(respond), incidents::comment)]),
        ("/maintenance-windows", vec![list(Needs(read), windows::list), post(Needs(write), windows::make)]),
        // Before `/maintenance-windows/{id}`, which it would be otherwise.
        ("/maintenance-windows/preview", vec![post(Needs(read), windows::preview)]),
        (
            "/maintenance-windows/{id}",
            vec![
                get(Needs(read), windows::show),
                patch(Needs(write), windows::change),
                delete(Needs(write), windows::remove),
            ],
        ),
    ]
    .into_iter()
    .chain(routes_of_telling())
    .collect()
}

fn routes_of_telling() -> Vec<Resource> {
    let (read, respond, write) = (Scope::AlertRead, Scope::AlertRespond, Scope::AlertWrite);
    let channel = Scope::ChannelWrite;
    vec![
        ("/channels", vec![list(Needs(read), channels::list), post(Needs(channel), channels::make)]),
        (
            "/channels/{id}",
            vec![
                get(Needs(read), channels::show),
                patch(Needs(channel), channels::change),
                delete(Needs(channel), channels::remove),
            ],
        ),
        ("/channels/{id}/test", vec![post(Needs(channel), channels::test)]),
        (
            "/alert-routes",
            vec![list(Needs(read), alert_routes::list), post(Needs(write), alert_routes::make)],
        ),
        (
            "/alert-routes/{id}",
            vec![
                get(Needs(read), alert_routes::show),
                patch(Needs(write), alert_routes::change),
                delete(Needs(write), alert_routes::remove),
            ],
        ),
        ("/silences", vec![list(Needs(read), silences::list), post(Needs(respond), silences::make)]),
        (
            "/silences/{id}",
            vec![
                get(Needs(read), silences::show),
                patch(Needs(respond), silences::change),
                delete(Needs(respond), silences::remove),
            ],
        ),
        ("/notifications", vec![list(Needs(read), notifications::list)]),
        ("/notifications/{id}", vec![get(Needs(read), notifications::show)]),
        ("/notifications/{id}/resend", vec![post(Needs(respond), notifications::resend)]),
    ]
}

/// Describes what `/metrics` tells of them.
pub(crate) fn describe() {
    judge::describe();
}

/// What is done about them without being asked, until it is dropped.
pub(crate) async fn run(app: &App, sealing: &Sealing, dead_letters: &DeadLetters, disk: Option<&Room>) {
    let trouble = Trouble::new("keeping incidents");
    let telling = Trouble::new("telling incidents");
    let electing = Trouble::new("electing who tells when no gate answers");
    let mut resealed = None;
    let maintaining = Trouble::new("maintenance windows");
    let mut judge = Judge::default();
    let mut openings = Openings::default();
    let mut due = interval(JUDGE_EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for turn in 0_u32.. {
        due.tick().await;
        // First, so that nobody is missed whose maintenance begins now.
        maintaining.watch(openings.turn(app).await);
        judge.turn(app, dead_letters, disk).await;
        // What the judge found is told.
        telling.watch(tell(app).await);
        if resealed.is_none() {
            resealed = trouble.watch(sealing::reseal(app, sealing).await);
        }
        if turn.is_multiple_of(ELECT_EVERY) {
            electing.watch(Box::pin(elect_reporter(app)).await);
        }
        if turn.is_multiple_of(COUNT_EVERY) {
            trouble.watch(judge::count(app).await);
        }
        if turn.is_multiple_of(FORGET_EVERY) {
            trouble.watch(forget(app).await);
        }
    }
}

/// Makes the rules that the suite is shipped with, each once in its life.
pub(crate) async fn ship(app: &App) -> Result<(), RegistryError> {
    let now = app.clock.now();
    if app.registry.ship_alert_rules(|| AlertRuleId::new(now, random()), now).await? {
        tracing::info!("the rules for alerts are made that this release ships");
    }
    Ok(())
}

/// Begins and ends what is due of maintenance windows, now.
pub(crate) async fn maintain(app: &App) -> Result<(), RegistryError> {
    Openings::default().turn(app).await
}

async fn forget(app: &App) -> Result<(), RegistryError> {
    let before = app.clock.now() - KEPT;
    while app.registry.forget_incidents(before, PART).await? == u64::from(PART) {}
    let now = app.clock.now();
    while app.registry.forget_notifications(now).await? {}
    app.registry.forget_silences(now).await.map(drop)
}
