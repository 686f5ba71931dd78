//! The words of alerts, as stores and the interface spell them.

/// A text that is none of the words that may stand there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be one of {0}")]
pub struct BadWord(pub &'static str);

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident: $list:literal { $($(#[$word_doc:meta])* $word:ident = $text:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$word_doc])* $word,)*
        }

        impl $name {
            /// Every one.
            pub const ALL: [Self; [$($text),*].len()] = [$(Self::$word),*];

            /// As stores and the interface spell it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$word => $text,)*
                }
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::alert::BadWord;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL.into_iter().find(|word| word.as_str() == text).ok_or($crate::alert::BadWord($list))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    )*};
}
pub(super) use words;

words! {
    /// How bad it is; the greater, the worse.
    Level: "warning, critical" {
        /// Somebody should look.
        Warning = "warning",
        /// Somebody has to look now.
        Critical = "critical",
    }

    /// How far an incident is.
    IncidentState: "open, acknowledged, resolved" {
        /// Nobody has taken it on.
        Open = "open",
        /// Somebody has taken it on.
        Acknowledged = "acknowledged",
        /// It is over.
        Resolved = "resolved",
    }

    /// Why an incident is over.
    Resolution: "recovered, paused, rule_gone, server_gone, closed" {
        /// What was wrong is right again. The only one that a message calls a recovery.
        Recovered = "recovered",
        /// The server is not expected to report.
        Paused = "paused",
        /// The rule is deleted or disabled, or does not bind the server any more.
        RuleGone = "rule_gone",
        /// The server is deleted.
        ServerGone = "server_gone",
        /// A person closed it.
        Closed = "closed",
    }

    /// What became of an incident.
    IncidentEventKind: "opened, raised, acknowledged, unacknowledged, commented, resolved" {
        /// It began.
        Opened = "opened",
        /// It is worse than it was.
        Raised = "raised",
        /// Somebody has taken it on.
        Acknowledged = "acknowledged",
        /// Nobody has it any more.
        Unacknowledged = "unacknowledged",
        /// Somebody said something of it.
        Commented = "commented",
        /// It is over.
        Resolved = "resolved",
    }

    /// What a rule looks at.
    RuleKind: "silent, unheard, value, self" {
        /// Servers that were heard and are not any more.
        Silent = "silent",
        /// Servers that enrolled and were never heard.
        Unheard = "unheard",
        /// A measurement of servers.
        Value = "value",
        /// The suite itself.
        Itself = "self",
    }

    /// On which side of a threshold the trouble is.
    Op: "above, below" {
        /// A value above it is trouble.
        Above = "above",
        /// A value below it is trouble.
        Below = "below",
    }

    /// How far a state is.
    Phase: "pending, raised, cleared" {
        /// It breaches, and has not for long enough.
        Pending = "pending",
        /// It breached for long enough.
        Raised = "raised",
        /// It was raised and is over; it stays until the judge has seen it.
        Cleared = "cleared",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back_and_is_told_when_it_is_none() {
        for level in Level::ALL {
            assert_eq!(level.to_string().parse(), Ok(level));
        }
        for kind in RuleKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        assert_eq!("Warning".parse::<Level>().unwrap_err().to_string(), "must be one of warning, critical");
        assert!(Level::Critical > Level::Warning);
    }
}
