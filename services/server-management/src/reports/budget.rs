//! How much a user may ask for: a request is small, and its mails may be fifty, each with a row for every server.

use chassis::Problem;
use fleet::{Millis, id::UserId};
use registry::{Ask, Page};

use crate::{
    app::App,
    http::failure::{Failure, rate_limited},
    reports::report::kept_filter,
};

/// For how long a request counts.
const WITHIN: Millis = 3_600_000;

/// Rows in mails that a user may ask for within that time. Whoever has asked for less may ask once more, for however
/// many: so no fleet is too large for a report.
const MOST_ROWS: i64 = 1_000_000;

/// What a mail counts for at least: also one without a row costs the mail server a conversation, and its reader a look.
const LEAST_OF_A_MAIL: i64 = 1_000;

/// What a report by this filter, to so many recipients, counts for.
pub(super) async fn ask(app: &App, user: UserId, filter: &str, recipients: usize) -> Result<Ask, Failure> {
    let filter = kept_filter(filter).ok_or_else(Problem::internal)?;
    let one = Page { page: 1, page_size: 1 };
    let (_, servers) = app.registry.servers(&filter, &[], one, &app.roll().await?).await?;
    let (servers, recipients) =
        (i64::try_from(servers).unwrap_or(i64::MAX), i64::try_from(recipients).unwrap_or(i64::MAX));
    let weight = servers.max(LEAST_OF_A_MAIL).saturating_mul(recipients);
    Ok(Ask { user, weight, most: MOST_ROWS, within: WITHIN })
}

/// 429: this user has asked for too much.
pub(super) fn too_much(again_at: Millis, now: Millis) -> Problem {
    rate_limited("mails with reports, or rows in them, that this user asked for", again_at - now)
}
