//! What a role may do.

use std::{fmt, str::FromStr};

/// One permission. A role is a set of them; a route asks for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Read servers, their snapshots, status and uptime.
    ServerRead,
    /// Change, pause, revoke and delete servers.
    ServerWrite,
    /// Read users and roles.
    UserRead,
    /// Change users and roles.
    UserWrite,
    /// Read reports and schedules.
    ReportRead,
    /// Ask for reports and change schedules.
    ReportWrite,
    /// Make, list and revoke enrolment tokens.
    AgentEnroll,
    /// Read the audit log.
    AuditRead,
    /// Read rules, incidents, routes, silences, windows and what was sent.
    AlertRead,
    /// Acknowledge, comment and close incidents; silence.
    AlertRespond,
    /// Change rules, routes and maintenance windows.
    AlertWrite,
    /// Change where alerts are sent.
    ChannelWrite,
    /// Read what runs on servers, but for command lines.
    ProcessRead,
    /// Read command lines too.
    ProcessCommand,
    /// Have processes ended.
    ProcessSignal,
    /// Have units started, stopped and restarted.
    UnitControl,
    /// Approve what others ordered, and say how many have to.
    OrderApprove,
}

/// A text that is no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no such scope")]
pub struct BadScope;

impl Scope {
    /// Every scope there is.
    pub const ALL: [Self; 17] = [
        Self::ServerRead,
        Self::ServerWrite,
        Self::UserRead,
        Self::UserWrite,
        Self::ReportRead,
        Self::ReportWrite,
        Self::AgentEnroll,
        Self::AuditRead,
        Self::AlertRead,
        Self::AlertRespond,
        Self::AlertWrite,
        Self::ChannelWrite,
        Self::ProcessRead,
        Self::ProcessCommand,
        Self::ProcessSignal,
        Self::UnitControl,
        Self::OrderApprove,
    ];

    /// Whether it acts on hosts: then a person has to have given the password just now, and no API token has it.
    pub const fn acts(self) -> bool {
        matches!(self, Self::ProcessSignal | Self::UnitControl | Self::OrderApprove)
    }

    /// As the interface spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ServerRead => "server:read",
            Self::ServerWrite => "server:write",
            Self::UserRead => "user:read",
            Self::UserWrite => "user:write",
            Self::ReportRead => "report:read",
            Self::ReportWrite => "report:write",
            Self::AgentEnroll => "agent:enroll",
            Self::AuditRead => "audit:read",
            Self::AlertRead => "alert:read",
            Self::AlertRespond => "alert:respond",
            Self::AlertWrite => "alert:write",
            Self::ChannelWrite => "channel:write",
            Self::ProcessRead => "process:read",
            Self::ProcessCommand => "process:command",
            Self::ProcessSignal => "process:signal",
            Self::UnitControl => "unit:control",
            Self::OrderApprove => "order:approve",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = BadScope;

    fn from_str(text: &str) -> Result<Self, BadScope> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text).ok_or(BadScope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scope_reads_back() {
        for scope in Scope::ALL {
            assert_eq!(scope.to_string().parse(), Ok(scope));
        }
        assert_eq!("server:*".parse::<Scope>(), Err(BadScope));
    }
}
