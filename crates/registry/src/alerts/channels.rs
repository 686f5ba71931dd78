//! Where alerts are told: channels, with their secrets sealed. What seals them is not known here.

use fleet::{
    Millis,
    alert::{
        channel::{Config, Kind},
        seal::Sealed,
    },
    id::ChannelId,
    words::Language,
};
use serde_json::{Value, json};

use super::telling;
use crate::{
    audit::{self, Action, Actor, Change},
    engine::{Page, Registry, RegistryError, Stop, Tx, corrupt, count, fold, id, query, row},
    refusal::Refusal,
};

/// Most channels there may be.
const MOST: i64 = 1_000;

/// Where alerts are told.
#[derive(Debug, Clone, PartialEq)]
pub struct Channel {
    /// Its id.
    pub id: ChannelId,
    /// As it was given; no other channel has it, regardless of case.
    pub name: String,
    /// Where it leads, as a name that tells nothing of it.
    pub target_key: String,
    /// In which language it is told.
    pub language: Language,
    /// By which clock; the name of a zone.
    pub time_zone: String,
    /// The operator's words for an incident, if any.
    pub template: Option<String>,
    /// Its kind, and what it needs to know beside its secret.
    pub config: Config,
    /// Its secret; `None` of a kind that has none.
    pub secret: Option<Sealed>,
    /// Of a hook's URL what may be shown.
    pub secret_origin: Option<String>,
    /// When its secret was set last, in Unix ms.
    pub secret_set_at: Option<Millis>,
    /// Since when, in Unix ms, and why nothing is told on it.
    pub disabled: Option<(Millis, String)>,
    /// Rises with every change by a person.
    pub version: i64,
    /// Unix ms.
    pub created_at: Millis,
    /// Unix ms.
    pub updated_at: Millis,
}

row! {
    struct Row {
        id: String,
        name: String,
        kind: String,
        target_key: String,
        language: String,
        time_zone: String,
        template: Option<String>,
        config: String,
        secret: Option<String>,
        secret_key: Option<String>,
        secret_origin: Option<String>,
        secret_set_at: Option<Millis>,
        disabled_at: Option<Millis>,
        disabled_reason: Option<String>,
        version: i64,
        created_at: Millis,
        updated_at: Millis,
    }
}

const ADD: &str =
    "INSERT INTO channels (id, name, name_folded, kind, target_key, language, time_zone, template, config,
secret, secret_key, secret_origin, secret_set_at, version, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 1, $14, $14)";
const CHANGE: &str =
    "UPDATE channels SET name = $2, name_folded = $3, target_key = $4, language = $5, time_zone = $6,
template = $7, config = $8, secret = $9, secret_key = $10, secret_origin = $11, secret_set_at = $12,
disabled_at = $13, disabled_reason = $14, version = version + 1, updated_at = $15 WHERE id = $1";
const DELETE: &str = "DELETE FROM channels WHERE id = $1";
const TAKEN: &str = "SELECT id FROM channels WHERE name_folded = $1 AND id <> $2";
const TOTAL: &str = "SELECT COUNT(*) FROM channels";
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, name, kind, target_key, language, time_zone, template, config, secret, secret_key, ",
            "secret_origin, secret_set_at, disabled_at, disabled_reason, version, created_at, updated_at ",
            "FROM channels ",
            $rest
        )
    };
}
const ONE: &str = select!("WHERE id = $1");
const UNSEALED: &str = "SELECT id, name, kind, target_key, language, time_zone, template, config, NULL AS secret,
NULL AS secret_key, NULL AS secret_origin, secret_set_at, disabled_at, disabled_reason, version, created_at, updated_at
FROM channels WHERE id = $1 AND kind = 'mail'";
const LIST: &str = select!("ORDER BY name_folded LIMIT $1 OFFSET $2");
const ALL: &str = select!("ORDER BY name_folded");
const OF_ANOTHER_KEY: &str = select!("WHERE secret IS NOT NULL AND secret_key <> $1 ORDER BY id");
const RESEAL: &str = "UPDATE channels SET secret = $3, secret_key = $4 WHERE id = $1 AND secret = $2";
const TARGET: &str =
    "INSERT INTO targets (target_key, next_at, blocked_until, busy_until) VALUES ($1, 0, 0, 0)
ON CONFLICT (target_key) DO NOTHING";
/// What waits for a place that a channel does not lead to any more goes to the one where it leads.
const MOVE: &str = "UPDATE notifications SET target_key = $2 WHERE channel = $1 AND state = 'queued'";
const DROP_QUEUED: &str =
    "UPDATE notifications SET state = 'failed', reason = $2, due_at = NULL, updated_at = $3
WHERE channel = $1 AND state = 'queued'";
const FORGET_TARGETS: &str =
    "DELETE FROM targets WHERE busy_until <= $1 AND next_at <= $1 AND blocked_until <= $1
AND NOT EXISTS (SELECT 1 FROM channels c WHERE c.target_key = targets.target_key)";

pub(super) async fn all(tx: &mut Tx<'_>) -> Result<Vec<Channel>, RegistryError> {
    let rows: Vec<Row> = tx.all(ALL).await?;
    rows.into_iter().map(Row::channel).collect()
}

pub(super) async fn find(tx: &mut Tx<'_>, id: ChannelId) -> Result<Option<Channel>, RegistryError> {
    let row: Option<Row> = tx.maybe(query(ONE).bind(id.to_string())).await?;
    row.map(Row::channel).transpose()
}

/// The same for an account that may read no secret, not even a sealed one.
pub(super) async fn find_unsealed(tx: &mut Tx<'_>, id: ChannelId) -> Result<Option<Channel>, RegistryError> {
    let row: Option<Row> = tx.maybe(query(UNSEALED).bind(id.to_string())).await?;
    row.map(Row::channel).transpose()
}

async fn unless_taken(tx: &mut Tx<'_>, channel: &Channel) -> Result<(), Stop> {
    let taken = query(TAKEN).bind(fold::fold_name(&channel.name)).bind(channel.id.to_string());
    if tx.any(taken).await? { Err(Refusal::NameTaken.into()) } else { Ok(()) }
}

impl Registry {
    /// One page of the channels, by name, and the total.
    #[crate::engine::boxed]
    pub async fn channels(&self, page: Page) -> Result<(Vec<Channel>, u64), RegistryError> {
        let (rows, total) = self.page_of::<Row>(LIST, TOTAL, page).await?;
        let channels = rows.into_iter().map(Row::channel).collect::<Result<_, _>>()?;
        Ok((channels, count("channels", "total", "", total)?))
    }

    /// One channel.
    #[crate::engine::boxed]
    pub async fn channel(&self, id: ChannelId) -> Result<Option<Channel>, RegistryError> {
        let row: Option<Row> = self.reader().maybe(query(ONE).bind(id.to_string())).await?;
        row.map(Row::channel).transpose()
    }

    /// Makes a channel.
    #[crate::engine::boxed]
    pub async fn make_channel(
        &self,
        channel: &Channel,
        by: &Actor,
    ) -> Result<Result<(), Refusal>, RegistryError> {
        self.change(async |tx| {
            telling::hold(tx).await?;
            let (total,): (i64,) = tx.one(TOTAL).await?;
            if total >= MOST {
                return Err(Refusal::TooMany.into());
            }
            unless_taken(tx, channel).await?;
            let add = channel.bind_common(query(ADD).bind(channel.id.to_string()), true);
            tx.run(add.bind(channel.created_at)).await?;
            channel.add_target(tx).await?;
            let change =
                Change::new(by, channel.created_at, Action::ChannelCreate, channel.id).after(channel.told());
            Ok(audit::record(tx, &[change]).await?)
        })
        .await
    }

    /// Makes a channel what `after` says, if it is still of the version that `after` was made of. What waits to be told on it
    /// goes where it leads now.
    #[crate::engine::boxed]
    pub async fn change_channel(
        &self,
        after: &Channel,
        by: &Actor,
        now: Millis,
    ) -> Result<Result<(), Refusal>, RegistryError> {
        self.change(async |tx| {
            telling::hold(tx).await?;
            let before = find(tx, after.id).await?.ok_or(Refusal::NotFound)?;
            Refusal::unless_expected(Some(&[after.version]), before.version)?;
            unless_taken(tx, after).await?;
            let change = after.bind_common(query(CHANGE).bind(after.id.to_string()), false);
            let (at, reason) = after.disabled.clone().unzip();
            tx.run(change.bind(at).bind(reason).bind(now)).await?;
            after.add_target(tx).await?;
            tx.run(query(MOVE).bind(after.id.to_string()).bind(&after.target_key)).await?;
            telling::look_at_all(tx, now).await?;
            let change = Change::new(by, now, Action::ChannelChange, after.id);
            Ok(audit::record(tx, &[change.before(before.told()).after(after.told())]).await?)
        })
        .await
    }

    /// Deletes a channel; what waits to be told on it is not told. With `expected`, only if its version is one of these.
    #[crate::engine::boxed]
    pub async fn delete_channel(
        &self,
        id: ChannelId,
        expected: Option<&[i64]>,
        by: &Actor,
        now: Millis,
    ) -> Result<Result<(), Refusal>, RegistryError> {
        self.change(async |tx| {
            telling::hold(tx).await?;
            let before = find(tx, id).await?.ok_or(Refusal::NotFound)?;
            Refusal::unless_expected(expected, before.version)?;
            tx.run(query(DROP_QUEUED).bind(id.to_string()).bind("its channel was deleted").bind(now)).await?;
            tx.run(query(DELETE).bind(id.to_string())).await?;
            tx.run(query(FORGET_TARGETS).bind(now)).await?;
            telling::look_at_all(tx, now).await?;
            let change = Change::new(by, now, Action::ChannelDelete, id).before(before.told());
            Ok(audit::record(tx, &[change]).await?)
        })
        .await
    }

    /// The channels whose secret is sealed with another key than the one of this name.
    #[crate::engine::boxed]
    pub async fn channels_of_another_key(&self, key: &str) -> Result<Vec<Channel>, RegistryError> {
        let rows: Vec<Row> = self.reader().all(query(OF_ANOTHER_KEY).bind(key)).await?;
        rows.into_iter().map(Row::channel).collect()
    }

    /// Keeps the same secret of a channel sealed anew, unless another was set meanwhile.
    #[crate::engine::boxed]
    pub async fn reseal_channel(&self, channel: &Channel, sealed: &Sealed) -> Result<bool, RegistryError> {
        let old = channel.secret.as_ref().map(|sealed| sealed.text.as_str());
        let reseal =
            query(RESEAL).bind(channel.id.to_string()).bind(old).bind(&sealed.text).bind(&sealed.key);
        Ok(self.writer().run(reseal).await? > 0)
    }
}

impl Channel {
    /// Of which kind it is.
    pub const fn kind(&self) -> Kind {
        self.config.kind()
    }

    /// What both statements have in their order; the kind never changes.
    fn bind_common(&self, query: crate::engine::Query, with_kind: bool) -> crate::engine::Query {
        let query = query.bind(&self.name).bind(fold::fold_name(&self.name));
        let query = if with_kind { query.bind(self.kind().as_str()) } else { query };
        query
            .bind(&self.target_key)
            .bind(self.language.as_str())
            .bind(&self.time_zone)
            .bind(self.template.as_deref())
            .bind(self.config.write().to_string())
            .bind(self.secret.as_ref().map(|sealed| sealed.text.as_str()))
            .bind(self.secret.as_ref().map(|sealed| sealed.key.as_str()))
            .bind(self.secret_origin.as_deref())
            .bind(self.secret_set_at)
    }

    /// The place where it leads has its turn and its budget. Mail has a queue instead.
    async fn add_target(&self, tx: &mut Tx<'_>) -> Result<(), RegistryError> {
        if self.kind() != Kind::Mail {
            tx.run(query(TARGET).bind(&self.target_key)).await?;
        }
        Ok(())
    }

    /// For the audit log: of the secret nothing but when it was set.
    fn told(&self) -> Value {
        let Self { name, time_zone, template, secret_set_at, .. } = self;
        json!({
            "name": name, "kind": self.kind().as_str(), "language": self.language.as_str(), "time_zone": time_zone,
            "template": template, "config": self.config.write(), "secret_set_at": secret_set_at,
            "disabled_reason": self.disabled.as_ref().map(|(_, reason)| reason),
        })
    }
}

impl Row {
    fn channel(self) -> Result<Channel, RegistryError> {
        let corrupt = |column| corrupt("channels", column, &self.id);
        let kind: Kind = self.kind.parse().map_err(|_| corrupt("kind"))?;
        let config = serde_json::from_str(&self.config).map_err(|_| corrupt("config"))?;
        let config = Config::read(kind, &config).map_err(|_| corrupt("config"))?;
        let secret = self.secret.zip(self.secret_key).map(|(text, key)| Sealed { key, text });
        let disabled = self.disabled_at.map(|at| (at, self.disabled_reason.unwrap_or_default()));
        Ok(Channel {
            id: id("channels", "id", &self.id)?,
            name: self.name,
            target_key: self.target_key,
            // One that only a later release speaks is told in English.
            language: self.language.parse().unwrap_or_default(),
            time_zone: self.time_zone,
            template: self.template,
            config,
            secret,
            secret_origin: self.secret_origin,
            secret_set_at: self.secret_set_at,
            disabled,
            version: self.version,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}
