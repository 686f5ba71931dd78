//! What narrows a list of servers, as the conditions of a statement.

use fleet::Status;

use super::{filter::ServerFilter, roll::Judge};
use crate::engine::{RegistryError, Statement, fold, json};
use crate::servers::pause::is_expected;

/// By which way the servers are found that a filter lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// From an index of what the filter asks for to the servers. Best when it lets few through.
    Find,
    /// From each server, in the order of the list, to whether the filter lets it through. Best when it lets many through.
    Walk,
}

/// Appends the `WHERE` of a statement that reads `servers s`. Where [`is_seen`] says so, the condition also reads
/// `sightings g`, which the statement then has to join. The status is the one of the argument; that of the filter is not
/// looked at, because a page that is sorted by status is read one status after the other.
pub(super) fn push(
    statement: &mut Statement,
    filter: &ServerFilter,
    status: Option<Status>,
    judge: &Judge,
    way: Way,
) -> Result<(), RegistryError> {
    let ServerFilter { status: _, name, address, q, labels, ids } = filter;
    statement.push(" WHERE true");
    match status {
        Some(Status::Down) if way == Way::Find => {
            statement.push(concat!(" AND ", is_expected!("s"), " AND s.id IN ("));
            judge.push_silent(statement);
            statement.push(")");
        }
        Some(status) => {
            statement.push(" AND ");
            judge.push_is(statement, status);
        }
        None => {}
    }
    if let Some(name) = name {
        push_equal(statement, " AND s.name_folded = ", fold::fold_name(name));
    }
    if let Some(address) = address {
        push_equal(statement, " AND s.address = ", address.clone());
    }
    if let Some(q) = q {
        push_search(statement, q, way);
    }
    push_labels(statement, labels, way);
    if let Some(ids) = ids {
        statement.push(" AND s.id").one_of(json(ids)?);
    }
    Ok(())
}

/// Whether the condition that a server has this status reads its sighting.
pub(super) fn is_seen(status: Option<Status>, way: Way) -> bool {
    match status {
        None | Some(Status::Paused) => false,
        Some(Status::Down) => way == Way::Walk,
        Some(Status::Up | Status::Unknown) => true,
    }
}

/// Appends that a column equals a text, or what is never true if no column can hold that text.
fn push_equal(statement: &mut Statement, column: &'static str, text: String) {
    if fold::is_storable(&text) {
        statement.push(column).bind(text);
    } else {
        statement.push(" AND false");
    }
}

fn push_labels(statement: &mut Statement, labels: &[(String, String)], way: Way) {
    match labels {
        [] => {}
        [(key, value)] if way == Way::Walk => {
            statement.push(" AND EXISTS (SELECT 1 FROM labels WHERE server_id = s.id");
            push_equal(statement, " AND key = ", key.clone());
            push_equal(statement, " AND value = ", value.clone());
            statement.push(")");
        }
        labels => {
            statement.push(" AND s.id IN (");
            push_labelled(statement, labels);
            statement.push(")");
        }
    }
}

/// Appends a query for the ids of the servers that have all of these labels, of which there has to be one at least. The
/// labels are one set, by `INTERSECT`: while PostgreSQL has no statistics it takes every label for rare, and would join
/// several sets by comparing each row of one with each row of another.
pub(crate) fn push_labelled(statement: &mut Statement, labels: &[(String, String)]) {
    for (number, (key, value)) in labels.iter().enumerate() {
        statement.push(if number > 0 { " INTERSECT " } else { "" });
        statement.push("SELECT server_id FROM labels WHERE true");
        push_equal(statement, " AND key = ", key.clone());
        push_equal(statement, " AND value = ", value.clone());
    }
}

fn push_search(statement: &mut Statement, q: &str, way: Way) {
    let Some(pattern) = fold::pattern(q) else {
        statement.push(" AND false");
        return;
    };
    statement.push(" AND (s.search LIKE ").bind(pattern.as_str()).push(r" ESCAPE '\' OR ");
    match way {
        Way::Find => statement.push("s.id IN (SELECT server_id FROM facts WHERE true"),
        Way::Walk => statement.push("EXISTS (SELECT 1 FROM facts WHERE server_id = s.id"),
    };
    statement.push(" AND search LIKE ").bind(pattern).push(r" ESCAPE '\'))");
}
