//! Which servers a list is about, and in which order: the parameters that the list itself, its export and the list of
//! uptime have in common.

use chassis::Problem;
use fleet::{Millis, Status};
use registry::{Page, ServerFilter, Sort, SortKey};
use serde_json::json;
use utoipa::{
    IntoParams,
    openapi::{
        path::{Parameter, ParameterIn},
        schema::{ArrayBuilder, ObjectBuilder, Type},
    },
};

use crate::http::{
    document::{parameter, text},
    failure::invalid_parameter,
    paging::Paging,
    query::{FromParameters, Parameters, decimal},
};

/// Most labels to filter by.
pub(crate) const MAX_LABELS: usize = 16;

/// Which servers, in which order, which page.
pub(crate) struct Listing {
    pub(crate) filter: ServerFilter,
    pub(crate) sort: Vec<Sort>,
    pub(crate) page: Page,
}

/// The same, where figures may filter and sort too, which the registry does not know.
pub(crate) struct MeasuredListing {
    pub(crate) filter: ServerFilter,
    pub(crate) above: Vec<Above>,
    pub(crate) order: Vec<Order>,
    pub(crate) page: Page,
}

/// Which servers, for what is about all of them together.
pub(crate) struct Filtered(pub(crate) ServerFilter);

/// What is measured in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Figure {
    Cpu,
    Memory,
    /// The fullest.
    Disk,
}

/// Servers of which a figure is above so many percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Above(pub(crate) Figure, pub(crate) u8);

/// One key of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Figure {
        figure: Figure,
        descending: bool,
    },
    /// Of the last 24 h.
    Uptime {
        descending: bool,
    },
    Known(Sort),
}

/// The figures, by the names that sort and filter by them.
const FIGURES: [(&str, &str, Figure); 3] = [
    ("cpu", "cpu_above", Figure::Cpu),
    ("memory", "memory_above", Figure::Memory),
    ("disk", "disk_above", Figure::Disk),
];

impl FromParameters for ServerFilter {
    fn take(parameters: &mut Parameters, _: Millis) -> Result<Self, Problem> {
        let mut labels = parameters.all("label");
        labels.retain(|label| !label.is_empty());
        if labels.len() > MAX_LABELS {
            return Err(invalid_parameter("label", format!("is given more than {MAX_LABELS} times")));
        }
        let labels = labels.iter().map(|text| read_label(text)).collect::<Result<_, _>>();
        Ok(Self {
            status: parameters.parsed("status", read_status)?,
            name: parameters.one("name")?,
            address: parameters.one("address")?,
            q: parameters.one("q")?,
            labels: labels.map_err(|error| invalid_parameter("label", error))?,
            ids: None,
        })
    }
}

impl FromParameters for Listing {
    fn take(parameters: &mut Parameters, now: Millis) -> Result<Self, Problem> {
        let filter = ServerFilter::take(parameters, now)?;
        let by_name = Sort { key: SortKey::Name, descending: false };
        let sort = parameters.parsed("sort", sort)?.unwrap_or_else(|| vec![by_name]);
        let Paging(page) = Paging::take(parameters, now)?;
        Ok(Self { filter, sort, page })
    }
}

impl FromParameters for Filtered {
    fn take(parameters: &mut Parameters, now: Millis) -> Result<Self, Problem> {
        ServerFilter::take(parameters, now).map(Self)
    }
}

impl FromParameters for MeasuredListing {
    fn take(parameters: &mut Parameters, now: Millis) -> Result<Self, Problem> {
        let filter = ServerFilter::take(parameters, now)?;
        let above = Above::take(parameters)?;
        let by_name = Order::Known(Sort { key: SortKey::Name, descending: false });
        let order = parameters.parsed("sort", order)?.unwrap_or_else(|| vec![by_name]);
        let Paging(page) = Paging::take(parameters, now)?;
        Ok(Self { filter, above, order, page })
    }
}

impl Above {
    /// All of them that are asked for.
    pub(crate) fn take(parameters: &mut Parameters) -> Result<Vec<Self>, Problem> {
        let mut above = Vec::new();
        for (_, name, figure) in FIGURES {
            let bound = parameters.parsed(name, |text| {
                decimal::<u8>(text).filter(|bound| *bound < 100).ok_or("must be 0 to 99, in percent")
            })?;
            above.extend(bound.map(|bound| Self(figure, bound)));
        }
        Ok(above)
    }
}

impl MeasuredListing {
    /// What the registry sorts by, unless figures have a part in it.
    pub(crate) fn known(&self) -> Option<Vec<Sort>> {
        let known = |order: &Order| match order {
            Order::Known(sort) => Some(*sort),
            Order::Figure { .. } | Order::Uptime { .. } => None,
        };
        if self.above.is_empty() { self.order.iter().map(known).collect() } else { None }
    }
}

/// Reads an order with figures in it. Beside a figure, the name and the status alone order further: nothing else is known of
/// every server at once.
fn order(text: &str) -> Result<Vec<Order>, &'static str> {
    let mut order = Vec::new();
    for part in text.split(',') {
        let (column, descending) = part.strip_prefix('-').map_or((part, false), |column| (column, true));
        let key = match FIGURES.iter().find(|(name, ..)| *name == column) {
            Some((.., figure)) => Order::Figure { figure: *figure, descending },
            None if column == "uptime" => Order::Uptime { descending },
            None => match sort(part)?.as_slice() {
                [sort] => Order::Known(*sort),
                _ => return Err("names a column twice"),
            },
        };
        let same = |other: &Order| match (other, &key) {
            (Order::Known(one), Order::Known(other)) => one.key == other.key,
            (Order::Figure { figure: one, .. }, Order::Figure { figure: other, .. }) => one == other,
            (Order::Uptime { .. }, Order::Uptime { .. }) => true,
            _ => false,
        };
        if order.iter().any(same) {
            return Err("names a column twice");
        }
        order.push(key);
    }
    let figures = order.iter().any(|key| !matches!(key, Order::Known(_)));
    let beside = |key: &Order| matches!(key, Order::Known(sort) if !matches!(sort.key, SortKey::Name | SortKey::Status));
    if figures && order.iter().any(beside) {
        return Err("has beside cpu, memory, disk and uptime only name and status");
    }
    Ok(order)
}

pub(crate) fn read_status(text: &str) -> Result<Status, &'static str> {
    text.parse().map_err(|_| "must be up, down, unknown or paused")
}

/// Reads `key:value`; the value may hold colons.
pub(crate) fn read_label(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once(':') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("must be key:value"),
    }
}

/// Reads columns separated by commas, each at most once, with `-` before one that descends.
fn sort(text: &str) -> Result<Vec<Sort>, &'static str> {
    let mut sort: Vec<Sort> = Vec::new();
    for part in text.split(',') {
        let (column, descending) = part.strip_prefix('-').map_or((part, false), |column| (column, true));
        let key = match column {
            "name" => SortKey::Name,
            "address" => SortKey::Address,
            "status" => SortKey::Status,
            "last_seen_at" => SortKey::LastSeenAt,
            "created_at" => SortKey::CreatedAt,
            "updated_at" => SortKey::UpdatedAt,
            _ => return Err("must name name, address, status, last_seen_at, created_at or updated_at"),
        };
        if sort.iter().any(|other| other.key == key) {
            return Err("names a column twice");
        }
        sort.push(Sort { key, descending });
    }
    Ok(sort)
}

/// The filters of a list of servers, for the document.
pub(crate) fn filters() -> Vec<Parameter> {
    let states = text().enum_values(Some(Status::ALL.map(Status::as_str)));
    let labels = ArrayBuilder::new().items(text().pattern(Some("^[^:]+:.*$")));
    vec![
        parameter("status", "In this state", states),
        parameter("name", "Of exactly this name, regardless of case", text()),
        parameter("address", "Of exactly this address", text()),
        parameter(
            "q",
            "Name, address, hostname or a label's value contains this, regardless of case",
            text(),
        ),
        parameter("label", "With this label; repeatable, all must be there", labels),
    ]
}

/// The same with those by figures.
pub(crate) fn measured_filters() -> Vec<Parameter> {
    let mut parameters = filters();
    for (name, filter, _) in FIGURES {
        let percent = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).maximum(Some(99));
        let about = format!("Of which {name} was above so many percent when it was measured last");
        parameters.push(parameter(filter, &about, percent));
    }
    parameters
}

impl IntoParams for Filtered {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        filters()
    }
}

impl IntoParams for MeasuredListing {
    fn into_params(place: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let columns = "Columns: name, address, status, last_seen_at, created_at, updated_at, or cpu, memory, disk and uptime (of the \
            last 24 h), beside which only name and status are taken; `-` for descending. Ties go by id. `name` by default";
        let mut parameters = measured_filters();
        parameters.push(parameter("sort", columns, text().examples([json!("-cpu,name")])));
        parameters.extend(Paging::into_params(place));
        parameters
    }
}

impl IntoParams for Listing {
    fn into_params(place: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let columns = "Columns: name, address, status, last_seen_at, created_at, updated_at; `-` for descending. \
            Ties go by id. `name` by default";
        let mut parameters = filters();
        parameters.push(parameter("sort", columns, text().examples([json!("-name,created_at")])));
        parameters.extend(Paging::into_params(place));
        parameters
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::{query::parse, ranges::Range};

    const NOW: Millis = 1_790_000_000_000;

    #[test]
    fn a_listing_takes_all_its_parameters() {
        let query = "status=down&name=a%20b&address=::1&q=+x&label=site:eu&label=tier:a:b&sort=-name,created_at&page=2&page_size=500";
        let Listing { filter, sort, page } = parse(query, NOW).unwrap();
        assert_eq!(filter.status, Some(Status::Down));
        assert_eq!((filter.name.as_deref(), filter.address.as_deref()), (Some("a b"), Some("::1")));
        assert_eq!(filter.q.as_deref(), Some(" x"));
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(filter.labels, [pair("site", "eu"), pair("tier", "a:b")]);
        let (name, created) = (SortKey::Name, SortKey::CreatedAt);
        assert_eq!(sort, [Sort { key: name, descending: true }, Sort { key: created, descending: false }]);
        assert_eq!((page.page, page.page_size), (2, 500));
    }

    proptest! {
        #[test]
        fn any_query_of_a_list_is_answered(query in "\\PC{0,80}|([a-z_]{0,9}=[^\0]{0,20}&){0,4}") {
            if let Err(problem) = parse::<(Listing, Range)>(&query, NOW) {
                prop_assert_eq!(problem.code(), "invalid_parameter");
            }
        }

        #[test]
        fn a_sort_has_each_column_once(text in "(-?(name|status|created_at|x),?){0,4}") {
            if let Ok(sort) = sort(&text) {
                for (index, one) in sort.iter().enumerate() {
                    prop_assert!(sort[..index].iter().all(|other| other.key != one.key));
                }
            }
        }
    }
}
