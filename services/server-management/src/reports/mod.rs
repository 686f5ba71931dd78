//! Reports by mail: asked for or due by a schedule, computed in the background, and handed to mail.

mod background;
mod budget;
mod report;
mod schedule;

use fleet::Scope;
use utoipa::OpenApi;

pub(crate) use self::background::{make_due, run};
use crate::people::{Access::Needs, Resource, delete, get, list, patch, post};

/// What is documented of them.
#[derive(OpenApi)]
#[openapi(paths(
    report::make,
    report::list,
    report::show,
    schedule::make,
    schedule::preview,
    schedule::list,
    schedule::show,
    schedule::change,
    schedule::remove
))]
pub(crate) struct Document;

/// Where their URLs lead.
pub(crate) fn routes() -> Vec<Resource> {
    let (read, write) = (Scope::ReportRead, Scope::ReportWrite);
    vec![
        ("/reports", vec![list(Needs(read), report::list), post(Needs(write), report::make)]),
        ("/reports/{id}", vec![get(Needs(read), report::show)]),
        ("/report-schedules", vec![list(Needs(read), schedule::list), post(Needs(write), schedule::make)]),
        // Before `/report-schedules/{id}`, which it would be otherwise.
        ("/report-schedules/preview", vec![post(Needs(read), schedule::preview)]),
        (
            "/report-schedules/{id}",
            vec![
                get(Needs(read), schedule::show),
                patch(Needs(write), schedule::change),
                delete(Needs(write), schedule::remove),
            ],
        ),
    ]
}
