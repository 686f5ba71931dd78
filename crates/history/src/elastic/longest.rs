//! The longest gap of each server, from sums over the snapshots of a stretch. One search asks for many servers.

use std::collections::{BTreeMap, HashMap};

use fleet::{Millis, ServerId, retention::DAY, uptime::Piece};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Elastic,
    read::{Ask, Buckets, Number, PAGE},
};
use crate::{
    HistoryError,
    longest::{Longest, Question, Stretch},
};

/// Most stretches in the answer to one search, and in one request of several searches. By default Elasticsearch
/// answers a search with at most 65,536 buckets.
const MOST_STRETCHES: usize = 30_000;

/// How many days may have an index besides those that are kept.
const SPARE_DAYS: usize = 8;

/// Servers about which the same is asked, with the indices of their questions.
type Askers = BTreeMap<ServerId, Vec<usize>>;

#[derive(Deserialize)]
struct Found {
    sampled: Buckets<Sampled>,
}

#[derive(Deserialize)]
struct Sampled {
    vouching: Option<Buckets<Vouching>>,
}

#[derive(Deserialize)]
struct Vouching {
    stretches: Option<Buckets<Bucket>>,
}

#[derive(Deserialize)]
struct Bucket {
    doc_count: i64,
    covers: Number,
    from: Number,
    last_from: Number,
    at: Number,
    last_at: Number,
}

impl Elastic {
    /// See [`crate::History::longest_gaps`].
    pub async fn longest_gaps(
        &self,
        asked: &[(ServerId, Vec<Piece>)],
    ) -> Result<Vec<Option<Piece>>, HistoryError> {
        let _open = self.under_way().await?;
        let mut longest = Longest::new(asked);
        let first = longest.questions().iter().map(|question| question.first).min();
        let last = longest.questions().iter().map(Question::last).max();
        if let (Some(first), Some(last)) = (first, last) {
            self.refresh(&self.0.layout.indices(first, last)).await?;
        }
        while !longest.questions().is_empty() {
            let found = self.stretches(longest.questions()).await?;
            longest.answer(found);
        }
        Ok(longest.finish())
    }

    async fn stretches(&self, questions: &[Question]) -> Result<Vec<(usize, Stretch)>, HistoryError> {
        let mut alike: HashMap<(Millis, Millis, Millis), (Question, Askers)> = HashMap::new();
        for (position, question) in questions.iter().enumerate() {
            let Question { server, first, length, width } = *question;
            let (_, askers) =
                alike.entry((first, length, width)).or_insert_with(|| (*question, Askers::new()));
            askers.entry(server).or_default().push(position);
        }
        let (mut asks, mut of, mut expected, mut found) = (Vec::new(), Vec::new(), 0, Vec::new());
        for (question, askers) in alike.values() {
            let each = self.most_stretches(question);
            let servers: Vec<ServerId> = askers.keys().copied().collect();
            for servers in servers.chunks((MOST_STRETCHES / each).clamp(1, PAGE)) {
                let indices = self.0.layout.indices(question.first, question.last());
                asks.push(Ask { indices, servers: servers.to_vec(), aggregations: aggregations(question) });
                of.push(askers);
                expected += each * servers.len();
                if expected >= MOST_STRETCHES {
                    self.stretches_of(&asks, &of, &mut found).await?;
                    (asks, of, expected) = (Vec::new(), Vec::new(), 0);
                }
            }
        }
        self.stretches_of(&asks, &of, &mut found).await?;
        Ok(found)
    }

    async fn stretches_of(
        &self,
        asks: &[Ask],
        of: &[&Askers],
        found: &mut Vec<(usize, Stretch)>,
    ) -> Result<(), HistoryError> {
        for (askers, answers) in of.iter().zip(self.ask::<Found>(asks).await?) {
            for (server, answer) in answers {
                for position in askers.get(&server).into_iter().flatten() {
                    found.extend(answer.stretches().map(|stretch| (*position, stretch)));
                }
            }
        }
        Ok(())
    }

    /// How many stretches a server can have in the answer to this question; of a long span only those of days that
    /// are kept.
    fn most_stretches(&self, question: &Question) -> usize {
        let most = usize::try_from(question.length / question.width).unwrap_or(usize::MAX);
        if question.width < DAY { most } else { most.min(usize::from(self.0.days) + SPARE_DAYS) }
    }
}

/// The aggregation of one question. Snapshots that cover no time are left out, since they do not divide a gap.
fn aggregations(question: &Question) -> Value {
    let sampled = json!({"field": "sampled_at", "ranges": [{"from": question.first, "to": question.last().saturating_add(1)}]});
    let stretches = json!({
        "histogram": {"field": "sampled_at", "interval": question.width, "min_doc_count": 1},
        "aggs": {
            "covers": {"sum": {"field": "covers"}},
            "from": {"min": {"field": "from"}},
            "last_from": {"max": {"field": "from"}},
            "at": {"min": {"field": "sampled_at"}},
            "last_at": {"max": {"field": "sampled_at"}},
        },
    });
    let vouching =
        json!({"range": {"field": "covers", "ranges": [{"from": 1}]}, "aggs": {"stretches": stretches}});
    json!({"sampled": {"range": sampled, "aggs": {"vouching": vouching}}})
}

impl Found {
    fn stretches(&self) -> impl Iterator<Item = Stretch> {
        let vouching = self.sampled.buckets.iter().filter_map(|sampled| sampled.vouching.as_ref());
        let stretches =
            vouching.flat_map(|found| &found.buckets).filter_map(|found| found.stretches.as_ref());
        stretches.flat_map(|found| &found.buckets).map(Bucket::stretch)
    }
}

impl Bucket {
    fn stretch(&self) -> Stretch {
        Stretch {
            count: self.doc_count,
            covers: self.covers.whole(),
            from: [self.from.whole(), self.last_from.whole()],
            at: [self.at.whole(), self.last_at.whole()],
        }
    }
}
