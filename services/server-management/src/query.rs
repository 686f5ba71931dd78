//! The parsers of query parameters. What is unknown, given twice or out of bounds is refused by its name; what is given
//! empty counts as not given. A handler that asks for no [`Parsed`] takes no parameters at all.

use std::{
    fmt::Display,
    future::{Ready, ready},
    str::FromStr,
};

use actix_web::{FromRequest, HttpMessage, HttpRequest, dev::Payload, web};
use chassis::Problem;
use chrono::DateTime;
use fleet::{Millis, Status, series::MAX_POINTS, snapshot::MAX_TIME};
use registry::{Page, ServerFilter, Sort, SortKey};
use serde::Serialize;
use sheets::Format;
use utoipa::ToSchema;

use crate::{
    app::App,
    failure::{Failure, foreign_parameter, invalid_parameter},
};

/// Longest value of a text parameter.
const MAX_TEXT_BYTES: usize = 256;
/// Most labels to filter by.
const MAX_LABELS: usize = 16;
const MAX_PAGE_SIZE: u32 = 500;
const DEFAULT_PAGE_SIZE: u32 = 50;
const DEFAULT_POINTS: u32 = 60;
const HOUR: Millis = 3_600_000;
const DAY: Millis = 24 * HOUR;

/// The query of a request, as what the handler asks for.
pub(crate) struct Parsed<T>(pub(crate) T);

/// Marks a request whose query was parsed.
struct Read;

/// What a query can be parsed to.
pub(crate) trait FromParameters: Sized {
    /// Takes its parameters; what is left over is unknown.
    fn take(parameters: &mut Parameters, now: Millis) -> Result<Self, Problem>;
}

/// A page of whatever there is.
pub(crate) struct Paging(pub(crate) Page);

/// Which servers, in which order, which page.
pub(crate) struct Listing {
    pub(crate) filter: ServerFilter,
    pub(crate) sort: Vec<Sort>,
    pub(crate) page: Page,
}

/// Which servers, as a sheet of which kind.
pub(crate) struct Export {
    pub(crate) format: Format,
    pub(crate) filter: ServerFilter,
}

/// Whether only to say what would be done.
pub(crate) struct DryRun(pub(crate) bool);

/// A half-open range of time; the last 24 h unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) from: Millis,
    pub(crate) to: Millis,
}

/// A range and into how many buckets it is reduced; the last hour in 60 unless said otherwise.
pub(crate) struct Points {
    pub(crate) range: Range,
    pub(crate) points: u32,
}

/// A page of what there is.
#[derive(Serialize, ToSchema)]
#[schema(as = Page)]
pub(crate) struct Listed<T> {
    items: Vec<T>,
    /// On all pages together.
    total: u64,
    /// From 1.
    page: u32,
    page_size: u32,
}

/// Names and values that nobody has taken yet.
pub(crate) struct Parameters(Vec<(String, String)>);

impl<T: FromParameters> FromRequest for Parsed<T> {
    type Error = Failure;
    type Future = Ready<Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        request.extensions_mut().insert(Read);
        let now = request.app_data::<web::Data<App>>().map_or(0, |app| app.clock.now());
        ready(parse(request.query_string(), now).map(Self).map_err(Failure::from))
    }
}

/// 400 if there are parameters and none of the handler's arguments has parsed them.
pub(crate) fn refuse_unread(request: &HttpRequest) -> Result<(), Problem> {
    if request.extensions().contains::<Read>() { Ok(()) } else { parse(request.query_string(), 0) }
}

fn parse<T: FromParameters>(query: &str, now: Millis) -> Result<T, Problem> {
    let mut parameters = Parameters::of(query)?;
    let parsed = T::take(&mut parameters, now)?;
    parameters.0.first().map_or(Ok(parsed), |(name, _)| Err(foreign_parameter(name, "is not known here")))
}

impl<T> Listed<T> {
    pub(crate) fn new(items: Vec<T>, total: u64, page: Page) -> Self {
        Self { items, total, page: page.page, page_size: page.page_size }
    }
}

impl Parameters {
    fn of(query: &str) -> Result<Self, Problem> {
        let pairs = web::Query::<Vec<(String, String)>>::from_query(query)
            .map_err(|_| invalid_parameter("query", "cannot be read"))?
            .into_inner();
        for (name, value) in &pairs {
            if value.contains('\0') || value.len() > MAX_TEXT_BYTES {
                return Err(foreign_parameter(
                    name,
                    format!("must have at most {MAX_TEXT_BYTES} bytes and no NUL"),
                ));
            }
        }
        Ok(Self(pairs))
    }

    /// All values of `name`.
    fn all(&mut self, name: &str) -> Vec<String> {
        self.0.extract_if(.., |(key, _)| key == name).map(|(_, value)| value).collect()
    }

    pub(crate) fn one(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let mut values = self.all(name);
        if values.len() > 1 {
            return Err(invalid_parameter(name, "is given twice"));
        }
        Ok(values.pop().filter(|value| !value.is_empty()))
    }

    /// The parameter `name` by `parser`, which says for people what is right.
    pub(crate) fn parsed<T, E: Display>(
        &mut self,
        name: &str,
        parser: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Problem> {
        let text = self.one(name)?;
        text.map(|text| parser(&text).map_err(|error| invalid_parameter(name, error))).transpose()
    }

    pub(crate) fn number(&mut self, name: &str, most: u32) -> Result<Option<u32>, Problem> {
        self.parsed(name, |text| {
            let number = decimal::<u32>(text).filter(|number| (1..=most).contains(number));
            number.ok_or_else(|| format!("must be 1 to {most}"))
        })
    }

    pub(crate) fn range(&mut self, now: Millis, length: Millis) -> Result<Range, Problem> {
        let from = self.parsed("from", time)?;
        let to = self.parsed("to", time)?.unwrap_or(now);
        let from = from.unwrap_or((to - length).max(0));
        if from < to { Ok(Range { from, to }) } else { Err(invalid_parameter("from", "must be before to")) }
    }
}

impl FromParameters for () {
    fn take(_: &mut Parameters, _: Millis) -> Result<Self, Problem> {
        Ok(())
    }
}

impl FromParameters for Paging {
    fn take(parameters: &mut Parameters, _: Millis) -> Result<Self, Problem> {
        let page = parameters.number("page", u32::MAX)?.unwrap_or(1);
        let page_size = parameters.number("page_size", MAX_PAGE_SIZE)?.unwrap_or(DEFAULT_PAGE_SIZE);
        Ok(Self(Page { page, page_size }))
    }
}

impl FromParameters for ServerFilter {
    fn take(parameters: &mut Parameters, _: Millis) -> Result<Self, Problem> {
        let mut labels = parameters.all("label");
        labels.retain(|label| !label.is_empty());
        if labels.len() > MAX_LABELS {
            return Err(invalid_parameter("label", format!("is given more than {MAX_LABELS} times")));
        }
        let labels = labels.iter().map(|text| label(text)).collect::<Result<_, _>>();
        Ok(Self {
            status: parameters.parsed("status", status)?,
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

impl FromParameters for Export {
    fn take(parameters: &mut Parameters, now: Millis) -> Result<Self, Problem> {
        let format = parameters.parsed("format", str::parse)?.unwrap_or(Format::Xlsx);
        Ok(Self { format, filter: ServerFilter::take(parameters, now)? })
    }
}

impl FromParameters for DryRun {
    fn take(parameters: &mut Parameters, _: Millis) -> Result<Self, Problem> {
        let dry_run = parameters.parsed("dry_run", |text| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("must be true or false"),
        })?;
        Ok(Self(dry_run.unwrap_or(false)))
    }
}

impl FromParameters for Range {
    fn take(parameters: &mut Parameters, now: Millis) -> Result<Self, Problem> {
        parameters.range(now, DAY)
    }
}

impl FromParameters for (Listing, Range) {
    fn take(parameters: &mut Parameters, now: Millis) -> Result<Self, Problem> {
        Ok((Listing::take(parameters, now)?, Range::take(parameters, now)?))
    }
}

impl FromParameters for Points {
    fn take(parameters: &mut Parameters, now: Millis) -> Result<Self, Problem> {
        let range = parameters.range(now, HOUR)?;
        let points = parameters.number("points", MAX_POINTS)?.unwrap_or(DEFAULT_POINTS);
        Ok(Self { range, points })
    }
}

/// Digits alone: `+5` and ` 5` have one spelling too many.
fn decimal<T: FromStr>(text: &str) -> Option<T> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// Unix milliseconds or, for people, RFC 3339. In a query an unescaped `+` means a space; since no other space can be
/// in such a time, the one of `…T08:00:00+02:00` is taken for what was meant.
pub(crate) fn time(text: &str) -> Result<Millis, &'static str> {
    let at = decimal(text).or_else(|| {
        let separated = matches!(text.as_bytes().get(10), Some(b'T' | b't'));
        let meant = text.replacen(' ', "+", 1);
        DateTime::parse_from_rfc3339(&meant).ok().filter(|_| separated).map(|time| time.timestamp_millis())
    });
    at.filter(|at| (0..=MAX_TIME).contains(at))
        .ok_or("must be Unix milliseconds or a time such as 2026-01-31T08:00:00Z")
}

pub(crate) fn status(text: &str) -> Result<Status, &'static str> {
    text.parse().map_err(|_| "must be up, down, unknown or paused")
}

/// `key:value`; the value may hold colons.
pub(crate) fn label(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once(':') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("must be key:value"),
    }
}

/// Columns separated by commas, each at most once, `-` for descending.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Millis = 1_790_000_000_000;

    #[test]
    fn a_time_is_unix_milliseconds_or_rfc_3339() {
        assert_eq!(time("0"), Ok(0));
        assert_eq!(time("1790000000000"), Ok(NOW));
        assert_eq!(time("2026-09-21T14:13:20Z"), Ok(NOW));
        assert_eq!(time("2026-09-21T16:13:20.5+02:00"), Ok(NOW + 500));
        assert_eq!(time("2026-09-21T16:13:20 02:00"), Ok(NOW));
        assert_eq!(time("2026-09-21t10:13:20-04:00"), Ok(NOW));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        let hostile = [
            "-1",
            "+1",
            "1e3",
            "1.5",
            " 1",
            "now",
            "2026-09-21",
            "2026-09-21 14:13:20Z",
            "2026-09-21T14:13:20",
            "2026-02-30T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "253402300800000",
            "99999999999999999999",
            "2026-09-21T14:13:20 02:00 ",
            "٣",
            "2026-09-2é1",
        ];
        for text in hostile {
            assert!(time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_range_ends_now_unless_said_otherwise_and_never_starts_below_zero() {
        assert_eq!(parse::<Range>("", NOW).unwrap(), Range { from: NOW - DAY, to: NOW });
        assert_eq!(parse::<Range>("to=5&from=", NOW).unwrap(), Range { from: 0, to: 5 });
        assert!(parse::<Range>("to=0", NOW).is_err());
        assert!(parse::<Range>("from=7&to=7", NOW).is_err());
    }

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
        fn any_query_is_answered(query in "\\PC{0,80}|([a-z_]{0,9}=[^\0]{0,20}&){0,4}") {
            for problem in [
                parse::<(Listing, Range)>(&query, NOW).err(),
                parse::<Points>(&query, NOW).err(),
                parse::<Paging>(&query, NOW).err(),
            ].into_iter().flatten() {
                prop_assert_eq!(problem.code(), "invalid_parameter");
            }
        }

        #[test]
        fn a_time_reads_back(at in 0..=MAX_TIME) {
            let text = DateTime::from_timestamp_millis(at).unwrap().to_rfc3339();
            prop_assert_eq!(time(&text), Ok(at));
            prop_assert_eq!(time(&at.to_string()), Ok(at));
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
