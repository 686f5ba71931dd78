//! The samples that the suite does not have yet, on disk, in the order in which they were taken.
//!
//! The spool is a stack: a new sample goes to its end, and packs for the gates are taken from its end, so that the
//! newest are sent first. It consists of segments, which are files of JSON lines, numbered upwards. What a gate took is
//! cut off the end of the last segment. A line without its end is ignored: the sample in it was never counted as held.

mod sample;
mod segment;

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use fleet::{Millis, retention::DAY};

pub(crate) use sample::Sample;
use segment::{Segment, ends_whole, read};

use crate::files;

/// A segment that is larger gets no further line. So much is lost at once when the spool is full, as segments go whole.
const SEGMENT_BYTES: u64 = 128 * 1024;

/// How much a spool may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Most bytes on disk.
    pub bytes: u64,
    /// Greatest age of a sample.
    pub age: Millis,
    /// Most bytes in memory, where samples are while the disk takes nothing.
    pub memory: usize,
}

/// Where in the spool a sample begins. A pack is everything from such a place to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Position {
    Disk { segment: u64, offset: u64 },
    Memory(usize),
}

/// The newest samples of the spool, oldest first, and where they begin.
#[derive(Debug)]
pub(crate) struct Pack {
    pub start: Position,
    pub samples: Vec<Sample>,
}

/// What was lost because the spool was full or its samples too old.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// How many samples.
    pub count: u64,
    /// Greatest `sampled_at` among them.
    pub newest: Option<Millis>,
}

/// The spool of one agent.
#[derive(Debug)]
pub(crate) struct Spool {
    dir: PathBuf,
    bounds: Bounds,
    segments: Vec<Segment>,
    /// The last segment, if lines may be added to it.
    tail: Option<File>,
    /// The samples after those on disk, which the disk did not take.
    memory: Vec<Sample>,
    /// The newest sample of an earlier run of the agent.
    last: Option<Sample>,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { bytes: 256 * 1024 * 1024, age: 7 * DAY, memory: 256 * 1024 }
    }
}

impl Spool {
    /// Opens the folder, making it if need be. The samples in it are counted, and stay on disk.
    pub fn open(dir: &Path, bounds: Bounds) -> io::Result<Self> {
        files::make_dir(dir)?;
        let mut spool = Self {
            dir: dir.to_owned(),
            bounds,
            segments: Vec::new(),
            tail: None,
            memory: Vec::new(),
            last: None,
        };
        let mut ids: Vec<u64> =
            fs::read_dir(dir)?.flatten().filter_map(|entry| id_of(&entry.path())).collect();
        ids.sort_unstable();
        for id in ids {
            let segment = Segment::of(id, &spool.path(id))?;
            if segment.count == 0 {
                fs::remove_file(spool.path(id))?;
                continue;
            }
            spool.segments.push(segment);
        }
        if let Some(last) = spool.segments.last() {
            spool.last = read(&spool.path(last.id))?.pop().map(|(_, sample)| sample);
        }
        Ok(spool)
    }

    /// How many samples it holds.
    pub fn len(&self) -> u64 {
        self.segments.iter().map(|segment| segment.count).sum::<u64>() + self.memory.len() as u64
    }

    /// Whether it holds no sample.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether some samples are in memory, as the disk takes nothing at present.
    pub fn in_memory(&self) -> bool {
        !self.memory.is_empty()
    }

    /// Greatest `sampled_at` that it holds.
    pub fn newest(&self) -> Option<Millis> {
        let on_disk = self.segments.iter().filter_map(|segment| segment.newest).max();
        on_disk.max(self.memory.iter().map(|sample| sample.at).max())
    }

    /// The newest sample of an earlier run of the agent, at the first call.
    pub fn take_last(&mut self) -> Option<Sample> {
        self.last.take()
    }

    /// Adds a sample. It is on disk afterwards or, if the disk takes nothing, in memory (see [`Spool::in_memory`]).
    /// `now` is given when the time is certain; only then are samples dropped for their age.
    pub fn append(&mut self, sample: Sample, now: Option<Millis>) -> (Position, Dropped) {
        while !self.memory.is_empty() {
            let earlier = self.memory.remove(0);
            if self.write(&earlier).is_err() {
                self.memory.insert(0, earlier);
                break;
            }
        }
        let written = if self.memory.is_empty() { self.write(&sample).ok() } else { None };
        let mut dropped = Dropped::default();
        let position = written.unwrap_or_else(|| {
            self.memory.push(sample);
            self.bound_memory(&mut dropped);
            Position::Memory(self.memory.len() - 1)
        });
        self.bound_disk(now, &mut dropped);
        (position, dropped)
    }

    /// The newest samples, at most `most` and at most `bytes`, but never none if the spool holds one.
    pub fn pack(&self, most: usize, bytes: usize) -> io::Result<Option<Pack>> {
        let mut pack = Pack { start: Position::Memory(0), samples: Vec::new() };
        let mut room = bytes;
        let mut put = |sample: Sample, start: Position| {
            let fits = pack.samples.is_empty() || (pack.samples.len() < most && sample.bytes() <= room);
            if fits {
                room = room.saturating_sub(sample.bytes());
                pack.samples.push(sample);
                pack.start = start;
            }
            fits
        };
        // Samples in memory are a pack of their own, so that a pack has one start.
        if !self.memory.is_empty() {
            let mut newest = self.memory.iter().enumerate().rev();
            while newest.next().is_some_and(|(index, sample)| put(sample.clone(), Position::Memory(index))) {}
        } else {
            'all: for segment in self.segments.iter().rev() {
                for (offset, sample) in read(&self.path(segment.id))?.into_iter().rev() {
                    if !put(sample, Position::Disk { segment: segment.id, offset }) {
                        break 'all;
                    }
                }
            }
        }
        pack.samples.reverse();
        Ok(if pack.samples.is_empty() { None } else { Some(pack) })
    }

    /// Removes the pack that begins at `start`, and adds those of its samples that are left.
    pub fn settle(&mut self, start: Position, left: Vec<Sample>) -> io::Result<()> {
        match start {
            Position::Memory(index) => {
                self.memory.truncate(index);
                self.memory.extend(left);
                Ok(())
            }
            Position::Disk { segment, offset } => self.settle_disk(segment, offset, &left),
        }
    }

    /// Hands each sample before `end` to `change`, oldest first, which answers whether it changed it. Returns where the
    /// same end is afterwards, as lines may have become longer or shorter.
    pub fn revise(
        &mut self,
        end: Position,
        mut change: impl FnMut(&mut Sample) -> bool,
    ) -> io::Result<Position> {
        let mut end = end;
        for index in 0..self.segments.len() {
            let id = self.segments[index].id;
            let stop = match end {
                Position::Disk { segment, .. } if id > segment => break,
                Position::Disk { segment, offset } if id == segment => Some(offset),
                _ => None,
            };
            let mut changed = false;
            let mut all = read(&self.path(id))?;
            for (offset, sample) in &mut all {
                changed |= stop.is_none_or(|stop| *offset < stop) && change(sample);
            }
            if changed {
                let lines: Vec<Sample> = all.iter().map(|(_, sample)| sample.clone()).collect();
                self.replace(index, 0, &lines)?;
                if let Some(stop) = stop {
                    let before = all.iter().take_while(|(offset, _)| *offset < stop).count();
                    let offset = lines[..before]
                        .iter()
                        .map(|sample| sample.line().map_or(0, |line| line.len() as u64))
                        .sum();
                    end = Position::Disk { segment: id, offset };
                }
            }
        }
        if let Position::Memory(first) = end {
            for sample in self.memory.iter_mut().take(first) {
                change(sample);
            }
        }
        Ok(end)
    }

    fn path(&self, id: u64) -> PathBuf {
        self.dir.join(format!("{id:010}.jsonl"))
    }

    fn write(&mut self, sample: &Sample) -> io::Result<Position> {
        let line = sample.line()?;
        if self.segments.last().is_none_or(|last| last.bytes >= SEGMENT_BYTES) || self.tail.is_none() {
            self.begin_segment()?;
        }
        let (Some(segment), Some(tail)) = (self.segments.last_mut(), self.tail.as_mut()) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let offset = segment.bytes;
        if let Err(error) = tail.write_all(&line).and_then(|()| tail.sync_data()) {
            // Part of the line may be written. Cut it off; if that fails too, go on in another file.
            if tail.set_len(offset).is_err() {
                self.tail = None;
            }
            return Err(error);
        }
        segment.bytes += line.len() as u64;
        segment.add(sample);
        Ok(Position::Disk { segment: segment.id, offset })
    }

    /// Goes on in the last segment when it has room and ends with a whole line, else in a new one.
    fn begin_segment(&mut self) -> io::Result<()> {
        if let Some(last) = self.segments.last().filter(|last| last.bytes < SEGMENT_BYTES)
            && let Ok(tail) = OpenOptions::new().read(true).append(true).open(self.path(last.id))
            && ends_whole(&tail)
        {
            self.tail = Some(tail);
            return Ok(());
        }
        let id = self.segments.last().map_or(0, |last| last.id + 1);
        let mut options = OpenOptions::new();
        options.create(true).append(true);
        let tail = files::private(&mut options).open(self.path(id))?;
        tail.set_len(0)?;
        self.tail = Some(tail);
        self.segments.push(Segment { id, ..Segment::default() });
        Ok(())
    }

    fn settle_disk(&mut self, id: u64, offset: u64, left: &[Sample]) -> io::Result<()> {
        let Some(index) = self.segments.iter().position(|segment| segment.id == id) else { return Ok(()) };
        if !left.is_empty() {
            self.replace(index, offset, left)?;
        }
        while self.segments.len() > index + 1 {
            let Some(later) = self.segments.pop() else { break };
            fs::remove_file(self.path(later.id))?;
        }
        self.tail = None;
        if left.is_empty() { self.cut(index, offset) } else { Ok(()) }
    }

    /// Ends this segment, which is the last by now, at `offset`.
    fn cut(&mut self, index: usize, offset: u64) -> io::Result<()> {
        let id = self.segments[index].id;
        if offset == 0 {
            fs::remove_file(self.path(id))?;
            self.segments.truncate(index);
            return Ok(());
        }
        let mut options = OpenOptions::new();
        let tail = options.append(true).open(self.path(id))?;
        tail.set_len(offset)?;
        self.tail = Some(tail);
        self.recount(index)
    }

    /// Writes the segment anew: what was before `offset`, then `samples`.
    fn replace(&mut self, index: usize, offset: u64, samples: &[Sample]) -> io::Result<()> {
        let path = self.path(self.segments[index].id);
        let mut text = fs::read(&path)?;
        text.truncate(usize::try_from(offset).unwrap_or(0));
        for sample in samples {
            text.extend(sample.line()?);
        }
        files::replace(&path, &text)?;
        if index + 1 == self.segments.len() {
            self.tail = None;
        }
        self.recount(index)
    }

    fn recount(&mut self, index: usize) -> io::Result<()> {
        let id = self.segments[index].id;
        self.segments[index] = Segment::of(id, &self.path(id))?;
        Ok(())
    }

    fn bound_memory(&mut self, dropped: &mut Dropped) {
        let mut bytes: usize = self.memory.iter().map(Sample::bytes).sum();
        while bytes > self.bounds.memory && self.memory.len() > 1 {
            let oldest = self.memory.remove(0);
            bytes -= oldest.bytes();
            dropped.add(1, Some(oldest.at));
        }
    }

    fn bound_disk(&mut self, now: Option<Millis>, dropped: &mut Dropped) {
        let mut bytes: u64 = self.segments.iter().map(|segment| segment.bytes).sum();
        while self.segments.len() > 1 {
            let oldest = &self.segments[0];
            let old = now.zip(oldest.newest).is_some_and(|(now, newest)| newest < now - self.bounds.age);
            if (bytes <= self.bounds.bytes && !old) || fs::remove_file(self.path(oldest.id)).is_err() {
                return;
            }
            let oldest = self.segments.remove(0);
            bytes -= oldest.bytes;
            dropped.add(oldest.count, oldest.newest);
        }
    }
}

impl Dropped {
    fn add(&mut self, count: u64, newest: Option<Millis>) {
        self.count += count;
        self.newest = self.newest.max(newest);
    }
}

fn id_of(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(".jsonl")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    fn sample(at: Millis, bytes: usize) -> Sample {
        let measured = RawValue::from_string(format!("{{\"x\":\"{}\"}}", "x".repeat(bytes))).unwrap();
        Sample { boot: "b".to_owned(), up: at, since: 1, at, covers: 1, measured }
    }

    fn spool(dir: &Path) -> Spool {
        Spool::open(dir, Bounds::default()).unwrap()
    }

    fn put(spool: &mut Spool, ats: impl IntoIterator<Item = Millis>) {
        for at in ats {
            spool.append(sample(at, 10), None);
        }
    }

    fn ats(spool: &Spool) -> Vec<Millis> {
        let pack = spool.pack(usize::MAX, usize::MAX).unwrap();
        pack.map_or(Vec::new(), |pack| pack.samples.iter().map(|sample| sample.at).collect())
    }

    #[test]
    fn what_is_held_outlives_the_process_and_a_torn_line() {
        let dir = testkit::tempdir().unwrap();
        put(&mut spool(dir.path()), 1..=3);
        let file = dir.path().join("0000000000.jsonl");
        let text = fs::read(&file).unwrap();
        fs::write(&file, [&text[..], &text[..20]].concat()).unwrap();
        let mut again = spool(dir.path());
        assert_eq!((again.len(), again.newest(), again.take_last().unwrap().at), (3, Some(3), 3));
        put(&mut again, [4]);
        assert_eq!(ats(&spool(dir.path())), [1, 2, 3, 4]);
    }

    #[test]
    fn the_newest_go_first_and_what_is_settled_is_gone() {
        let dir = testkit::tempdir().unwrap();
        let mut spool = spool(dir.path());
        for at in 1..=600 {
            spool.append(sample(at, 1_000), None);
        }
        assert!(spool.segments.len() > 3);
        let pack = spool.pack(240, usize::MAX).unwrap().unwrap();
        assert_eq!((pack.samples[0].at, pack.samples[239].at), (361, 600));
        let keep = pack.samples.into_iter().filter(|sample| sample.at % 100 == 0).collect();
        spool.settle(pack.start, keep).unwrap();
        put(&mut spool, [601]);
        let expected: Vec<Millis> = (1..=360).chain([400, 500, 600, 601]).collect();
        assert_eq!(ats(&spool), expected);
        assert_eq!(ats(&Spool::open(dir.path(), Bounds::default()).unwrap()), expected);
        let pack = spool.pack(usize::MAX, usize::MAX).unwrap().unwrap();
        spool.settle(pack.start, Vec::new()).unwrap();
        assert!(spool.is_empty());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_pack_is_bounded_in_bytes_but_never_empty() {
        let dir = testkit::tempdir().unwrap();
        let mut spool = spool(dir.path());
        for at in 1..=10 {
            spool.append(sample(at, 10_000), None);
        }
        assert_eq!(spool.pack(240, 35_000).unwrap().unwrap().samples.len(), 3);
        assert_eq!(spool.pack(240, 1).unwrap().unwrap().samples.len(), 1);
    }

    #[test]
    fn revising_keeps_the_place_of_the_rest() {
        let dir = testkit::tempdir().unwrap();
        let mut spool = spool(dir.path());
        put(&mut spool, 1..=5);
        let pack = spool.pack(2, usize::MAX).unwrap().unwrap();
        let shift = |sample: &mut Sample| {
            sample.at += 1_000_000;
            true
        };
        let end = spool.revise(pack.start, shift).unwrap();
        assert_eq!(ats(&spool), [1_000_001, 1_000_002, 1_000_003, 4, 5]);
        assert_eq!(spool.newest(), Some(1_000_003));
        spool.settle(end, Vec::new()).unwrap();
        assert_eq!(ats(&spool), [1_000_001, 1_000_002, 1_000_003]);
    }

    #[test]
    fn beyond_the_bounds_the_oldest_are_dropped_and_counted() {
        let dir = testkit::tempdir().unwrap();
        let bounds = Bounds { bytes: 300_000, age: 1_000, memory: 0 };
        let mut spool = Spool::open(dir.path(), bounds).unwrap();
        let mut dropped = 0;
        for at in 1..=500 {
            dropped += spool.append(sample(at, 1_000), None).1.count;
        }
        let (left, bytes) = (ats(&spool), spool.segments.iter().map(|segment| segment.bytes).sum::<u64>());
        assert!(dropped > 0 && bytes <= bounds.bytes, "{bytes} bytes");
        assert_eq!((left[0], left.len() as u64), (dropped as Millis + 1, 500 - dropped));
        let (_, old) = spool.append(sample(9_999, 1_000), Some(9_999));
        assert!(old.count > 0 && old.newest.unwrap() < 8_999);
    }

    #[test]
    fn a_full_disk_costs_nothing_within_the_bound() {
        let dir = testkit::tempdir().unwrap();
        let bounds = Bounds { memory: 600, ..Bounds::default() };
        let mut spool = Spool::open(dir.path(), bounds).unwrap();
        put(&mut spool, 1..=2);
        // A folder in the place of the next segment stands in for a disk that takes nothing.
        (spool.tail, spool.segments[0].bytes) = (None, SEGMENT_BYTES);
        fs::create_dir(dir.path().join("0000000001.jsonl")).unwrap();
        put(&mut spool, 3..=5);
        assert!(spool.in_memory());
        assert_eq!((ats(&spool), spool.len(), spool.newest()), (vec![3, 4, 5], 5, Some(5)));
        let pack = spool.pack(1, usize::MAX).unwrap().unwrap();
        spool.settle(pack.start, Vec::new()).unwrap();
        let dropped: u64 = (6..=20).map(|at| spool.append(sample(at, 10), None).1.count).sum();
        assert!(dropped > 0);
        fs::remove_dir(dir.path().join("0000000001.jsonl")).unwrap();
        put(&mut spool, [21]);
        assert!(!spool.in_memory());
        assert_eq!(ats(&spool).last(), Some(&21));
        assert_eq!(spool.len(), 2 + 2 + 15 - dropped + 1);
    }

    #[test]
    fn the_wire_form_has_the_stamps() {
        let mut wire = Vec::new();
        sample(7, 1).put(&mut wire).unwrap();
        Sample { measured: RawValue::from_string("{}".to_owned()).unwrap(), ..sample(8, 1) }
            .put(&mut wire)
            .unwrap();
        let text = String::from_utf8(wire).unwrap();
        assert_eq!(text, r#"{"sampled_at":7,"covers_ms":1,"x":"x"}{"sampled_at":8,"covers_ms":1}"#);
    }
}
