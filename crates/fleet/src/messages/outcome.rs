//! What a host says became of an order.

use serde::Serialize;

use wire::v1::{OrderResult, ResultRecord};

use crate::{
    Millis, ServerId,
    id::OrderId,
    snapshot::MAX_TIME,
    text::{MAX_TEXT_BYTES, clean},
};

/// What a host says of an order, and what the gate knows about who says so. It is written as [`ResultRecord`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Who says so, by its credential.
    #[serde(rename = "server_id")]
    pub server: ServerId,
    /// Generation of that credential.
    pub generation: u32,
    /// The gate's clock at arrival.
    pub received_at: Millis,
    /// What it says.
    pub result: HostResult,
}

/// A result that was checked: its order is an id, its state one of [`Ended`], its texts are short and printable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct HostResult {
    result: OrderResult,
    #[serde(skip)]
    order: OrderId,
    #[serde(skip)]
    ended: Ended,
}

/// How an order ended on its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was carried out.
    Done,
    /// Nothing was done, by a check or by what the host's owner allows.
    Refused,
    /// It was tried.
    Failed,
    /// The host cannot tell whether it was done; it never does it again.
    Unknown,
}

impl Ended {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Done, Self::Refused, Self::Failed, Self::Unknown];

    /// As the wire spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

impl HostResult {
    /// Checks what a host sent. Texts that are too long are cut: a host keeps what is refused, and would send it for ever.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn check(mut result: OrderResult) -> Result<Self, String> {
        let order = result.order.parse().map_err(|error| format!("order: {error}"))?;
        let ended = Ended::ALL.into_iter().find(|ended| ended.as_str() == result.state);
        let ended = ended.ok_or("state must be done, refused, failed or unknown")?;
        if !(0..=MAX_TIME).contains(&result.at) {
            return Err("at is no time".to_owned());
        }
        let unit =
            result.unit.iter_mut().flat_map(|unit| [&mut unit.active, &mut unit.sub, &mut unit.result]);
        for text in result.code.iter_mut().chain(&mut result.detail).chain(unit) {
            shorten(text);
        }
        Ok(Self { result, order, ended })
    }

    /// Which order.
    pub fn order(&self) -> OrderId {
        self.order
    }

    /// How it ended.
    pub fn ended(&self) -> Ended {
        self.ended
    }

    /// As it is on the wire.
    pub fn as_wire(&self) -> &OrderResult {
        &self.result
    }
}

impl Outcome {
    /// Checks what a queue held.
    pub(super) fn check(record: ResultRecord) -> Result<Self, String> {
        let ResultRecord { server_id, generation, received_at, result } = record;
        if !(0..=MAX_TIME).contains(&received_at) {
            return Err("received_at is no time".to_owned());
        }
        let server = server_id.parse().map_err(|error| format!("server_id: {error}"))?;
        Ok(Self { server, generation, received_at, result: HostResult::check(result)? })
    }

    /// About how many bytes of memory it takes.
    pub(super) fn weight(&self) -> usize {
        let OrderResult { order, state, code, detail, unit, .. } = &self.result.result;
        let unit = unit.iter().map(|unit| unit.active.len() + unit.sub.len() + unit.result.len());
        let texts = [code, detail].into_iter().flatten().map(String::len);
        size_of::<Self>() + order.len() + state.len() + texts.chain(unit).sum::<usize>()
    }
}

fn shorten(text: &mut String) {
    text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
    // One byte for one byte; cleaning makes it visible.
    *text = text.replace('\0', "\u{1}");
    if clean(text).is_err() {
        text.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "01a0c450-6c00-7303-8303-030303030303";

    fn result(state: &str, detail: String) -> OrderResult {
        let (order, state, detail) = (ID.to_owned(), state.to_owned(), Some(detail));
        OrderResult { order, state, detail, at: 7, ..OrderResult::default() }
    }

    #[test]
    fn what_is_no_result_is_refused() {
        assert_eq!(HostResult::check(result("done", String::new())).unwrap().ended(), Ended::Done);
        for wrong in [
            result("pending", String::new()),
            OrderResult { order: "7".to_owned(), ..result("done", String::new()) },
            OrderResult { at: -1, ..result("done", String::new()) },
            OrderResult { at: i64::MAX, ..result("done", String::new()) },
        ] {
            assert!(HostResult::check(wrong.clone()).is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn texts_become_short_and_printable(detail in ".{0,600}", tail in "\0?") {
            let checked = HostResult::check(result("failed", detail + &tail)).unwrap();
            let detail = checked.as_wire().detail.as_deref().unwrap();
            prop_assert!(detail.len() <= MAX_TEXT_BYTES && !detail.contains(char::is_control), "{detail:?}");
            prop_assert_eq!(HostResult::check(checked.as_wire().clone()), Ok(checked.clone()));
        }
    }
}
