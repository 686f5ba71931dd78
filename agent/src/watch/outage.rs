//! What this agent tells of an outage of the suite, and how far it got. Pure; it is part of the state file, so that no crash makes
//! it say anything twice.

use fleet::{Millis, alert::verdict::Verdict};
use serde::{Deserialize, Serialize};

/// A recovery that nobody could be told of for so long is not told any more.
const RECOVERY_LASTS: Millis = 24 * 3_600_000;

/// An outage that lasted long enough to be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outage {
    /// Names it in messages. A message that is tried again has the same name.
    pub id: String,
    /// When the first attempt failed, by this agent's stamps.
    pub since: Millis,
    pub stage: Stage,
    /// Attempts to send what is to be said now.
    #[serde(default)]
    pub attempts: u32,
    /// When the suite answered again.
    #[serde(default)]
    pub over_at: Option<Millis>,
}

/// How far it got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stage {
    /// To be told.
    Alert,
    /// Being told: written before anything is sent.
    Alerting,
    /// Told, or perhaps told.
    Told,
    /// The receiver refuses it.
    Refused,
    /// That it is over is to be told.
    Recovery,
    /// That it is over is being told.
    Recovering,
}

impl Outage {
    pub fn new(id: String, since: Millis) -> Self {
        Self { id, since, stage: Stage::Alert, attempts: 0, over_at: None }
    }

    /// Whether something is to be sent, and not on its way.
    pub fn waits(&self) -> bool {
        matches!(self.stage, Stage::Alert | Stage::Recovery)
    }

    /// Whether what is said is that it is over.
    pub fn ends(&self) -> bool {
        matches!(self.stage, Stage::Recovery | Stage::Recovering)
    }

    /// What waits is about to be sent.
    pub fn claim(self) -> Self {
        let stage = match self.stage {
            Stage::Alert => Stage::Alerting,
            Stage::Recovery => Stage::Recovering,
            other => other,
        };
        Self { stage, attempts: self.attempts.saturating_add(1), ..self }
    }

    /// What became of what was sent. `None`: nothing is left to say.
    pub fn settled(self, verdict: &Verdict) -> Option<Self> {
        let stage = match (self.stage, verdict) {
            (Stage::Alerting, Verdict::NotSent(_) | Verdict::Blocked { .. }) => Stage::Alert,
            (Stage::Alerting, Verdict::Sent { .. } | Verdict::Unknown(_)) => Stage::Told,
            (Stage::Alerting, Verdict::Failed { .. }) => Stage::Refused,
            (Stage::Recovering, Verdict::NotSent(_) | Verdict::Blocked { .. }) => Stage::Recovery,
            (Stage::Recovering, _) => return None,
            (other, _) => other,
        };
        let attempts = if matches!(stage, Stage::Alert | Stage::Recovery) { self.attempts } else { 0 };
        Some(Self { stage, attempts, ..self })
    }

    /// The suite answers. Who was told of the outage is told of its end; what nobody was told of is nothing.
    pub fn answered(self, now: Millis) -> Option<Self> {
        match self.stage {
            Stage::Alert | Stage::Refused => None,
            Stage::Told => Some(Self { stage: Stage::Recovery, attempts: 0, over_at: Some(now), ..self }),
            Stage::Recovery if self.over_at.is_some_and(|at| now - at > RECOVERY_LASTS) => None,
            Stage::Alerting | Stage::Recovery | Stage::Recovering => Some(self),
        }
    }

    /// The suite is away again before its recovery was told: so it is the same outage.
    pub fn lost_again(self) -> Self {
        match self.stage {
            Stage::Recovery => Self { stage: Stage::Told, attempts: 0, over_at: None, ..self },
            _ => self,
        }
    }

    /// As an agent finds it that starts: what was on its way then may have been sent, and is never sent again.
    pub fn found(self) -> Option<Self> {
        match self.stage {
            Stage::Alerting => Some(Self { stage: Stage::Told, attempts: 0, ..self }),
            Stage::Recovering => None,
            _ => Some(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(stage: Stage) -> Outage {
        Outage { stage, ..Outage::new("id".to_owned(), 5) }
    }

    fn stage(outage: Option<Outage>) -> Option<Stage> {
        outage.map(|outage| outage.stage)
    }

    fn verdicts() -> [Verdict; 5] {
        let reason = String::new;
        [
            Verdict::Sent { pause: None },
            Verdict::NotSent(reason()),
            Verdict::Blocked { wait: 1, reason: reason() },
            Verdict::Failed { reason: reason(), disables: false },
            Verdict::Unknown(reason()),
        ]
    }

    #[test]
    fn only_what_certainly_was_not_sent_is_sent_again() {
        let alert = verdicts().map(|verdict| stage(at(Stage::Alert).claim().settled(&verdict)));
        assert_eq!(alert, [Stage::Told, Stage::Alert, Stage::Alert, Stage::Refused, Stage::Told].map(Some));
        let recovery = verdicts().map(|verdict| stage(at(Stage::Recovery).claim().settled(&verdict)));
        assert_eq!(recovery, [None, Some(Stage::Recovery), Some(Stage::Recovery), None, None]);
    }

    #[test]
    fn what_was_on_its_way_at_a_crash_is_never_sent_again() {
        let found = |at: Outage| stage(at.claim().found());
        assert_eq!((found(at(Stage::Alert)), found(at(Stage::Recovery))), (Some(Stage::Told), None));
        assert_eq!(
            stage(at(Stage::Alert).found()),
            Some(Stage::Alert),
            "what was not yet on its way is sent"
        );
    }

    #[test]
    fn a_recovery_is_told_to_whoever_was_told_of_the_outage() {
        let answered = |of| stage(at(of).answered(9));
        assert_eq!(answered(Stage::Told), Some(Stage::Recovery));
        assert_eq!([answered(Stage::Alert), answered(Stage::Refused)], [None; 2]);
        assert_eq!(answered(Stage::Alerting), Some(Stage::Alerting), "once it is known what became of it");
        let late = at(Stage::Told).answered(9).unwrap();
        assert_eq!(stage(late.clone().answered(9 + RECOVERY_LASTS)), Some(Stage::Recovery));
        assert_eq!(stage(late.clone().answered(10 + RECOVERY_LASTS)), None);
        assert_eq!(late.lost_again(), at(Stage::Told));
    }

    #[test]
    fn attempts_are_of_one_message() {
        let not_sent = Verdict::NotSent(String::new());
        let twice = at(Stage::Alert).claim().settled(&not_sent).unwrap().claim();
        assert_eq!(twice.attempts, 2);
        let told = twice.settled(&Verdict::Sent { pause: None }).unwrap();
        assert_eq!(told.answered(9).unwrap().claim().attempts, 1);
    }

    #[test]
    fn a_state_file_reads_as_it_was_written() {
        let outage = at(Stage::Recovering);
        let text = serde_json::to_string(&outage).unwrap();
        assert_eq!(serde_json::from_str::<Outage>(&text).unwrap(), outage);
    }
}
