//! The statements that read one page of the list of servers.
//!
//! Two ways lead to a page. To *find*: read all servers that the filter lets through, by whatever index serves the filter,
//! then sort them; right when they are few. Or to *walk*: read the servers along the index of the first sort key and try
//! each one, until the page is full; right when many are let through. So a list is read in these steps.
//!
//! 1. [`Listing::few`] finds at most [`FEW`] servers. If the filter lets no more through, it has the page and the total.
//! 2. Otherwise [`Listing::counts`] counts them, and [`Listing::runs`] says which runs the page is made of: one run, or one
//!    for each status if the list is sorted by status first.
//! 3. [`Listing::candidates`] has the statements that read the part of a run that is on the page, from the nearer end.

use fleet::Status;

use super::{
    condition::{self, Way, is_seen},
    filter::{ServerFilter, Sort, SortKey},
    roll::{Judge, Roll},
};
use crate::engine::{Dialect, Page, RegistryError, Statement};

/// At most so many servers are found and then sorted. If there are more, this many were read in vain.
const FEW: i64 = 10_000;

/// A list that is sorted by when servers were heard first reads so many times as many sightings as it has to pass over and
/// to show. Only if those do not fill the page does it sort all of them.
const TRIED: i64 = 16;

/// The columns of the sort keys within a statement, from the first key to the last. There are no more keys than these.
const ALIASES: [&str; 6] = ["k0", "k1", "k2", "k3", "k4", "k5"];

/// Every status, sorted by its word.
const STATUSES: [Status; 4] = [Status::Down, Status::Paused, Status::Unknown, Status::Up];

/// A list of servers as somebody asked for it.
pub(crate) struct Listing<'a> {
    filter: &'a ServerFilter,
    sort: Vec<Sort>,
    page: Page,
    judge: Judge,
    dialect: Dialect,
}

/// Servers that are sorted by themselves, and which part of them is on the page: all that the filter lets through or, in a
/// list that is sorted by status first, those of one status.
pub(crate) struct Run {
    status: Option<Status>,
    hits: i64,
    offset: i64,
    limit: i64,
}

/// A statement that may answer the ids of a run that are on the page.
pub(crate) struct Candidate {
    pub(crate) ids: Statement,
    /// It answers the last id first.
    pub(crate) backward: bool,
}

/// What orders the rows of a statement.
struct Order<'a> {
    keys: &'a [Sort],
    backward: bool,
}

impl Run {
    /// How many of its ids are on the page.
    pub(crate) fn len(&self) -> usize {
        usize::try_from(self.limit).unwrap_or_default()
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
            // A key that comes a second time orders nothing, nor does the status where the filter lets one alone through.
            let given = wanted.key == SortKey::Status && filter.status.is_some();
            if !given && keys.iter().all(|key| key.key != wanted.key) {
                keys.push(*wanted);
            }
        }
        let judged = filter.status.is_some() || keys.iter().any(|sort| sort.key == SortKey::Status);
        Ok(Self { filter, sort: keys, page, judge: roll.judge(|_| judged)?, dialect })
    }

    /// A statement for the ids of at most `limit` servers after a folded name, by name. It walks along the names: a part costs
    /// what it passes over, and all parts together pass over the fleet once.
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
        statement.push(" SELECT s.id");
        push_servers(&mut statement, is_seen(filter.status, Way::Walk));
        listing.narrow(&mut statement, filter.status, Way::Walk)?;
        if let Some(after) = after {
            statement.push(" AND s.name_folded > ").bind(after);
        }
        statement.push(" ORDER BY s.name_folded LIMIT ").bind(page.limit());
        Ok(statement)
    }

    /// A statement for the total and the ids of the page, good if the filter lets at most [`FEW`] servers through;
    /// [`whole`](Self::whole) reads its rows. It answers one row at least. Each row has the total; its id is NULL if the
    /// page is empty or there are more than [`FEW`]. There is no such statement where more are to be expected, or where
    /// counting them costs next to nothing.
    pub(crate) fn few(&self) -> Result<Option<Statement>, RegistryError> {
        let many = [None, Some(Status::Up), Some(Status::Unknown)];
        let counted = !self.is_by_status() && !self.filter.labels_alone().is_empty();
        if counted || self.filter.is_at_most_a_status() && many.contains(&self.filter.status) {
            return Ok(None);
        }
        let mut statement = Statement::new(self.dialect);
        let order = Order { keys: &self.sort, backward: false };
        self.push_found(&mut statement, self.filter.status, order.keys, Some(FEW + 1))?;
        statement.push(" SELECT c.total, p.id FROM (SELECT COUNT(*) AS total FROM hit) AS c LEFT JOIN (");
        self.push_sorted(&mut statement, &order);
        statement.push(" WHERE (SELECT COUNT(*) FROM hit) <= ").bind(FEW);
        order.push(&mut statement);
        push_part(&mut statement, self.page.offset(), self.page.limit());
        statement.push(") AS p ON true");
        order.push(&mut statement);
        Ok(Some(statement))
    }

    /// The total and the ids of the page, from the rows of [`few`](Self::few); `None` if there are more than [`FEW`].
    pub(crate) fn whole(rows: Vec<(i64, Option<String>)>) -> Option<(i64, Vec<String>)> {
        let total = rows.first().map_or(0, |(total, _)| *total);
        (total <= FEW).then(|| (total, rows.into_iter().filter_map(|(_, id)| id).collect()))
    }

    /// A statement for how many servers the filter lets through: rows of a word for a status and a number, which
    /// [`runs`](Self::runs) takes. Where the status does not matter it is one row.
    pub(crate) fn counts(&self) -> Result<Statement, RegistryError> {
        let filter = self.filter;
        if filter.is_at_most_a_status() && (filter.status.is_some() || self.is_by_status()) {
            return Ok(self.judge.tally(self.dialect));
        }
        let mut statement = Statement::new(self.dialect);
        self.judge.push_roll(&mut statement);
        statement.push(" SELECT ");
        if self.is_by_status() {
            self.judge.push_status(&mut statement).push(", COUNT(*)");
            push_servers(&mut statement, true);
            self.narrow(&mut statement, None, Way::Find)?;
            statement.push(" GROUP BY 1");
        } else if !filter.labels_alone().is_empty() {
            // The index of the labels has all that there is to count; `servers` is not read at all.
            statement.push("'', COUNT(*) FROM (");
            condition::push_labelled(&mut statement, filter.labels_alone());
            statement.push(") AS s");
        } else {
            statement.push("'', COUNT(*)");
            push_servers(&mut statement, is_seen(filter.status, Way::Find));
            self.narrow(&mut statement, filter.status, Way::Find)?;
        }
        Ok(statement)
    }

    /// The total, and the runs of which the page is made, in their order.
    pub(crate) fn runs(&self, counts: &[(String, i64)]) -> (i64, Vec<Run>) {
        let of = |status: Status| {
            counts.iter().find(|(word, _)| word == status.as_str()).map_or(0, |(_, hits)| *hits)
        };
        let mut all: Vec<(Option<Status>, i64)> = match self.filter.status {
            None if self.is_by_status() => STATUSES.map(|status| (Some(status), of(status))).to_vec(),
            Some(status) if self.filter.is_at_most_a_status() => vec![(Some(status), of(status))],
            status => vec![(status, counts.first().map_or(0, |(_, hits)| *hits))],
        };
        if self.is_by_status() && self.sort[0].descending {
            all.reverse();
        }
        let (from, to) = (self.page.offset(), self.page.offset().saturating_add(self.page.limit()));
        let (mut runs, mut total) = (Vec::new(), 0);
        for (status, hits) in all {
            let (first, last) = (from.max(total), to.min(total + hits));
            if first < last {
                runs.push(Run { status, hits, offset: first - total, limit: last - first });
            }
            total += hits;
        }
        (total, runs)
    }

    /// The statements by which the ids of a run that are on the page may be read, the cheapest first. A statement that
    /// answers fewer than [`Run::len`] has missed some, and the next one is to be tried. The last one never misses any.
    pub(crate) fn candidates(&self, run: &Run) -> Result<Vec<Candidate>, RegistryError> {
        let keys = if self.is_by_status() { &self.sort[1..] } else { &self.sort };
        let narrowed = run.status.is_some() || !self.filter.is_at_most_a_status();
        if narrowed && run.hits <= FEW {
            let (mut ids, order) = (Statement::new(self.dialect), Order { keys, backward: false });
            self.push_found(&mut ids, run.status, keys, None)?;
            ids.push(" ");
            self.push_sorted(&mut ids, &order);
            order.push(&mut ids);
            push_part(&mut ids, run.offset, run.limit);
            return Ok(vec![Candidate { ids, backward: false }]);
        }
        let after = run.hits - run.offset - run.limit;
        let backward = after < run.offset;
        let offset = if backward { after } else { run.offset };
        let order = Order { keys, backward };
        let mut candidates = Vec::new();
        let tried = (offset + run.limit).saturating_mul(TRIED);
        let by_last_seen = keys.first().is_some_and(|sort| sort.key == SortKey::LastSeenAt);
        // Backward, the servers come first that were never heard; those have no sighting to try.
        if by_last_seen && !backward && tried <= FEW {
            let ids = self.walked(run, &order, offset, Some(tried))?;
            candidates.push(Candidate { ids, backward });
        }
        candidates.push(Candidate { ids: self.walked(run, &order, offset, None)?, backward });
        Ok(candidates)
    }

    /// Whether servers are sorted by their status first.
    fn is_by_status(&self) -> bool {
        self.sort.first().is_some_and(|sort| sort.key == SortKey::Status)
    }

    /// A statement that walks to the ids of a run. With `tried`, it looks only at so many servers: those heard last, or
    /// those heard first if the list begins with them.
    fn walked(
        &self,
        run: &Run,
        order: &Order<'_>,
        offset: i64,
        tried: Option<i64>,
    ) -> Result<Statement, RegistryError> {
        let mut statement = Statement::new(self.dialect);
        self.judge.push_roll(&mut statement);
        let newest_first = order.keys.first().is_some_and(|sort| sort.descending);
        if let Some(tried) = tried {
            statement.push(", edge AS MATERIALIZED (SELECT * FROM sightings ORDER BY received_at");
            statement.push(direction(newest_first)).push(" LIMIT ").bind(tried).push(")");
        }
        statement.push(" SELECT s.id AS id");
        self.push_keys(&mut statement, order.keys);
        match tried {
            Some(_) => {
                statement.push(" FROM edge g JOIN servers s ON s.id = g.server_id");
            }
            None => {
                let by_seen = order.keys.iter().any(|sort| sort.key.is_seen());
                push_servers(&mut statement, by_seen || is_seen(run.status, Way::Walk));
            }
        }
        self.narrow(&mut statement, run.status, Way::Walk)?;
        // Other servers may have been heard in the same moment as the last of the tried ones, and would come before it by
        // the next sort key. So those of that moment are left out.
        match tried {
            Some(_) if newest_first => {
                statement.push(" AND g.received_at > (SELECT MIN(received_at) FROM edge)");
            }
            Some(_) => {
                statement.push(" AND g.received_at < (SELECT MAX(received_at) FROM edge)");
            }
            None => {}
        }
        order.push(&mut statement);
        push_part(&mut statement, offset, run.limit);
        Ok(statement)
    }

    /// Appends a `WITH` whose last table is `hit`: the servers that the filter lets through, or `limit` of them, with the
    /// columns that sorting needs.
    fn push_found(
        &self,
        statement: &mut Statement,
        status: Option<Status>,
        keys: &[Sort],
        limit: Option<i64>,
    ) -> Result<(), RegistryError> {
        self.judge.push_roll(statement);
        statement.push(", hit AS MATERIALIZED (SELECT s.id, s.paused_at");
        for sort in keys {
            match sort.key {
                SortKey::Name => statement.push(", s.name_folded"),
                SortKey::Address => statement.push(", s.address"),
                SortKey::CreatedAt => statement.push(", s.created_at"),
                SortKey::UpdatedAt => statement.push(", s.updated_at"),
                SortKey::Status | SortKey::LastSeenAt => statement,
            };
        }
        push_servers(statement, is_seen(status, Way::Find));
        self.narrow(statement, status, Way::Find)?;
        if let Some(limit) = limit {
            statement.push(" LIMIT ").bind(limit);
        }
        statement.push(")");
        Ok(())
    }

    /// Appends a query for the ids and the sort keys of the table `hit`.
    fn push_sorted(&self, statement: &mut Statement, order: &Order<'_>) {
        statement.push("SELECT s.id AS id");
        self.push_keys(statement, order.keys);
        statement.push(" FROM hit s");
        if order.keys.iter().any(|sort| sort.key.is_seen()) {
            statement.push(" LEFT JOIN sightings g ON g.server_id = s.id");
        }
    }

    fn push_keys(&self, statement: &mut Statement, keys: &[Sort]) {
        for (sort, alias) in keys.iter().zip(ALIASES) {
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
    }

    fn narrow(
        &self,
        statement: &mut Statement,
        status: Option<Status>,
        way: Way,
    ) -> Result<(), RegistryError> {
        condition::push(statement, self.filter, status, &self.judge, way)
    }
}

impl Order<'_> {
    fn push(&self, statement: &mut Statement) {
        statement.push(" ORDER BY ");
        for (sort, alias) in self.keys.iter().zip(ALIASES) {
            statement.push(alias).push(direction(sort.descending != self.backward));
            match (sort.key.is_nullable(), self.backward) {
                (false, _) => statement.push(", "),
                (true, false) => statement.push(" NULLS LAST, "),
                (true, true) => statement.push(" NULLS FIRST, "),
            };
        }
        statement.push("id").push(direction(self.backward));
    }
}

fn direction(descending: bool) -> &'static str {
    if descending { " DESC" } else { " ASC" }
}

fn push_servers(statement: &mut Statement, seen: bool) {
    statement.push(" FROM servers s");
    if seen {
        statement.push(" LEFT JOIN sightings g ON g.server_id = s.id");
    }
}

fn push_part(statement: &mut Statement, offset: i64, limit: i64) {
    statement.push(" LIMIT ").bind(limit).push(" OFFSET ").bind(offset);
}
