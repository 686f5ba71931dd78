//! What is asked of processes: a moment, or a range.

use chassis::Problem;
use fleet::{Millis, processes::Sort};
use utoipa::{
    IntoParams,
    openapi::path::{Parameter, ParameterIn},
};

use crate::http::{
    document::{self, parameter},
    failure::invalid_parameter,
    query::{FromParameters, Parameters},
    ranges::{Bounds, Range, time},
};

const HOUR: Millis = 3_600_000;
/// The longest range of which samples are summed.
pub(super) const MOST: Millis = 24 * HOUR;

/// The parameters.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// What ran at this time.
    At(Millis),
    /// Who used how much.
    Over(Range, Sort),
}

impl FromParameters for Asked {
    fn take(parameters: &mut Parameters, now: Millis) -> Result<Self, Problem> {
        let at = parameters.parsed("at", time)?;
        let Bounds { from, to } = Bounds::take(parameters, now)?;
        let sort = parameters.parsed("sort", str::parse::<Sort>)?;
        if from.is_none() && to.is_none() && sort.is_none() {
            return Ok(Self::At(at.unwrap_or(now)));
        }
        if at.is_some() {
            return Err(invalid_parameter("at", "is a moment: it does not go with from, to and sort"));
        }
        let to = to.unwrap_or(now);
        let from = from.unwrap_or((to - HOUR).max(0));
        if from >= to {
            return Err(invalid_parameter("from", "must be before to"));
        }
        if to - from > MOST {
            return Err(invalid_parameter("from", "must be at most 24 hours before to"));
        }
        Ok(Self::Over(Range { from, to }, sort.unwrap_or(Sort::Cpu)))
    }
}

impl IntoParams for Asked {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let names = Sort::ALL.map(|(name, _)| name);
        let sort = document::text().enum_values(Some(names));
        vec![
            parameter("at", "A moment: Unix ms or RFC 3339. Now by default", document::time()),
            parameter(
                "from",
                "Start of a range, in it: Unix ms or RFC 3339. 1 h before `to` by default, 24 h at most",
                document::time(),
            ),
            parameter(
                "to",
                "End of a range, not in it: Unix ms or RFC 3339. Now by default",
                document::time(),
            ),
            parameter("sort", "The range's greatest users of this; `cpu` by default", sort),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::query::parse;

    const NOW: Millis = 1_790_000_000_000;

    #[test]
    fn a_moment_or_a_range_is_asked_for_and_never_both() {
        assert_eq!(parse::<Asked>("", NOW).unwrap(), Asked::At(NOW));
        assert_eq!(parse::<Asked>("at=7", NOW).unwrap(), Asked::At(7));
        let over = |from, to, sort| Asked::Over(Range { from, to }, sort);
        assert_eq!(parse::<Asked>("sort=memory", NOW).unwrap(), over(NOW - HOUR, NOW, Sort::Memory));
        assert_eq!(parse::<Asked>("from=5&to=7", NOW).unwrap(), over(5, 7, Sort::Cpu));
        for wrong in
            ["at=7&from=5", "at=7&sort=cpu", "sort=rss", "from=7&to=7", "from=0&to=86400001", "by=user"]
        {
            assert_eq!(parse::<Asked>(wrong, NOW).unwrap_err().code(), "invalid_parameter", "{wrong}");
        }
        assert!(parse::<Asked>("from=0&to=86400000", NOW).is_ok());
    }
}
