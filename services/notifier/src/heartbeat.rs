//! Who watches the watcher: something outside that is called every minute while all is well, and tells somebody when it is not
//! called any more.

use std::{fmt, str::FromStr, time::Duration};

use chassis::{Clock, Trouble};
use fleet::{Millis, Pipeline};
use registry::{Registry, RegistryError};
use reqwest::Url;
use tokio::time::{MissedTickBehavior, interval};

use crate::{Sender, instruments};

/// How often it is called.
const EVERY: Duration = Duration::from_secs(60);

/// The judge worked within this time.
const JUDGE: Millis = 30_000;

/// Monitoring is less late than this.
const LAG: Millis = 120_000;

/// No message waits for longer than this.
const OVERDUE: Millis = 5 * 60_000;

/// Where to call. It is a secret: whoever has it can call instead.
#[derive(Clone, PartialEq, Eq)]
pub struct HeartbeatUrl(Url);

/// A text that is no such URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be a URL such as https://hc.example.org/ping/…")]
pub struct BadHeartbeatUrl;

impl FromStr for HeartbeatUrl {
    type Err = BadHeartbeatUrl;

    fn from_str(text: &str) -> Result<Self, BadHeartbeatUrl> {
        let url: Url = text.parse().map_err(|_| BadHeartbeatUrl)?;
        let known = matches!(url.scheme(), "http" | "https") && url.host().is_some();
        if known { Ok(Self(url)) } else { Err(BadHeartbeatUrl) }
    }
}

impl fmt::Debug for HeartbeatUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Calls until it is dropped. `scale`: times are so many times shorter.
pub(crate) async fn run(url: &HeartbeatUrl, registry: &Registry, sender: &Sender, clock: &Clock, scale: u32) {
    let called = Trouble::saying("the heartbeat is not taken", "the heartbeat is taken again");
    let well = Trouble::saying("no heartbeat: not all is well", "all is well again, and so is the heartbeat");
    let mut due = interval(EVERY / scale);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        match ails(registry, clock.now()).await {
            Ok(None) => well.end(),
            Ok(Some(why)) => {
                well.begin(why);
                continue;
            }
            Err(error) => {
                well.begin(error);
                continue;
            }
        }
        match sender.call(&url.0).await {
            Ok(()) => {
                instruments::beat();
                called.end();
            }
            Err(why) => called.begin(why),
        }
    }
}

/// What is wrong with the suite; `None`: nothing.
async fn ails(registry: &Registry, now: Millis) -> Result<Option<&'static str>, RegistryError> {
    if registry.judged_at().await? < now - JUDGE {
        return Ok(Some("nobody judges incidents"));
    }
    let pipeline = Pipeline::of(&registry.progress().await?, now);
    if pipeline.watermark.is_none_or(|watermark| watermark < now - LAG) {
        return Ok(Some("monitoring is late"));
    }
    let overdue = registry.has_overdue_notification(now - OVERDUE).await?;
    Ok(overdue.then_some("a message waits for more than five minutes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_url_never_prints() {
        let url: HeartbeatUrl = "https://hc.example.org/ping/hunter2".parse().unwrap();
        assert!(!format!("{url:?}").contains("hunter2"));
        for bad in ["", "hc.example.org", "ftp://a/"] {
            assert_eq!(bad.parse::<HeartbeatUrl>(), Err(BadHeartbeatUrl));
        }
    }
}
