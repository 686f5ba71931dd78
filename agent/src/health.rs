//! `healthcheck`: did the last attempt of the agent that owns a state folder succeed, not long ago?

use std::path::Path;

use fleet::{Millis, snapshot::Interval};

use crate::{
    clock::{Clock, Clocks, Reading},
    state::{State, peek},
};

/// The last success may be this many intervals old.
const INTERVALS: Millis = 3;

/// Why an agent is not well.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unhealthy(String);

/// Reads the state file in `dir`; takes no lock and opens no socket.
pub fn healthcheck(dir: &Path) -> Result<(), Unhealthy> {
    let state = peek(dir)
        .map_err(|error| Unhealthy(format!("cannot read the state in {}: {error}", dir.display())))?;
    let earlier = state.succeeded.as_ref().map(|succeeded| &*succeeded.boot);
    let mut clocks = Clocks::new(Clock::system(), state.anchor.clone(), earlier);
    let reading = clocks.read();
    judge(&state, clocks.boot(), reading)
}

/// Whether the agent that owns `dir` has a credential, so that it needs no token.
pub fn is_enrolled(dir: &Path) -> bool {
    peek(dir).is_ok_and(|state| state.credential.is_some())
}

fn judge(state: &State, boot: &str, now: Reading) -> Result<(), Unhealthy> {
    let failure = state.failure.as_deref().unwrap_or("no reason is known: does it run?");
    if state.credential.is_none() {
        return Err(Unhealthy(format!("not enrolled: {failure}")));
    }
    let Some(succeeded) = &state.succeeded else {
        return Err(Unhealthy(format!("no attempt has succeeded yet: {failure}")));
    };
    let age = if succeeded.boot == boot { now.up - succeeded.up } else { now.at - succeeded.at };
    let interval = if state.interval_ms > 0 { state.interval_ms } else { Interval::DEFAULT.millis() };
    if age <= INTERVALS * interval {
        return Ok(());
    }
    Err(Unhealthy(format!("the last attempt that succeeded was {} s ago: {failure}", age / 1_000)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{settings::Secret, state::Moment};

    #[test]
    fn the_last_success_may_be_three_intervals_old() {
        let succeeded = Moment { boot: "b".to_owned(), up: 100_000, at: 1_000_000 };
        let state = State {
            credential: Some(Secret::new("c")),
            succeeded: Some(succeeded),
            interval_ms: 10_000,
            failure: Some("answered 503".to_owned()),
            ..State::default()
        };
        let at = |up, at| Reading { at, up, skew: None };
        assert_eq!(judge(&state, "b", at(130_000, 9_000_000)), Ok(()));
        let late = judge(&state, "b", at(130_001, 1_000_000)).unwrap_err();
        assert_eq!(late.to_string(), "the last attempt that succeeded was 30 s ago: answered 503");
        assert_eq!(judge(&state, "another", at(0, 1_030_000)), Ok(()));
        assert!(judge(&state, "another", at(0, 1_030_001)).is_err());
    }

    #[test]
    fn an_agent_that_never_ran_is_not_well() {
        let dir = testkit::tempdir().unwrap();
        assert!(healthcheck(dir.path()).unwrap_err().to_string().contains("not enrolled"));
    }
}
