//! The whole fleet at once, with the little that a picture of it needs.

use fleet::{ServerId, Status};

use super::{
    condition::{self, Way},
    filter::ServerFilter,
    roll::{Roll, status_of},
};
use crate::engine::{Registry, RegistryError, Statement, id};

/// A server as a picture of the fleet has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Which server.
    pub id: ServerId,
    /// Its name.
    pub name: String,
    /// How it is.
    pub status: Status,
    /// The value of the label that was asked for.
    pub label: Option<String>,
}

impl Registry {
    /// The servers that the filter lets through, by name, regardless of case, and at most `limit` of them; `label` is a key.
    #[crate::engine::boxed]
    pub async fn roster(
        &self,
        filter: &ServerFilter,
        label: Option<&str>,
        limit: u32,
        roll: &Roll,
    ) -> Result<Vec<Entry>, RegistryError> {
        let judge = roll.judge(|_| true)?;
        let mut statement = Statement::new(self.dialect());
        judge.push_roll(&mut statement);
        statement.push(" SELECT s.id, s.name, ");
        judge.push_status(&mut statement);
        statement.push(", l.value FROM servers s LEFT JOIN sightings g ON g.server_id = s.id");
        statement
            .push(" LEFT JOIN labels l ON l.server_id = s.id AND l.key = ")
            .bind(label.map(str::to_owned));
        condition::push(&mut statement, filter, filter.status, &judge, Way::Walk)?;
        statement.push(" ORDER BY s.name_folded LIMIT ").bind(i64::from(limit));
        let rows: Vec<(String, String, String, Option<String>)> = self.reader().all(statement).await?;
        let entry = |(server, name, status, label): (String, _, String, _)| {
            Ok(Entry { id: id("servers", "id", &server)?, name, status: status_of(&status)?, label })
        };
        rows.into_iter().map(entry).collect()
    }
}
