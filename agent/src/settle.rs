//! Sends a pack and settles what becomes of each snapshot in it.

use std::time::Duration;

use fleet::Millis;

use crate::{
    agent::{Agent, End},
    aside::{self, Condemned},
    clock::OFF,
    covers::{Restamp, Taken},
    gate::{Body, MAX_BODY_BYTES},
    held::Held,
    spool::{Pack, Position},
    state::Moment,
    verdict::{Answer, Verdict, judge},
};

/// One snapshot of a pack that is being settled.
struct Item {
    held: Held,
    fate: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Not decided, so it stays.
    Open,
    /// Refused for its stamp: it stays, with another.
    Misdated,
    /// A gate has it, or it is set aside.
    Gone,
}

/// What the answers to one pack taught.
#[derive(Default)]
struct Learnt {
    /// Stamps were off.
    off: bool,
    /// What gates took, and the newest of it.
    taken: Taken,
    newest: Option<Millis>,
}

impl Agent {
    /// Sends the pack, in parts where it must be, until each snapshot's fate is known or a gate asks to wait. What is
    /// taken or set aside leaves the spool after the state that follows from it is on disk.
    pub(crate) async fn settle(&mut self, pack: Pack, timeout: Duration) -> End {
        let mut items: Vec<Item> =
            pack.held.into_iter().map(|held| Item { held, fate: Fate::Open }).collect();
        let mut groups: Vec<Vec<usize>> = vec![(0..items.len()).collect()];
        let mut learnt = Learnt::default();
        let mut end = End::Done;
        while let Some(group) = groups.pop() {
            let held: Vec<&Held> = group.iter().map(|index| &items[*index].held).collect();
            let body = Body::of(&held, self.settings.interval);
            if body.bytes.len() > MAX_BODY_BYTES && group.len() > 1 {
                halve(group, &mut groups);
                continue;
            }
            let Some(credential) = self.store.state.bearer().cloned() else { return End::Done };
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
            match judge(&answer, group.len()) {
                Verdict::Accepted => self.accepted(&group, &mut items, &mut learnt),
                Verdict::Keep { why, wait } => {
                    if answer.status >= 500 {
                        self.doubt(&group, &items);
                    }
                    end = End::Kept { why, wait };
                    break;
                }
                Verdict::Halve => halve(group, &mut groups),
                Verdict::Aside(why) => self.set_aside(&mut items[group[0]], &why),
                Verdict::Refused { aside, ahead } => {
                    for (index, why) in aside {
                        self.refused(&mut items[group[index]], &why);
                    }
                    for index in ahead {
                        self.ahead(&mut items[group[index]], answer.status);
                    }
                    let rest = group.into_iter().filter(|index| items[*index].fate == Fate::Open);
                    groups.extend(Some(rest.collect::<Vec<_>>()).filter(|rest| !rest.is_empty()));
                }
            }
        }
        if items.iter().any(|item| item.fate == Fate::Misdated) && end == End::Done {
            end = End::Restamped;
        }
        if !self.finish(pack.start, items, learnt) && end == End::Done {
            end = End::Kept { why: "the spool cannot be written".to_owned(), wait: None };
        }
        end
    }

    /// A gate may have these. Written at once, as the stamps of others depend on it.
    fn doubt(&mut self, group: &[usize], items: &[Item]) {
        let mut doubtful = self.store.state.doubtful.clone();
        group.iter().for_each(|index| doubtful.add(&items[*index].held));
        if self.store.state.doubtful != doubtful {
            self.store.state.doubtful = doubtful;
            self.store.save();
        }
    }

    /// `true`: send the same again, with the other credential.
    fn learn(&mut self, answer: &Answer, learnt: &mut Learnt) -> bool {
        // Before the bulletin, which is not about the credential that was sent.
        let again = self.store.state.answered(answer);
        let bulletin = answer.accepted.as_ref().map(|accepted| &accepted.bulletin);
        if let Some(now) = bulletin.map(|bulletin| bulletin.now).or(answer.problem.now)
            && self.clocks.learn(now, answer.round_trip)
        {
            learnt.off = true;
        }
        self.store.state.anchor = self.clocks.anchor().cloned();
        if let Some(credential) = bulletin.and_then(|bulletin| bulletin.credential.as_ref()) {
            self.store.state.offer(credential);
        }
        again
    }

    fn accepted(&mut self, group: &[usize], items: &mut [Item], learnt: &mut Learnt) {
        for index in group {
            let Item { held, fate } = &mut items[*index];
            *fate = Fate::Gone;
            learnt.taken.add(held);
            learnt.newest = learnt.newest.max(Some(held.at));
        }
        let reading = self.clocks.read();
        let boot = self.clocks.boot().to_owned();
        self.store.state.succeeded = Some(Moment { boot, up: reading.up, at: reading.at });
        self.store.state.failure = None;
    }

    /// Taken in this boot, and stamped by a clock that we know to be wrong by now.
    fn misdated(&self, held: &Held) -> bool {
        let anchor = self.clocks.anchor().filter(|anchor| anchor.boot == held.boot);
        anchor.is_some_and(|anchor| (anchor.at(held.up) - held.at).abs() > OFF)
    }

    fn refused(&mut self, item: &mut Item, why: &Condemned) {
        if why.code == "too_old" && self.misdated(&item.held) {
            item.fate = Fate::Misdated;
        } else {
            self.set_aside(item, why);
        }
    }

    fn ahead(&mut self, item: &mut Item, status: u16) {
        if self.clocks.anchor().is_some() && item.held.boot == self.clocks.boot() {
            item.fate = Fate::Misdated;
            return;
        }
        let reason = "from the future, and taken in another boot: nobody knows when it was".to_owned();
        self.set_aside(item, &Condemned { status, code: "clock_ahead".to_owned(), reason });
    }

    fn set_aside(&mut self, item: &mut Item, why: &Condemned) {
        item.fate = Fate::Gone;
        self.store.state.set_aside += 1;
        let told = format!("refuses a snapshot for good: {} {} {}", why.status, why.code, why.reason);
        if self.told_aside != told {
            tracing::warn!(sampled_at = item.held.at, "the suite {told}; it is kept in set-aside.jsonl");
            self.told_aside.clone_from(&told);
        }
        if let Err(error) = aside::put(&self.settings.state_dir, &item.held, why) {
            tracing::warn!(%error, "cannot write set-aside.jsonl");
        }
        self.fail(told);
    }

    /// Mends stamps, then writes the state, then the spool: after a crash in between, what was taken is sent again, which
    /// changes nothing. `false`: the spool could not be written.
    fn finish(&mut self, start: Position, items: Vec<Item>, learnt: Learnt) -> bool {
        let newest = items.last().map(|item| (item.held.boot.clone(), item.held.up, item.held.at));
        let ahead = items.iter().any(|item| item.fate == Fate::Misdated);
        let nothing_gone = items.iter().all(|item| item.fate != Fate::Gone);
        if nothing_gone && !ahead && !learnt.off {
            return true;
        }
        let mut start = start;
        let (mut left, forced): (Vec<Held>, Vec<bool>) = items
            .into_iter()
            .filter(|item| item.fate != Fate::Gone)
            .map(|item| (item.held, item.fate == Fate::Misdated))
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
            match self.spool.revise(start, |held| restamp.apply(held, false)) {
                Ok(end) => start = end,
                Err(error) => tracing::warn!(%error, "cannot mend the stamps of what is held"),
            }
            for (held, force) in left.iter_mut().zip(forced) {
                restamp.apply(held, force);
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

/// The newer half is on top.
fn halve(mut group: Vec<usize>, groups: &mut Vec<Vec<usize>>) {
    let newer = group.split_off(group.len() / 2);
    groups.push(group);
    groups.push(newer);
}
