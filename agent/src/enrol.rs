//! Exchanging the token, once, for this server's own credential.

use std::{fs, io, time::Duration};

use reqwest::{Client, header};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{
    AgentError,
    answer::{Answer, problem, said},
    backoff::{Backoff, LONGEST},
    gate::ask,
    settings::{Secret, Settings, Token},
    state::{State, Store},
};

const ENROLMENTS: &str = "/server-management/v1/enrolments";
/// The answer takes a few writes on the other side, so it gets longer than a snapshot's.
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Serialize)]
struct Request<'a> {
    token: &'a str,
    enrolment_key: &'a str,
    name: &'a str,
}

#[derive(Deserialize)]
struct Enrolled {
    server_id: String,
    credential: Secret,
}

/// What an answer means for the enrolment.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Nobody's fault: try again soon.
    Soon(String),
    /// A person has to mend something: try again slowly.
    Mend(String),
}

/// Returns with a credential in the state, or when `shutdown` is asked for. The key is stored before it is sent, so
/// after a crash or a lost reply the same token and key get the same server.
pub(crate) async fn enrol(
    settings: &Settings,
    store: &mut Store,
    client: &Client,
    shutdown: &CancellationToken,
) -> Result<(), AgentError> {
    if store.state.credential.is_some() {
        if let Some(why) = other_name(settings, &store.state) {
            tracing::warn!("{why}");
        }
        return Ok(());
    }
    token(&settings.token)?;
    if store.state.enrolment_key.is_none() {
        store.state.enrolment_key = Some(key());
    }
    store.must_save()?;
    let slowly = (settings.interval_duration() * 5).min(LONGEST);
    let mut backoff = Backoff::new(Duration::from_secs(1));
    let mut told = String::new();
    loop {
        let wait = match exchange(settings, store, client).await {
            Ok(()) => {
                tracing::info!(server_id = store.state.server_id, name = settings.name, "enrolled");
                return store.must_save();
            }
            Err((Next::Soon(why), asked)) => {
                if why != told {
                    tracing::warn!(url = settings.enrol_url, "cannot enrol yet: {why}");
                    told = why;
                }
                backoff.failed(asked, crate::random())
            }
            Err((Next::Mend(why), _)) => {
                if why != told {
                    tracing::error!(url = settings.enrol_url, "cannot enrol: {why}");
                    told = why;
                }
                slowly
            }
        };
        if store.state.failure.as_ref() != Some(&told) {
            store.state.failure = Some(told.clone());
            store.save();
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn exchange(
    settings: &Settings,
    store: &mut Store,
    client: &Client,
) -> Result<(), (Next, Option<Duration>)> {
    // Read at each try: whoever mends the file need not restart the agent.
    let token = token(&settings.token).map_err(|error| (Next::Mend(error.to_string()), None))?;
    let enrolment_key = store.state.enrolment_key.get_or_insert_with(key).clone();
    let request =
        Request { token: token.expose(), enrolment_key: enrolment_key.expose(), name: &settings.name };
    let body = serde_json::to_vec(&request).map_err(|error| (Next::Mend(error.to_string()), None))?;
    let request = client
        .post(format!("{}{ENROLMENTS}", settings.enrol_url))
        .header(header::CONTENT_TYPE, "application/json")
        .body(body);
    let (answer, text) = ask(request, TIMEOUT).await.map_err(|none| (Next::Soon(none.why), None))?;
    let enrolled = serde_json::from_slice::<Enrolled>(&text).ok();
    match enrolled.filter(|_| (200..300).contains(&answer.status)) {
        Some(Enrolled { server_id, credential }) => {
            store.state.server_id = Some(server_id);
            store.state.name = Some(settings.name.clone());
            store.state.credential = Some(credential);
            (store.state.enrolment_key, store.state.failure) = (None, None);
            Ok(())
        }
        None => Err((next(&Answer { problem: problem(&text), ..answer }), answer.retry_after)),
    }
}

fn next(answer: &Answer) -> Next {
    let (status, said) = (answer.status, said(&answer.problem));
    match status {
        401 | 403 => Next::Mend(format!(
            "the token is unknown, used up or expired ({status} {said}): make one in the suite and put it in place"
        )),
        409 => Next::Mend(format!(
            "the suite refuses the name ({status} {said}): set ROLLCALL_NAME to another; or, if that server is this \
                host, make a token for it there and put it in place"
        )),
        // Also what a proxy answers while the suite behind it starts.
        300..=399 | 404 | 405 => Next::Soon(format!(
            "there is no suite ({status} {said}): is ROLLCALL_ENROL_URL right, or ROLLCALL_URL without it? \
                It is the address alone, such as https://rollcall.example.org, with a path only if a proxy has the \
                suite under one"
        )),
        400..=499 if !matches!(status, 408 | 425 | 429) => Next::Mend(format!(
            "the suite refuses the request ({status} {said}): is ROLLCALL_ENROL_URL right?"
        )),
        _ => Next::Soon(format!("answered {status} {said}")),
    }
}

/// What to tell whoever gave an agent another name that is enrolled already: it has no effect.
fn other_name(settings: &Settings, state: &State) -> Option<String> {
    let enrolled = state.name.as_ref().filter(|name| **name != settings.name)?;
    Some(format!(
        "this agent is called {} and enrolled as {enrolled}, which stays its name in the suite: rename that server \
            there; or, to enrol as another server, stop the agent, remove state.json from {}, and give it a fresh token",
        settings.name,
        settings.state_dir.display()
    ))
}

/// The token, wherever it is.
fn token(token: &Token) -> Result<Secret, AgentError> {
    match token {
        Token::Text(secret) => Ok(secret.clone()),
        Token::Absent => Err(AgentError::NoToken),
        Token::File(path) => {
            let unreadable = |source| AgentError::TokenFile { path: path.clone(), source };
            let text = fs::read_to_string(path).map_err(unreadable)?;
            match text.trim() {
                "" => Err(unreadable(io::Error::new(io::ErrorKind::InvalidData, "it is empty"))),
                text => Ok(Secret::new(text)),
            }
        }
    }
}

fn key() -> Secret {
    Secret::new((0..8).map(|_| format!("{:08x}", crate::random())).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_to_mend_what_is_told() {
        let cases = [
            (401, "token"),
            (409, "ROLLCALL_NAME"),
            (400, "ROLLCALL_ENROL_URL"),
            (422, "ROLLCALL_ENROL_URL"),
        ];
        for (status, advice) in cases {
            let Next::Mend(why) = next(&Answer { status, ..Answer::default() }) else {
                panic!("{status} is soon")
            };
            assert!(why.contains(advice), "{status}: {why}");
        }
        for status in [200, 302, 404, 405, 408, 425, 429, 500, 503] {
            let Next::Soon(why) = next(&Answer { status, ..Answer::default() }) else {
                panic!("{status} waits")
            };
            assert_eq!(
                why.contains("It is the address alone"),
                [302, 404, 405].contains(&status),
                "{status}: {why}"
            );
        }
    }

    #[test]
    fn another_name_for_an_agent_that_is_enrolled_is_no_secret_failure() {
        let args = crate::Args {
            url: Some("https://a".to_owned()),
            name: Some("new".to_owned()),
            state_dir: Some("/state".to_owned()),
            ..crate::Args::default()
        };
        let settings = Settings::read(&args, None).unwrap();
        let enrolled_as = |name: Option<&str>| State { name: name.map(str::to_owned), ..State::default() };
        let told = other_name(&settings, &enrolled_as(Some("old"))).unwrap();
        for part in ["called new", "enrolled as old", "rename that server", "remove state.json from /state"] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert_eq!(other_name(&settings, &enrolled_as(Some("new"))), None);
        assert_eq!(
            other_name(&settings, &enrolled_as(None)),
            None,
            "a state of an earlier release has no name"
        );
    }

    #[test]
    fn keys_are_long_and_never_the_same() {
        let (one, other) = (key(), key());
        assert_eq!(one.expose().len(), 64);
        assert_ne!(one, other);
    }
}
