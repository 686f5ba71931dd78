//! What has to be done once when this registry was restored from a backup: what the backup brought back is ended.

use std::collections::BTreeMap;

use fleet::{Millis, ServerId};
use serde_json::json;

use crate::{
    alerts,
    audit::{self, Action, Actor, Change},
    engine::{Registry, RegistryError},
    orders, outbox, people, reports, servers,
};

/// Why a delivery is unknown since then.
const DOUBTFUL: &str = "the suite was restored from a backup of the time before this was sent, or was not";

/// How much [`Registry::after_restore`] found to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restored {
    /// Sessions that ended.
    pub sessions: u64,
    /// API tokens that were deleted.
    pub api_tokens: u64,
    /// Enrolment tokens that were taken back, used ones too.
    pub enrolment_tokens: u64,
    /// Deliveries that waited or were under way at the time of the backup, and are unknown now.
    pub deliveries: u64,
    /// Messages on channels that waited or were under way, and are unknown now.
    pub notifications: u64,
    /// Schedules, which make up for no run that was due before now.
    pub schedules: u64,
    /// Orders that were open at the time of the backup, and are taken back.
    pub orders: u64,
    /// Servers of which a credential is refused again that was revoked since the backup.
    pub revoked: u64,
}

impl Registry {
    /// Ends what a restored backup brought back, in one transaction with its row in the audit log: all sessions, API tokens
    /// and enrolment tokens, since some may have been ended since the backup; mails that waited or were under way, since
    /// they may have been sent since, and so may those of all runs that were due.
    ///
    /// `denylist` is the one that the cache still has, which a backup of the registry does not take back: its version, and
    /// by server the lowest generation that is accepted. Without it the version stays as it is, so that gates which have
    /// seen a later one go on refusing what it refuses.
    ///
    /// Another time it finds nothing more to do, but for what has been made in between.
    #[crate::engine::boxed]
    pub async fn after_restore(
        &self,
        denylist: Option<(i64, &BTreeMap<ServerId, u32>)>,
        by: &Actor,
        now: Millis,
    ) -> Result<Restored, RegistryError> {
        self.write(async |tx| {
            // What waited at the time of the backup has not lasted since.
            alerts::drop_every_pending(tx).await?;
            alerts::forgo_reporter_lease(tx, now).await?;
            let done = Restored {
                sessions: people::end_every_session(tx).await?,
                api_tokens: people::delete_every_token(tx, by, now).await?,
                enrolment_tokens: servers::revoke_every_token(tx, by, now).await?,
                deliveries: outbox::doubt(tx, DOUBTFUL, now).await?,
                notifications: alerts::doubt(tx, DOUBTFUL, now).await?,
                schedules: reports::forgo_runs(tx, now).await?,
                orders: orders::drop_open(tx, now).await?,
                revoked: match denylist {
                    Some((version, lowest)) => servers::learn(tx, version, lowest, now).await?,
                    None => 0,
                },
            };
            let Restored { sessions, api_tokens, enrolment_tokens, deliveries, notifications, schedules, orders, revoked } =
                done;
            let after = json!({
                "sessions": sessions, "api_tokens": api_tokens, "enrolment_tokens": enrolment_tokens,
                "deliveries": deliveries, "notifications": notifications, "schedules": schedules, "orders": orders,
                "revoked": revoked,
            });
            let change = Change {
                actor: by,
                at: now,
                action: Action::RegistryRestore,
                id: None,
                before: None,
                after: Some(after),
            };
            audit::record(tx, &[change]).await?;
            Ok(done)
        })
        .await
    }
}
