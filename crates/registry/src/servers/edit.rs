//! What people do to servers: make them, change what they say of them, delete them.

use fleet::{Millis, Scope, ServerId, access::next_generation};

use super::{
    forgetting,
    profile::{self, Profile, ProfileChange},
    revocation,
};
use crate::{
    audit::{self, Action, Actor, Change},
    engine::{Registry, RegistryError, json, query},
    refusal::Refusal,
};

const MAKE: &str = "INSERT INTO servers
(id, name, name_folded, address, search, generation, version, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, 0, 1, $6, $6) ON CONFLICT (name_folded) DO NOTHING RETURNING id";
const CHANGE: &str =
    "UPDATE servers SET name = $2, name_folded = $3, address = $4, search = $5, updated_at = $6,
version = version + 1 WHERE id = $1";
const DELETE: &str = "DELETE FROM servers WHERE id = $1";

impl Registry {
    /// Makes a server that has no credential yet; whoever enrols under its name takes it over, once.
    #[crate::engine::boxed]
    pub async fn make_server(
        &self,
        id: ServerId,
        profile: &Profile,
        by: &Actor,
        now: Millis,
    ) -> Result<Result<(), Refusal>, RegistryError> {
        let key = id.to_string();
        self.change(async |tx| {
            let make = query(MAKE)
                .bind(&key)
                .bind(&profile.name)
                .bind(profile.folded())
                .bind(profile.address.as_deref())
                .bind(profile.search())
                .bind(now);
            if !tx.any(make).await? {
                return Err(Refusal::NameTaken.into());
            }
            profile::add_labels(tx, &key, json(&profile.labels)?).await?;
            let change = Change::new(by, now, Action::ServerCreate, id).after(profile.told());
            Ok(audit::record(tx, &[change]).await?)
        })
        .await
    }

    /// Changes what people say of a server. With `expected`, only if its version is one of these. A change to what is there
    /// already is none: it leaves the version as it is. [`Refusal::Beyond`] for who changes [`APPROVALS`](super::APPROVALS) and
    /// may not.
    #[crate::engine::boxed]
    pub async fn change_server(
        &self,
        id: ServerId,
        expected: Option<&[i64]>,
        change: &ProfileChange,
        by: &Actor,
        now: Millis,
    ) -> Result<Result<(), Refusal>, RegistryError> {
        let key = id.to_string();
        self.change(async |tx| {
            let locked = profile::lock(tx, &key).await?;
            Refusal::unless_expected(expected, locked.version)?;
            let (before, after) = (&locked.profile, locked.profile.with(change));
            if *before == after {
                return Ok(());
            }
            if !change.may_change_approvals && !before.is_approved_like(&after) {
                return Err(Refusal::Beyond(Scope::OrderApprove).into());
            }
            let update = query(CHANGE)
                .bind(&key)
                .bind(&after.name)
                .bind(after.folded())
                .bind(after.address.as_deref())
                .bind(after.search())
                .bind(now);
            match tx.run(update).await {
                Ok(_) => {}
                Err(error) if error.is_taken() => return Err(Refusal::NameTaken.into()),
                Err(error) => return Err(error.into()),
            }
            if before.labels != after.labels {
                profile::set_labels(tx, &key, &after.labels).await?;
            }
            let change =
                Change::new(by, now, Action::ServerChange, id).before(before.told()).after(after.told());
            Ok(audit::record(tx, &[change]).await?)
        })
        .await
    }

    /// Deletes a server: its name is free, its credential is on the denylist for ever, and its history [goes](Self::take_forgetting). With `expected`, only if its version
    /// is one of these.
    #[crate::engine::boxed]
    pub async fn delete_server(
        &self,
        id: ServerId,
        expected: Option<&[i64]>,
        by: &Actor,
        now: Millis,
    ) -> Result<Result<(), Refusal>, RegistryError> {
        let key = id.to_string();
        self.change(async |tx| {
            let locked = profile::lock(tx, &key).await?;
            Refusal::unless_expected(expected, locked.version)?;
            tx.run(query(DELETE).bind(&key)).await?;
            forgetting::begin_all(tx, &key, now).await?;
            revocation::deny(tx, &key, next_generation(locked.generation, now), now).await?;
            let change = Change::new(by, now, Action::ServerDelete, id).before(locked.profile.told());
            audit::record(tx, &[change]).await?;
            Ok(revocation::count_up(tx, now).await?)
        })
        .await
    }
}
