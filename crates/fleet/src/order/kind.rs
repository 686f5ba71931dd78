//! What orders may ask for.

use std::{fmt, str::FromStr};

use super::Invalid;

/// What an order asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// To send a process SIGTERM.
    Terminate,
    /// To send a process SIGKILL.
    Kill,
    /// To start a unit.
    Start,
    /// To stop a unit.
    Stop,
    /// To restart a unit.
    Restart,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Terminate, Self::Kill, Self::Start, Self::Stop, Self::Restart];

    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Terminate => "process.terminate",
            Self::Kill => "process.kill",
            Self::Start => "unit.start",
            Self::Stop => "unit.stop",
            Self::Restart => "unit.restart",
        }
    }

    /// The kind of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Whether it is about a unit, and not about a process.
    pub fn is_of_units(self) -> bool {
        matches!(self, Self::Start | Self::Stop | Self::Restart)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = Invalid;

    fn from_str(name: &str) -> Result<Self, Invalid> {
        Self::parse(name).ok_or(Invalid { field: "kind", reason: "is none that hosts know" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_known_by_its_name_alone() {
        for kind in Kind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
            assert_eq!(kind.is_of_units(), kind.as_str().starts_with("unit."));
        }
        for other in ["", "process", "process.Kill", "process.kill ", "unit.reload", "shell"] {
            assert_eq!(Kind::parse(other), None, "{other}");
        }
    }
}
