//! How a host gets its agent: a script with the suite's address in it, and the agent that the script fetches.

mod address;
mod downloads;

use actix_web::{
    HttpRequest, HttpResponse,
    body::SizedStream,
    http::{
        StatusCode,
        header::{CONTENT_DISPOSITION, CONTENT_TYPE},
    },
    web::{Data, Json, Path},
};
use chassis::Problem;
use serde::Serialize;
use tokio::task::spawn_blocking;
use utoipa::ToSchema;

use self::{address::NoAddress, downloads::Download};
pub use self::{
    address::{BadPublicUrl, PublicUrl},
    downloads::Downloads,
};
use crate::{app::App, http::failure::Failure};

/// Each `@NAME@` in it is filled in.
const SCRIPT: &str = include_str!("../../../../../agent/install.sh");
const UNIT: &str = include_str!("../../../../../agent/rollcall-agent.service");
const HAND_UNIT: &str = include_str!("../../../../../agent/rollcall-hand.service");
const HAND_SOCKET: &str = include_str!("../../../../../agent/rollcall-hand.socket");

/// What hosts are told of the suite.
pub(crate) struct Install {
    /// Its address; `None`: the one by which they ask.
    pub(crate) public_url: Option<PublicUrl>,
    /// The agents that are offered to them, if any.
    pub(crate) downloads: Option<Downloads>,
}

/// The agents that hosts may fetch.
#[derive(Serialize, ToSchema)]
pub(crate) struct Offer {
    items: Vec<Download>,
}

/// The script that installs the agent on a host that runs Linux, or upgrades it; also at `/install.sh` of the suite.
#[utoipa::path(
    get, path = "/install.sh", operation_id = "show_install_script", tag = "agents",
    responses((status = 200, description = "A script for sh", content_type = "text/x-shellscript", body = String)),
    security(())
)]
pub(crate) async fn script(
    request: HttpRequest,
    app: Data<App>,
    install: Data<Install>,
) -> Result<HttpResponse, Failure> {
    let downloads = install.offered()?;
    let suite = match &install.public_url {
        Some(url) => url.clone(),
        None => address::of(&request, app.settings.proxies).map_err(Problem::from)?,
    };
    let checksums: Vec<String> =
        look(downloads).await?.iter().map(|agent| format!("{} {}", agent.arch, agent.sha256)).collect();
    let script = SCRIPT
        .replace("@SUITE@", suite.as_str())
        .replace("@CHECKSUMS@", &checksums.join("\n"))
        .replace("@UNIT@", UNIT.trim_end())
        .replace("@HAND_UNIT@", HAND_UNIT.trim_end())
        .replace("@HAND_SOCKET@", HAND_SOCKET.trim_end());
    Ok(HttpResponse::Ok().insert_header((CONTENT_TYPE, "text/x-shellscript; charset=utf-8")).body(script))
}

/// The agents that are offered: none unless `AGENT_DOWNLOADS` is set.
#[utoipa::path(
    get, path = "/agents", operation_id = "list_agents", tag = "agents",
    responses((status = 200, description = "One for each architecture", body = Offer)), security(())
)]
pub(crate) async fn list(install: Data<Install>) -> Result<Json<Offer>, Failure> {
    let items = match install.downloads.clone() {
        Some(downloads) => look(downloads).await?,
        None => Vec::new(),
    };
    Ok(Json(Offer { items }))
}

/// The agent for an architecture.
#[utoipa::path(
    get, path = "/agents/{arch}", operation_id = "download_agent", tag = "agents",
    params(("arch" = String, Path, description = "As `uname -m` says it", example = "x86_64")),
    responses((status = 200, description = "A program for Linux", content_type = "application/octet-stream", body = Vec<u8>)),
    security(())
)]
pub(crate) async fn download(install: Data<Install>, arch: Path<String>) -> Result<HttpResponse, Failure> {
    let downloads = install.offered()?;
    let arch = arch.into_inner();
    let name = format!("attachment; filename=\"rollcall-agent-{arch}\"");
    let opened = spawn_blocking(move || downloads.open(&arch)).await.map_err(|_| Problem::internal())?;
    let (file, bytes) = opened.ok_or_else(Problem::not_found)?;
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/octet-stream"))
        .insert_header((CONTENT_DISPOSITION, name))
        .body(SizedStream::new(bytes, downloads::stream(file, bytes))))
}

impl Install {
    fn offered(&self) -> Result<Downloads, Problem> {
        self.downloads.clone().ok_or_else(|| {
            let detail = "no agents are offered here: set AGENT_DOWNLOADS to a folder with files named \
                          rollcall-agent-<arch>";
            Problem::new(StatusCode::NOT_FOUND, "no_downloads", detail)
        })
    }
}

async fn look(downloads: Downloads) -> Result<Vec<Download>, Problem> {
    spawn_blocking(move || downloads.look()).await.map_err(|_| Problem::internal())
}

impl From<NoAddress> for Problem {
    fn from(reason: NoAddress) -> Self {
        match reason {
            NoAddress::Host => {
                let detail = "the Host header names no host: ask by the suite's address, or set PUBLIC_URL";
                Self::new(StatusCode::BAD_REQUEST, "invalid_host", detail)
            }
            NoAddress::Clear => {
                let detail = "this suite was asked without TLS, and the token would go the same way: put a proxy with TLS \
                              in front and set TRUSTED_PROXIES=1, or set PUBLIC_URL to the address that hosts are to use";
                Self::new(StatusCode::FORBIDDEN, "https_required", detail)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_has_each_place_that_is_filled_in() {
        let units =
            ["@UNIT@", "@HAND_UNIT@", "@HAND_SOCKET@"].map(|unit| format!("<<'UNIT'\n{unit}\nUNIT\n"));
        for place in
            ["suite='@SUITE@'", "checksums='@CHECKSUMS@'"].into_iter().chain(units.iter().map(|unit| &**unit))
        {
            assert_eq!(SCRIPT.matches(place).count(), 1, "{place}");
        }
        for unit in [UNIT, HAND_UNIT, HAND_SOCKET] {
            assert!(!unit.lines().any(|line| line == "UNIT"), "the unit would end its own text");
        }
    }
}
