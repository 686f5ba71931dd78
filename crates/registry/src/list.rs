//! The list of servers as one statement: what narrows it, what orders it, which part of it.

use fleet::{ServerId, Status};

use crate::{
    RegistryError, Roll, json,
    roll::{Judge, spell},
    statement::{Dialect, Statement},
    text,
};

/// Which servers. Every field that is given narrows the list.
#[derive(Debug, Clone, Default)]
pub struct ServerFilter {
    /// In this state.
    pub status: Option<Status>,
    /// Of exactly this name, regardless of case.
    pub name: Option<String>,
    /// Of exactly this address.
    pub address: Option<String>,
    /// Name, address, hostname or a label's value contains this, regardless of case. Nothing in it is a wildcard.
    pub q: Option<String>,
    /// With all of these labels, as key and value.
    pub labels: Vec<(String, String)>,
    /// One of these. An empty list is met by no server.
    pub ids: Option<Vec<ServerId>>,
}

/// What to sort by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortKey {
    /// Regardless of case.
    Name,
    /// As text; servers without one come last in either direction.
    Address,
    /// By the word of the interface.
    Status,
    /// When it was heard last; servers that never were come last in either direction.
    LastSeenAt,
    /// When it enrolled.
    CreatedAt,
    /// When a person changed it last.
    UpdatedAt,
}

/// One sort key and its direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sort {
    /// What to sort by.
    pub key: SortKey,
    /// Greatest first.
    pub descending: bool,
}

/// Which part of a list. Callers check the bounds of the interface; here 0 counts as 1.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// From 1.
    pub page: u32,
    /// Most items on it.
    pub page_size: u32,
}

/// Names of the sort keys within a statement, first to last: there are no more keys than these.
const ALIASES: [&str; 6] = ["k0", "k1", "k2", "k3", "k4", "k5"];

/// So many hits are worked out before they are sorted. To find that there are more costs no more than this.
const FEW: i64 = 10_000;

/// A list that was asked for.
pub(crate) struct Listing<'a> {
    filter: &'a ServerFilter,
    sort: Vec<Sort>,
    page: Page,
    judge: Judge,
    dialect: Dialect,
}

impl Page {
    pub(crate) fn limit(self) -> i64 {
        i64::from(self.page_size.max(1))
    }

    pub(crate) fn offset(self) -> i64 {
        i64::from(self.page.max(1) - 1).saturating_mul(self.limit())
    }
}

impl ServerFilter {
    fn is_empty(&self) -> bool {
        let Self { status, name, address, q, labels, ids } = self;
        status.is_none()
            && name.is_none()
            && address.is_none()
            && q.is_none()
            && labels.is_empty()
            && ids.is_none()
    }
}

impl<'a> Listing<'a> {
    pub(crate) fn new(
        filter: &'a ServerFilter,
        sort: &[Sort],
        page: Page,
        roll: &Roll,
        dialect: Dialect,
    ) -> Result<Self, RegistryError> {
        let mut keys: Vec<Sort> = Vec::new();
        for wanted in sort {
            // A key that comes again orders nothing.
            if keys.iter().all(|key| key.key != wanted.key) {
                keys.push(*wanted);
            }
        }
        let judged = filter.status.is_some() || keys.iter().any(|sort| sort.key == SortKey::Status);
        Ok(Self { filter, sort: keys, page, judge: roll.judge(|_| judged)?, dialect })
    }

    /// Whether so few hits that were found are all there are.
    pub(crate) fn is_whole(&self, hits: &[(String, i64)]) -> bool {
        match hits.first() {
            Some((_, total)) => *total <= FEW,
            None => self.page.offset() == 0,
        }
    }

    /// The ids of the page in order, each beside the total: for a filter that [`FEW`] servers meet, all of which are
    /// found first, by whatever index serves the filter. `None` without a filter. More are broken off.
    pub(crate) fn few(&self) -> Result<Option<Statement>, RegistryError> {
        (!self.filter.is_empty()).then(|| self.ids(true)).transpose()
    }

    /// The same for any number of hits: walks along the index of the sort key, if there is one, until the page is full.
    pub(crate) fn many(&self) -> Result<Statement, RegistryError> {
        self.ids(false)
    }

    fn ids(&self, few: bool) -> Result<Statement, RegistryError> {
        let mut statement = Statement::new(self.dialect);
        self.push_hits(&mut statement, few)?;
        statement.push(" SELECT id, (SELECT COUNT(*) FROM hit) FROM hit ORDER BY ");
        for (sort, alias) in self.sort.iter().zip(ALIASES) {
            statement.push(alias).push(if sort.descending { " DESC" } else { " ASC" });
            statement.push(if sort.key.nullable() { " NULLS LAST, " } else { ", " });
        }
        statement.push("id LIMIT ").bind(self.page.limit()).push(" OFFSET ").bind(self.page.offset());
        Ok(statement)
    }

    /// The total alone, for a page past the end.
    pub(crate) fn total(&self) -> Result<Statement, RegistryError> {
        let mut statement = Statement::new(self.dialect);
        self.push_hits(&mut statement, false)?;
        statement.push(" SELECT COUNT(*) FROM hit");
        Ok(statement)
    }

    /// The table `hit` of all that the filter lets through: id and sort keys.
    ///
    /// To walk the index of the sort key until a page is full reads all of it when few servers match; to work all hits out
    /// first costs most when many do.
    fn push_hits(&self, statement: &mut Statement, few: bool) -> Result<(), RegistryError> {
        self.judge.push_roll(statement);
        let how = if few { ", hit AS MATERIALIZED (" } else { ", hit AS NOT MATERIALIZED (" };
        statement.push(how).push("SELECT s.id AS id");
        for (sort, alias) in self.sort.iter().zip(ALIASES) {
            statement.push(", ");
            match sort.key {
                SortKey::Name => statement.push("s.name_folded"),
                SortKey::Address => statement.push("s.address"),
                SortKey::Status => self.judge.push_status(statement),
                SortKey::LastSeenAt => statement.push("g.received_at"),
                SortKey::CreatedAt => statement.push("s.created_at"),
                SortKey::UpdatedAt => statement.push("s.updated_at"),
            };
            statement.push(" AS ").push(alias);
        }
        statement.push(" FROM servers s");
        let looks = |sort: &Sort| matches!(sort.key, SortKey::Status | SortKey::LastSeenAt);
        if self.filter.status.is_some() || self.sort.iter().any(looks) {
            statement.push(" LEFT JOIN sightings g ON g.server_id = s.id");
        }
        self.push_conditions(statement)?;
        if few {
            statement.push(" LIMIT ").bind(FEW + 1);
        }
        statement.push(")");
        Ok(())
    }

    fn push_conditions(&self, statement: &mut Statement) -> Result<(), RegistryError> {
        let ServerFilter { status, name, address, q, labels, ids } = self.filter;
        statement.push(" WHERE true");
        match status {
            // They are few, as a rule, and found without looking at all others.
            Some(Status::Down) => {
                statement.push(" AND s.paused_at IS NULL AND s.id IN (");
                self.judge.push_silent(statement);
                statement.push(")");
            }
            Some(status) => {
                statement.push(" AND ");
                self.judge.push_status(statement);
                statement.push(" = ").bind(spell(*status));
            }
            None => {}
        }
        if let Some(name) = name {
            push_equal(statement, " AND s.name_folded = ", text::fold_name(name));
        }
        if let Some(address) = address {
            push_equal(statement, " AND s.address = ", address.clone());
        }
        if let Some(q) = q {
            push_search(statement, q);
        }
        for (key, value) in labels {
            statement.push(" AND s.id IN (SELECT server_id FROM labels WHERE true");
            push_equal(statement, " AND key = ", key.clone());
            push_equal(statement, " AND value = ", value.clone());
            statement.push(")");
        }
        if let Some(ids) = ids {
            statement.push(" AND s.id").one_of(json(ids)?);
        }
        Ok(())
    }
}

/// The ids of at most `limit` servers after a folded name, by name. A walk along the names, so that each part costs what
/// it passes over and all parts together pass over the fleet once.
pub(crate) fn part(
    filter: &ServerFilter,
    after: Option<String>,
    limit: u32,
    roll: &Roll,
    dialect: Dialect,
) -> Result<Statement, RegistryError> {
    let page = Page { page: 1, page_size: limit };
    let listing = Listing::new(filter, &[], page, roll, dialect)?;
    let mut statement = Statement::new(dialect);
    listing.judge.push_roll(&mut statement);
    statement.push(" SELECT s.id FROM servers s");
    if filter.status.is_some() {
        statement.push(" LEFT JOIN sightings g ON g.server_id = s.id");
    }
    listing.push_conditions(&mut statement)?;
    if let Some(after) = after {
        statement.push(" AND s.name_folded > ").bind(after);
    }
    statement.push(" ORDER BY s.name_folded LIMIT ").bind(page.limit());
    Ok(statement)
}

fn push_equal(statement: &mut Statement, column: &'static str, text: String) {
    if text::is_storable(&text) {
        statement.push(column).bind(text);
    } else {
        statement.push(" AND false");
    }
}

fn push_search(statement: &mut Statement, q: &str) {
    let Some(pattern) = text::pattern(q) else {
        statement.push(" AND false");
        return;
    };
    statement.push(" AND (s.search LIKE ").bind(pattern.as_str()).push(r" ESCAPE '\'");
    statement.push(" OR s.id IN (SELECT server_id FROM facts WHERE search LIKE ").bind(pattern);
    statement.push(r" ESCAPE '\'))");
}

impl SortKey {
    fn nullable(self) -> bool {
        matches!(self, Self::Address | Self::LastSeenAt)
    }
}
