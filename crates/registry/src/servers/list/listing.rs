//! The statements behind one page of the list of servers.
//!
//! Two ways lead to a page. *Find* all servers that the filter lets through, by whatever index serves it, then sort them:
//! right when they are few. Or *walk* along the index of the first sort key and try each server until the page is full:
//! right when they are many. So first at most [`FEW`] are looked for; if there are more, they are counted, each table by
//! itself where that will do, and the page is walked to from the nearer end.

use fleet::Status;

use crate::{
    Page, RegistryError, Roll, ServerFilter, Sort, SortKey,
    condition::{self, Way, is_seen},
    roll::{Judge, spell},
    statement::{Dialect, Statement},
};

/// So many hits are found before they are sorted. To see that there are more costs no more than this.
const FEW: i64 = 10_000;

/// Of the servers heard last (or first), so many for each that is wanted are tried before all of them are.
const TRIED: i64 = 16;

/// Names of the sort keys within a statement, first to last: there are no more keys than these.
const ALIASES: [&str; 6] = ["k0", "k1", "k2", "k3", "k4", "k5"];

/// How the states are sorted: by their words.
const STATES: [Status; 4] = [Status::Down, Status::Paused, Status::Unknown, Status::Up];

/// A list that was asked for.
pub(crate) struct Listing<'a> {
    filter: &'a ServerFilter,
    sort: Vec<Sort>,
    page: Page,
    judge: Judge,
    dialect: Dialect,
}

/// Hits that are sorted by themselves, and which of them are on the page: all, or those of one state if states are what
/// comes first.
pub(crate) struct Run {
    status: Option<Status>,
    hits: i64,
    offset: i64,
    limit: i64,
}

/// A statement that answers the ids of a run's part of the page.
pub(crate) struct Attempt {
    pub(crate) ids: Statement,
    /// The last comes first.
    pub(crate) backward: bool,
}

/// What orders the rows of a statement.
struct Order<'a> {
    keys: &'a [Sort],
    backward: bool,
}

impl Run {
    /// How many ids it has on the page.
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
            // A key that comes again orders nothing, nor does the state where it is given.
            let given = wanted.key == SortKey::Status && filter.status.is_some();
            if !given && keys.iter().all(|key| key.key != wanted.key) {
                keys.push(*wanted);
            }
        }
        let judged = filter.status.is_some() || keys.iter().any(|sort| sort.key == SortKey::Status);
        Ok(Self { filter, sort: keys, page, judge: roll.judge(|_| judged)?, dialect })
    }

    /// The total and the ids of the page, if at most [`FEW`] servers are hits: one row at least, the total in each, the id
    /// absent where the page is empty or there are more. `None` where more are to be expected, or counting costs next to
    /// nothing.
    pub(crate) fn few(&self) -> Result<Option<Statement>, RegistryError> {
        let many = [None, Some(Status::Up), Some(Status::Unknown)];
        let counted = !self.is_by_state() && !self.filter.labels_alone().is_empty();
        if counted || self.filter.is_at_most_a_state() && many.contains(&self.filter.status) {
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

    /// What [`few`](Self::few) answered; `None` if there are more.
    pub(crate) fn whole(rows: Vec<(i64, Option<String>)>) -> Option<(i64, Vec<String>)> {
        let total = rows.first().map_or(0, |(total, _)| *total);
        (total <= FEW).then(|| (total, rows.into_iter().filter_map(|(_, id)| id).collect()))
    }

    /// How many hits there are, by the word of their state where that matters: what [`runs`](Self::runs) takes.
    pub(crate) fn counts(&self) -> Result<Statement, RegistryError> {
        let filter = self.filter;
        if filter.is_at_most_a_state() && (filter.status.is_some() || self.is_by_state()) {
            return Ok(self.judge.tally(self.dialect));
        }
        let mut statement = Statement::new(self.dialect);
        self.judge.push_roll(&mut statement);
        statement.push(" SELECT ");
        if self.is_by_state() {
            self.judge.push_status(&mut statement).push(", COUNT(*)");
            push_servers(&mut statement, true);
            self.narrow(&mut statement, None, Way::Find)?;
            statement.push(" GROUP BY 1");
        } else if !filter.labels_alone().is_empty() {
            // No more than that is needed of `servers`: the label's index has it all.
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

    /// The total, and the runs of which the page is made up, in their order.
    pub(crate) fn runs(&self, counts: &[(String, i64)]) -> (i64, Vec<Run>) {
        let of = |status| counts.iter().find(|(word, _)| word == spell(status)).map_or(0, |(_, hits)| *hits);
        let mut all: Vec<(Option<Status>, i64)> = match self.filter.status {
            None if self.is_by_state() => STATES.map(|status| (Some(status), of(status))).to_vec(),
            Some(status) if self.filter.is_at_most_a_state() => vec![(Some(status), of(status))],
            status => vec![(status, counts.first().map_or(0, |(_, hits)| *hits))],
        };
        if self.is_by_state() && self.sort[0].descending {
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

    /// Statements for a run: the first that answers as many ids as it has on the page is right, and the last always does.
    pub(crate) fn attempts(&self, run: &Run) -> Result<Vec<Attempt>, RegistryError> {
        let keys = if self.is_by_state() { &self.sort[1..] } else { &self.sort };
        let narrowed = run.status.is_some() || !self.filter.is_at_most_a_state();
        if narrowed && run.hits <= FEW {
            let (mut ids, order) = (Statement::new(self.dialect), Order { keys, backward: false });
            self.push_found(&mut ids, run.status, keys, None)?;
            ids.push(" ");
            self.push_sorted(&mut ids, &order);
            order.push(&mut ids);
            push_part(&mut ids, run.offset, run.limit);
            return Ok(vec![Attempt { ids, backward: false }]);
        }
        let after = run.hits - run.offset - run.limit;
        let backward = after < run.offset;
        let offset = if backward { after } else { run.offset };
        let order = Order { keys, backward };
        let mut attempts = Vec::new();
        let tried = (offset + run.limit).saturating_mul(TRIED);
        let by_last_seen = keys.first().is_some_and(|sort| sort.key == SortKey::LastSeenAt);
        // From behind, those come first that were never heard.
        if by_last_seen && !backward && tried <= FEW {
            let ids = self.walked(run, &order, offset, Some(tried))?;
            attempts.push(Attempt { ids, backward });
        }
        attempts.push(Attempt { ids: self.walked(run, &order, offset, None)?, backward });
        Ok(attempts)
    }

    /// Whether servers are sorted by their state first.
    fn is_by_state(&self) -> bool {
        self.sort.first().is_some_and(|sort| sort.key == SortKey::Status)
    }

    /// `tried`: of all servers, only so many are looked at, by when they were heard.
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
        // Others may have been heard in the same moment as the last one of these.
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

    /// The table `hit` of all that the filter lets through, or so many: what is needed of `servers`.
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

    /// Ids and sort keys of the table `hit`.
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
    statement.push(" SELECT s.id");
    push_servers(&mut statement, is_seen(filter.status, Way::Walk));
    listing.narrow(&mut statement, filter.status, Way::Walk)?;
    if let Some(after) = after {
        statement.push(" AND s.name_folded > ").bind(after);
    }
    statement.push(" ORDER BY s.name_folded LIMIT ").bind(page.limit());
    Ok(statement)
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
