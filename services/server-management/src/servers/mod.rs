//! Servers: how they come in, what they are, how they are.

mod cells;
mod days;
mod enrolment;
mod export;
mod figures;
mod history;
mod import;
mod install;
mod labels;
mod listing;
mod measured;
mod outages;
mod ran;
mod samples;
mod server;
mod snapshots;
mod sparklines;
mod unknown;
mod uptime;

use fleet::Scope;
use utoipa::OpenApi;

pub(crate) use self::{
    cells::Pictures,
    figures::Figures,
    history::forget_due,
    install::Install,
    listing::{MAX_LABELS, read_label, read_status},
    ran::{LogIn, OtherProcesses, PinnedProcesses, Unit, UserProcesses},
    uptime::expected,
};
pub use self::{
    enrolment::make_enrolment_token,
    install::{BadPublicUrl, Downloads, PublicUrl},
};
use crate::people::{
    Access::{Needs, Public},
    Resource, delete, get, list, patch, post,
};

/// What is documented of them.
#[derive(OpenApi)]
#[openapi(
    components(schemas(measured::RefusedSnapshot)),
    paths(
        install::script,
        install::list,
        install::download,
        enrolment::make_token,
        enrolment::make_server_token,
        enrolment::list_tokens,
        enrolment::revoke_token,
        enrolment::enrol,
        measured::send,
        measured::wait,
        measured::tell,
        server::list,
        server::show,
        server::make,
        server::change,
        server::remove,
        server::pause,
        server::resume,
        server::revoke,
        unknown::list,
        unknown::adopt,
        history::forget,
        export::export,
        cells::show,
        import::import,
        outages::show,
        samples::show,
        snapshots::show,
        sparklines::list,
        days::list,
        uptime::show,
        uptime::total,
        uptime::list
    )
)]
pub(crate) struct Document;

/// The script that installs an agent.
pub(crate) fn install_script() -> Resource {
    ("/install.sh", vec![get(Public, install::script)])
}

/// Where their URLs lead.
pub(crate) fn routes() -> Vec<Resource> {
    let (read, write, enroll) = (Scope::ServerRead, Scope::ServerWrite, Scope::AgentEnroll);
    vec![
        install_script(),
        ("/agents", vec![list(Public, install::list)]),
        ("/agents/{arch}", vec![get(Public, install::download)]),
        (
            "/enrolment-tokens",
            vec![list(Needs(enroll), enrolment::list_tokens), post(Needs(enroll), enrolment::make_token)],
        ),
        ("/enrolment-tokens/{id}", vec![delete(Needs(enroll), enrolment::revoke_token)]),
        ("/enrolments", vec![post(Public, enrolment::enrol)]),
        ("/servers", vec![list(Needs(read), server::list), post(Needs(write), server::make)]),
        // Before `/servers/{id}`, which they would be otherwise.
        ("/servers/export", vec![get(Needs(read), export::export)]),
        ("/servers/cells", vec![get(Needs(read), cells::show)]),
        ("/servers/sparklines", vec![list(Needs(read), sparklines::list)]),
        ("/servers/import", vec![post(Needs(write), import::import)]),
        ("/servers/unknown", vec![list(Needs(read), unknown::list)]),
        ("/servers/unknown/{id}/adopt", vec![post(Needs(enroll), unknown::adopt)]),
        (
            "/servers/{id}",
            vec![
                get(Needs(read), server::show),
                patch(Needs(write), server::change),
                delete(Needs(write), server::remove),
            ],
        ),
        ("/servers/{id}/pause", vec![post(Needs(write), server::pause)]),
        ("/servers/{id}/resume", vec![post(Needs(write), server::resume)]),
        ("/servers/{id}/enrolment-tokens", vec![post(Needs(write), enrolment::make_server_token)]),
        ("/servers/{id}/history", vec![delete(Needs(write), history::forget)]),
        ("/servers/{id}/outages", vec![get(Needs(read), outages::show)]),
        ("/servers/{id}/revoke", vec![post(Needs(write), server::revoke)]),
        ("/servers/{id}/samples", vec![get(Needs(read), samples::show)]),
        ("/servers/{id}/snapshots", vec![get(Needs(read), snapshots::show)]),
        ("/servers/{id}/uptime", vec![get(Needs(read), uptime::show)]),
        ("/uptime", vec![list(Needs(read), uptime::list)]),
        ("/uptime/days", vec![list(Needs(read), days::list)]),
        ("/uptime/total", vec![get(Needs(read), uptime::total)]),
    ]
}
