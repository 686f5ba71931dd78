//! Sends a pack, and settles for each sample of it whether it stays in the spool.

use std::time::Duration;

use fleet::Millis;

use crate::{
    agent::{Agent, End},
    answer::{Answer, Class, classify},
    aside::{self, FinalRefusal},
    clock::OFF,
    covers::{Restamp, Taken},
    gate::{Body, MAX_BODY_BYTES},
    spool::{Pack, Position, Sample},
    state::Moment,
};

/// One sample of a pack that is being settled.
struct Item {
    sample: Sample,
    progress: Progress,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Nothing is known of it yet, so it stays in the spool.
    Open,
    /// Refused for its stamp: it stays in the spool and gets another one.
    Misdated,
    /// A gate has it, or it is set aside: it leaves the spool.
    Settled,
}

/// What the answers to one pack taught.
#[derive(Default)]
struct Learnt {
    /// The stamps were off, so what is held of this boot needs new ones.
    off: bool,
    /// The time that the samples cover which a gate took.
    taken: Taken,
    /// Greatest `sampled_at` among those samples.
    newest: Option<Millis>,
}

impl Agent {
    /// Sends the pack, in parts where it must be, until each sample is settled or a gate asks to wait. What is taken or
    /// set aside leaves the spool after the state that follows from it is on disk.
    pub(crate) async fn settle(&mut self, pack: Pack, timeout: Duration) -> End {
        let mut items: Vec<Item> =
            pack.samples.into_iter().map(|sample| Item { sample, progress: Progress::Open }).collect();
        let mut groups: Vec<Vec<usize>> = vec![(0..items.len()).collect()];
        let mut learnt = Learnt::default();
        let mut end = End::Done;
        while let Some(group) = groups.pop() {
            let samples: Vec<&Sample> = group.iter().map(|index| &items[*index].sample).collect();
            let body = Body::of(&samples, self.settings.interval);
            if body.bytes.len() > MAX_BODY_BYTES && group.len() > 1 {
                halve(group, &mut groups);
                continue;
            }
            let Some(credential) = self.store.state.bearer().cloned() else { return End::Done };
            self.asks();
            let answer = match self.gates.send(body, &credential, timeout).await {
                Ok(answer) => answer,
                Err(none) => {
                    if none.doubtful {
                        self.doubt(&group, &items);
                    }
                    end = End::Kept { why: none.why, wait: None };
                    break;
                }
            };
            if self.learn(&answer, &mut learnt) {
                groups.push(group);
                continue;
            }
            match classify(&answer, group.len()) {
                Class::Accepted => self.accepted(&group, &mut items, &mut learnt),
                Class::Transient { why, wait } => {
                    if answer.status >= 500 {
                        self.doubt(&group, &items);
                    }
                    end = End::Kept { why, wait };
                    break;
                }
                Class::Unspecific => halve(group, &mut groups),
                Class::Permanent(why) => self.set_aside(&mut items[group[0]], &why),
                Class::Named { permanent, ahead } => {
                    for (index, why) in permanent {
                        self.refused(&mut items[group[index]], &why);
                    }
                    for index in ahead {
                        self.ahead(&mut items[group[index]], answer.status);
                    }
                    let rest = group.into_iter().filter(|index| items[*index].progress == Progress::Open);
                    groups.extend(Some(rest.collect::<Vec<_>>()).filter(|rest| !rest.is_empty()));
                }
            }
        }
        if items.iter().any(|item| item.progress == Progress::Misdated) && end == End::Done {
            end = End::Restamped;
        }
        if !self.finish(pack.start, items, learnt) && end == End::Done {
            end = End::Kept { why: "the spool cannot be written".to_owned(), wait: None };
        }
        end
    }

    /// Takes note that a gate may have these samples. It is written at once, as the stamps of others depend on it.
    fn doubt(&mut self, group: &[usize], items: &[Item]) {
        let mut doubtful = self.store.state.doubtful.clone();
        group.iter().for_each(|index| doubtful.add(&items[*index].sample));
        if self.store.state.doubtful != doubtful {
            self.store.state.doubtful = doubtful;
            self.store.save();
        }
    }

    /// Takes in what an answer of any class teaches: the time, and the credential. `true`: send the same samples again,
    /// with the other credential.
    fn learn(&mut self, answer: &Answer, learnt: &mut Learnt) -> bool {
        // Before the bulletin, which is not about the credential that was sent.
        let again = self.store.state.answered(answer);
        self.hears(answer);
        let bulletin = answer.accepted.as_ref().map(|accepted| &accepted.bulletin);
        if let Some(now) = bulletin.map(|bulletin| bulletin.now).or(answer.problem.now)
            && self.clocks.learn(now, answer.round_trip)
        {
            learnt.off = true;
        }
        self.store.state.anchor = self.clocks.anchor().cloned();
        if let Some(bulletin) = bulletin.filter(|bulletin| !bulletin.orders.is_empty()) {
            self.orders.take(&bulletin.orders, bulletin.now);
        }
        if let Some(credential) = bulletin.and_then(|bulletin| bulletin.credential.as_ref()) {
            self.store.state.offer(credential);
        }
        again
    }

    fn accepted(&mut self, group: &[usize], items: &mut [Item], learnt: &mut Learnt) {
        for index in group {
            let Item { sample, progress } = &mut items[*index];
            *progress = Progress::Settled;
            learnt.taken.add(sample);
            learnt.newest = learnt.newest.max(Some(sample.at));
        }
        let reading = self.clocks.read();
        let boot = self.clocks.boot().to_owned();
        self.store.state.succeeded = Some(Moment { boot, up: reading.up, at: reading.at });
        self.store.state.failure = None;
    }

    /// Whether it was taken in this boot, and stamped by a clock that we know by now to be wrong.
    fn misdated(&self, sample: &Sample) -> bool {
        let anchor = self.clocks.anchor().filter(|anchor| anchor.boot == sample.boot);
        anchor.is_some_and(|anchor| (anchor.at(sample.up) - sample.at).abs() > OFF)
    }

    fn refused(&mut self, item: &mut Item, why: &FinalRefusal) {
        if why.code == "too_old" && self.misdated(&item.sample) {
            item.progress = Progress::Misdated;
        } else {
            self.set_aside(item, why);
        }
    }

    fn ahead(&mut self, item: &mut Item, status: u16) {
        if self.clocks.anchor().is_some() && item.sample.boot == self.clocks.boot() {
            item.progress = Progress::Misdated;
            return;
        }
        let reason = "from the future, and taken in another boot: nobody knows when it was".to_owned();
        self.set_aside(item, &FinalRefusal { status, code: "clock_ahead".to_owned(), reason });
    }

    fn set_aside(&mut self, item: &mut Item, why: &FinalRefusal) {
        item.progress = Progress::Settled;
        self.store.state.set_aside += 1;
        let told = format!("refuses a snapshot for good: {} {} {}", why.status, why.code, why.reason);
        if self.told_aside != told {
            tracing::warn!(sampled_at = item.sample.at, "the suite {told}; it is kept in set-aside.jsonl");
            self.told_aside.clone_from(&told);
        }
        if let Err(error) = aside::put(&self.settings.state_dir, &item.sample, why) {
            tracing::warn!(%error, "cannot write set-aside.jsonl");
        }
        self.fail(told);
    }

    /// Mends stamps, then writes the state, then the spool. After a crash in between, the samples that a gate took are
    /// sent again, which changes nothing. `false`: the spool could not be written.
    fn finish(&mut self, start: Position, items: Vec<Item>, learnt: Learnt) -> bool {
        let newest = items.last().map(|item| (item.sample.boot.clone(), item.sample.up, item.sample.at));
        let ahead = items.iter().any(|item| item.progress == Progress::Misdated);
        let nothing_settled = items.iter().all(|item| item.progress != Progress::Settled);
        if nothing_settled && !ahead && !learnt.off {
            return true;
        }
        let mut start = start;
        let (mut left, forced): (Vec<Sample>, Vec<bool>) = items
            .into_iter()
            .filter(|item| item.progress != Progress::Settled)
            .map(|item| (item.sample, item.progress == Progress::Misdated))
            .unzip();
        if (learnt.off || ahead)
            && let Some(anchor) = self.clocks.anchor().cloned()
        {
            let highest = self.store.state.highest;
            let mut taken = self.store.state.doubtful.clone();
            taken.extend(&learnt.taken);
            let interval = self.settings.interval;
            let now = anchor.at(self.clocks.read().up);
            let mut restamp = Restamp { anchor: &anchor, now, highest, taken: &taken, interval };
            match self.spool.revise(start, |sample| restamp.apply(sample, false)) {
                Ok(end) => start = end,
                Err(error) => tracing::warn!(%error, "cannot mend the stamps of what is held"),
            }
            for (sample, force) in left.iter_mut().zip(forced) {
                restamp.apply(sample, force);
            }
            self.sampler.tell_facts();
        }
        let state = &mut self.store.state;
        state.highest = state.highest.max(learnt.newest);
        if let Some((boot, up, at)) = newest
            && state.last.as_ref().is_none_or(|last| last.boot != boot || last.up < up)
        {
            state.last = Some(Moment { boot, up, at });
        }
        self.store.save();
        let settled = self.spool.settle(start, left);
        if let Err(error) = &settled {
            tracing::warn!(%error, "cannot take out of the spool what the suite has: it is sent again");
        }
        if self.spool.is_empty() {
            self.store.state.doubtful = Taken::default();
        }
        self.highest = self.store.state.highest.max(self.spool.newest());
        settled.is_ok()
    }
}

/// Puts both halves on the stack of groups, the newer one on top, so that it is sent first.
fn halve(mut group: Vec<usize>, groups: &mut Vec<Vec<usize>>) {
    let newer = group.split_off(group.len() / 2);
    groups.push(group);
    groups.push(newer);
}
