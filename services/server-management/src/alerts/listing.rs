//! Which incidents, or which messages, a list is about: its parameters.

use chassis::Problem;
use fleet::{
    Millis,
    alert::{IncidentState, Level},
    id::{ChannelId, IncidentId},
};
use registry::{IncidentFilter, NotificationFilter, NotificationState};
use utoipa::{
    IntoParams,
    openapi::{
        path::{Parameter, ParameterIn},
        schema::ArrayBuilder,
    },
};

use crate::{
    http::{
        document::{parameter, text},
        failure::invalid_parameter,
        paging::Paging,
        query::{FromParameters, Parameters},
        ranges::Bounds,
    },
    servers,
};

/// What a filter calls both states that are not resolved.
const UNRESOLVED: &str = "unresolved";

/// Which incidents, and which page of them.
pub(crate) struct IncidentListing {
    pub(super) filter: IncidentFilter,
    pub(super) paging: Paging,
}

impl FromParameters for IncidentListing {
    fn take(parameters: &mut Parameters, now: Millis) -> Result<Self, Problem> {
        let labels = parameters.all("label");
        if labels.len() > servers::MAX_LABELS {
            let most = servers::MAX_LABELS;
            return Err(invalid_parameter("label", format!("is given more than {most} times")));
        }
        let labels = labels.iter().filter(|label| !label.is_empty()).map(|text| servers::read_label(text));
        let labels = labels.collect::<Result<_, _>>().map_err(|error| invalid_parameter("label", error))?;
        let Bounds { from, to } = Bounds::take(parameters, now)?;
        let filter = IncidentFilter {
            states: parameters.parsed("state", states)?.unwrap_or_default(),
            level: parameters.parsed("level", str::parse::<Level>)?,
            rule: parameters.one("rule")?,
            server: parameters.one("server")?,
            labels,
            from,
            to,
        };
        Ok(Self { filter, paging: Paging::take(parameters, now)? })
    }
}

impl IntoParams for IncidentListing {
    fn into_params(place: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let states = IncidentState::ALL.map(IncidentState::as_str).into_iter().chain([UNRESOLVED]);
        let labels = ArrayBuilder::new().items(text().pattern(Some("^[^:]+:.*$")));
        let mut parameters = vec![
            parameter(
                "state",
                "In this state; `unresolved`: open or acknowledged",
                text().enum_values(Some(states)),
            ),
            parameter("level", "Of this level", text().enum_values(Some(Level::ALL.map(Level::as_str)))),
            parameter("rule", "Of the rule of this id or name", text()),
            parameter("server", "Of the server of this id or name", text()),
            parameter("label", "Of servers with this label; repeatable, all must be there", labels),
        ];
        parameters.extend(Bounds::into_params(&place));
        parameters.extend(Paging::into_params(place));
        parameters
    }
}

fn states(text: &str) -> Result<Vec<IncidentState>, String> {
    if text == UNRESOLVED {
        return Ok(vec![IncidentState::Open, IncidentState::Acknowledged]);
    }
    text.parse().map(|state| vec![state]).map_err(|error| format!("{error}, {UNRESOLVED}"))
}

/// Which messages, and which page of them.
pub(crate) struct NotificationListing {
    pub(super) filter: NotificationFilter,
    pub(super) paging: Paging,
}

impl FromParameters for NotificationListing {
    fn take(parameters: &mut Parameters, now: Millis) -> Result<Self, Problem> {
        let state = |text: &str| NotificationState::of(text).ok_or("is no state of a message");
        let filter = NotificationFilter {
            channel: parameters.parsed("channel", str::parse::<ChannelId>)?,
            state: parameters.parsed("state", state)?,
            incident: parameters.parsed("incident", str::parse::<IncidentId>)?,
        };
        Ok(Self { filter, paging: Paging::take(parameters, now)? })
    }
}

impl IntoParams for NotificationListing {
    fn into_params(place: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let states = NotificationState::ALL.map(NotificationState::as_str);
        let mut parameters = vec![
            parameter("channel", "On the channel of this id", text()),
            parameter("state", "In this state", text().enum_values(Some(states))),
            parameter("incident", "About the incident of this id", text()),
        ];
        parameters.extend(Paging::into_params(place));
        parameters
    }
}
