//! What a person runs once after a backup of the registry was restored, and what is left for them to do.

use cache::Cache;
use chassis::Clock;
use registry::{Actor, Registry, RegistryError, Restored};

/// Why it was not done. Nothing is changed then.
#[derive(Debug, thiserror::Error)]
pub enum AfterRestoreError {
    /// The cache knows what was revoked since the backup.
    #[error("{0}; it knows which credentials were revoked since the backup. Without it: --without-cache")]
    Cache(#[from] cache::Unavailable),
    /// The registry did not answer.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// What was done, as it is told to a person.
#[derive(Debug)]
pub struct AfterRestore {
    /// How much of it.
    pub done: Restored,
    /// The denylist of the cache was there, so that what was revoked since the backup is refused as before.
    pub remembered: bool,
}

/// Ends what a restored backup brought back, and denies again what the cache knows to be revoked. It may be done again. The
/// registry has its schema.
///
/// # Errors
/// Nothing is changed then.
pub async fn after_restore(
    registry: &Registry,
    cache: Option<&Cache>,
    clock: &Clock,
) -> Result<AfterRestore, AfterRestoreError> {
    let denylist = match cache {
        Some(cache) => cache.denylist().await?,
        None => None,
    };
    let known = denylist.as_ref().map(|list| (list.version, &list.lowest));
    let done = registry.after_restore(known, &Actor::system(), clock.now()).await?;
    Ok(AfterRestore { done, remembered: denylist.is_some() })
}

impl AfterRestore {
    /// What was done, with figures, and what else there is to do. `command` is how a person calls this program.
    pub fn tell(&self, command: &str) -> String {
        let Restored {
            sessions,
            api_tokens,
            enrolment_tokens,
            deliveries,
            notifications,
            schedules,
            orders,
            revoked,
        } = self.done;
        let (denied, left) = match self.remembered {
            true => (
                format!(
                    "  servers of which a credential is refused again that was revoked since the backup: {revoked}\n"
                ),
                "Credentials that were revoked since the backup stay refused.",
            ),
            false => (
                String::new(),
                "Revoke again each server that was revoked since the backup: until then its credential is good.",
            ),
        };
        format!(
            "\
Done, and in the audit log as registry.restore:
  sessions ended: {sessions}
  API tokens deleted: {api_tokens}
  enrolment tokens taken back: {enrolment_tokens}
  mails of reports that may have been sent since the backup, so unknown now and never sent: {deliveries}
  messages on channels of which the same is true: {notifications}
  report schedules that make up for nothing that was due before now: {schedules}
  orders to hosts that were open, and are taken back: {orders}
{denied}\
What is left for you:
- Log in with the password of the time of the backup. ADMIN_PASSWORD counts at the very first start alone; who does not know
  the password of then: {command} reset-password
- Users, roles, servers, labels, pauses and schedules are those of the backup: disable again who was disabled since, delete
  again what was deleted since.
- {left}
- Servers that enrolled since the backup are not known here. They are refused for now, and their agents keep what they
  measure: look at GET servers/unknown and adopt those that you know (POST servers/unknown/{{id}}/adopt).
- Make new API tokens and enrolment tokens, and ask again for reports that nobody received.
"
        )
    }
}
