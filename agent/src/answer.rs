//! What an answer means for what was sent. Pure, so that a table can hold it.

use std::time::Duration;

use fleet::wire::v1::{Accepted, GateProblem};

use crate::aside::Condemned;

/// Most of a code and of an explanation that is kept, in bytes.
const MAX_CODE_BYTES: usize = 64;
const MAX_DETAIL_BYTES: usize = 400;

/// What came back.
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

/// What to do with the snapshots of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// They are safe with the suite.
    Accepted,
    /// They are as good as before: try later.
    Keep { why: String, wait: Option<Duration> },
    /// Something among them is refused: halve, and try both.
    Halve,
    /// The one of this request will never be taken.
    Aside(Condemned),
    /// These (by index) will never be taken, or need another stamp; nothing is wrong with the rest.
    Refused { aside: Vec<(usize, Condemned)>, ahead: Vec<usize> },
}

/// Judges the answer to a request of `sent` snapshots. Only a gate condemns, which it shows by its `now`: what stands
/// before it may be set up wrongly, and that passes.
pub(crate) fn judge(answer: &Answer, sent: usize) -> Verdict {
    let status = answer.status;
    if (200..300).contains(&status) {
        return match answer.accepted {
            Some(_) => Verdict::Accepted,
            None => Verdict::Keep { why: format!("what answers {status} there is no gate"), wait: None },
        };
    }
    // 401, 403, 404, 405, 407, 408, 421, 425, 429: who, where or when is wrong, not what was sent.
    let passing = matches!(status, 401 | 403..=405 | 407 | 408 | 421 | 425 | 429);
    if passing || !(400..500).contains(&status) || (answer.problem.now.is_none() && status != 413) {
        return Verdict::Keep { why: why(answer), wait: answer.retry_after };
    }
    if status == 422
        && let Some(refused) = refused(answer, sent)
    {
        return refused;
    }
    match (sent, answer.problem.now) {
        (2.., _) => Verdict::Halve,
        (_, Some(_)) => Verdict::Aside(condemned(answer)),
        (_, None) => Verdict::Keep { why: why(answer), wait: answer.retry_after },
    }
}

/// Understands the body of an answer that is no 2xx. Its texts go to the log, the state and a person's terminal, and whoever
/// answers may be anyone: they come out short and without control characters.
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

/// Whether another gate may do better.
pub(crate) fn elsewhere(answer: &Answer) -> bool {
    let no_gate = answer.accepted.is_none() && answer.problem.now.is_none();
    answer.status >= 500 || answer.status == 404 || no_gate
}

fn refused(answer: &Answer, sent: usize) -> Option<Verdict> {
    let (mut aside, mut ahead) = (Vec::new(), Vec::new());
    for refusal in answer.problem.refused.iter().filter(|refusal| refusal.index < sent) {
        if refusal.code == "clock_ahead" {
            ahead.push(refusal.index);
        } else {
            let (code, reason) = (refusal.code.clone(), refusal.reason.clone());
            aside.push((refusal.index, Condemned { status: answer.status, code, reason }));
        }
    }
    (aside.len() + ahead.len() > 0).then_some(Verdict::Refused { aside, ahead })
}

fn condemned(answer: &Answer) -> Condemned {
    let problem = &answer.problem;
    let reason = problem.detail.clone().unwrap_or_default();
    Condemned { status: answer.status, code: problem.code.clone(), reason }
}

/// What the suite says is wrong.
pub(crate) fn said(problem: &GateProblem) -> String {
    [&problem.code, problem.detail.as_deref().unwrap_or_default()].join(" ").trim().to_owned()
}

fn why(answer: &Answer) -> String {
    let advice = match answer.status {
        401 => {
            "; this server was revoked or deleted, or the suite's key was replaced: to enrol anew, stop the agent, \
                remove state.json from its state folder, give it a fresh token and another name"
        }
        300..=399 | 404 | 405 => "; is ROLLCALL_URL right?",
        _ => "",
    };
    format!("answered {} {}{advice}", answer.status, said(&answer.problem))
}

#[cfg(test)]
mod tests {
    use fleet::wire::v1::{Bulletin, Refusal};

    use super::*;

    fn gate(status: u16, refused: &[(usize, &str)]) -> Answer {
        let refused = refused
            .iter()
            .map(|(index, code)| Refusal { index: *index, code: (*code).to_owned(), reason: "r".to_owned() })
            .collect();
        let problem = GateProblem { code: "c".to_owned(), detail: None, now: Some(1), refused };
        Answer { status, problem, ..Answer::default() }
    }

    fn kind(verdict: &Verdict) -> &'static str {
        match verdict {
            Verdict::Accepted => "accepted",
            Verdict::Keep { .. } => "keep",
            Verdict::Halve => "halve",
            Verdict::Aside(_) => "aside",
            Verdict::Refused { .. } => "refused",
        }
    }

    #[test]
    fn every_status_has_its_verdict() {
        let cases = [
            // status, of many, of one
            (301, "keep", "keep"),
            (400, "halve", "aside"),
            (401, "keep", "keep"),
            (403, "keep", "keep"),
            (404, "keep", "keep"),
            (405, "keep", "keep"),
            (408, "keep", "keep"),
            (410, "halve", "aside"),
            (413, "halve", "aside"),
            (415, "halve", "aside"),
            (422, "halve", "aside"),
            (429, "keep", "keep"),
            (500, "keep", "keep"),
            (502, "keep", "keep"),
            (503, "keep", "keep"),
        ];
        for (status, many, one) in cases {
            assert_eq!(kind(&judge(&gate(status, &[]), 240)), many, "{status} of many");
            assert_eq!(kind(&judge(&gate(status, &[]), 1)), one, "{status} of one");
        }
    }

    #[test]
    fn only_a_gate_accepts_or_condemns() {
        let bare = |status| Answer { status, ..Answer::default() };
        let cases =
            [(200, 1, "keep"), (400, 1, "keep"), (422, 9, "keep"), (413, 9, "halve"), (413, 1, "keep")];
        for (status, sent, expected) in cases {
            assert_eq!(kind(&judge(&bare(status), sent)), expected, "{status} of {sent}");
            assert!(elsewhere(&bare(status)));
        }
        let accepted = Some(Accepted { accepted: 1, bulletin: Bulletin { now: 1, credential: None } });
        let answer = Answer { accepted, ..bare(202) };
        assert_eq!(judge(&answer, 1), Verdict::Accepted);
        assert!(!elsewhere(&answer) && !elsewhere(&gate(422, &[])) && elsewhere(&gate(503, &[])));
    }

    #[test]
    fn refusals_are_sorted_and_nonsense_is_ignored() {
        let answer =
            gate(422, &[(0, "clock_ahead"), (2, "invalid_snapshot"), (3, "too_old"), (9, "too_old")]);
        let Verdict::Refused { aside, ahead } = judge(&answer, 4) else { panic!("not refused") };
        assert_eq!(ahead, [0]);
        assert_eq!(
            aside.iter().map(|(index, why)| (*index, &*why.code)).collect::<Vec<_>>(),
            [(2, "invalid_snapshot"), (3, "too_old")]
        );
        assert_eq!(judge(&gate(422, &[(9, "too_old")]), 4), Verdict::Halve);
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
        let Verdict::Keep { wait, .. } = judge(&answer, 1) else { panic!("not kept") };
        assert_eq!(wait, Some(Duration::from_secs(7)));
    }
}
