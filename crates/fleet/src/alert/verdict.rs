//! What became of a message, by how its request ended: the table of what is sent again, and what never.

use serde_json::Value;

use super::channel::Kind;
use crate::Millis;

/// How long a place is left alone that says "too much" and not for how long.
const USUAL_BLOCK: Millis = 60_000;

/// Shortest and longest time that a place is left alone.
const BLOCKS: std::ops::RangeInclusive<Millis> = 1_000..=3_600_000;

/// Pauses between two attempts to reach a place; the last one from then on.
const PAUSES: [Millis; 5] = [5_000, 15_000, 60_000, 120_000, 300_000];

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending<'a> {
    /// Our own guard refused it, or there is nothing to ask.
    Refused(&'a str),
    /// No connection came about: no name, no way, no TLS. Nothing was sent.
    Unreached(&'a str),
    /// The connection broke or nothing came in time, once the request may have been sent.
    Lost(&'a str),
    /// An answer, whole.
    Answered(Answer<'a>),
}

/// What the receiver answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer<'a> {
    /// Of HTTP.
    pub status: u16,
    /// The header `Retry-After`.
    pub retry_after: Option<&'a str>,
    /// Discord's `X-RateLimit-Remaining` and `X-RateLimit-Reset-After`, if the first is 0.
    pub reset_after: Option<&'a str>,
    /// At most 64 KiB of it.
    pub body: &'a [u8],
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The receiver has it. It wants to be left alone for so long, if it says so.
    Sent {
        /// In milliseconds.
        pause: Option<Millis>,
    },
    /// Nothing was sent; why.
    NotSent(String),
    /// The receiver takes nothing for so long; why.
    Blocked {
        /// In milliseconds.
        wait: Millis,
        /// What it said.
        reason: String,
    },
    /// It will never be taken.
    Failed {
        /// Why.
        reason: String,
        /// Nothing else will be either.
        disables: bool,
    },
    /// It may have been taken; why nobody knows.
    Unknown(String),
}

/// What became of a message to a channel of this kind.
pub fn judge(kind: Kind, ending: Ending<'_>) -> Verdict {
    match ending {
        Ending::Refused(reason) => Verdict::Failed { reason: reason.to_owned(), disables: false },
        Ending::Unreached(reason) => Verdict::NotSent(reason.to_owned()),
        Ending::Lost(reason) => Verdict::Unknown(reason.to_owned()),
        Ending::Answered(answer) => answered(kind, &answer),
    }
}

/// For how long a place is left alone that was not reached at so many attempts in a row.
pub fn pause(attempts: u32) -> Millis {
    let index = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
    PAUSES[index.min(PAUSES.len() - 1)]
}

fn answered(kind: Kind, answer: &Answer<'_>) -> Verdict {
    let status = answer.status;
    let body = || serde_json::from_slice::<Value>(answer.body).unwrap_or(Value::Null);
    match status {
        200..=299 => taken(kind, answer),
        429 => {
            Verdict::Blocked { wait: wait(answer, &body()), reason: "HTTP 429: too many messages".to_owned() }
        }
        408 | 500.. => Verdict::Unknown(format!("HTTP {status}: it may have been taken")),
        300..=499 => refused(kind, status, &body()),
        _ => Verdict::Unknown(format!("HTTP {status} is no answer to a message")),
    }
}

/// What an answer of success says by its body.
fn taken(kind: Kind, answer: &Answer<'_>) -> Verdict {
    let sent = || Verdict::Sent { pause: answer.reset_after.and_then(seconds).map(bounded) };
    let foreign = || Verdict::Unknown(format!("HTTP {}, and not the answer of {kind}", answer.status));
    let body = || serde_json::from_slice::<Value>(answer.body).unwrap_or(Value::Null);
    match kind {
        Kind::Webhook | Kind::Mail => sent(),
        _ if answer.status != 200 => foreign(),
        Kind::Wecom => match body()["errcode"].as_i64() {
            Some(0) => sent(),
            Some(45009 | 45033) => {
                let reason = "WeCom says that there are too many messages".to_owned();
                Verdict::Blocked { wait: USUAL_BLOCK, reason }
            }
            Some(code) => Verdict::Failed {
                reason: format!("WeCom refuses it: errcode {code}"),
                disables: code == 93000,
            },
            None => foreign(),
        },
        Kind::Telegram => match body()["ok"].as_bool() {
            Some(true) => sent(),
            Some(false) => refused(kind, 200, &body()),
            None => foreign(),
        },
        Kind::Slack if answer.body.trim_ascii() == b"ok" => sent(),
        Kind::Discord if body()["id"].is_string() => sent(),
        Kind::Slack | Kind::Discord => foreign(),
    }
}

/// A refusal, in one short line. What any program answers is not repeated: it may be one of an internal network.
fn refused(kind: Kind, status: u16, body: &Value) -> Verdict {
    let failed = |reason: String, disables| Verdict::Failed { reason, disables };
    let gone = matches!(status, 404 | 410);
    match kind {
        Kind::Telegram => {
            let code = body["error_code"].as_u64().unwrap_or(status.into());
            if code == 429 {
                return Verdict::Blocked {
                    wait: in_body(body).unwrap_or(USUAL_BLOCK),
                    reason: "too many messages".to_owned(),
                };
            }
            let told = short(body["description"].as_str().unwrap_or_default());
            let lost_chat =
                body["parameters"]["migrate_to_chat_id"].is_i64() || told.contains("chat not found");
            let disables = gone || lost_chat || matches!(code, 401 | 403 | 404);
            failed(format!("Telegram refuses it: {code} {told}").trim_end().to_owned(), disables)
        }
        Kind::Slack => failed(format!("HTTP {status}"), gone || status == 403),
        Kind::Discord => failed(format!("HTTP {status}"), gone || matches!(status, 401 | 403)),
        Kind::Wecom | Kind::Webhook | Kind::Mail => failed(format!("HTTP {status}"), gone),
    }
}

/// For how long to leave the place alone.
fn wait(answer: &Answer<'_>, body: &Value) -> Millis {
    let said = in_body(body).or_else(|| answer.retry_after.and_then(seconds).map(bounded));
    said.or_else(|| answer.reset_after.and_then(seconds).map(bounded)).unwrap_or(USUAL_BLOCK)
}

/// Telegram's and Discord's way to say for how many seconds.
fn in_body(body: &Value) -> Option<Millis> {
    let said = body["parameters"]["retry_after"].as_f64().or(body["retry_after"].as_f64());
    said.map(bounded)
}

fn seconds(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|seconds: &f64| seconds.is_finite())
}

fn bounded(seconds: f64) -> Millis {
    let most = *BLOCKS.end();
    // Whoever says "never again" is asked again after an hour.
    #[expect(clippy::cast_possible_truncation, reason = "it is within the bounds of BLOCKS by then")]
    let millis = (seconds * 1_000.0).ceil().clamp(0.0, most as f64) as Millis;
    millis.max(*BLOCKS.start())
}

/// Plain text of a service that we know, in one short line.
fn short(text: &str) -> String {
    let seen = |c: char| if c.is_ascii_graphic() { c } else { ' ' };
    text.chars().map(seen).take(100).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(status: u16, body: &str) -> Ending<'_> {
        Ending::Answered(Answer { status, retry_after: None, reset_after: None, body: body.as_bytes() })
    }

    fn sent() -> Verdict {
        Verdict::Sent { pause: None }
    }

    #[test]
    fn each_kind_says_in_its_own_way_that_it_took_a_message() {
        for (kind, body) in [
            (Kind::Wecom, r#"{"errcode":0,"errmsg":"ok"}"#),
            (Kind::Telegram, r#"{"ok":true,"result":{"message_id":1}}"#),
            (Kind::Slack, "ok"),
            (Kind::Discord, r#"{"id":"1","content":"x"}"#),
            (Kind::Webhook, "whatever"),
        ] {
            assert_eq!(judge(kind, answer(200, body)), sent(), "{kind}");
        }
        assert_eq!(judge(Kind::Webhook, answer(204, "")), sent());
    }

    #[test]
    fn a_success_that_is_not_the_services_own_is_unknown() {
        for kind in [Kind::Wecom, Kind::Telegram, Kind::Slack, Kind::Discord] {
            for (status, body) in
                [(200, "<html>log in to this network</html>"), (200, ""), (200, "{}"), (204, ""), (202, "ok")]
            {
                assert!(
                    matches!(judge(kind, answer(status, body)), Verdict::Unknown(_)),
                    "{kind} {status} {body}"
                );
            }
        }
    }

    #[test]
    fn a_rate_is_a_block_wherever_it_stands() {
        let blocked = |kind, ending| match judge(kind, ending) {
            Verdict::Blocked { wait, .. } => wait,
            other => panic!("{kind}: {other:?}"),
        };
        assert_eq!(
            blocked(Kind::Wecom, answer(200, r#"{"errcode":45009,"errmsg":"api freq out of limit"}"#)),
            60_000
        );
        let telegram = r#"{"ok":false,"error_code":429,"parameters":{"retry_after":17}}"#;
        assert_eq!(blocked(Kind::Telegram, answer(429, telegram)), 17_000);
        assert_eq!(blocked(Kind::Telegram, answer(200, telegram)), 17_000);
        assert_eq!(blocked(Kind::Discord, answer(429, r#"{"retry_after":0.25,"global":false}"#)), 1_000);
        let header =
            Ending::Answered(Answer { status: 429, retry_after: Some("30"), reset_after: None, body: b"" });
        for kind in Kind::ALL {
            assert_eq!(blocked(kind, header), 30_000, "{kind}");
            assert_eq!(blocked(kind, answer(429, "not JSON")), 60_000, "{kind}");
        }
        let never =
            Ending::Answered(Answer { status: 429, retry_after: Some("1e99"), reset_after: None, body: b"" });
        assert_eq!(blocked(Kind::Slack, never), 3_600_000);
    }

    #[test]
    fn a_spent_budget_of_discord_is_waited_for() {
        let body = br#"{"id":"1"}"#;
        let spent =
            Ending::Answered(Answer { status: 200, retry_after: None, reset_after: Some("2.5"), body });
        assert_eq!(judge(Kind::Discord, spent), Verdict::Sent { pause: Some(2_500) });
    }

    #[test]
    fn a_refusal_fails_and_one_for_good_disables_the_channel() {
        let disables = |kind, status, body| match judge(kind, answer(status, body)) {
            Verdict::Failed { disables, .. } => disables,
            other => panic!("{kind} {status}: {other:?}"),
        };
        for kind in Kind::ALL {
            for status in [301, 307, 400, 413, 422] {
                assert!(!disables(kind, status, ""), "{kind} {status}");
            }
            for status in [404, 410] {
                assert!(disables(kind, status, ""), "{kind} {status}");
            }
        }
        assert!(disables(Kind::Wecom, 200, r#"{"errcode":93000,"errmsg":"invalid webhook url"}"#));
        assert!(!disables(Kind::Wecom, 200, r#"{"errcode":40058,"errmsg":"bad request"}"#));
        assert!(disables(
            Kind::Telegram,
            401,
            r#"{"ok":false,"error_code":401,"description":"Unauthorized"}"#
        ));
        let moved = r#"{"ok":false,"error_code":400,"parameters":{"migrate_to_chat_id":-100}}"#;
        assert!(disables(Kind::Telegram, 400, moved));
        assert!(disables(
            Kind::Telegram,
            400,
            r#"{"ok":false,"error_code":400,"description":"Bad Request: chat not found"}"#
        ));
        assert!(disables(Kind::Slack, 403, "invalid_token") && disables(Kind::Discord, 401, ""));
    }

    #[test]
    fn what_may_have_been_taken_is_unknown_and_what_was_not_sent_is_not() {
        for kind in Kind::ALL {
            for status in [408, 500, 502, 503, 504, 599, 101, 199] {
                assert!(matches!(judge(kind, answer(status, "")), Verdict::Unknown(_)), "{kind} {status}");
            }
            assert_eq!(judge(kind, Ending::Lost("reset")), Verdict::Unknown("reset".to_owned()));
            assert_eq!(judge(kind, Ending::Unreached("refused")), Verdict::NotSent("refused".to_owned()));
            let refused = Verdict::Failed { reason: "guard".to_owned(), disables: false };
            assert_eq!(judge(kind, Ending::Refused("guard")), refused);
        }
    }

    #[test]
    fn pauses_grow_to_five_minutes() {
        let pauses: Vec<Millis> = (1..=7).map(|attempts| pause(attempts) / 1_000).collect();
        assert_eq!(pauses, [5, 15, 60, 120, 300, 300, 300]);
        assert_eq!(pause(0), 5_000);
    }

    proptest! {
        #[test]
        fn only_what_certainly_was_not_sent_is_sent_again(status in 100u16..700, body in "\\PC{0,60}") {
            for kind in Kind::ALL {
                let verdict = judge(kind, answer(status, &body));
                let again = matches!(verdict, Verdict::NotSent(_));
                prop_assert!(!again, "{} {}: an answer means that something was sent", kind, status);
                if matches!(verdict, Verdict::Blocked { .. }) {
                    prop_assert!(status == 429 || status == 200);
                }
            }
        }

        #[test]
        fn the_answer_of_any_program_is_not_repeated(status in 200u16..600, word in "[a-z]{12}") {
            let told = format!("{:?}", judge(Kind::Webhook, answer(status, &word)));
            prop_assert!(!told.contains(&word), "{}", told);
        }
    }
}
