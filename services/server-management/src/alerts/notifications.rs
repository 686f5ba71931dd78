//! Messages on channels, as people look at them, and sending one again.

use actix_web::{
    HttpResponse,
    web::{Data, Json},
};
use chassis::{Problem, random};
use fleet::id::{ChannelId, NotificationId};
use registry::Notification;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    alerts::listing::NotificationListing,
    app::App,
    http::{
        body::Id,
        failure::Failure,
        paging::{Listed, Paging},
        query::Parsed,
    },
    people::By,
};

/// A message on a channel. Times are Unix ms.
#[derive(Serialize, ToSchema)]
#[schema(as = Notification)]
pub(crate) struct NotificationItem {
    #[schema(value_type = String, format = "uuid")]
    id: NotificationId,
    /// It may be gone by now.
    #[schema(value_type = String, format = "uuid")]
    channel_id: ChannelId,
    /// Name of the channel when the message was made.
    channel: String,
    /// `incidents`, or `test`.
    #[schema(pattern = "^(incidents|test)$")]
    kind: &'static str,
    /// `unknown`: the receiver may have it; it is not sent again by itself. `fallen`: it was over before it was sent.
    #[schema(pattern = "^(queued|sending|sent|failed|unknown|fallen)$")]
    state: &'static str,
    attempts: u32,
    /// What the receiver knows it by. Several that were sent as one have the same.
    message_id: Option<String>,
    /// Why it failed, or waits still.
    reason: Option<String>,
    /// The one that it repeats, because a person wanted it.
    #[schema(value_type = Option<String>, format = "uuid")]
    resend_of: Option<NotificationId>,
    /// Of how many incidents it tells.
    incidents: u64,
    created_at: i64,
    updated_at: i64,
}

/// List messages, newest first.
#[utoipa::path(
    get, path = "/notifications", operation_id = "list_notifications", tag = "alerts", params(NotificationListing),
    responses((status = 200, description = "A page of them", body = Listed<NotificationItem>)),
    security(("token" = ["alert:read"]))
)]
pub(crate) async fn list(
    app: Data<App>,
    listing: Parsed<NotificationListing>,
) -> Result<Json<Listed<NotificationItem>>, Failure> {
    let NotificationListing { filter, paging: Paging(page) } = listing.0;
    let (notifications, total) = app.registry.notifications(&filter, page).await?;
    Ok(Json(Listed::new(notifications.into_iter().map(item).collect(), total, page)))
}

/// Read one message.
#[utoipa::path(
    get, path = "/notifications/{id}", operation_id = "show_notification", tag = "alerts",
    params(("id" = String, Path, description = "Id of the message")),
    responses((status = 200, description = "The message", body = NotificationItem)),
    security(("token" = ["alert:read"]))
)]
pub(crate) async fn show(app: Data<App>, id: Id<NotificationId>) -> Result<Json<NotificationItem>, Failure> {
    let notification = app.registry.notification(id.0).await?.ok_or_else(Problem::not_found)?;
    Ok(Json(item(notification)))
}

/// Send a message again that failed or is unknown: a new one with the same content. Of one that is unknown the receiver may
/// have two then.
#[utoipa::path(
    post, path = "/notifications/{id}/resend", operation_id = "resend_notification", tag = "alerts",
    params(("id" = String, Path, description = "Id of the message")),
    responses((status = 202, description = "The new message, which waits for its turn", body = NotificationItem)),
    security(("token" = ["alert:respond"]))
)]
pub(crate) async fn resend(app: Data<App>, by: By, id: Id<NotificationId>) -> Result<HttpResponse, Failure> {
    let now = app.clock.now();
    let new = NotificationId::new(now, random());
    let made = app.registry.resend_notification(id.0, new, random, &by.0, now).await??;
    Ok(HttpResponse::Accepted().json(item(made)))
}

pub(super) fn item(notification: Notification) -> NotificationItem {
    NotificationItem {
        id: notification.id,
        channel_id: notification.channel,
        channel: notification.channel_name,
        kind: notification.kind.as_str(),
        state: notification.state.as_str(),
        attempts: notification.attempts,
        message_id: notification.message_id,
        reason: notification.reason,
        resend_of: notification.resend_of,
        incidents: notification.incidents,
        created_at: notification.created_at,
        updated_at: notification.updated_at,
    }
}
