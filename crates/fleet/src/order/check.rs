//! What an order has to look like.

use std::{fmt, str::FromStr};

use wire::v1;

use super::Kind;
use crate::{Millis, ServerId, id::OrderId, text};

/// How far ahead of the clocks an order may end, in ms: a day, and an hour for clocks that differ. Whoever remembers orders
/// until then knows every one that could come again.
pub const MAX_AHEAD: Millis = 25 * 3_600_000;
/// Greatest number of a process (Linux has at most 2^22).
const MAX_PID: u32 = i32::MAX.unsigned_abs();
/// Longest name of a unit, in bytes, as systemd has it.
const MAX_UNIT_BYTES: usize = 255;
/// Longest name of a boot, in bytes.
const MAX_BOOT_BYTES: usize = 64;

/// An order that asks for something that there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Which one.
    pub id: OrderId,
    /// The server that it is for.
    pub server: ServerId,
    /// The boot that it is for.
    pub boot: String,
    /// What is to be done.
    pub wish: Wish,
    /// Whether all is checked and nothing is done.
    pub dry_run: bool,
    /// When it ends, in Unix ms.
    pub not_after: Millis,
    /// Who asks.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// What is to be done, and to what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// To send a process the signal of a kind.
    Signal(Kind, v1::ProcessTarget),
    /// To do to a unit what a kind says.
    Control(Kind, Unit),
}

/// The full name of a service of systemd.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Unit(String);

/// Why this is no order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {reason}")]
pub struct Invalid {
    /// What of it is at fault, by its name on the wire.
    pub field: &'static str,
    /// What is wrong with it, for people.
    pub reason: &'static str,
}

impl Order {
    /// Checks what came, or is about to be signed.
    pub fn check(order: v1::Order) -> Result<Self, Invalid> {
        let wrong = |field, reason| Invalid { field, reason };
        let v1::Order {
            version,
            order: id,
            server,
            boot,
            kind,
            process,
            unit,
            dry_run,
            not_after,
            mut by,
            mut reason,
        } = order;
        if version != v1::VERSION {
            return Err(wrong("version", "is none that this release knows"));
        }
        let boot_is_plain = boot.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if boot.is_empty() || boot.len() > MAX_BOOT_BYTES || !boot_is_plain {
            return Err(wrong("boot", "is no id of a boot"));
        }
        if not_after <= 0 {
            return Err(wrong("not_after", "is no time"));
        }
        for (field, text) in [("by", &mut by), ("reason", &mut reason)] {
            if text.trim().is_empty() {
                return Err(wrong(field, "is missing"));
            }
            text::clean(text).map_err(|_| wrong(field, "is longer than 256 bytes, or contains NUL"))?;
        }
        Ok(Self {
            id: id.parse().map_err(|_| wrong("order", "is no id"))?,
            server: server.parse().map_err(|_| wrong("server", "is no id"))?,
            boot,
            wish: Wish::check(kind.parse()?, process, unit)?,
            dry_run,
            not_after,
            by,
            reason,
        })
    }

    /// What it asks for.
    pub fn kind(&self) -> Kind {
        match self.wish {
            Wish::Signal(kind, _) | Wish::Control(kind, _) => kind,
        }
    }
}

impl Wish {
    /// Checks that what a kind is about is there, and nothing else.
    pub fn check(
        kind: Kind,
        process: Option<v1::ProcessTarget>,
        unit: Option<String>,
    ) -> Result<Self, Invalid> {
        match (kind.is_of_units(), process, unit) {
            (false, Some(process), None) => {
                if process.pid == 0 || process.pid > MAX_PID {
                    return Err(Invalid { field: "process.pid", reason: "is no number of a process" });
                }
                let executable = process.executable.as_deref();
                if executable.is_some_and(|path| !path.starts_with('/') || !is_text(path)) {
                    return Err(Invalid { field: "process.executable", reason: "is no path" });
                }
                Ok(Self::Signal(kind, process))
            }
            (true, None, Some(unit)) => Ok(Self::Control(kind, unit.parse()?)),
            (false, _, _) => Err(Invalid { field: "process", reason: "is what this kind is about, alone" }),
            (true, _, _) => Err(Invalid { field: "unit", reason: "is what this kind is about, alone" }),
        }
    }
}

/// Whether all of it can be shown as it is.
fn is_text(text: &str) -> bool {
    let mut clean = text.to_owned();
    text::clean(&mut clean).is_ok() && clean == text
}

impl Unit {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Unit {
    type Err = Invalid;

    /// Takes `[A-Za-z0-9@_.:-]+\.service` alone: no pattern, no path, no option.
    fn from_str(name: &str) -> Result<Self, Invalid> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"@_.:-".contains(&byte);
        let stem = name.strip_suffix(".service").unwrap_or_default();
        if stem.is_empty() || name.len() > MAX_UNIT_BYTES || !stem.bytes().all(plain) {
            return Err(Invalid {
                field: "unit",
                reason: "is no full name of a service, such as shop.service",
            });
        }
        Ok(Self(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wire::v1::ProcessTarget;

    use super::*;

    pub(crate) fn order() -> v1::Order {
        v1::Order {
            version: v1::VERSION,
            order: OrderId::new(1_790_000_000_000, [1; 10]).to_string(),
            server: ServerId::new(1_790_000_000_000, [2; 10]).to_string(),
            boot: "6ca26903-7f7d-4915-a506-6de3d7583991".to_owned(),
            kind: "process.kill".to_owned(),
            process: Some(ProcessTarget { pid: 7, start_ms: 9, ..ProcessTarget::default() }),
            unit: None,
            dry_run: false,
            not_after: 1_790_000_300_000,
            by: "ann".to_owned(),
            reason: "it fills the disk".to_owned(),
        }
    }

    #[test]
    fn an_order_is_about_what_its_kind_says_and_nothing_else() {
        let process = Some(ProcessTarget { pid: 7, ..ProcessTarget::default() });
        let unit = Some("shop.service".to_owned());
        for kind in Kind::ALL {
            let checked = |process: &Option<_>, unit: &Option<_>| {
                Order::check(v1::Order {
                    kind: kind.to_string(),
                    process: process.clone(),
                    unit: unit.clone(),
                    ..order()
                })
            };
            let of_units = kind.is_of_units();
            assert_eq!(checked(&process, &None).is_ok(), !of_units);
            assert_eq!(checked(&None, &unit).is_ok(), of_units);
            assert!(checked(&process, &unit).is_err() && checked(&None, &None).is_err());
        }
    }

    #[test]
    fn what_is_out_of_shape_names_its_field() {
        type Spoil = fn(&mut v1::Order);
        let process = |order: &mut v1::Order, process| order.process = Some(process);
        let cases: [(&str, Spoil); 11] = [
            ("version", |order| order.version = 2),
            ("order", |order| order.order = "7".to_owned()),
            ("server", |order| order.server.make_ascii_uppercase()),
            ("boot", |order| order.boot.clear()),
            ("boot", |order| order.boot = "a b".to_owned()),
            ("kind", |order| order.kind = "process.stop".to_owned()),
            ("not_after", |order| order.not_after = 0),
            ("by", |order| order.by = " ".to_owned()),
            ("reason", |order| order.reason = "ä".repeat(129)),
            ("reason", |order| order.reason = "a\0".to_owned()),
            ("reason", |order| order.reason.clear()),
        ];
        assert!(Order::check(order()).is_ok());
        for (field, spoil) in cases {
            let mut spoilt = order();
            spoil(&mut spoilt);
            assert_eq!(Order::check(spoilt).unwrap_err().field, field);
        }
        for (pid, executable) in [(0, None), (1 << 31, None), (7, Some("sh")), (7, Some("/bin/\u{202e}hs"))] {
            let mut spoilt = order();
            let executable = executable.map(str::to_owned);
            process(&mut spoilt, ProcessTarget { pid, executable, ..ProcessTarget::default() });
            assert!(Order::check(spoilt).unwrap_err().field.starts_with("process."), "{pid}");
        }
    }

    #[test]
    fn a_unit_is_one_full_name() {
        for good in ["shop.service", "shop@a:1_b.service", "a-b.c.service"] {
            assert_eq!(good.parse::<Unit>().unwrap().as_str(), good);
        }
        let long = format!("{}.service", "a".repeat(248));
        for bad in [
            "",
            ".service",
            "shop",
            "shop.socket",
            "shop*.service",
            "../shop.service",
            "a b.service",
            "ä.service",
        ]
        .into_iter()
        .chain([long.as_str(), "shop.service\n", "--help", "a.service "])
        {
            assert!(bad.parse::<Unit>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_unit_has_no_character_with_a_meaning(name in ".{0,40}") {
            let plain = |c: char| c.is_ascii_alphanumeric() || "@_.:-".contains(c);
            if let Ok(unit) = format!("{name}.service").parse::<Unit>() {
                prop_assert!(unit.as_str().chars().all(plain));
            }
        }
    }
}
