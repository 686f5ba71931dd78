//! The hand: checks signed orders, and carries out what the owner of this host allows (`hand.conf`). It has rights and no
//! network; what talks to the network has no rights, and can sign nothing.
//!
//! ```text
//! signatures ─▶ server, boot, time ─▶ new? ─▶ rate ─▶ journal: begun ─▶ pidfd ─▶ the same process? ─▶ allowed? ─▶ signal ─▶ journal: result
//! ```
//!
//! An order is carried out at most once: it is in the journal, on the disk, before anything is done. It waits for what it does,
//! so it blocks its thread for up to a minute.

mod conf;
mod journal;
mod keys;
mod policy;
mod serve;
mod target;
mod units;

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use fleet::{
    Millis, ServerId,
    order::{self, Kind, MAX_AHEAD, Order, Unit, Wish},
};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use wire::v1::{self, OrderResult, ProcessTarget, SignedOrder};

use self::{
    conf::{Conf, Inert},
    journal::{Journal, Moment},
    policy::Refused,
    target::Held,
};
use crate::{
    clock::{Clock, millis},
    settings::HAND_CONF,
};

pub use keys::{KeyArgs, SignArgs, make as make_key, sign};
pub use serve::{HandArgs, serve};

/// How long it waits for a process to end after SIGTERM, after SIGKILL, and for systemd.
const PATIENCE: [Duration; 3] = [Duration::from_secs(10), Duration::from_secs(5), Duration::from_secs(60)];
/// Longest explanation in a result, in bytes.
const MAX_DETAIL: usize = 400;

/// What the agent hands over.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ask {
    /// The order, as a gate brought it.
    pub order: SignedOrder,
    /// The gate's clock, Unix ms.
    pub now: Millis,
    /// Which server the agent is, by its enrolment.
    pub server: String,
}

/// Where the hand finds what it needs.
#[derive(Debug, Clone)]
pub struct Places {
    /// What the host's owner allows.
    pub conf: PathBuf,
    /// Its own folder.
    pub dir: PathBuf,
    /// The program that controls units.
    pub systemctl: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            conf: HAND_CONF.into(),
            dir: "/var/lib/rollcall-hand".into(),
            systemctl: "/usr/bin/systemctl".into(),
        }
    }
}

/// The id of this boot as orders name it, and the kinds of orders that the host's owner allows; or why the host takes none.
pub fn allowed(conf: &Path) -> Result<(String, Vec<Kind>), String> {
    let kinds = Conf::read(conf).map_err(|inert| inert.to_string())?.kinds();
    if kinds.is_empty() {
        return Err(format!("{} allows nothing, so this host takes no orders", conf.display()));
    }
    let boot = boot().ok_or("this boot has no id, so this host takes no orders")?;
    Ok((boot, kinds))
}

/// The id that the kernel gave this boot.
fn boot() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
}

/// What checks orders and carries them out, one after the other.
pub struct Hand {
    places: Places,
    clock: Clock,
    boot: String,
    journal: Option<Journal>,
}

/// How a carried-out order ended.
#[derive(Default)]
struct Outcome {
    state: &'static str,
    code: Option<&'static str>,
    detail: Option<String>,
    unit: Option<v1::UnitState>,
}

impl Hand {
    /// A hand for this boot. Its journal is opened at once, so that what an earlier one left open is `unknown` from now on.
    pub fn new(places: Places, clock: Clock) -> Self {
        let mut hand = Self { places, clock, boot: boot().unwrap_or_default(), journal: None };
        if let Err(inert) = Conf::read(&hand.places.conf) {
            tracing::warn!("{inert}");
        }
        if let Err(error) = hand.open_journal() {
            tracing::error!(%error, dir = %hand.places.dir.display(), "the journal cannot be used: no order is carried out");
        }
        hand
    }

    /// Checks an order and carries it out. `None`: it is not even said which order that is.
    pub fn carry_out(&mut self, ask: &Ask) -> Option<OrderResult> {
        let id = order::id_of(&ask.order)?;
        let (gate, host) = (ask.now, self.clock.now());
        let result = self.result(ask, host).unwrap_or_else(|Refused { code, why }| OrderResult {
            order: id.to_string(),
            state: "refused".to_owned(),
            code: Some(code.to_owned()),
            detail: Some(why),
            host_ahead_ms: (code == "host_clock").then_some(host - gate),
            at: host,
            ..OrderResult::default()
        });
        tracing::info!(
            order = result.order,
            state = result.state,
            code = result.code,
            detail = result.detail,
            "an order was decided"
        );
        Some(result)
    }

    /// The checks, in the order of their codes.
    fn result(&mut self, ask: &Ask, host: Millis) -> Result<OrderResult, Refused> {
        let conf =
            Conf::read(&self.places.conf).map_err(|inert: Inert| refused("no_hand", inert.to_string()))?;
        let (order, keys) = verified(&conf, &ask.order)?;
        self.is_for_us(&conf, &order, &ask.server)?;
        // What was begun is never refused afterwards: that would say that nothing was done.
        let known = self.open_journal().map(|journal| journal.result(order.id).cloned());
        if let Ok(Some(result)) = known {
            return Ok(result);
        }
        if order.boot != self.boot || self.boot.is_empty() {
            return Err(refused("wrong_boot", "it is for another boot of this host".to_owned()));
        }
        in_time(&order, ask.now, host)?;
        let now = self.moment(host);
        let journal = self.open_journal().map_err(|error| no_journal(&error))?;
        if !journal.may_begin(&now) {
            let why = "this host carries out six orders a minute and sixty an hour, no more".to_owned();
            return Err(refused("rate", why));
        }
        let target = match &order.wish {
            Wish::Signal(_, process) => process.pid.to_string(),
            Wish::Control(_, unit) => unit.to_string(),
        };
        journal.begin(&order, target, keys, &now).map_err(|error| no_journal(&error))?;
        let outcome = match &order.wish {
            Wish::Signal(kind, process) => signal(&conf, *kind, process, order.dry_run),
            Wish::Control(kind, unit) => control(&conf, &self.places.systemctl, *kind, unit, order.dry_run),
        };
        let result = told(&order, outcome, self.clock.now());
        if let Some(journal) = &mut self.journal {
            journal.conclude(&result);
        }
        Ok(result)
    }

    fn is_for_us(&self, conf: &Conf, order: &Order, told: &str) -> Result<(), Refused> {
        let own = conf.server.or_else(|| told.parse::<ServerId>().ok());
        match own == Some(order.server) {
            true => Ok(()),
            false => Err(refused("wrong_server", "it is for another server".to_owned())),
        }
    }

    fn moment(&self, at: Millis) -> Moment {
        let since = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let up = Duration::try_from(since).map_or(0, millis);
        Moment { boot: self.boot.clone(), up, at }
    }

    /// The journal, opened again where that failed before: room may have been made meanwhile.
    fn open_journal(&mut self) -> io::Result<&mut Journal> {
        let journal = match self.journal.take() {
            Some(journal) => journal,
            None => Journal::open(&self.places.dir, &self.moment(self.clock.now()))?,
        };
        Ok(self.journal.insert(journal))
    }
}

/// The order in an envelope, and whose keys signed it. Nothing of it is read before the signatures are true and enough.
fn verified(conf: &Conf, envelope: &SignedOrder) -> Result<(Order, Vec<String>), Refused> {
    let bad = |why: String| refused("bad_signature", why);
    let payload = order::open(envelope).map_err(|wrong| bad(wrong.to_string()))?;
    let verify = |name: &str, message: &[u8], signature: &[u8]| {
        let (_, key) = conf.keys.iter().find(|(known, _)| known.as_str() == name)?;
        Some(keys::verifies(key, message, signature))
    };
    let signers = order::signers(envelope, &payload, verify).map_err(|wrong| bad(wrong.to_string()))?;
    if signers.is_empty() {
        return Err(bad("no key that hand.conf names has signed it".to_owned()));
    }
    if signers.len() < conf.need {
        let why = format!("hand.conf needs {} signatures, and {} are there", conf.need, signers.len());
        return Err(refused("too_few_signatures", why));
    }
    let invalid = |why: String| refused("invalid", why);
    let order: v1::Order = serde_json::from_slice(&payload).map_err(|error| invalid(error.to_string()))?;
    let order = Order::check(order).map_err(|wrong| invalid(wrong.to_string()))?;
    Ok((order, signers.into_iter().map(str::to_owned).collect()))
}

/// Whether an order may still be carried out, by the gate's clock and by the host's.
fn in_time(order: &Order, gate: Millis, host: Millis) -> Result<(), Refused> {
    if order.not_after <= gate {
        return Err(refused("expired", "its time is over".to_owned()));
    }
    if order.not_after <= host {
        let why =
            "its time is over by this host's clock, and not by the gate's: set the host's clock".to_owned();
        return Err(refused("host_clock", why));
    }
    if order.not_after > gate.max(host).saturating_add(MAX_AHEAD) {
        return Err(refused("invalid", "not_after is more than a day ahead".to_owned()));
    }
    Ok(())
}

/// Sends one process a signal, if it is the one and may get it, and waits until it ends. SIGTERM stays SIGTERM.
fn signal(conf: &Conf, kind: Kind, target: &ProcessTarget, dry_run: bool) -> Result<Outcome, Refused> {
    let gone = || refused("gone", format!("there is no process {}", target.pid));
    let held = match Held::open(target.pid) {
        Ok(held) => held.ok_or_else(gone)?,
        Err(error) => return Ok(Outcome::failed(format!("cannot hold process {}: {error}", target.pid))),
    };
    let seen = held.look().ok_or_else(gone)?;
    policy::is_the_one(target, &seen)?;
    policy::of_process(conf, kind, &seen)?;
    let executable = seen.executable.unwrap_or_default();
    if dry_run {
        return Ok(Outcome::done(format!("process {} ({executable}) would get the signal", target.pid)));
    }
    let [terminate, kill, _] = PATIENCE;
    let (signal, patience) = match kind {
        Kind::Kill => (Signal::KILL, kill),
        _ => (Signal::TERM, terminate),
    };
    match held.send(signal) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(refused(
                "not_allowed",
                format!("the system does not let this user signal process {}", target.pid),
            ));
        }
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {
            return Err(gone());
        }
        Err(error) => return Ok(Outcome::failed(format!("cannot signal process {}: {error}", target.pid))),
    }
    if held.ended_within(patience) {
        return Ok(Outcome::done(format!("process {} ({executable}) ended", target.pid)));
    }
    let detail = format!("process {} got the signal and runs {} s later", target.pid, patience.as_secs());
    Ok(Outcome { code: Some("still_running"), ..Outcome::failed(detail) })
}

/// Has systemd start, stop or restart one unit, if it may be.
fn control(
    conf: &Conf,
    systemctl: &Path,
    kind: Kind,
    unit: &Unit,
    dry_run: bool,
) -> Result<Outcome, Refused> {
    policy::of_unit(conf, unit)?;
    if dry_run {
        let outcome = Outcome::done(format!("{kind} of {unit} would be asked for"));
        return Ok(Outcome { unit: units::show(systemctl, unit), ..outcome });
    }
    let [_, _, patience] = PATIENCE;
    let outcome = match units::control(systemctl, kind, unit, patience) {
        Ok(units::Ended::Well) => Outcome::done(format!("systemd did {kind} of {unit}")),
        Ok(units::Ended::Badly(why)) => Outcome::failed(why),
        Ok(units::Ended::Late) => {
            let detail = format!("systemd is still at it after {} s", patience.as_secs());
            Outcome { code: Some("still_running"), ..Outcome::failed(detail) }
        }
        Err(error) => return Ok(Outcome::failed(format!("{} cannot be run: {error}", systemctl.display()))),
    };
    Ok(Outcome { unit: units::show(systemctl, unit), ..outcome })
}

impl Outcome {
    fn done(detail: String) -> Self {
        Self { state: "done", detail: Some(detail), ..Self::default() }
    }

    fn failed(detail: String) -> Self {
        Self { state: "failed", ..Self::done(detail) }
    }
}

fn told(order: &Order, outcome: Result<Outcome, Refused>, at: Millis) -> OrderResult {
    let outcome = outcome.unwrap_or_else(|Refused { code, why }| Outcome {
        state: "refused",
        code: Some(code),
        detail: Some(why),
        unit: None,
    });
    let detail = outcome.detail.map(|mut detail| {
        detail.truncate(detail.floor_char_boundary(MAX_DETAIL));
        detail
    });
    OrderResult {
        order: order.id.to_string(),
        state: outcome.state.to_owned(),
        code: outcome.code.map(str::to_owned),
        detail,
        at,
        dry_run: order.dry_run,
        host_ahead_ms: None,
        unit: outcome.unit,
    }
}

fn refused(code: &'static str, why: String) -> Refused {
    Refused { code, why }
}

fn no_journal(error: &io::Error) -> Refused {
    refused("no_journal", format!("the journal cannot be written, so nothing is done: {error}"))
}

#[cfg(test)]
mod tests;
