//! The process table: who there is, and what each used since it was looked at before.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use super::stat::{self, Stat};

/// Most processes that are looked at. A host with more has its first ones looked at.
const MOST: usize = 65_536;
/// More than a `stat` or a `status` is long.
const FILE_BYTES: usize = 4_096;

/// One process, and what it used since the time before, in ticks.
#[derive(Debug, Clone)]
pub struct Seen {
    pub pid: u32,
    pub stat: Stat,
    /// Whose it is; `None` if it was gone before that was read.
    pub user: Option<u32>,
    pub used: u64,
    /// By its children that ended, less what was seen of them while they ran.
    pub children: u64,
}

/// What is remembered of each process from one time to the next.
#[derive(Debug, Default)]
pub struct Table {
    root: PathBuf,
    known: HashMap<u32, Known>,
    looked: bool,
    buffer: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    start: u64,
    ppid: u32,
    own: u64,
    ended: u64,
    user: Option<u32>,
    /// Ticks of children that were seen before they went, and that have not arrived at it yet.
    awaited: u64,
}

impl Table {
    /// Of a proc(5) that is mounted here.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), buffer: vec![0; FILE_BYTES], ..Self::default() }
    }

    /// All processes. At first nobody has used anything: there is nothing to compare with. `users_anew`: whose they are is
    /// read again, as a process may change that.
    pub fn look(&mut self, users_anew: bool) -> Vec<Seen> {
        let mut stats = Vec::with_capacity(self.known.len() + 16);
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        for pid in pids.take(MOST) {
            let stat = self.read(pid, "stat").and_then(Stat::read);
            stats.extend(stat.map(|stat| (pid, stat)));
        }
        let users: Vec<Option<u32>> =
            stats.iter().map(|(pid, stat)| self.user(*pid, stat, users_anew)).collect();
        let (first, mut before) = (!self.looked, std::mem::take(&mut self.known));
        self.looked = true;
        let (mut seen, mut gone) = (Vec::with_capacity(stats.len()), HashMap::new());
        for ((pid, stat), user) in stats.into_iter().zip(users) {
            let was = match before.remove(&pid) {
                Some(another) if another.start != stat.start => {
                    gone.insert(pid, another);
                    None
                }
                was => was,
            };
            let (own, ended) = match was {
                Some(was) => (was.own, was.ended),
                // What it used before anybody looked is nobody's knowledge; what began since then used all of it since.
                None if first => (stat.own, stat.ended),
                None => (0, 0),
            };
            let Stat { ppid, start, .. } = stat;
            let awaited = was.map_or(0, |was| was.awaited);
            self.known.insert(pid, Known { start, ppid, own: stat.own, ended: stat.ended, user, awaited });
            let (used, children) = (stat.own.saturating_sub(own), stat.ended.saturating_sub(ended));
            seen.push(Seen { pid, stat, user, used, children });
        }
        gone.extend(before);
        self.correct(&mut seen, &gone);
        seen
    }

    /// The time of a child comes to its parent once it has ended, and for the child it was seen already.
    fn correct(&mut self, seen: &mut [Seen], gone: &HashMap<u32, Known>) {
        let mut debts: HashMap<u32, u64> = HashMap::new();
        for was in gone.values() {
            // A parent that has gone too took it along to its own.
            let mut parent = was.ppid;
            for _ in 0..gone.len() {
                let Some(above) = gone.get(&parent).filter(|_| !self.known.contains_key(&parent)) else {
                    break;
                };
                parent = above.ppid;
            }
            let debt = debts.entry(parent).or_default();
            *debt = debt.saturating_add(was.own).saturating_add(was.ended);
        }
        let mut orphaned = 0_u64;
        for one in seen.iter_mut() {
            let Some(known) = self.known.get_mut(&one.pid) else { continue };
            let earlier = one.children.min(known.awaited);
            one.children -= earlier;
            let late = known.awaited - earlier;
            let debt = debts.remove(&one.pid).unwrap_or(0);
            let now = one.children.min(debt);
            one.children -= now;
            // The parent may have been read before the child ended: then it comes with the next look.
            known.awaited = debt - now;
            // What has not come by then was waited for by the one who adopts orphans.
            orphaned = orphaned.saturating_add(late);
        }
        orphaned = debts.into_values().fold(orphaned, u64::saturating_add);
        if let Some(init) = seen.iter_mut().find(|one| one.pid == 1) {
            init.children -= init.children.min(orphaned);
        }
    }

    fn user(&mut self, pid: u32, stat: &Stat, anew: bool) -> Option<u32> {
        let known = self.known.get(&pid).filter(|known| known.start == stat.start && !anew);
        match known.and_then(|known| known.user) {
            Some(user) => Some(user),
            None => self.read(pid, "status").and_then(stat::user),
        }
    }

    /// The beginning of a small file of a process.
    fn read(&mut self, pid: u32, name: &str) -> Option<&[u8]> {
        let mut file = File::open(self.root.join(format!("{pid}/{name}"))).ok()?;
        let length = file.read(&mut self.buffer).ok()?;
        self.buffer.get(..length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process table as files.
    struct Proc(testkit::TempDir);

    impl Proc {
        fn put(&self, pid: u32, ppid: u32, start: u64, [own, ended]: [u64; 2]) {
            let folder = self.0.path().join(pid.to_string());
            fs::create_dir_all(&folder).unwrap();
            let stat = format!(
                "{pid} (p{pid}) S {ppid} 1 1 0 -1 0 0 0 0 0 {own} 0 {ended} 0 20 0 1 0 {start} 9 5 1 1"
            );
            fs::write(folder.join("stat"), stat).unwrap();
            fs::write(folder.join("status"), "Uid:\t7\t7\t7\t7\n").unwrap();
        }

        fn end(&self, pid: u32) {
            fs::remove_dir_all(self.0.path().join(pid.to_string())).unwrap();
        }
    }

    fn used(table: &mut Table) -> HashMap<u32, [u64; 2]> {
        table.look(false).into_iter().map(|one| (one.pid, [one.used, one.children])).collect()
    }

    fn started() -> (Proc, Table) {
        let proc = Proc(testkit::tempdir().unwrap());
        proc.put(1, 0, 1, [500, 900]);
        proc.put(10, 1, 100, [50, 70]);
        proc.put(11, 10, 200, [30, 0]);
        let mut table = Table::new(proc.0.path());
        assert!(used(&mut table).values().all(|used| *used == [0, 0]));
        (proc, table)
    }

    #[test]
    fn what_a_child_used_is_counted_once() {
        let (proc, mut table) = started();
        proc.put(11, 10, 200, [40, 0]);
        assert_eq!(used(&mut table)[&11], [10, 0]);
        // It uses 5 more and ends; a child of 10 that nobody saw used 20.
        proc.end(11);
        proc.put(10, 1, 100, [51, 70 + 45 + 20]);
        assert_eq!(used(&mut table)[&10], [1, 25]);
        assert_eq!(used(&mut table)[&10], [0, 0]);
    }

    #[test]
    fn a_child_that_ended_while_its_parent_was_read_is_counted_once_too() {
        let (proc, mut table) = started();
        proc.end(11);
        assert_eq!(used(&mut table)[&10], [0, 0]);
        proc.put(10, 1, 100, [50, 70 + 33]);
        assert_eq!(used(&mut table)[&10], [0, 3]);
    }

    #[test]
    fn parent_and_child_that_end_together_come_to_who_is_above() {
        let (proc, mut table) = started();
        proc.end(10);
        proc.end(11);
        // 10 waited for 11, and used 4 more itself.
        proc.put(1, 0, 1, [500, 900 + 50 + 70 + 30 + 4]);
        assert_eq!(used(&mut table)[&1], [0, 4]);
    }

    #[test]
    fn a_number_that_comes_again_is_another_process() {
        let (proc, mut table) = started();
        proc.put(11, 10, 999, [3, 0]);
        assert_eq!(used(&mut table)[&11], [3, 0]);
        assert_eq!(table.look(false).iter().find(|one| one.pid == 11).unwrap().user, Some(7));
    }
}
