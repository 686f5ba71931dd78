//! The lease of the agent that tells when the suite is away. A row of the leases, by rules of its own: another server has it only
//! [some time](fleet::alert::lease::APART) after its end.

use fleet::{
    Millis, ServerId,
    alert::lease::{APART, LEASE, Lease, wrong_after},
};

use crate::engine::{Registry, RegistryError, Tx, query, row};

/// Its name among the leases.
const NAME: &str = "reporter";

row! {
    struct Held {
        holder: String,
        expires_at: Millis,
    }
}

const READ: &str = "SELECT holder, expires_at FROM leases WHERE name = $1";

/// What [`Lease::is_free`] says, and that the end of a lease never moves back for its holder.
const HOLD: &str = "INSERT INTO leases (name, holder, expires_at) VALUES ($1, $2, $3)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at
WHERE (leases.holder = excluded.holder AND leases.expires_at < excluded.expires_at)
    OR leases.expires_at <= $4 OR leases.expires_at > $5";

/// It is nobody's, for as long as the newest lease may run that the backup does not know.
const FORGO: &str = "UPDATE leases SET holder = $2, expires_at = $3 WHERE name = $1";

impl Registry {
    /// The lease that was written last, if any.
    #[crate::engine::boxed]
    pub async fn reporter_lease(&self) -> Result<Option<Lease>, RegistryError> {
        let held: Option<Held> = self.reader().maybe(query(READ).bind(NAME)).await?;
        Ok(held.map(|held| Lease {
            // Nobody's: no server has this id.
            server: held.holder.parse().unwrap_or(ServerId::from_bytes([0; 16])),
            until: held.expires_at,
        }))
    }

    /// Writes a lease unless another one stands by then. True: it is written.
    #[crate::engine::boxed]
    pub async fn hold_reporter_lease(&self, lease: Lease, now: Millis) -> Result<bool, RegistryError> {
        let hold = query(HOLD).bind(NAME).bind(lease.server.to_string()).bind(lease.until);
        let hold = hold.bind(now - APART).bind(wrong_after(now));
        Ok(self.writer().run(hold).await? > 0)
    }
}

/// Part of what is done after a backup was restored: whoever was elected since may hold a lease.
pub(crate) async fn forgo_reporter_lease(tx: &mut Tx<'_>, now: Millis) -> Result<(), RegistryError> {
    tx.run(query(FORGO).bind(NAME).bind("").bind(now + LEASE)).await.map(drop)
}
