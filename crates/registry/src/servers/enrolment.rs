//! How a server comes in: a token is exchanged, once, for an identity of its own.

use std::collections::BTreeMap;

use fleet::{Millis, ServerId, access::next_generation, id::EnrolmentTokenId};
use serde_json::json;

use super::{profile, revocation};
use crate::{
    audit::{self, Action, Actor, Change, Who},
    engine::{Page, Registry, RegistryError, Stop, Tx, corrupt, count, fold, hex, id, json, query, row},
    refusal::Refusal,
};

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

/// A server that enrolled: a new one, or the one that did so with the same token and key before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enrolled {
    /// Its id.
    pub id: ServerId,
    /// Of the credential to make for it.
    pub generation: u32,
    /// It had another credential before, which is denied from now on.
    pub replaces: bool,
}

row! {
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
}

const MAKE: &str = "INSERT INTO enrolment_tokens
(id, hash, uses, used, expires_at, revoked_at, created_at, labels, server_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
const LIST: &str =
    "SELECT id, uses, used, expires_at, revoked_at, created_at, labels, server_id FROM enrolment_tokens
ORDER BY created_at DESC, id DESC LIMIT $1 OFFSET $2";
const TOTAL: &str = "SELECT COUNT(*) FROM enrolment_tokens";
const REVOKE: &str = "UPDATE enrolment_tokens SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";
const REVOKE_EVERY: &str =
    "UPDATE enrolment_tokens SET revoked_at = $1 WHERE revoked_at IS NULL RETURNING id";
const EXISTS: &str = "SELECT 1 FROM enrolment_tokens WHERE id = $1";

const KNOWN: &str = "SELECT 1 FROM enrolment_tokens WHERE hash = $1";
const CLAIM: &str = "UPDATE enrolment_tokens SET used = used + 1
WHERE hash = $1 AND used < uses AND expires_at > $2 AND revoked_at IS NULL RETURNING id, labels, server_id";
const BEFORE: &str = "SELECT e.server_id, e.generation, s.generation, t.server_id FROM enrolment_tokens t
JOIN enrolments e ON e.token_id = t.id LEFT JOIN servers s ON s.id = e.server_id
WHERE t.hash = $1 AND e.key_hash = $2 AND t.revoked_at IS NULL";
/// A server that a person made under this name, and that had no credential yet, is taken over; what people said of it
/// stays.
const ADD_SERVER: &str = "INSERT INTO servers
(id, name, name_folded, address, search, generation, version, created_at, updated_at, enrolled_at)
VALUES ($1, $2, $3, $4, $5, $6, 1, $7, $7, $7) ON CONFLICT (name_folded) DO UPDATE SET
    generation = excluded.generation, version = servers.version + 1, updated_at = excluded.updated_at,
    enrolled_at = excluded.enrolled_at, address = COALESCE(servers.address, excluded.address)
WHERE servers.generation = 0 RETURNING id";
const REPLACE: &str = "UPDATE servers SET generation = $2, version = version + 1, updated_at = $3,
enrolled_at = CASE WHEN generation = 0 THEN $3 ELSE enrolled_at END WHERE id = $1";
const FIND_BY: &str = "UPDATE servers SET search = $2 WHERE id = $1";
const RECORD: &str = "INSERT INTO enrolments (token_id, key_hash, server_id, generation, enrolled_at)
VALUES ($1, $2, $3, $4, $5)";

/// A new server for who enrols, or the one that was made here under this name and had no credential yet: its id and
/// generation.
async fn admit(tx: &mut Tx<'_>, enrol: &Enrol<'_>, labels: String) -> Result<(String, u32), Stop> {
    let (name, generation) = (enrol.name.trim(), next_generation(0, enrol.now));
    let add = query(ADD_SERVER)
        .bind(enrol.server.to_string())
        .bind(name)
        .bind(fold::fold_name(name))
        .bind(enrol.address)
        .bind(fold::searchable([name].into_iter().chain(enrol.address)))
        .bind(i64::from(generation))
        .bind(enrol.now);
    let added: Option<(String,)> = tx.maybe(add).await?;
    let (server,) = added.ok_or(Refusal::NameTaken)?;
    profile::add_labels(tx, &server, labels).await?;
    let profile = profile::lock(tx, &server).await?.profile;
    tx.run(query(FIND_BY).bind(&server).bind(profile.search())).await?;
    Ok((server, generation))
}

/// Replaces the credential of a server: its id and the generation of the new one. A token for a server that was deleted
/// is no good.
async fn replace(tx: &mut Tx<'_>, server: String, now: Millis) -> Result<(String, u32), Stop> {
    let locked = profile::lock(tx, &server).await.map_err(|stop| match stop {
        Stop::Refused(Refusal::NotFound) => Refusal::BadToken.into(),
        other => other,
    })?;
    let generation = next_generation(locked.generation, now);
    tx.run(query(REPLACE).bind(&server).bind(i64::from(generation)).bind(now)).await?;
    revocation::deny(tx, &server, generation, now).await?;
    revocation::count_up(tx, now).await?;
    Ok((server, generation))
}

/// Takes every token back, used ones too, since they still answer who enrolled with them; with a row in the audit log for
/// each. Answers how many there were.
pub(crate) async fn revoke_every_token(
    tx: &mut Tx<'_>,
    by: &Actor,
    now: Millis,
) -> Result<u64, RegistryError> {
    let revoked: Vec<(String,)> = tx.all(query(REVOKE_EVERY).bind(now)).await?;
    let told = |(id,): &(String,)| Change::new(by, now, Action::EnrolmentTokenRevoke, id);
    audit::record(tx, &revoked.iter().map(told).collect::<Vec<_>>()).await?;
    Ok(revoked.len() as u64)
}

impl Registry {
    /// Makes a token. Its hash is SHA-256 of its text.
    #[crate::engine::boxed]
    pub async fn make_enrolment_token(
        &self,
        token: &EnrolmentToken,
        hash: [u8; 32],
        by: &Actor,
    ) -> Result<(), RegistryError> {
        let EnrolmentToken { id, uses, used, expires_at, revoked_at, created_at, labels, server } = token;
        let after = json!({"uses": uses, "expires_at": expires_at, "labels": labels, "server_id": server});
        let change = Change::new(by, *created_at, Action::EnrolmentTokenCreate, id).after(after);
        self.write(async |tx| {
            let make = query(MAKE)
                .bind(id.to_string())
                .bind(hex(&hash))
                .bind(i64::from(*uses))
                .bind(i64::from(*used))
                .bind(*expires_at)
                .bind(*revoked_at)
                .bind(*created_at)
                .bind(json(labels)?)
                .bind(server.map(|server| server.to_string()));
            tx.run(make).await?;
            audit::record(tx, &[change]).await
        })
        .await
    }

    /// One page of all tokens, newest first, and the total.
    #[crate::engine::boxed]
    pub async fn enrolment_tokens(&self, page: Page) -> Result<(Vec<EnrolmentToken>, u64), RegistryError> {
        let (rows, total) = self.page_of::<TokenRow>(LIST, TOTAL, page).await?;
        let mut tokens = Vec::with_capacity(rows.len());
        for TokenRow { id: token, uses, used, expires_at, revoked_at, created_at, labels, server_id } in rows
        {
            let labels =
                serde_json::from_str(&labels).map_err(|_| corrupt("enrolment_tokens", "labels", &token))?;
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

    /// Takes a token back; one that was taken back already stays as it was.
    #[crate::engine::boxed]
    pub async fn revoke_enrolment_token(
        &self,
        id: EnrolmentTokenId,
        by: &Actor,
        now: Millis,
    ) -> Result<Result<(), Refusal>, RegistryError> {
        let key = id.to_string();
        self.change(async |tx| {
            if tx.run(query(REVOKE).bind(&key).bind(now)).await? > 0 {
                let change = Change::new(by, now, Action::EnrolmentTokenRevoke, id);
                audit::record(tx, &[change]).await?;
            } else if !tx.any(query(EXISTS).bind(&key)).await? {
                return Err(Refusal::NotFound.into());
            }
            Ok(())
        })
        .await
    }

    /// Exchanges a token for a server, in one transaction: a new one, one that was made here under this name and had no
    /// credential yet, or the one that the token is bound to, whose credential is replaced.
    ///
    /// The same token and key again get the same server, though the token was used up or has expired meanwhile: a lost
    /// reply burns nothing. Not so when the token, the server or its credential was revoked, or the server deleted:
    /// then a person has said no. A name that exists is refused, whoever asks; only who holds a good token learns that.
    #[crate::engine::boxed]
    pub async fn enrol(&self, enrol: &Enrol<'_>) -> Result<Result<Enrolled, Refusal>, RegistryError> {
        let token = hex(&enrol.token_hash);
        // Whoever guesses must not hold up those who write.
        if !self.reader().any(query(KNOWN).bind(&token)).await? {
            return Ok(Err(Refusal::BadToken));
        }
        self.change(async |tx| exchange(tx, enrol, &token).await).await
    }
}

/// What this token and key brought before: the server, its generation then and now, and the one that the token is for.
type Before = (String, i64, Option<i64>, Option<String>);

async fn exchange(tx: &mut Tx<'_>, enrol: &Enrol<'_>, token: &str) -> Result<Enrolled, Stop> {
    let (key, now) = (hex(&enrol.key_hash), enrol.now);
    // The claim is first: it holds the token's row, so that whoever enrols with it at the same time waits.
    let claimed: Option<(String, String, Option<String>)> =
        tx.maybe(query(CLAIM).bind(token).bind(now)).await?;
    let before: Option<Before> = tx.maybe(query(BEFORE).bind(token).bind(&key)).await?;
    if let Some((server, generation, in_force, bound)) = before {
        // A repetition uses nothing up.
        tx.roll_back();
        return if in_force == Some(generation) {
            let generation = count("enrolments", "generation", &server, generation)?;
            enrolled(&server, generation, bound.is_some())
        } else {
            Err(Refusal::BadToken.into())
        };
    }
    let (token, labels, bound) = claimed.ok_or(Refusal::BadToken)?;
    let replaces = bound.is_some();
    let (server, generation) = match bound {
        Some(server) => replace(tx, server, now).await?,
        None => admit(tx, enrol, labels).await?,
    };
    let record = query(RECORD).bind(&token).bind(key).bind(&server).bind(i64::from(generation)).bind(now);
    tx.run(record).await?;
    let enrolled = enrolled(&server, generation, replaces)?;
    let who = Who::Enrolment(id("enrolment_tokens", "id", &token)?);
    let actor = Actor { who, name: None, address: enrol.from.map(str::to_owned) };
    let after = json!({"name": enrol.name.trim(), "generation": generation});
    let change = Change::new(&actor, now, Action::ServerEnrol, enrolled.id).after(after);
    audit::record(tx, &[change]).await?;
    Ok(enrolled)
}

fn enrolled(server: &str, generation: u32, replaces: bool) -> Result<Enrolled, Stop> {
    Ok(Enrolled { id: id("enrolments", "server_id", server)?, generation, replaces })
}
