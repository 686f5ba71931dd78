//! Leases: work that one process at a time does for all of them.
//!
//! A holder that was stalled may wake after its lease has passed to another, so a lease spares work that is done twice; it
//! does not prevent it. What is done under one must do no harm if two do it.

use fleet::Millis;

use crate::engine::{Registry, RegistryError, query};

/// One that is ahead by more than this is from a clock that was wrong.
const LONGEST: Millis = 3_600_000;

const TAKE: &str = "INSERT INTO leases (name, holder, expires_at) VALUES ($1, $2, $4)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at
WHERE leases.holder = excluded.holder OR leases.expires_at <= $3 OR leases.expires_at > $3 + $5";

const GIVE_BACK: &str = "DELETE FROM leases WHERE name = $1 AND holder = $2";

impl Registry {
    /// Takes the lease of this name for `holder` until `expires_at`, or renews it; at most an hour from `now`. Returns
    /// whether it is the holder's: not while another one holds it.
    ///
    /// # Errors
    /// `Unavailable`.
    #[crate::engine::boxed]
    pub async fn take_lease(
        &self,
        name: &str,
        holder: &str,
        now: Millis,
        expires_at: Millis,
    ) -> Result<bool, RegistryError> {
        let take =
            query(TAKE).bind(name).bind(holder).bind(now).bind(expires_at.min(now + LONGEST)).bind(LONGEST);
        Ok(self.writer().run(take).await? > 0)
    }

    /// Gives the lease back, if it is the holder's, so that another need not wait for its end.
    ///
    /// # Errors
    /// `Unavailable`.
    #[crate::engine::boxed]
    pub async fn give_back_lease(&self, name: &str, holder: &str) -> Result<(), RegistryError> {
        self.writer().run(query(GIVE_BACK).bind(name).bind(holder)).await?;
        Ok(())
    }
}
