//! The one resource, which answers two questions.

use std::collections::HashMap;

use actix_web::web::{Data, Json};
use chassis::Problem;
use fleet::{Scope, ServerId, wire::Millis};
use registry::Roll;
use serde::Serialize;
use utoipa::ToSchema;

use super::{asked::Asked, moment::Moment, usage::Usages};
use crate::{
    app::App,
    http::{body::Id, failure::Failure, query::Parsed},
    people::Caller,
};

/// What ran at a moment, or who used how much over a range.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum ServerProcesses {
    Moment(Box<Moment>),
    Usages(Usages),
}

/// What runs on a server.
///
/// With `at`, or without parameters: what ran at that moment, by the nearest sample that tells within a day. With `from`, `to` or
/// `sort`: which processes used most over the range, at most 50, and all else together. Command lines need the scope
/// `process:command` too; without it they are null, and the processes of a name and user are one line.
#[utoipa::path(
    get, path = "/servers/{id}/processes", operation_id = "show_processes", tag = "processes",
    params(("id" = String, Path, description = "Id of the server"), Asked),
    responses((status = 200, description = "A moment, or a range", body = ServerProcesses)),
    security(("token" = ["process:read"]))
)]
pub(crate) async fn show(
    app: Data<App>,
    caller: Caller,
    id: Id<ServerId>,
    asked: Parsed<Asked>,
) -> Result<Json<ServerProcesses>, Failure> {
    // Whether it exists is all that is asked, whatever its state.
    if app.registry.server(id.0, &Roll::default()).await?.is_none() {
        return Err(Problem::not_found().into());
    }
    let commands = caller.user.scopes.contains(&Scope::ProcessCommand);
    Ok(Json(match asked.0 {
        Asked::At(at) => ServerProcesses::Moment(Box::new(Moment::of(&app, id.0, at, commands).await?)),
        Asked::Over(range, sort) => {
            ServerProcesses::Usages(Usages::of(&app, id.0, range, sort, commands).await?)
        }
    }))
}

/// The command lines with these hashes that samples of `[from, to)` name.
pub(super) async fn texts<'a>(
    app: &App,
    hashes: impl Iterator<Item = &'a String>,
    range: [Millis; 2],
) -> Result<HashMap<String, String>, Failure> {
    let mut hashes: Vec<String> = hashes.cloned().collect();
    hashes.sort_unstable();
    hashes.dedup();
    Ok(app.history.commands(&hashes, range).await?)
}
