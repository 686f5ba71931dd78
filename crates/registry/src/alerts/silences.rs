//! For some time some incidents are not told.

use fleet::{Millis, alert::route::Silence, id::SilenceId};
use serde_json::{Value, json};

use super::telling;
use crate::{
    audit::{self, Action, Actor, Change},
    engine::{Page, Query, Registry, RegistryError, Tx, corrupt, count, id, json as write_json, query, row},
    refusal::Refusal,
};

/// Most silences that have not ended.
const MOST: i64 = 1_000;

/// How long a silence is kept once it has ended.
const KEPT: Millis = 90 * 86_400_000;

/// A silence as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptSilence {
    /// What it does.
    pub silence: Silence,
    /// For people.
    pub reason: Option<String>,
    /// Who made it: the name of then.
    pub made_by: Option<String>,
    /// Rises with every change.
    pub version: i64,
    /// Unix ms.
    pub created_at: Millis,
    /// Unix ms.
    pub updated_at: Millis,
}

row! {
    struct Row {
        id: String,
        matches: String,
        starts_at: Millis,
        ends_at: Millis,
        reason: Option<String>,
        made_by: Option<String>,
        version: i64,
        created_at: Millis,
        updated_at: Millis,
    }
}

const ADD: &str =
    "INSERT INTO silences (id, matches, starts_at, ends_at, reason, made_by, version, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, 1, $7, $7)";
const CHANGE: &str =
    "UPDATE silences SET matches = $2, starts_at = $3, ends_at = $4, reason = $5, version = version + 1,
updated_at = $6 WHERE id = $1";
const DELETE: &str = "DELETE FROM silences WHERE id = $1";
const LASTING: &str = "SELECT COUNT(*) FROM silences WHERE ends_at > $1";
const TOTAL: &str = "SELECT COUNT(*) FROM silences";
const ONE: &str = "SELECT id, matches, starts_at, ends_at, reason, made_by, version, created_at, updated_at
FROM silences WHERE id = $1";
const LIST: &str = "SELECT id, matches, starts_at, ends_at, reason, made_by, version, created_at, updated_at
FROM silences ORDER BY created_at DESC, id LIMIT $1 OFFSET $2";
const IN_FORCE: &str =
    "SELECT id, matches, starts_at, ends_at, reason, made_by, version, created_at, updated_at
FROM silences WHERE ends_at > $1 AND starts_at <= $1";
const FORGET: &str = "DELETE FROM silences WHERE ends_at < $1";

/// The silences that last at this time.
pub(super) async fn in_force(tx: &mut Tx<'_>, now: Millis) -> Result<Vec<Silence>, RegistryError> {
    let rows: Vec<Row> = tx.all(query(IN_FORCE).bind(now)).await?;
    rows.into_iter().map(|row| row.silence().map(|kept| kept.silence)).collect()
}

async fn find(tx: &mut Tx<'_>, id: SilenceId) -> Result<Option<KeptSilence>, RegistryError> {
    let row: Option<Row> = tx.maybe(query(ONE).bind(id.to_string())).await?;
    row.map(Row::silence).transpose()
}

impl Registry {
    /// One page of the silences, newest first, and the total.
    #[crate::engine::boxed]
    pub async fn silences(&self, page: Page) -> Result<(Vec<KeptSilence>, u64), RegistryError> {
        let (rows, total) = self.page_of::<Row>(LIST, TOTAL, page).await?;
        let silences = rows.into_iter().map(Row::silence).collect::<Result<_, _>>()?;
        Ok((silences, count("silences", "total", "", total)?))
    }

    /// One silence.
    #[crate::engine::boxed]
    pub async fn silence(&self, id: SilenceId) -> Result<Option<KeptSilence>, RegistryError> {
        let row: Option<Row> = self.reader().maybe(query(ONE).bind(id.to_string())).await?;
        row.map(Row::silence).transpose()
    }

    /// Makes a silence, and answers it.
    #[crate::engine::boxed]
    pub async fn make_silence(
        &self,
        silence: &Silence,
        reason: Option<&str>,
        by: &Actor,
        now: Millis,
    ) -> Result<Result<KeptSilence, Refusal>, RegistryError> {
        self.change(async |tx| {
            telling::hold(tx).await?;
            let (lasting,): (i64,) = tx.one(query(LASTING).bind(now)).await?;
            if lasting >= MOST {
                return Err(Refusal::TooMany.into());
            }
            let add = bind(ADD, silence, reason)?.bind(by.name.as_deref()).bind(now);
            tx.run(add).await?;
            telling::look_at_all(tx, now).await?;
            let made = find(tx, silence.id).await?.ok_or(Refusal::NotFound)?;
            let change = Change::new(by, now, Action::SilenceCreate, silence.id).after(made.told());
            audit::record(tx, &[change]).await?;
            Ok(made)
        })
        .await
    }

    /// Makes a silence what is given, if its version is one of `expected`, and answers it.
    #[crate::engine::boxed]
    pub async fn change_silence(
        &self,
        expected: Option<&[i64]>,
        silence: &Silence,
        reason: Option<&str>,
        by: &Actor,
        now: Millis,
    ) -> Result<Result<KeptSilence, Refusal>, RegistryError> {
        self.change(async |tx| {
            telling::hold(tx).await?;
            let before = find(tx, silence.id).await?.ok_or(Refusal::NotFound)?;
            Refusal::unless_expected(expected, before.version)?;
            tx.run(bind(CHANGE, silence, reason)?.bind(now)).await?;
            telling::look_at_all(tx, now).await?;
            let after = find(tx, silence.id).await?.ok_or(Refusal::NotFound)?;
            let change = Change::new(by, now, Action::SilenceChange, silence.id);
            audit::record(tx, &[change.before(before.told()).after(after.told())]).await?;
            Ok(after)
        })
        .await
    }

    /// Deletes a silence: what is open is told from now on. With `expected`, only if its version is one of these.
    #[crate::engine::boxed]
    pub async fn delete_silence(
        &self,
        id: SilenceId,
        expected: Option<&[i64]>,
        by: &Actor,
        now: Millis,
    ) -> Result<Result<(), Refusal>, RegistryError> {
        self.change(async |tx| {
            telling::hold(tx).await?;
            let before = find(tx, id).await?.ok_or(Refusal::NotFound)?;
            Refusal::unless_expected(expected, before.version)?;
            tx.run(query(DELETE).bind(id.to_string())).await?;
            telling::look_at_all(tx, now).await?;
            let change = Change::new(by, now, Action::SilenceDelete, id).before(before.told());
            Ok(audit::record(tx, &[change]).await?)
        })
        .await
    }

    /// Forgets silences that ended long ago.
    #[crate::engine::boxed]
    pub async fn forget_silences(&self, now: Millis) -> Result<u64, RegistryError> {
        self.writer().run(query(FORGET).bind(now - KEPT)).await
    }
}

fn bind(text: &'static str, silence: &Silence, reason: Option<&str>) -> Result<Query, RegistryError> {
    Ok(query(text)
        .bind(silence.id.to_string())
        .bind(write_json(&silence.matches)?)
        .bind(silence.starts_at)
        .bind(silence.ends_at)
        .bind(reason))
}

impl KeptSilence {
    fn told(&self) -> Value {
        let Silence { matches, starts_at, ends_at, .. } = &self.silence;
        json!({"match": matches, "starts_at": starts_at, "ends_at": ends_at, "reason": self.reason})
    }
}

impl Row {
    fn silence(self) -> Result<KeptSilence, RegistryError> {
        let matches =
            serde_json::from_str(&self.matches).map_err(|_| corrupt("silences", "matches", &self.id))?;
        let silence = Silence {
            id: id("silences", "id", &self.id)?,
            matches,
            starts_at: self.starts_at,
            ends_at: self.ends_at,
        };
        Ok(KeptSilence {
            silence,
            reason: self.reason,
            made_by: self.made_by,
            version: self.version,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}
