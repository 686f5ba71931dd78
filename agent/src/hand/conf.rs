//! `hand.conf`: what the owner of this host allows. Nobody else decides, and without it nothing is ever done.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{self, Read},
    ops::RangeInclusive,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use fleet::{
    ServerId,
    alert::Glob,
    order::{KeyName, Kind, Unit},
};
use wire::bounds::MAX_SIGNATURES;

use super::keys;

/// More than this is no such file.
const MAX_BYTES: u64 = 64 * 1_024;
/// Write permission of the group and of others.
const OTHERS_WRITE: u32 = 0o022;

/// What the host's owner allows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conf {
    /// Which signals may be sent.
    pub signals: BTreeSet<Kind>,
    /// What a process has to run.
    pub executables: Vec<Glob>,
    /// Whose a process has to be.
    pub users: Vec<RangeInclusive<u32>>,
    /// Which units may be started and stopped.
    pub units: BTreeSet<Unit>,
    /// Whose orders count: Ed25519 public keys.
    pub keys: Vec<(KeyName, [u8; keys::PUBLIC_BYTES])>,
    /// How many of these keys have to sign.
    pub need: usize,
    /// Which server this is; unless it is told the agent is believed.
    pub server: Option<ServerId>,
}

/// Why nothing is done on this host.
#[derive(Debug, thiserror::Error)]
pub enum Inert {
    /// There is no such file.
    #[error("{} is absent, so this host takes no orders", .0.display())]
    Absent(PathBuf),
    /// It cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody else than root could have written it.
    #[error("{} must belong to root, and neither group nor others may write it: chown root, chmod go-w", .0.display())]
    Untrusted(PathBuf),
    /// It does not say what such a file says.
    #[error("{}: {wrong}", path.display())]
    Wrong {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        wrong: String,
    },
}

impl Conf {
    /// Reads what is allowed at this moment.
    ///
    /// # Errors
    /// Whatever they are: nothing is allowed.
    pub fn read(path: &Path) -> Result<Self, Inert> {
        let unreadable = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => Inert::Absent(path.to_owned()),
            _ => Inert::Unreadable { path: path.to_owned(), source },
        };
        let file = open(path).map_err(unreadable)?;
        // Of what was opened, so that nobody exchanges it in between. Who may write the folder may exchange the file.
        let about = file.metadata().map_err(unreadable)?;
        let folder = path.parent().map(fs::metadata).transpose().map_err(unreadable)?;
        let of_root = |about: &fs::Metadata| about.uid() == 0 && about.mode() & OTHERS_WRITE == 0;
        if !about.is_file() || !of_root(&about) || !folder.is_none_or(|folder| of_root(&folder)) {
            return Err(Inert::Untrusted(path.to_owned()));
        }
        let mut text = String::new();
        file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(unreadable)?;
        let wrong = |wrong| Inert::Wrong { path: path.to_owned(), wrong };
        if text.len() as u64 > MAX_BYTES {
            return Err(wrong("it is larger than 64 KiB".to_owned()));
        }
        Self::parse(&text).map_err(wrong)
    }

    /// Understands its text. What is not understood allows nothing, as nobody knows what was meant.
    fn parse(text: &str) -> Result<Self, String> {
        let mut conf = Self::default();
        let mut need = None;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let said = |wrong: String| format!("line {}: {wrong}", number + 1);
            let (name, value) =
                line.split_once('=').ok_or_else(|| said("it is not `name = value`".to_owned()))?;
            conf.take(name.trim(), value.trim(), &mut need).map_err(said)?;
        }
        conf.need = need.unwrap_or(1);
        if conf.keys.is_empty() {
            return Err("keys names no key, so nobody's orders count: `keys = name:base64`".to_owned());
        }
        if conf.need > conf.keys.len() {
            return Err(format!("need = {}, but keys names {}", conf.need, conf.keys.len()));
        }
        Ok(conf)
    }

    fn take(&mut self, name: &str, value: &str, need: &mut Option<usize>) -> Result<(), String> {
        let words = || value.split([' ', '\t', ',']).filter(|word| !word.is_empty());
        match name {
            "signals" => {
                for word in words() {
                    self.signals.insert(match word {
                        "term" => Kind::Terminate,
                        "kill" => Kind::Kill,
                        _ => return Err(format!("signals are term and kill, not {word:?}")),
                    });
                }
            }
            // No comma: a path may hold one.
            "executables" => {
                for word in value.split_ascii_whitespace() {
                    let glob =
                        Some(word).filter(|word| word.starts_with('/')).and_then(|word| word.parse().ok());
                    self.executables
                        .push(glob.ok_or_else(|| format!("{word:?} is no path, such as /srv/*"))?);
                }
            }
            "users" => {
                for word in words() {
                    self.users
                        .push(users(word).ok_or_else(|| format!("{word:?} is no uid, such as 1000-60000"))?);
                }
            }
            "units" => {
                for word in words() {
                    self.units.insert(word.parse().map_err(|wrong| format!("{word:?}: {wrong}"))?);
                }
            }
            "keys" => {
                for word in words() {
                    self.key(word)?;
                }
            }
            "need" => {
                let number = value.parse().ok().filter(|need| (1..=MAX_SIGNATURES).contains(need));
                let number = number.ok_or_else(|| format!("need is 1 to {MAX_SIGNATURES}, not {value:?}"))?;
                if need.replace(number).is_some() {
                    return Err("need is said twice".to_owned());
                }
            }
            "server" => {
                let id = value.parse().map_err(|wrong| format!("server: {wrong}"))?;
                if self.server.replace(id).is_some() {
                    return Err("server is said twice".to_owned());
                }
            }
            _ => return Err(format!("{name:?} is nothing that it can say")),
        }
        Ok(())
    }

    fn key(&mut self, word: &str) -> Result<(), String> {
        let wrong = || format!("{word:?} is no key, such as suite:base64 of 32 bytes");
        let (name, key) = word.split_once(':').ok_or_else(wrong)?;
        let (name, key) = (name.parse().map_err(|_| wrong())?, keys::public(key).ok_or_else(wrong)?);
        // One key by two names would sign for two.
        if self.keys.iter().any(|(known, bytes)| *known == name || *bytes == key) {
            return Err(format!("the key {name} is there twice"));
        }
        self.keys.push((name, key));
        Ok(())
    }

    /// The kinds of orders that it allows at all.
    pub fn kinds(&self) -> Vec<Kind> {
        let processes = !self.executables.is_empty() && !self.users.is_empty();
        let allowed = |kind: &Kind| match kind.is_of_units() {
            true => !self.units.is_empty(),
            false => processes && self.signals.contains(kind),
        };
        Kind::ALL.into_iter().filter(allowed).collect()
    }
}

/// A pipe in its place would be waited for, for ever.
fn open(path: &Path) -> io::Result<File> {
    let at_once = rustix::fs::OFlags::NONBLOCK.bits();
    OpenOptions::new().read(true).custom_flags(at_once.cast_signed()).open(path)
}

fn users(word: &str) -> Option<RangeInclusive<u32>> {
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
    const OTHER: &str = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA";

    fn conf(lines: &str) -> Result<Conf, String> {
        Conf::parse(&format!("keys = suite:{KEY}\n{lines}"))
    }

    #[test]
    fn it_says_what_is_allowed_and_by_whom() {
        let conf = conf(&format!(
            "# of the shop\n\nsignals = term,kill\nexecutables = /srv/* /opt/a,b\nusers = 1000-60000, 33\n\
             units = shop.service cache@1.service\nkeys = ann:{OTHER}=\nneed = 2\n\
             server = 01a0c450-6c00-7303-8303-030303030303"
        ))
        .unwrap();
        assert_eq!(conf.kinds(), Kind::ALL);
        assert_eq!(conf.executables[1].as_str(), "/opt/a,b");
        assert_eq!(conf.users, [1_000..=60_000, 33..=33]);
        assert_eq!((conf.units.len(), conf.keys.len(), conf.need), (2, 2, 2));
        assert!(conf.server.is_some());
    }

    #[test]
    fn what_it_does_not_say_is_not_allowed() {
        assert_eq!(conf("").unwrap().kinds(), []);
        assert_eq!(conf("").unwrap().need, 1);
        assert_eq!(conf("signals = kill").unwrap().kinds(), []);
        assert_eq!(conf("signals = kill\nexecutables = /srv/*").unwrap().kinds(), []);
        let kill = "signals = kill\nexecutables = /srv/*\nusers = 0";
        assert_eq!(conf(kill).unwrap().kinds(), [Kind::Kill]);
        assert_eq!(conf("units = a.service").unwrap().kinds(), [Kind::Start, Kind::Stop, Kind::Restart]);
    }

    #[test]
    fn what_is_not_understood_allows_nothing_and_says_why() {
        for (lines, told) in [
            ("signals = hup", "term and kill"),
            ("executables = srv/*", "no path"),
            ("executables = *", "no path"),
            ("users = root", "no uid"),
            ("users = 9-1", "no uid"),
            ("users = -1", "no uid"),
            ("units = shop", "shop.service"),
            ("units = *.service", "shop.service"),
            ("need = 0", "need is 1 to 8"),
            ("need = 2", "keys names 1"),
            ("need = 1\nneed = 1", "twice"),
            ("server = web-1", "server"),
            ("allow = all", "nothing that it can say"),
            ("signals", "line 2"),
            ("keys = suite", "no key"),
            ("keys = ann:AAAA", "no key"),
            (&format!("keys = suite:{OTHER}"), "twice"),
            (&format!("keys = ann:{KEY}"), "twice"),
        ] {
            let wrong = conf(lines).unwrap_err();
            assert!(wrong.contains(told), "{lines}: {wrong}");
        }
        assert!(Conf::parse("signals = term").unwrap_err().contains("names no key"));
        assert!(Conf::parse("keys =").unwrap_err().contains("names no key"));
    }
}
