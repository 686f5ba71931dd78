//! Notices in Redis.

use std::{collections::BTreeMap, sync::Arc};

use fleet::ServerId;

use super::{InRedis, parse};
use crate::{Noticed, Unavailable, roll::KEEP};

/// How long is remembered what changed, in ms. Gates ask twice a second, and read everything anew twice a minute.
const REMEMBERED: i64 = 120_000;

impl InRedis {
    pub(crate) async fn put_notice(&self, server: ServerId, notice: Option<&str>) -> Result<(), Unavailable> {
        self.put_notices_of([(&server, notice.unwrap_or_default())], false).await
    }

    pub(crate) async fn put_notices(&self, notices: &BTreeMap<ServerId, String>) -> Result<(), Unavailable> {
        self.put_notices_of(notices.iter().map(|(server, notice)| (server, notice.as_str())), true).await
    }

    async fn put_notices_of<'n>(
        &self,
        notices: impl IntoIterator<Item = (&'n ServerId, &'n str)>,
        whole: bool,
    ) -> Result<(), Unavailable> {
        let mut script = redis::cmd("EVAL");
        script.arg(include_str!("../lua/put_notices.lua")).arg(2);
        script.arg(self.notices_key()).arg(self.noticed_key());
        script.arg(KEEP).arg(REMEMBERED).arg(u8::from(whole));
        for (server, notice) in notices {
            script.arg(server.to_string()).arg(notice);
        }
        self.connection.ask(async |redis| script.query_async(redis).await).await
    }

    /// What changed is asked for first: of what changes in between, the next question tells once more.
    pub(crate) async fn notices(&self, since: Option<i64>) -> Result<Noticed, Unavailable> {
        let mut range = redis::cmd("ZRANGEBYSCORE");
        let after = since.map_or_else(|| "-inf".to_owned(), |since| format!("({since}"));
        range.arg(self.noticed_key()).arg(after).arg("+inf").arg("WITHSCORES");
        let changed: Vec<(Vec<u8>, f64)> = self.read(&range).await?;
        let version = changed.iter().map(|(_, version)| *version as i64).max();
        let version = version.or(since).unwrap_or_default();
        let Some(_) = since else {
            let held: Vec<(Vec<u8>, Vec<u8>)> =
                self.read(redis::cmd("HGETALL").arg(self.notices_key())).await?;
            let held = held.iter().filter_map(|(server, notice)| Some((parse(server)?, Some(text(notice)?))));
            return Ok(Noticed { version, whole: true, notices: held.collect() });
        };
        let servers: Vec<ServerId> = changed.iter().filter_map(|(server, _)| parse(server)).collect();
        let mut notices = Vec::new();
        if !servers.is_empty() {
            let mut get = redis::cmd("HMGET");
            get.arg(self.notices_key());
            for server in &servers {
                get.arg(server.to_string());
            }
            let found: Vec<Option<Vec<u8>>> = self.read(&get).await?;
            let found = found.iter().map(|notice| notice.as_deref().and_then(text));
            notices = servers.into_iter().zip(found).collect();
        }
        Ok(Noticed { version, whole: false, notices })
    }

    fn notices_key(&self) -> String {
        format!("{}:notices", self.prefix)
    }

    fn noticed_key(&self) -> String {
        format!("{}:noticed", self.prefix)
    }
}

fn text(notice: &[u8]) -> Option<Arc<str>> {
    str::from_utf8(notice).ok().map(Arc::from)
}
