//! What the hand began, and what became of it. It is written before anything is done: what is not in it was never done, and
//! what is in it is never done again.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::fd::AsFd,
    path::Path,
};

use fleet::{Millis, id::OrderId, order::Order};
use rustix::fs::FallocateFlags;
use serde::{Deserialize, Serialize};
use wire::v1::OrderResult;

use crate::files;

const FILE: &str = "journal.jsonl";
/// So much room there must be before anything is begun: for its beginning and for its result.
const ROOM: u64 = 16 * 1_024;
/// Entries of earlier boots are kept for as long as anybody may still ask for them.
const KEPT: Millis = 48 * 3_600_000;
const MINUTE: Millis = 60_000;
const HOUR: Millis = 3_600_000;
/// Most orders that are begun within a minute, and within an hour.
const RATE: [(Millis, usize); 2] = [(MINUTE, 6), (HOUR, 60)];

/// When something is journalled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// The boot's id.
    pub boot: String,
    /// Time since that boot: no clock that is set changes it.
    pub up: Millis,
    /// Unix ms.
    pub at: Millis,
}

/// That an order is about to be carried out.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Begun {
    order: OrderId,
    #[serde(flatten)]
    moment: Moment,
    kind: String,
    target: String,
    #[serde(default)]
    dry_run: bool,
    by: String,
    reason: String,
    keys: Vec<String>,
}

/// A line.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Entry {
    Begun(Begun),
    Result(OrderResult),
}

/// The open journal. Nobody else has it open.
#[derive(Debug)]
pub struct Journal {
    file: File,
    /// How long it is when every line is whole.
    length: u64,
    begun: HashSet<OrderId>,
    results: HashMap<OrderId, OrderResult>,
    /// When orders were begun in this boot, by the time since it.
    beginnings: Vec<Millis>,
}

impl Drop for Journal {
    /// The lock is of the open file, which a child has too until it runs its own program; so closing here alone is not enough.
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

impl Journal {
    /// Opens the journal of this folder, which is made if need be. What was begun and has no result gets the result `unknown`.
    ///
    /// # Errors
    /// It cannot be read, or not written: then nothing may be done.
    pub fn open(dir: &Path, now: &Moment) -> io::Result<Self> {
        files::make_dir(dir)?;
        let path = dir.join(FILE);
        let mut file =
            files::private(OpenOptions::new().create(true).truncate(false).read(true).append(true))
                .open(&path)?;
        file.try_lock()?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        // A line without its end was not synced: what it says had not begun.
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let entries: Vec<Entry> = text[..whole]
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(serde_json::from_slice)
            .collect::<Result<_, _>>()?;
        let kept = kept(&entries, now);
        let length = if kept.len() < entries.len() {
            // The new file is locked before it takes the place of the old one.
            let new = dir.join("journal.new");
            match fs::remove_file(&new) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => file = files::private(OpenOptions::new().create_new(true).append(true)).open(&new)?,
            }
            file.try_lock()?;
            let lines: Vec<u8> = kept.iter().map(line).collect::<io::Result<Vec<_>>>()?.concat();
            file.write_all(&lines)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            lines.len() as u64
        } else {
            file.set_len(whole as u64)?;
            whole as u64
        };
        File::open(dir)?.sync_all()?;
        let mut journal =
            Self { file, length, begun: HashSet::new(), results: HashMap::new(), beginnings: Vec::new() };
        kept.into_iter().for_each(|entry| journal.learn(entry, now));
        journal.give_up(now)?;
        Ok(journal)
    }

    /// What became of an order that was begun.
    pub fn result(&self, order: OrderId) -> Option<&OrderResult> {
        self.results.get(&order)
    }

    /// Whether one more may be begun.
    pub fn may_begin(&self, now: &Moment) -> bool {
        RATE.iter()
            .all(|(within, most)| self.beginnings.iter().filter(|up| now.up - **up < *within).count() < *most)
    }

    /// Takes down that an order is about to be carried out. It returns once that is on the disk.
    ///
    /// # Errors
    /// It is not: nothing may be done.
    pub fn begin(
        &mut self,
        order: &Order,
        target: String,
        keys: Vec<String>,
        now: &Moment,
    ) -> io::Result<()> {
        match rustix::fs::fallocate(self.file.as_fd(), FallocateFlags::KEEP_SIZE, self.length, ROOM) {
            // Not every file system can promise room.
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
        let entry = Entry::Begun(Begun {
            order: order.id,
            moment: now.clone(),
            kind: order.kind().to_string(),
            target,
            dry_run: order.dry_run,
            by: order.by.clone(),
            reason: order.reason.clone(),
            keys,
        });
        self.append(&entry)?;
        self.learn(entry, now);
        Ok(())
    }

    /// Takes down what became of it. What cannot be written is known until this process ends, and `unknown` afterwards.
    pub fn conclude(&mut self, result: &OrderResult) {
        let entry = Entry::Result(result.clone());
        if let Err(error) = self.append(&entry) {
            tracing::error!(%error, order = result.order, "cannot journal what became of an order");
        }
        if let Ok(order) = result.order.parse() {
            self.results.insert(order, result.clone());
        }
    }

    fn append(&mut self, entry: &Entry) -> io::Result<()> {
        let line = line(entry)?;
        let written = self.file.write_all(&line).and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => self.length += line.len() as u64,
            // Half a line would spoil the one after it.
            Err(_) => self.file.set_len(self.length)?,
        }
        written
    }

    fn learn(&mut self, entry: Entry, now: &Moment) {
        match entry {
            Entry::Begun(begun) => {
                self.begun.insert(begun.order);
                if begun.moment.boot == now.boot {
                    self.beginnings.push(begun.moment.up);
                }
            }
            Entry::Result(result) => {
                if let Ok(order) = result.order.parse() {
                    self.results.insert(order, result);
                }
            }
        }
    }

    /// What an earlier process began and did not conclude.
    fn give_up(&mut self, now: &Moment) -> io::Result<()> {
        let open: Vec<OrderId> =
            self.begun.iter().filter(|order| !self.results.contains_key(order)).copied().collect();
        for order in open {
            tracing::warn!(%order, "an order was begun, and nobody knows what became of it: it is not repeated");
            let result = OrderResult {
                order: order.to_string(),
                state: "unknown".to_owned(),
                detail: Some("the hand ended after it had begun; it is not repeated".to_owned()),
                at: now.at,
                ..OrderResult::default()
            };
            self.append(&Entry::Result(result.clone()))?;
            self.results.insert(order, result);
        }
        Ok(())
    }
}

fn line(entry: &Entry) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(entry)?;
    line.push(b'\n');
    Ok(line)
}

/// All of this boot, as an order of it may come again at any time; of others what is recent.
fn kept(entries: &[Entry], now: &Moment) -> Vec<Entry> {
    let old = |moment: &Moment| moment.boot != now.boot && (now.at - moment.at).abs() > KEPT;
    let gone: HashSet<String> = entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Begun(begun) if old(&begun.moment) => Some(begun.order.to_string()),
            _ => None,
        })
        .collect();
    let is_kept = |entry: &&Entry| match entry {
        Entry::Begun(begun) => !old(&begun.moment),
        Entry::Result(result) => !gone.contains(&result.order),
    };
    entries.iter().filter(is_kept).cloned().collect()
}

#[cfg(test)]
mod tests {
    use fleet::{ServerId, order::Wish};
    use wire::v1::ProcessTarget;

    use super::*;

    const T0: Millis = 1_790_000_000_000;

    fn moment(boot: &str, up: Millis) -> Moment {
        Moment { boot: boot.to_owned(), up, at: T0 + up }
    }

    fn order(number: u8) -> Order {
        Order {
            id: OrderId::new(T0, [number; 10]),
            server: ServerId::new(T0, [9; 10]),
            boot: "a".to_owned(),
            wish: Wish::Signal(
                fleet::order::Kind::Kill,
                ProcessTarget { pid: 7, ..ProcessTarget::default() },
            ),
            dry_run: false,
            not_after: T0 + HOUR,
            by: "ann".to_owned(),
            reason: "why\n".to_owned(),
        }
    }

    fn done(number: u8) -> OrderResult {
        OrderResult {
            order: order(number).id.to_string(),
            state: "done".to_owned(),
            ..OrderResult::default()
        }
    }

    fn begin(journal: &mut Journal, number: u8, now: &Moment) {
        journal.begin(&order(number), "7".to_owned(), vec!["suite".to_owned()], now).unwrap();
    }

    #[test]
    fn what_was_begun_without_a_result_is_unknown_and_stays_so() {
        let dir = testkit::tempdir().unwrap();
        let now = moment("a", 5);
        let mut journal = Journal::open(dir.path(), &now).unwrap();
        begin(&mut journal, 1, &now);
        journal.conclude(&done(1));
        begin(&mut journal, 2, &now);
        drop(journal);
        for _ in 0..2 {
            let journal = Journal::open(dir.path(), &now).unwrap();
            assert_eq!(journal.result(order(1).id).unwrap().state, "done");
            assert_eq!(journal.result(order(2).id).unwrap().state, "unknown");
            assert!(journal.result(order(3).id).is_none());
        }
    }

    #[test]
    fn cut_at_any_byte_it_never_forgets_what_was_begun_whole() {
        let dir = testkit::tempdir().unwrap();
        let now = moment("a", 5);
        let mut journal = Journal::open(dir.path(), &now).unwrap();
        begin(&mut journal, 1, &now);
        let first = journal.length as usize;
        journal.conclude(&done(1));
        drop(journal);
        let text = fs::read(dir.path().join(FILE)).unwrap();
        for cut in 0..=text.len() {
            fs::write(dir.path().join(FILE), &text[..cut]).unwrap();
            let mut journal = Journal::open(dir.path(), &now).unwrap();
            let state = journal.result(order(1).id).map(|result| result.state.clone());
            let wanted = if cut < first {
                None
            } else if cut < text.len() {
                Some("unknown")
            } else {
                Some("done")
            };
            assert_eq!(state.as_deref(), wanted, "cut at {cut}");
            begin(&mut journal, 2, &now);
            drop(journal);
            assert!(Journal::open(dir.path(), &now).unwrap().result(order(2).id).is_some(), "cut at {cut}");
        }
    }

    #[test]
    fn garbage_between_lines_lets_nothing_be_done() {
        let dir = testkit::tempdir().unwrap();
        for garbage in ["nonsense\n", "{\"begun\":{}}\n", "{}\n{\"result\":7}\n"] {
            fs::write(dir.path().join(FILE), garbage).unwrap();
            assert!(Journal::open(dir.path(), &moment("a", 5)).is_err(), "{garbage}");
        }
    }

    #[test]
    fn six_a_minute_and_sixty_an_hour_are_begun_whatever_the_clock_says() {
        let dir = testkit::tempdir().unwrap();
        let mut journal = Journal::open(dir.path(), &moment("a", 0)).unwrap();
        let mut number = 0;
        let mut begun = 0;
        // Each second of an hour one is asked for, while the clock is set back again and again.
        for second in 0..3_600 {
            let now = Moment { at: T0 - 1_000_000 * second, ..moment("a", second * 1_000) };
            if journal.may_begin(&now) {
                number += 1;
                begin(&mut journal, number, &now);
                begun += 1;
            }
            if second == 59 {
                assert_eq!(begun, 6);
            }
        }
        assert_eq!(begun, 60);
        drop(journal);
        assert!(
            !Journal::open(dir.path(), &moment("a", HOUR - 1)).unwrap().may_begin(&moment("a", HOUR - 1))
        );
        assert!(Journal::open(dir.path(), &moment("b", 0)).unwrap().may_begin(&moment("b", 0)));
    }

    #[test]
    fn what_earlier_boots_began_goes_after_two_days_and_what_this_one_began_never() {
        let dir = testkit::tempdir().unwrap();
        let mut journal = Journal::open(dir.path(), &moment("a", 0)).unwrap();
        begin(&mut journal, 1, &moment("a", 0));
        journal.conclude(&done(1));
        begin(&mut journal, 2, &moment("a", KEPT));
        drop(journal);
        let seen = |now: &Moment| {
            let journal = Journal::open(dir.path(), now).unwrap();
            [1, 2].map(|number| journal.result(order(number).id).is_some())
        };
        assert_eq!(seen(&moment("a", 2 * KEPT)), [true, true]);
        assert_eq!(seen(&moment("b", KEPT + 1)), [false, true]);
        assert_eq!(seen(&moment("b", 2 * KEPT + 1)), [false, false]);
        assert_eq!(fs::read(dir.path().join(FILE)).unwrap(), b"");
    }

    #[test]
    fn two_hands_never_share_a_journal() {
        let dir = testkit::tempdir().unwrap();
        let first = Journal::open(dir.path(), &moment("a", 0)).unwrap();
        assert!(Journal::open(dir.path(), &moment("a", 0)).is_err());
        drop(first);
        assert!(Journal::open(dir.path(), &moment("a", 0)).is_ok());
    }
}
