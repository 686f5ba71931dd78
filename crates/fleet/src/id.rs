//! Identifiers. Each kind has its own type, so that a user's id cannot be passed for a server's.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::{Builder, Uuid};

use crate::Millis;

/// A text that is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an id: expected a UUID such as 0190a5c2-7b5e-7c3d-8e4f-0123456789ab")]
pub struct BadId;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Uuid);

        impl $name {
            /// A new UUIDv7 (RFC 9562, 5.7): it sorts by the time it was made.
            pub fn new(now: Millis, random: [u8; 10]) -> Self {
                let millis = u64::try_from(now).unwrap_or(0);
                Self(Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
            }

            /// The sixteen bytes, as stores with a binary key keep them.
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// The id that these sixteen bytes are.
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            /// Takes the hyphenated form alone, in lower case: one id has one spelling.
            fn from_str(text: &str) -> Result<Self, BadId> {
                let id = Uuid::try_parse(text).map_err(|_| BadId)?;
                let mut spelt = Uuid::encode_buffer();
                if id.as_hyphenated().encode_lower(&mut spelt) != text {
                    return Err(BadId);
                }
                Ok(Self(id))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadId;

            fn try_from(text: String) -> Result<Self, BadId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }
    )*};
}

ids! {
    /// A monitored host. Its address is a fact about it, never its identity.
    ServerId
    /// A person, or a program with an account.
    UserId
    /// One log-in: the family of its refresh tokens.
    SessionId
    /// A token with which servers enrol.
    EnrolmentTokenId
    /// A report: what it says of each server is computed once.
    ReportId
    /// One mail of a report to one recipient.
    DeliveryId
    /// What makes a report again and again.
    ScheduleId
    /// A token with which a program uses the interface.
    ApiTokenId
    /// What is looked at, and from which value on it is trouble.
    AlertRuleId
    /// One trouble, from its opening to its resolution.
    IncidentId
    /// Where alerts are sent.
    ChannelId
    /// Which incidents are told on which channels.
    AlertRouteId
    /// One message on a channel.
    NotificationId
    /// For some time some incidents are not told.
    SilenceId
    /// For some time some servers are not expected to report.
    MaintenanceWindowId
    /// A wish to act on one host, once.
    OrderId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let id = ServerId::new(1_790_000_000_000, [7; 10]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.to_string().to_uppercase().parse::<ServerId>(), Err(BadId));
        assert_eq!(format!("{{{id}}}").parse::<ServerId>(), Err(BadId));
        assert_eq!("".parse::<ServerId>(), Err(BadId));
    }

    #[test]
    fn later_ids_sort_later() {
        assert!(ServerId::new(1, [255; 10]) < ServerId::new(2, [0; 10]));
    }
}
