//! What is done, as the audit log has it.

/// What is done to which kind of thing. In the log it is `kind.verb`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// `session.begin`: Somebody logged in.
    SessionBegin,
    /// `session.end`: Somebody logged out.
    SessionEnd,
    /// `session.elevate`: Somebody gave the password of an open session again.
    SessionElevate,
    /// `session.reuse`: A refresh token was used twice, which ended the session.
    SessionReuse,
    /// `session.refuse`: Somebody did not get in, or gave a wrong password in an open session; the object is the user whose
    /// password it was to be.
    SessionRefuse,
    /// `user.create`: A user is made.
    UserCreate,
    /// `user.change`: A user is changed.
    UserChange,
    /// `user.password`: A user has another password.
    UserPassword,
    /// `user.delete`: A user is deleted.
    UserDelete,
    /// `role.create`: A role is made.
    RoleCreate,
    /// `role.change`: A role is changed.
    RoleChange,
    /// `role.delete`: A role is deleted.
    RoleDelete,
    /// `token.create`: An API token is made.
    TokenCreate,
    /// `token.delete`: An API token is deleted.
    TokenDelete,
    /// `enrolment_token.create`: An enrolment token is made.
    EnrolmentTokenCreate,
    /// `enrolment_token.revoke`: An enrolment token is taken back.
    EnrolmentTokenRevoke,
    /// `server.create`: A person makes a server.
    ServerCreate,
    /// `server.change`: What people say of a server is changed.
    ServerChange,
    /// `server.delete`: A server is deleted.
    ServerDelete,
    /// `server.enrol`: A server gets its credential.
    ServerEnrol,
    /// `server.adopt`: A server that this registry never knew is taken in, with the credential that it has.
    ServerAdopt,
    /// `server.forget`: What history holds of a server so far goes.
    ServerForget,
    /// `server.revoke`: The credentials of a server are refused from now on.
    ServerRevoke,
    /// `server.pause`: A server is not expected to report.
    ServerPause,
    /// `server.resume`: A server is expected to report again.
    ServerResume,
    /// `report.create`: A report is asked for.
    ReportCreate,
    /// `report_schedule.create`: A schedule is made.
    ReportScheduleCreate,
    /// `report_schedule.change`: A schedule is changed.
    ReportScheduleChange,
    /// `report_schedule.delete`: A schedule is deleted.
    ReportScheduleDelete,
    /// `alert_rule.create`: A rule for alerts is made.
    AlertRuleCreate,
    /// `alert_rule.change`: A rule for alerts is changed.
    AlertRuleChange,
    /// `alert_rule.delete`: A rule for alerts is deleted.
    AlertRuleDelete,
    /// `incident.acknowledge`: Somebody takes an incident on.
    IncidentAcknowledge,
    /// `incident.unacknowledge`: Nobody has an incident any more.
    IncidentUnacknowledge,
    /// `incident.close`: An incident is closed by hand.
    IncidentClose,
    /// `incident.comment`: Somebody says something of an incident.
    IncidentComment,
    /// `channel.create`: A channel for alerts is made.
    ChannelCreate,
    /// `channel.change`: A channel for alerts is changed.
    ChannelChange,
    /// `channel.delete`: A channel for alerts is deleted.
    ChannelDelete,
    /// `channel.test`: A message is sent to see whether a channel works.
    ChannelTest,
    /// `channel.disable`: A channel for alerts refuses for good, and is not used any more.
    ChannelDisable,
    /// `alert_route.create`: A route for alerts is made.
    AlertRouteCreate,
    /// `alert_route.change`: A route for alerts is changed.
    AlertRouteChange,
    /// `alert_route.delete`: A route for alerts is deleted.
    AlertRouteDelete,
    /// `notification.resend`: A message is sent again that failed or may have been lost.
    NotificationResend,
    /// `silence.create`: A silence is made.
    SilenceCreate,
    /// `silence.change`: A silence is changed.
    SilenceChange,
    /// `silence.delete`: A silence is deleted.
    SilenceDelete,
    /// `maintenance_window.create`: A maintenance window is made.
    MaintenanceWindowCreate,
    /// `maintenance_window.change`: A maintenance window is changed.
    MaintenanceWindowChange,
    /// `maintenance_window.delete`: A maintenance window is deleted.
    MaintenanceWindowDelete,
    /// `maintenance_window.begin`: A run of a maintenance window begins.
    MaintenanceWindowBegin,
    /// `maintenance_window.end`: A run of a maintenance window ends.
    MaintenanceWindowEnd,
    /// `order.create`: A person orders something of a host.
    OrderCreate,
    /// `order.approve`: Somebody else approves an order.
    OrderApprove,
    /// `order.cancel`: An order is taken back.
    OrderCancel,
    /// `order.expire`: The time of an order is over, and its host has not said anything.
    OrderExpire,
    /// `order.end`: A host says what became of an order.
    OrderEnd,
    /// `registry.restore`: What a backup that was restored brought back is ended.
    RegistryRestore,
}

impl Action {
    /// Every one.
    pub const ALL: [Self; 59] = [
        Self::SessionBegin,
        Self::SessionEnd,
        Self::SessionElevate,
        Self::SessionReuse,
        Self::SessionRefuse,
        Self::UserCreate,
        Self::UserChange,
        Self::UserPassword,
        Self::UserDelete,
        Self::RoleCreate,
        Self::RoleChange,
        Self::RoleDelete,
        Self::TokenCreate,
        Self::TokenDelete,
        Self::EnrolmentTokenCreate,
        Self::EnrolmentTokenRevoke,
        Self::ServerCreate,
        Self::ServerChange,
        Self::ServerDelete,
        Self::ServerEnrol,
        Self::ServerAdopt,
        Self::ServerForget,
        Self::ServerRevoke,
        Self::ServerPause,
        Self::ServerResume,
        Self::ReportCreate,
        Self::ReportScheduleCreate,
        Self::ReportScheduleChange,
        Self::ReportScheduleDelete,
        Self::AlertRuleCreate,
        Self::AlertRuleChange,
        Self::AlertRuleDelete,
        Self::IncidentAcknowledge,
        Self::IncidentUnacknowledge,
        Self::IncidentClose,
        Self::IncidentComment,
        Self::ChannelCreate,
        Self::ChannelChange,
        Self::ChannelDelete,
        Self::ChannelTest,
        Self::ChannelDisable,
        Self::AlertRouteCreate,
        Self::AlertRouteChange,
        Self::AlertRouteDelete,
        Self::NotificationResend,
        Self::SilenceCreate,
        Self::SilenceChange,
        Self::SilenceDelete,
        Self::MaintenanceWindowCreate,
        Self::MaintenanceWindowChange,
        Self::MaintenanceWindowDelete,
        Self::MaintenanceWindowBegin,
        Self::MaintenanceWindowEnd,
        Self::OrderCreate,
        Self::OrderApprove,
        Self::OrderCancel,
        Self::OrderExpire,
        Self::OrderEnd,
        Self::RegistryRestore,
    ];

    /// `kind.verb`.
    #[expect(clippy::too_many_lines, reason = "a line a variant, in one place")]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SessionBegin => "session.begin",
            Self::SessionEnd => "session.end",
            Self::SessionElevate => "session.elevate",
            Self::SessionReuse => "session.reuse",
            Self::SessionRefuse => "session.refuse",
            Self::UserCreate => "user.create",
            Self::UserChange => "user.change",
            Self::UserPassword => "user.password",
            Self::UserDelete => "user.delete",
            Self::RoleCreate => "role.create",
            Self::RoleChange => "role.change",
            Self::RoleDelete => "role.delete",
            Self::TokenCreate => "token.create",
            Self::TokenDelete => "token.delete",
            Self::EnrolmentTokenCreate => "enrolment_token.create",
            Self::EnrolmentTokenRevoke => "enrolment_token.revoke",
            Self::ServerCreate => "server.create",
            Self::ServerChange => "server.change",
            Self::ServerDelete => "server.delete",
            Self::ServerEnrol => "server.enrol",
            Self::ServerAdopt => "server.adopt",
            Self::ServerForget => "server.forget",
            Self::ServerRevoke => "server.revoke",
            Self::ServerPause => "server.pause",
            Self::ServerResume => "server.resume",
            Self::ReportCreate => "report.create",
            Self::ReportScheduleCreate => "report_schedule.create",
            Self::ReportScheduleChange => "report_schedule.change",
            Self::ReportScheduleDelete => "report_schedule.delete",
            Self::AlertRuleCreate => "alert_rule.create",
            Self::AlertRuleChange => "alert_rule.change",
            Self::AlertRuleDelete => "alert_rule.delete",
            Self::IncidentAcknowledge => "incident.acknowledge",
            Self::IncidentUnacknowledge => "incident.unacknowledge",
            Self::IncidentClose => "incident.close",
            Self::IncidentComment => "incident.comment",
            Self::ChannelCreate => "channel.create",
            Self::ChannelChange => "channel.change",
            Self::ChannelDelete => "channel.delete",
            Self::ChannelTest => "channel.test",
            Self::ChannelDisable => "channel.disable",
            Self::AlertRouteCreate => "alert_route.create",
            Self::AlertRouteChange => "alert_route.change",
            Self::AlertRouteDelete => "alert_route.delete",
            Self::NotificationResend => "notification.resend",
            Self::SilenceCreate => "silence.create",
            Self::SilenceChange => "silence.change",
            Self::SilenceDelete => "silence.delete",
            Self::MaintenanceWindowCreate => "maintenance_window.create",
            Self::MaintenanceWindowChange => "maintenance_window.change",
            Self::MaintenanceWindowDelete => "maintenance_window.delete",
            Self::MaintenanceWindowBegin => "maintenance_window.begin",
            Self::MaintenanceWindowEnd => "maintenance_window.end",
            Self::OrderCreate => "order.create",
            Self::OrderApprove => "order.approve",
            Self::OrderCancel => "order.cancel",
            Self::OrderExpire => "order.expire",
            Self::OrderEnd => "order.end",
            Self::RegistryRestore => "registry.restore",
        }
    }

    /// The kind of the thing that it is done to.
    pub fn object_kind(self) -> &'static str {
        match self {
            // Nobody began a session.
            Self::SessionRefuse => "user",
            other => other.as_str().split('.').next().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_action_is_a_kind_and_a_verb() {
        let plain = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        let mut words = HashSet::new();
        for action in Action::ALL {
            let (kind, verb) = action.as_str().split_once('.').unwrap();
            assert!(plain(kind) && plain(verb) && words.insert(action.as_str()), "{action:?}");
            let kind = if action == Action::SessionRefuse { "user" } else { kind };
            assert_eq!(action.object_kind(), kind);
        }
    }
}
