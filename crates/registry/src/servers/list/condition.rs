//! What narrows a list of servers, as the conditions of a statement.

use fleet::Status;

use crate::{RegistryError, ServerFilter, json, roll::Judge, statement::Statement, text};

/// Which way leads to the hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// From what is rare to the servers.
    Find,
    /// From each server to whether it is a hit.
    Walk,
}

/// Of `servers s`, and of `sightings g` beside it where [`is_seen`]; `status` instead of the filter's.
pub(crate) fn push(
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
            statement.push(" AND s.paused_at IS NULL AND s.id IN (");
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
        push_equal(statement, " AND s.name_folded = ", text::fold_name(name));
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

/// Whether a state is read from the sighting beside a server.
pub(crate) fn is_seen(status: Option<Status>, way: Way) -> bool {
    match status {
        None | Some(Status::Paused) => false,
        Some(Status::Down) => way == Way::Walk,
        Some(Status::Up | Status::Unknown) => true,
    }
}

fn push_equal(statement: &mut Statement, column: &'static str, text: String) {
    if text::is_storable(&text) {
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

/// The ids of those that have all of these labels, of which there is one at least. One set: PostgreSQL takes a label for
/// rare while it has no statistics, and to join several such sets it would compare each row of one with each of another.
pub(crate) fn push_labelled(statement: &mut Statement, labels: &[(String, String)]) {
    for (number, (key, value)) in labels.iter().enumerate() {
        statement.push(if number > 0 { " INTERSECT " } else { "" });
        statement.push("SELECT server_id FROM labels WHERE true");
        push_equal(statement, " AND key = ", key.clone());
        push_equal(statement, " AND value = ", value.clone());
    }
}

fn push_search(statement: &mut Statement, q: &str, way: Way) {
    let Some(pattern) = text::pattern(q) else {
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
