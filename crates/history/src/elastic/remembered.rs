//! What was read of past days, so that a server whose stretches overlap, or a day that a release before wrote, is not
//! read at every question.

use std::collections::HashMap;

use fleet::{ServerId, uptime::Piece};

use super::chain::Sums;

/// Most pieces that are remembered, some 16 MiB. When there are more, everything is forgotten and read again.
const MOST: usize = 1_000_000;

/// The unions of what servers vouch for in a day, each with the sums that it was read for: documents are never
/// changed, so with the same sums it is the same union.
#[derive(Default)]
pub struct Remembered {
    days: HashMap<(i64, ServerId), (Sums, Vec<Piece>)>,
    pieces: usize,
}

impl Remembered {
    /// The pieces of a day, the latest first, if nothing has come since they were read.
    pub fn get(&self, day: i64, server: ServerId, sums: &Sums) -> Option<Vec<Piece>> {
        let (then, pieces) = self.days.get(&(day, server))?;
        (then == sums).then(|| pieces.clone())
    }

    /// Remembers the pieces of a day.
    pub fn put(&mut self, day: i64, server: ServerId, sums: Sums, pieces: Vec<Piece>) {
        if self.pieces + pieces.len() >= MOST {
            *self = Self::default();
        }
        // One more for the entry itself.
        self.pieces += pieces.len() + 1;
        if let Some((_, before)) = self.days.insert((day, server), (sums, pieces)) {
            self.pieces -= before.len() + 1;
        }
    }

    /// Forgets the days before this one.
    pub fn forget(&mut self, day: i64) {
        self.days.retain(|(of, _), _| *of >= day);
        self.pieces = self.days.values().map(|(_, pieces)| pieces.len() + 1).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_knows_what_is_unchanged_and_stays_within_its_bounds() {
        let sums = |count: i64| -> Sums {
            let none = serde_json::json!({"value": 0.0});
            serde_json::from_value(serde_json::json!({
                "doc_count": count, "linked": none, "links": none, "covers": none, "from": none, "at": none,
            }))
            .unwrap()
        };
        let server = |n| ServerId::new(1, [n; 10]);
        let pieces = vec![Piece { from: 1, to: 2 }; MOST / 4];
        let mut remembered = Remembered::default();
        remembered.put(3, server(1), sums(7), pieces.clone());
        assert_eq!(remembered.get(3, server(1), &sums(7)), Some(pieces.clone()));
        assert_eq!(remembered.get(3, server(1), &sums(8)), None);
        assert_eq!(remembered.get(4, server(1), &sums(7)), None);
        for count in 8..30 {
            remembered.put(3, server(1), sums(count), pieces.clone());
        }
        assert_eq!(remembered.pieces, MOST / 4 + 1);
        for n in 2..20 {
            remembered.put(4, server(n), sums(1), pieces.clone());
            assert!(remembered.pieces < MOST);
        }
        assert_eq!(remembered.get(4, server(19), &sums(1)), Some(pieces));
        remembered.forget(5);
        assert_eq!((remembered.pieces, remembered.days.len()), (0, 0));
    }
}
