//! Which incidents are told on which channels.

use fleet::{
    Millis,
    alert::route::{Match, Route},
    id::AlertRouteId,
};
use serde_json::{Value, json};

use super::telling;
use crate::{
    audit::{self, Action, Actor, Change},
    engine::{Page, Registry, RegistryError, Tx, corrupt, count, id, json as write_json, query, row},
    refusal::Refusal,
};

/// Most routes there may be.
const MOST: i64 = 200;

/// A route as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertRoute {
    /// What it does.
    pub route: Route,
    /// For people.
    pub name: String,
    /// From 1; routes are asked in this order.
    pub position: u32,
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
        name: String,
        position: i64,
        matches: String,
        min_level: String,
        steps: String,
        reminder_ms: i64,
        goes_on: i64,
        version: i64,
        created_at: Millis,
        updated_at: Millis,
    }
}

const ADD: &str = "INSERT INTO alert_routes
(id, name, position, matches, min_level, steps, reminder_ms, goes_on, version, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1, $9, $9)";
const CHANGE: &str =
    "UPDATE alert_routes SET name = $2, position = $3, matches = $4, min_level = $5, steps = $6,
reminder_ms = $7, goes_on = $8, version = version + 1, updated_at = $9 WHERE id = $1";
const DELETE: &str = "DELETE FROM alert_routes WHERE id = $1";
const TOTAL: &str = "SELECT COUNT(*) FROM alert_routes";
const ONE: &str =
    "SELECT id, name, position, matches, min_level, steps, reminder_ms, goes_on, version, created_at,
updated_at FROM alert_routes WHERE id = $1";
const LIST: &str =
    "SELECT id, name, position, matches, min_level, steps, reminder_ms, goes_on, version, created_at,
updated_at FROM alert_routes ORDER BY position, id LIMIT $1 OFFSET $2";
const ALL: &str =
    "SELECT id, name, position, matches, min_level, steps, reminder_ms, goes_on, version, created_at,
updated_at FROM alert_routes ORDER BY position, id";
/// Makes room at a position, and closes the gap that one leaves. Only where a route stands changes, so that nobody's version
/// does.
const MAKE_ROOM: &str = "UPDATE alert_routes SET position = position + 1 WHERE position >= $1";
const CLOSE_GAP: &str = "UPDATE alert_routes SET position = position - 1 WHERE position > $1";

/// All routes in their order. One that this release cannot read takes nothing.
pub(super) async fn all(tx: &mut Tx<'_>) -> Result<Vec<AlertRoute>, RegistryError> {
    let rows: Vec<Row> = tx.all(ALL).await?;
    rows.into_iter().map(Row::route).collect()
}

async fn find(tx: &mut Tx<'_>, id: AlertRouteId) -> Result<Option<AlertRoute>, RegistryError> {
    let row: Option<Row> = tx.maybe(query(ONE).bind(id.to_string())).await?;
    row.map(Row::route).transpose()
}

async fn total(tx: &mut Tx<'_>) -> Result<i64, RegistryError> {
    let (total,): (i64,) = tx.one(TOTAL).await?;
    Ok(total)
}

impl Registry {
    /// One page of the routes, in their order, and the total.
    #[crate::engine::boxed]
    pub async fn alert_routes(&self, page: Page) -> Result<(Vec<AlertRoute>, u64), RegistryError> {
        let (rows, total) = self.page_of::<Row>(LIST, TOTAL, page).await?;
        let routes = rows.into_iter().map(Row::route).collect::<Result<_, _>>()?;
        Ok((routes, count("alert_routes", "total", "", total)?))
    }

    /// One route.
    #[crate::engine::boxed]
    pub async fn alert_route(&self, id: AlertRouteId) -> Result<Option<AlertRoute>, RegistryError> {
        let row: Option<Row> = self.reader().maybe(query(ONE).bind(id.to_string())).await?;
        row.map(Row::route).transpose()
    }

    /// Makes a route, at this position or as the last, and answers it. What is open is told by it at once.
    #[crate::engine::boxed]
    pub async fn make_alert_route(
        &self,
        route: &Route,
        name: &str,
        position: Option<u32>,
        by: &Actor,
        now: Millis,
    ) -> Result<Result<AlertRoute, Refusal>, RegistryError> {
        self.change(async |tx| {
            telling::hold(tx).await?;
            let total = total(tx).await?;
            if total >= MOST {
                return Err(Refusal::TooMany.into());
            }
            let position = position.map_or(total + 1, |position| i64::from(position).clamp(1, total + 1));
            tx.run(query(MAKE_ROOM).bind(position)).await?;
            tx.run(bind(ADD, route, name, position)?.bind(now)).await?;
            telling::look_at_all(tx, now).await?;
            let made = find(tx, route.id).await?.ok_or(Refusal::NotFound)?;
            let change = Change::new(by, now, Action::AlertRouteCreate, route.id).after(made.told());
            audit::record(tx, &[change]).await?;
            Ok(made)
        })
        .await
    }

    /// Makes a route what is given, if its version is one of `expected`, and answers it.
    #[crate::engine::boxed]
    pub async fn change_alert_route(
        &self,
        expected: Option<&[i64]>,
        route: &Route,
        name: &str,
        position: Option<u32>,
        by: &Actor,
        now: Millis,
    ) -> Result<Result<AlertRoute, Refusal>, RegistryError> {
        self.change(async |tx| {
            telling::hold(tx).await?;
            let before = find(tx, route.id).await?.ok_or(Refusal::NotFound)?;
            Refusal::unless_expected(expected, before.version)?;
            let stood = i64::from(before.position);
            let position = match position {
                Some(position) => i64::from(position).clamp(1, total(tx).await?),
                None => stood,
            };
            if position != stood {
                tx.run(query(CLOSE_GAP).bind(stood)).await?;
                tx.run(query(MAKE_ROOM).bind(position)).await?;
            }
            tx.run(bind(CHANGE, route, name, position)?.bind(now)).await?;
            telling::look_at_all(tx, now).await?;
            let after = find(tx, route.id).await?.ok_or(Refusal::NotFound)?;
            let change = Change::new(by, now, Action::AlertRouteChange, route.id);
            audit::record(tx, &[change.before(before.told()).after(after.told())]).await?;
            Ok(after)
        })
        .await
    }

    /// Deletes a route. With `expected`, only if its version is one of these.
    #[crate::engine::boxed]
    pub async fn delete_alert_route(
        &self,
        id: AlertRouteId,
        expected: Option<&[i64]>,
        by: &Actor,
        now: Millis,
    ) -> Result<Result<(), Refusal>, RegistryError> {
        self.change(async |tx| {
            telling::hold(tx).await?;
            let before = find(tx, id).await?.ok_or(Refusal::NotFound)?;
            Refusal::unless_expected(expected, before.version)?;
            tx.run(query(DELETE).bind(id.to_string())).await?;
            tx.run(query(CLOSE_GAP).bind(i64::from(before.position))).await?;
            telling::look_at_all(tx, now).await?;
            let change = Change::new(by, now, Action::AlertRouteDelete, id).before(before.told());
            Ok(audit::record(tx, &[change]).await?)
        })
        .await
    }
}

fn bind(
    text: &'static str,
    route: &Route,
    name: &str,
    position: i64,
) -> Result<crate::engine::Query, RegistryError> {
    Ok(query(text)
        .bind(route.id.to_string())
        .bind(name)
        .bind(position)
        .bind(write_json(&route.matches)?)
        .bind(route.min_level.as_str())
        .bind(write_json(&route.steps)?)
        .bind(route.reminder_ms)
        .bind(i64::from(route.goes_on)))
}

impl AlertRoute {
    fn told(&self) -> Value {
        let Route { matches, min_level, steps, reminder_ms, goes_on, .. } = &self.route;
        json!({
            "name": self.name, "position": self.position, "match": matches, "min_level": min_level.as_str(),
            "steps": steps, "reminder_ms": reminder_ms, "continue": goes_on,
        })
    }
}

impl Row {
    fn route(self) -> Result<AlertRoute, RegistryError> {
        let corrupt = |column| corrupt("alert_routes", column, &self.id);
        let matches: Match = serde_json::from_str(&self.matches).map_err(|_| corrupt("matches"))?;
        let route = Route {
            id: id("alert_routes", "id", &self.id)?,
            matches,
            min_level: self.min_level.parse().map_err(|_| corrupt("min_level"))?,
            steps: serde_json::from_str(&self.steps).map_err(|_| corrupt("steps"))?,
            reminder_ms: self.reminder_ms,
            goes_on: self.goes_on != 0,
        };
        Ok(AlertRoute {
            route,
            name: self.name,
            position: count("alert_routes", "position", &self.id, self.position)?,
            version: self.version,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}
