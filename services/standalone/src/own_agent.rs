//! This host's own agent. It enrols and reports over HTTP like any other, but gets its token from the suite itself.

use std::net::SocketAddr;

use anyhow::Context;
use chassis::Clock;
use registry::Registry;
use rollcall_agent::{Args, HandPlace, Settings};
use tokio_util::sync::CancellationToken;

use crate::data::DataDir;

/// The agent's settings; an agent that is not enrolled yet is given a token.
pub async fn prepare(
    data: &DataDir,
    registry: &Registry,
    clock: &Clock,
    listen: SocketAddr,
    interval_seconds: u16,
    (processes, hand_conf): (Option<&str>, Option<&str>),
) -> anyhow::Result<Settings> {
    let dir = data.join("agent");
    let token = match rollcall_agent::is_enrolled(&dir) {
        true => None,
        false => Some(server_management::make_enrolment_token(registry, clock).await?.expose().to_owned()),
    };
    let arguments = Args {
        url: Some(format!("http://{listen}")),
        state_dir: Some(dir.to_str().context("the data folder's path is not UTF-8")?.to_owned()),
        interval: Some(interval_seconds.to_string()),
        processes: processes.map(str::to_owned),
        hand_conf: hand_conf.map(str::to_owned),
        ..Args::default()
    };
    let mut settings = Settings::read(&arguments, token)?;
    // As far as this user may, and as the owner of this host allows in the same file as for any other agent.
    settings.hand.place = HandPlace::Here(data.join("agent").join("hand"));
    Ok(settings)
}

/// Runs the agent on a thread of its own until `stop`, since its writing of files must not hold up the worker.
pub async fn run(settings: Settings, stop: CancellationToken) {
    let agent = move || -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(runtime.block_on(rollcall_agent::run(settings, stop))?)
    };
    match tokio::task::spawn_blocking(agent).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "this host's own agent stopped; the suite goes on"),
        Err(error) => tracing::error!(%error, "this host's own agent died; the suite goes on"),
    }
}
