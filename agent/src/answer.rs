//! What a gate answered, and what that means for the samples that were sent. Pure, so that a table can test it.

use std::time::Duration;

use wire::v1::{Accepted, GateProblem};

use crate::aside::FinalRefusal;

/// Most of a code and of an explanation that is kept, in bytes.
const MAX_CODE_BYTES: usize = 64;
const MAX_DETAIL_BYTES: usize = 400;

/// What came back, from a gate or from whatever answers in its place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub status: u16,
    pub retry_after: Option<Duration>,
    /// The body of a 2xx, if it is one of a gate.
    pub accepted: Option<Accepted>,
    /// The body of everything else.
    pub problem: GateProblem,
    /// From the first byte sent to the last byte read.
    pub round_trip: Duration,
}

/// The classes of answers: do the samples of the request arrive now, later, or never?
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Class {
    /// The suite has them.
    Accepted,
    /// Not now, and it is not their fault: send them again later, after `wait` if the gate asked for it.
    Transient { why: String, wait: Option<Duration> },
    /// Some are refused for good, but the gate does not say which: send each half by itself.
    Unspecific,
    /// The only one of this request is refused for good.
    Permanent(FinalRefusal),
    /// The gate names those at fault by their index: `permanent` are refused for good, `ahead` need another stamp.
    /// Nothing is wrong with the rest, but nothing of the request was taken.
    Named { permanent: Vec<(usize, FinalRefusal)>, ahead: Vec<usize> },
}

/// Classifies the answer to a request of `sent` samples. Only a gate refuses for good, and it shows that it is one by
/// its `now`. Anything else is transient: a proxy in front of it may be set up wrongly, and somebody will mend that.
pub(crate) fn classify(answer: &Answer, sent: usize) -> Class {
    let status = answer.status;
    if (200..300).contains(&status) {
        return match answer.accepted {
            Some(_) => Class::Accepted,
            None => Class::Transient { why: format!("what answers {status} there is no gate"), wait: None },
        };
    }
    // These say that who sends, where to or when is wrong, not what was sent.
    let transient = matches!(status, 401 | 403..=405 | 407 | 408 | 421 | 425 | 429);
    if transient || !(400..500).contains(&status) || (answer.problem.now.is_none() && status != 413) {
        return Class::Transient { why: why(answer), wait: answer.retry_after };
    }
    if status == 422
        && let Some(named) = named(answer, sent)
    {
        return named;
    }
    match (sent, answer.problem.now) {
        (2.., _) => Class::Unspecific,
        (_, Some(_)) => Class::Permanent(final_refusal(answer)),
        (_, None) => Class::Transient { why: why(answer), wait: answer.retry_after },
    }
}

/// Understands the body of an answer that is no 2xx. Its texts go to the log, the state and a person's terminal, and
/// whoever answers may be anyone: they come out short and without control characters.
pub(crate) fn problem(body: &[u8]) -> GateProblem {
    let mut problem: GateProblem = serde_json::from_slice(body).unwrap_or_default();
    clean(&mut problem.code, MAX_CODE_BYTES);
    problem.detail.iter_mut().for_each(|detail| clean(detail, MAX_DETAIL_BYTES));
    for refusal in &mut problem.refused {
        clean(&mut refusal.code, MAX_CODE_BYTES);
        clean(&mut refusal.reason, MAX_DETAIL_BYTES);
    }
    problem
}

fn clean(text: &mut String, most: usize) {
    text.truncate(text.floor_char_boundary(most));
    if text.contains(char::is_control) {
        *text = text.replace(char::is_control, " ");
    }
}

/// Whether it is worth asking another gate.
pub(crate) fn elsewhere(answer: &Answer) -> bool {
    let no_gate = answer.accepted.is_none() && answer.problem.now.is_none();
    answer.status >= 500 || answer.status == 404 || no_gate
}

fn named(answer: &Answer, sent: usize) -> Option<Class> {
    let (mut permanent, mut ahead) = (Vec::new(), Vec::new());
    for refusal in answer.problem.refused.iter().filter(|refusal| refusal.index < sent) {
        if refusal.code == "clock_ahead" {
            ahead.push(refusal.index);
        } else {
            let (code, reason) = (refusal.code.clone(), refusal.reason.clone());
            permanent.push((refusal.index, FinalRefusal { status: answer.status, code, reason }));
        }
    }
    (permanent.len() + ahead.len() > 0).then_some(Class::Named { permanent, ahead })
}

fn final_refusal(answer: &Answer) -> FinalRefusal {
    let problem = &answer.problem;
    let reason = problem.detail.clone().unwrap_or_default();
    FinalRefusal { status: answer.status, code: problem.code.clone(), reason }
}

/// The code and the explanation of a problem, for people.
pub(crate) fn said(problem: &GateProblem) -> String {
    [&problem.code, problem.detail.as_deref().unwrap_or_default()].join(" ").trim().to_owned()
}

fn why(answer: &Answer) -> String {
    let advice = match answer.status {
        401 => {
            "; this server was revoked or deleted, or the suite's key was replaced: to enrol anew, stop the agent, \
                remove state.json from its state folder, give it a fresh token and another name"
        }
        300..=399 | 404 | 405 => {
            "; is ROLLCALL_URL right? It is the address of the suite alone, such as https://rollcall.example.org, \
                with a path only if a proxy has the suite under one"
        }
        _ => "",
    };
    format!("answered {} {}{advice}", answer.status, said(&answer.problem))
}

#[cfg(test)]
mod tests {
    use wire::v1::{Bulletin, Refusal};

    use super::*;

    fn gate(status: u16, refused: &[(usize, &str)]) -> Answer {
        let refused = refused
            .iter()
            .map(|(index, code)| Refusal { index: *index, code: (*code).to_owned(), reason: "r".to_owned() })
            .collect();
        let problem = GateProblem { code: "c".to_owned(), detail: None, now: Some(1), refused };
        Answer { status, problem, ..Answer::default() }
    }

    fn name(class: &Class) -> &'static str {
        match class {
            Class::Accepted => "accepted",
            Class::Transient { .. } => "transient",
            Class::Unspecific => "unspecific",
            Class::Permanent(_) => "permanent",
            Class::Named { .. } => "named",
        }
    }

    #[test]
    fn every_status_has_its_class() {
        let cases = [
            // status, of many, of one
            (301, "transient", "transient"),
            (400, "unspecific", "permanent"),
            (401, "transient", "transient"),
            (403, "transient", "transient"),
            (404, "transient", "transient"),
            (405, "transient", "transient"),
            (408, "transient", "transient"),
            (410, "unspecific", "permanent"),
            (413, "unspecific", "permanent"),
            (415, "unspecific", "permanent"),
            (422, "unspecific", "permanent"),
            (429, "transient", "transient"),
            (500, "transient", "transient"),
            (502, "transient", "transient"),
            (503, "transient", "transient"),
        ];
        for (status, many, one) in cases {
            assert_eq!(name(&classify(&gate(status, &[]), 240)), many, "{status} of many");
            assert_eq!(name(&classify(&gate(status, &[]), 1)), one, "{status} of one");
        }
    }

    #[test]
    fn only_a_gate_accepts_or_refuses_for_good() {
        let bare = |status| Answer { status, ..Answer::default() };
        let cases = [
            (200, 1, "transient"),
            (400, 1, "transient"),
            (422, 9, "transient"),
            (413, 9, "unspecific"),
            (413, 1, "transient"),
        ];
        for (status, sent, expected) in cases {
            assert_eq!(name(&classify(&bare(status), sent)), expected, "{status} of {sent}");
            assert!(elsewhere(&bare(status)));
        }
        let accepted = Some(Accepted { accepted: 1, bulletin: Bulletin { now: 1, ..Bulletin::default() } });
        let answer = Answer { accepted, ..bare(202) };
        assert_eq!(classify(&answer, 1), Class::Accepted);
        assert!(!elsewhere(&answer) && !elsewhere(&gate(422, &[])) && elsewhere(&gate(503, &[])));
    }

    #[test]
    fn refusals_are_sorted_and_nonsense_is_ignored() {
        let answer =
            gate(422, &[(0, "clock_ahead"), (2, "invalid_snapshot"), (3, "too_old"), (9, "too_old")]);
        let Class::Named { permanent, ahead } = classify(&answer, 4) else { panic!("not named") };
        assert_eq!(ahead, [0]);
        assert_eq!(
            permanent.iter().map(|(index, why)| (*index, &*why.code)).collect::<Vec<_>>(),
            [(2, "invalid_snapshot"), (3, "too_old")]
        );
        assert_eq!(classify(&gate(422, &[(9, "too_old")]), 4), Class::Unspecific);
    }

    #[test]
    fn what_a_stranger_says_is_short_and_harms_no_terminal() {
        let nasty = format!("\r\n\u{1b}[2J\u{7}\u{9b}31m{}", "é".repeat(30_000));
        let refused = serde_json::json!([{"index": 0, "code": nasty, "reason": nasty}]);
        let body = serde_json::json!({"code": nasty, "detail": nasty, "now": 1, "refused": refused});
        let problem = problem(body.to_string().as_bytes());
        let [refusal] = &problem.refused[..] else { panic!("not one refusal") };
        let detail = problem.detail.as_ref().unwrap();
        for (text, most) in [(&problem.code, 64), (detail, 400), (&refusal.code, 64), (&refusal.reason, 400)]
        {
            assert!(text.len() <= most && text.ends_with('é'), "{text:?}");
            assert!(!text.contains(char::is_control), "{text:?}");
        }
        let why = why(&Answer { status: 401, problem: problem.clone(), ..Answer::default() });
        assert!(why.ends_with("another name"), "the advice is kept: {why}");
        assert_eq!(super::problem(b"<html>"), GateProblem::default());
    }

    #[test]
    fn a_wait_is_passed_on() {
        let answer = Answer { retry_after: Some(Duration::from_secs(7)), ..gate(503, &[]) };
        let Class::Transient { wait, .. } = classify(&answer, 1) else { panic!("not transient") };
        assert_eq!(wait, Some(Duration::from_secs(7)));
    }
}
