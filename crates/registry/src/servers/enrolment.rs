//! How a server comes in: a token is exchanged, once, for an identity of its own.

use std::collections::BTreeMap;

use fleet::{Millis, ServerId, id::EnrolmentTokenId};
use serde_json::json;

use crate::{
    Actor, Change, Page, Registry, RegistryError, Who, audit, count, id, json, on,
    profile::{ADD_LABELS, hold, of_server},
    revocation::{COUNT_UP, DENY},
    text,
};

/// The generation of a server's first credential.
const FIRST_GENERATION: i64 = 1;

/// A token with which servers enrol; of its text the registry knows only a hash. All times in Unix ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolmentToken {
    /// Its id, which is no secret.
    pub id: EnrolmentTokenId,
    /// How many servers may enrol with it.
    pub uses: u32,
    /// How many did.
    pub used: u32,
    /// From when on it is refused.
    pub expires_at: Millis,
    /// When a person took it back.
    pub revoked_at: Option<Millis>,
    /// When it was made.
    pub created_at: Millis,
    /// The servers that enrol with it get these, key to value.
    pub labels: BTreeMap<String, String>,
    /// It does not make a server, but replaces the credential of this one by that of the next generation.
    pub server: Option<ServerId>,
}

/// An enrolment as it is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Enrol<'a> {
    /// SHA-256 of the token.
    pub token_hash: [u8; 32],
    /// SHA-256 of the key that the agent made for this enrolment and stored before it asked.
    pub key_hash: [u8; 32],
    /// The name that it wants; blanks around it are dropped.
    pub name: &'a str,
    /// Its address, if it told one.
    pub address: Option<&'a str>,
    /// The id that it gets if it is new.
    pub server: ServerId,
    /// The network address that asks.
    pub from: Option<&'a str>,
    /// Unix ms.
    pub now: Millis,
}

/// How an enrolment went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enrolled {
    /// A new server, or the one that enrolled with the same token and key before.
    Server {
        /// Its id.
        id: ServerId,
        /// Of the credential to make for it.
        generation: u32,
    },
    /// The token is unknown, expired, revoked or used up, or what it brought was revoked or deleted since.
    BadToken,
    /// Another server has this name, regardless of case. A person has to decide; nothing was used up.
    NameTaken,
}

#[derive(sqlx::FromRow)]
struct TokenRow {
    id: String,
    uses: i64,
    used: i64,
    expires_at: Millis,
    revoked_at: Option<Millis>,
    created_at: Millis,
    labels: String,
    server_id: Option<String>,
}

const MAKE: &str = "INSERT INTO enrolment_tokens
(id, hash, uses, used, expires_at, revoked_at, created_at, labels, server_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
const LIST: &str =
    "SELECT id, uses, used, expires_at, revoked_at, created_at, labels, server_id FROM enrolment_tokens
ORDER BY created_at DESC, id DESC LIMIT $1 OFFSET $2";
const TOTAL: &str = "SELECT COUNT(*) FROM enrolment_tokens";
const REVOKE: &str = "UPDATE enrolment_tokens SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";
const EXISTS: &str = "SELECT 1 FROM enrolment_tokens WHERE id = $1";

const KNOWN: &str = "SELECT 1 FROM enrolment_tokens WHERE hash = $1";
const CLAIM: &str = "UPDATE enrolment_tokens SET used = used + 1
WHERE hash = $1 AND used < uses AND expires_at > $2 AND revoked_at IS NULL RETURNING id, labels, server_id";
const BEFORE: &str = "SELECT e.server_id, e.generation, s.generation FROM enrolment_tokens t
JOIN enrolments e ON e.token_id = t.id LEFT JOIN servers s ON s.id = e.server_id
WHERE t.hash = $1 AND e.key_hash = $2 AND t.revoked_at IS NULL";
/// Of a server that was made here and had no credential yet, what people said of it stays.
const ADD_SERVER: &str = "INSERT INTO servers
(id, name, name_folded, address, search, generation, version, created_at, updated_at, enrolled_at)
VALUES ($1, $2, $3, $4, $5, $6, 1, $7, $7, $7) ON CONFLICT (name_folded) DO UPDATE SET
    generation = excluded.generation, version = servers.version + 1, updated_at = excluded.updated_at,
    enrolled_at = excluded.enrolled_at, address = COALESCE(servers.address, excluded.address)
WHERE servers.generation = 0 RETURNING id";
const REPLACE: &str =
    "UPDATE servers SET generation = generation + 1, version = version + 1, updated_at = $2,
enrolled_at = CASE WHEN generation = 0 THEN $2 ELSE enrolled_at END WHERE id = $1 RETURNING generation";
const FIND_BY: &str = "UPDATE servers SET search = $2 WHERE id = $1";
const RECORD: &str = "INSERT INTO enrolments (token_id, key_hash, server_id, generation, enrolled_at)
VALUES ($1, $2, $3, $4, $5)";

/// Gives a new server, or one that was made here for this name, to who enrols; `None`: the name is another's.
macro_rules! admit {
    ($tx:expr, $dialect:expr, $enrol:expr, $labels:expr) => {{
        let name = $enrol.name.trim();
        let added: Option<(String,)> = sqlx::query_as(ADD_SERVER)
            .bind($enrol.server.to_string())
            .bind(name)
            .bind(text::fold_name(name))
            .bind($enrol.address)
            .bind(text::searchable([name].into_iter().chain($enrol.address)))
            .bind(FIRST_GENERATION)
            .bind($enrol.now)
            .fetch_optional(&mut *$tx)
            .await?;
        if let Some((server,)) = &added {
            sqlx::query(ADD_LABELS.on($dialect)).bind(server).bind($labels).execute(&mut *$tx).await?;
            if let Some(held) = hold!($tx, server) {
                sqlx::query(FIND_BY).bind(server).bind(held.profile.search()).execute(&mut *$tx).await?;
            }
        }
        added.map(|(server,)| (server, FIRST_GENERATION))
    }};
}

/// Replaces the credential of a server; `None`: it was deleted.
macro_rules! replace {
    ($tx:expr, $server:expr, $now:expr) => {{
        let raised: Option<(i64,)> =
            sqlx::query_as(REPLACE).bind(&$server).bind($now).fetch_optional(&mut *$tx).await?;
        if let Some((generation,)) = raised {
            sqlx::query(DENY).bind(&$server).bind(generation).bind($now).execute(&mut *$tx).await?;
            sqlx::query(COUNT_UP).execute(&mut *$tx).await?;
        }
        raised.map(|(generation,)| ($server, generation))
    }};
}

impl Registry {
    /// Makes a token. Its hash is SHA-256 of its text.
    pub async fn make_enrolment_token(
        &self,
        token: &EnrolmentToken,
        hash: [u8; 32],
        by: &Actor,
    ) -> Result<(), RegistryError> {
        let EnrolmentToken { id, uses, used, expires_at, revoked_at, created_at, labels, server } = token;
        let after = json!({"uses": uses, "expires_at": expires_at, "labels": labels, "server_id": server});
        let change = of_token(by, *created_at, "enrolment_token.create", *id);
        let change = Change { after: Some(after), ..change };
        on!(self, db => {
            let mut tx = db.begin_write().await?;
            sqlx::query(MAKE)
                .bind(id.to_string())
                .bind(text::hex(&hash))
                .bind(i64::from(*uses))
                .bind(i64::from(*used))
                .bind(expires_at)
                .bind(revoked_at)
                .bind(created_at)
                .bind(json(labels)?)
                .bind(server.map(|server| server.to_string()))
                .execute(&mut *tx)
                .await?;
            audit::record(self.dialect(), &[change])?.execute(&mut *tx).await?;
            tx.commit().await?;
        });
        Ok(())
    }

    /// One page of all tokens, newest first, and the total.
    pub async fn enrolment_tokens(&self, page: Page) -> Result<(Vec<EnrolmentToken>, u64), RegistryError> {
        let (rows, total) = self.page_of::<TokenRow>(LIST, TOTAL, page).await?;
        let mut tokens = Vec::with_capacity(rows.len());
        for TokenRow { id: token, uses, used, expires_at, revoked_at, created_at, labels, server_id } in rows
        {
            let labels = serde_json::from_str(&labels).map_err(|_| RegistryError::Corrupt {
                table: "enrolment_tokens",
                column: "labels",
                row: token.clone(),
            })?;
            let server = server_id.map(|server| id("enrolment_tokens", "server_id", &server)).transpose()?;
            let uses = count("enrolment_tokens", "uses", &token, uses)?;
            let used = count("enrolment_tokens", "used", &token, used)?;
            let id = id("enrolment_tokens", "id", &token)?;
            tokens.push(EnrolmentToken {
                id,
                uses,
                used,
                expires_at,
                revoked_at,
                created_at,
                labels,
                server,
            });
        }
        Ok((tokens, count("enrolment_tokens", "total", "", total)?))
    }

    /// Takes a token back; one that was stays as it was. False: no such token.
    pub async fn revoke_enrolment_token(
        &self,
        id: EnrolmentTokenId,
        by: &Actor,
        now: Millis,
    ) -> Result<bool, RegistryError> {
        let key = id.to_string();
        Ok(on!(self, db => {
            let mut tx = db.begin_write().await?;
            let revoked = sqlx::query(REVOKE).bind(&key).bind(now).execute(&mut *tx).await?.rows_affected();
            if revoked == 0 {
                return Ok(sqlx::query(EXISTS).bind(&key).fetch_optional(&mut *tx).await?.is_some());
            }
            let change = of_token(by, now, "enrolment_token.revoke", id);
            audit::record(self.dialect(), &[change])?.execute(&mut *tx).await?;
            tx.commit().await?;
            true
        }))
    }

    /// Exchanges a token for a server, in one transaction: a new one, one that was made here under this name and had no
    /// credential yet, or the one that the token is bound to, whose credential is replaced.
    ///
    /// The same token and key again get the same server, though the token was used up or has expired meanwhile: a lost
    /// reply burns nothing. Not so when the token, the server or its credential was revoked, or the server deleted:
    /// then a person has said no. A name that exists is refused, whoever asks; only who holds a good token learns that.
    pub async fn enrol(&self, enrol: &Enrol<'_>) -> Result<Enrolled, RegistryError> {
        let (token, key) = (text::hex(&enrol.token_hash), text::hex(&enrol.key_hash));
        Ok(on!(self, db => {
            // Who guesses must not hold up those who write.
            if sqlx::query(KNOWN).bind(&token).fetch_optional(db.reader()).await?.is_none() {
                return Ok(Enrolled::BadToken);
            }
            let mut tx = db.begin_write().await?;
            // The claim is first: it holds the token's row, so that whoever enrols with it at the same time waits.
            let claimed: Option<(String, String, Option<String>)> =
                sqlx::query_as(CLAIM).bind(&token).bind(enrol.now).fetch_optional(&mut *tx).await?;
            let before: Option<(String, i64, Option<i64>)> =
                sqlx::query_as(BEFORE).bind(&token).bind(&key).fetch_optional(&mut *tx).await?;
            if let Some((server, generation, in_force)) = before {
                // A repetition uses nothing up. Said at once, because others wait for the token's row.
                tx.rollback().await?;
                return again(&server, generation, in_force);
            }
            let Some((token, labels, bound)) = claimed else { return Ok(Enrolled::BadToken) };
            let refused = if bound.is_some() { Enrolled::BadToken } else { Enrolled::NameTaken };
            let admitted = match bound {
                Some(server) => replace!(tx, server, enrol.now),
                None => admit!(tx, self.dialect(), enrol, labels),
            };
            let Some((server, generation)) = admitted else {
                tx.rollback().await?;
                return Ok(refused);
            };
            sqlx::query(RECORD)
                .bind(&token)
                .bind(key)
                .bind(&server)
                .bind(generation)
                .bind(enrol.now)
                .execute(&mut *tx)
                .await?;
            let (token, admitted) = (id("enrolment_tokens", "id", &token)?, id("servers", "id", &server)?);
            let actor = Actor { who: Who::Enrolment(token), name: None, address: enrol.from.map(str::to_owned) };
            let after = json!({"name": enrol.name.trim(), "generation": generation});
            let change = of_server(&actor, enrol.now, "server.enrol", admitted, None, Some(after));
            audit::record(self.dialect(), &[change])?.execute(&mut *tx).await?;
            tx.commit().await?;
            again(&server, generation, Some(generation))?
        }))
    }
}

fn of_token<'a>(actor: &'a Actor, at: Millis, action: &'static str, id: EnrolmentTokenId) -> Change<'a> {
    Change { actor, at, action, kind: "enrolment_token", id: Some(id.to_string()), before: None, after: None }
}

/// The answer to who enrolled at a generation, by the one in force; `None`: its server was deleted.
fn again(server: &str, generation: i64, in_force: Option<i64>) -> Result<Enrolled, RegistryError> {
    if in_force != Some(generation) {
        return Ok(Enrolled::BadToken);
    }
    let generation = count("enrolments", "generation", server, generation)?;
    Ok(Enrolled::Server { id: id("enrolments", "server_id", server)?, generation })
}
