//! What a host says that it takes.

use fleet::{Millis, ServerId, order::Kind, wire::v1::Agent};
use serde::Deserialize;

use crate::{
    app::App,
    http::failure::{Failure, conflict},
};

/// How far back history is looked at where the cache does not know a server.
const LOOK_BACK: Millis = 86_400_000;
/// A host's clock may be ahead.
const AHEAD: Millis = 60_000;

/// What its newest snapshot told.
#[derive(Debug, Default)]
pub(super) struct Host {
    /// Without one it takes no orders.
    boot: Option<String>,
    kinds: Vec<String>,
}

#[derive(Deserialize)]
struct Told {
    agent: Option<Agent>,
}

impl Host {
    /// By the cache, and by history where that does not know the server.
    pub(super) async fn of(app: &App, server: ServerId) -> Result<Self, Failure> {
        let latest = app.cache_trouble.watch(app.cache.latest(&[server]).await);
        let agent = match latest.and_then(|mut latest| latest.remove(&server)) {
            Some(latest) => serde_json::from_str::<Told>(&latest.snapshot).ok().and_then(|told| told.agent),
            None => {
                let now = app.clock.now();
                let newest =
                    app.history.samples(server, (now - LOOK_BACK).max(0), now + AHEAD, 1).await?.pop();
                newest.and_then(|snapshot| snapshot.as_wire().agent.clone())
            }
        };
        let agent = agent.unwrap_or_default();
        Ok(Self { boot: agent.boot, kinds: agent.hand })
    }

    /// The boot for which an order of this kind can be made; 409 if the host's owner does not let it in.
    pub(super) fn boot_for(self, kind: Kind) -> Result<String, Failure> {
        if let Some(boot) = self.boot.filter(|_| self.kinds.iter().any(|name| name == kind.as_str())) {
            return Ok(boot);
        }
        let detail = match self.kinds.as_slice() {
            [] => {
                "the host takes no orders, by its newest snapshot: its owner has to allow them in hand.conf"
                    .to_owned()
            }
            kinds => {
                format!("the host takes only {}, by its newest snapshot; hand.conf says so", kinds.join(", "))
            }
        };
        Err(conflict("no_hand", &detail).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_takes_what_it_names_and_only_of_a_boot() {
        let host = |boot: Option<&str>, kinds: &[&str]| Host {
            boot: boot.map(str::to_owned),
            kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
        };
        let may = |host: Host, kind| host.boot_for(kind).ok();
        assert_eq!(may(host(Some("b"), &["process.kill"]), Kind::Kill).as_deref(), Some("b"));
        assert_eq!(may(host(Some("b"), &["process.kill"]), Kind::Terminate), None);
        assert_eq!(may(host(None, &["process.kill"]), Kind::Kill), None);
        assert_eq!(may(Host::default(), Kind::Start), None);
    }
}
