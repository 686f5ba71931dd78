//! Which credential to send. One that a gate offers replaces the old one only once a gate took a report with it: an
//! answer that lies must not lock this server out.

use crate::{answer::Answer, settings::Secret, state::State};

impl State {
    /// The credential for the next request; `None` before the enrolment.
    pub fn bearer(&self) -> Option<&Secret> {
        self.offered.as_ref().filter(|_| !self.back).or(self.credential.as_ref())
    }

    /// Takes note of what came of a request that was sent with [`Self::bearer`]. `true`: send it again, with the other
    /// credential. The refused one is forgotten only when the other is taken, as whoever refuses may be wrong.
    pub fn answered(&mut self, answer: &Answer) -> bool {
        if self.offered.is_none() {
            return false;
        }
        if answer.accepted.is_some() {
            let offered = self.offered.take();
            if !self.back {
                tracing::info!("the suite replaced this server's credential");
                self.credential = offered;
            }
            self.back = false;
        } else if answer.status == 401 {
            self.back = !self.back;
            return self.back;
        }
        false
    }

    /// Keeps the credential of a bulletin for the next request, if it can be one of this server's.
    pub fn offer(&mut self, text: &str) {
        let own = self.server_id.as_deref().is_some_and(|id| shaped(text, id));
        if own && self.credential.as_ref().is_some_and(|credential| credential.expose() != text) {
            (self.offered, self.back) = (Some(Secret::new(text)), false);
        }
    }
}

/// Whether this is `kid.server_id.generation.mac`, of this server.
fn shaped(text: &str, server_id: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    let [kid, server, generation, mac] = parts[..] else { return false };
    let base64url = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    kid.len() == 8
        && kid.bytes().all(|byte| byte.is_ascii_hexdigit())
        && server == server_id
        // A number alone would let a sign pass.
        && generation.bytes().all(|byte| byte.is_ascii_digit())
        && generation.parse::<u32>().is_ok()
        && mac.len() == 43
        && mac.bytes().all(base64url)
}

#[cfg(test)]
mod tests {
    use fleet::{AgentKey, Keyring, ServerId};
    use wire::v1::{Accepted, Bulletin};

    use super::*;

    fn server() -> ServerId {
        ServerId::new(1_790_000_000_000, [3; 10])
    }

    fn issued(key: u8) -> String {
        Keyring::new(AgentKey::new(&[key; 32]).unwrap(), None).issue(server(), 7)
    }

    fn enrolled() -> State {
        let credential = Some(Secret::new("old"));
        State { server_id: Some(server().to_string()), credential, ..State::default() }
    }

    fn taken() -> Answer {
        let accepted = Some(Accepted { accepted: 1, bulletin: Bulletin { now: 1, ..Bulletin::default() } });
        Answer { status: 202, accepted, ..Answer::default() }
    }

    fn answer(status: u16) -> Answer {
        Answer { status, ..Answer::default() }
    }

    fn sent(state: &State) -> &str {
        state.bearer().unwrap().expose()
    }

    #[test]
    fn nothing_but_a_credential_of_this_server_is_kept() {
        let good = issued(1);
        let parts: Vec<&str> = good.split('.').collect();
        let with = |index: usize, part: &str| {
            let mut parts = parts.clone();
            parts[index] = part;
            parts.join(".")
        };
        let other = ServerId::new(1_790_000_000_000, [4; 10]).to_string();
        let mac = parts[3];
        let bad = [
            String::new(),
            "replaced".to_owned(),
            with(0, "0123456"),
            with(0, "0123456g"),
            with(1, &other),
            with(1, ""),
            with(2, ""),
            with(2, "+7"),
            with(2, "-7"),
            with(2, "4294967296"),
            with(3, &mac[1..]),
            with(3, &format!("{mac}A")),
            with(3, &format!("{}=", &mac[1..])),
            with(3, &format!("{}\n", &mac[1..])),
            format!("{good}."),
            format!(" {good}"),
            format!("{good}\r\nx: y"),
        ];
        for text in bad {
            let mut state = enrolled();
            state.offer(&text);
            assert_eq!(state, enrolled(), "{text:?}");
        }
        let mut state = enrolled();
        state.offer(&good);
        assert_eq!(sent(&state), good);
    }

    #[test]
    fn an_offered_one_replaces_the_old_once_it_was_taken() {
        let mut state = enrolled();
        state.offer(&issued(1));
        for status in [413, 422, 429, 503] {
            assert!(!state.answered(&answer(status)));
        }
        assert_eq!((state.credential.as_ref().unwrap().expose(), sent(&state)), ("old", &*issued(1)));
        assert!(!state.answered(&taken()));
        assert_eq!(state.credential, Some(Secret::new(issued(1))));
        assert_eq!(state.offered, None);
        assert!(!state.answered(&answer(401)), "there is no other");
    }

    #[test]
    fn a_forged_one_costs_one_attempt() {
        let mut state = enrolled();
        state.offer(&issued(9));
        assert!(state.answered(&answer(401)), "again, with the old one");
        assert_eq!(sent(&state), "old");
        assert!(!state.answered(&answer(503)));
        assert_eq!(sent(&state), "old", "not the forged one again");
        assert!(!state.answered(&taken()));
        assert_eq!(state, enrolled());
    }

    #[test]
    fn a_refusal_of_both_forgets_neither() {
        let mut state = enrolled();
        state.offer(&issued(1));
        assert!(state.answered(&answer(401)));
        assert!(!state.answered(&answer(401)), "not for ever");
        assert_eq!(sent(&state), issued(1));
        state.answered(&taken());
        assert_eq!(sent(&state), issued(1));
    }

    #[test]
    fn the_release_before_this_finds_the_credential_that_is_known_to_serve() {
        let mut state = enrolled();
        state.offer(&issued(1));
        let file = serde_json::to_value(&state).unwrap();
        assert_eq!((&file["credential"], &file["offered"]), (&"old".into(), &issued(1).into()));
        let text = r#"{"credential":"old","server_id":"s"}"#;
        let before: State = serde_json::from_str(text).unwrap();
        assert_eq!(sent(&before), "old");
    }
}
