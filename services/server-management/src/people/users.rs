//! Users: who may log in, and as what.

use actix_web::{
    HttpResponse, HttpResponseBuilder,
    web::{Data, Json},
};
use chassis::{Problem, random};
use fleet::{Millis, Scope, id::UserId};
use registry::{Account, AccountChange, AccountFilter, NewAccount, Page, PasswordChange};
use serde::{Deserialize, Serialize};
use utoipa::{
    ToSchema,
    openapi::path::{Parameter, ParameterIn},
};

use crate::{
    app::App,
    http::{
        body::{Body, Id, bounded, given, label},
        document::{flag, parameter, text},
        failure::{Failure, insufficient_scope, invalid_body},
        paging::{Listed, Paging},
        precondition::{IfMatch, IfMatchGiven, tagged},
        query::{FromParameters, Parameters, Parsed},
    },
    people::{
        elevation::prove,
        guard::{Caller, Session},
        password::{self, MAX_PASSWORD_BYTES},
        policy,
    },
};

/// Longest e-mail address (RFC 5321, 4.5.3.1.3), in bytes.
const MAX_EMAIL: usize = 254;

/// A user to make.
#[derive(Deserialize, ToSchema)]
pub(crate) struct NewUser {
    /// Unique regardless of case.
    #[schema(min_length = 1, max_length = 256, example = "ops")]
    username: String,
    #[schema(max_length = 254, format = "email", example = "ops@example.org")]
    email: Option<String>,
    /// At least 8 characters, and none that is tried first.
    #[schema(min_length = 8, max_length = 1024, format = "password", example = "correct horse battery")]
    password: String,
    /// Name of its role.
    #[schema(example = "viewer")]
    role: String,
}

/// What is to change of a user; what is left out stays.
#[derive(Deserialize, ToSchema)]
pub(crate) struct UserPatch {
    #[schema(min_length = 1, max_length = 256)]
    username: Option<String>,
    /// Null takes it away.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, max_length = 254, format = "email")]
    email: Option<Option<String>>,
    /// Name of a role.
    #[schema(example = "viewer")]
    role: Option<String>,
    /// Whether nobody logs in as this user. Disabling ends every session and stills its API tokens.
    disabled: Option<bool>,
}

/// A password to set.
#[derive(Deserialize, ToSchema)]
pub(crate) struct NewPassword {
    /// The password in force; required for one's own.
    #[schema(format = "password", min_length = 1, max_length = 1024)]
    current_password: Option<String>,
    /// At least 8 characters, and none that is tried first.
    #[schema(min_length = 8, max_length = 1024, format = "password", example = "a staple for the horse")]
    password: String,
    /// Leave the user's API tokens, which are deleted otherwise.
    #[serde(default)]
    keep_api_tokens: bool,
}

/// Somebody who may log in.
#[derive(Serialize, ToSchema)]
#[schema(as = User)]
pub(crate) struct UserItem {
    #[schema(value_type = String, format = "uuid")]
    id: UserId,
    /// Unique regardless of case.
    username: String,
    email: Option<String>,
    /// Name of its role.
    role: String,
    disabled: bool,
    /// Unix ms; null while it is not disabled.
    disabled_at: Option<i64>,
    /// Unix ms.
    created_at: i64,
    /// Unix ms.
    updated_at: i64,
}

/// Which users, which page.
pub(crate) struct Users {
    filter: AccountFilter,
    page: Page,
}

/// List users, by name.
#[utoipa::path(
    get, path = "/users", operation_id = "list_users", tag = "users", params(Users),
    responses((status = 200, description = "A page of them", body = Listed<UserItem>)),
    security(("token" = ["user:read"]))
)]
pub(crate) async fn list(app: Data<App>, users: Parsed<Users>) -> Result<Json<Listed<UserItem>>, Failure> {
    let Users { filter, page } = users.0;
    let (accounts, total) = app.registry.accounts(&filter, page).await?;
    Ok(Json(Listed::new(accounts.into_iter().map(UserItem::from).collect(), total, page)))
}

/// Read one user.
#[utoipa::path(
    get, path = "/users/{id}", operation_id = "show_user", tag = "users",
    params(("id" = String, Path, description = "Id of the user")),
    responses((status = 200, description = "The user", body = UserItem,
        headers(("ETag" = String, description = "Its version, for `If-Match`")))),
    security(("token" = ["user:read"]))
)]
pub(crate) async fn show(app: Data<App>, id: Id<UserId>) -> Result<HttpResponse, Failure> {
    let account = app.registry.account(id.0).await?.ok_or_else(Problem::not_found)?;
    Ok(answer(HttpResponse::Ok(), account))
}

/// Make a user.
///
/// Nobody gives away more than they have: the role's scopes have to be among those of who asks.
#[utoipa::path(
    post, path = "/users", operation_id = "make_user", tag = "users", request_body = NewUser,
    responses((status = 201, description = "The user", body = UserItem,
        headers(("ETag" = String, description = "Its version, for `If-Match`")))),
    security(("token" = ["user:write"]))
)]
pub(crate) async fn make(
    app: Data<App>,
    caller: Caller,
    body: Body<NewUser>,
) -> Result<HttpResponse, Failure> {
    let NewUser { username, email, password, role } = body.0;
    let username = label("username", username)?;
    let email = email.map(address).transpose()?;
    policy::check("password", &password, &[&username, email.as_deref().unwrap_or_default()])?;
    let hash = hashed(&app, password).await?;
    let now = app.clock.now();
    let new = NewAccount {
        id: UserId::new(now, random()),
        username: &username,
        email: email.as_deref(),
        password_hash: &hash,
        role: &role,
    };
    let made = app.registry.make_account(new, &caller.user.scopes, &caller.actor, now).await??;
    Ok(answer(HttpResponse::Created(), made))
}

/// Change a user: name, e-mail address, role, or whether it is disabled; if nobody did since it was read.
///
/// It counts within 10 s on every replica. The last enabled user with the role `admin` stays.
#[utoipa::path(
    patch, path = "/users/{id}", operation_id = "change_user", tag = "users", request_body = UserPatch,
    params(("id" = String, Path, description = "Id of the user"),
        ("If-Match" = String, Header, description = "The `ETag` that was read, or `*`")),
    responses((status = 200, description = "The user as it is now", body = UserItem,
        headers(("ETag" = String, description = "Its version, for `If-Match`")))),
    security(("token" = ["user:write"]))
)]
pub(crate) async fn change(
    app: Data<App>,
    caller: Caller,
    id: Id<UserId>,
    seen: IfMatch,
    body: Body<UserPatch>,
) -> Result<HttpResponse, Failure> {
    let UserPatch { username, email, role, disabled } = body.0;
    let username = username.map(|username| label("username", username)).transpose()?;
    let email = email.map(|email| email.map(address).transpose()).transpose()?;
    let change = AccountChange {
        username: username.as_deref(),
        email: email.as_ref().map(Option::as_deref),
        role: role.as_deref(),
        disabled,
    };
    let (seen, reach, now) = (seen.0.as_deref(), &caller.user.scopes, app.clock.now());
    let changed = app.registry.change_account(id.0, seen, change, reach, &caller.actor, now).await??;
    Ok(answer(HttpResponse::Ok(), changed))
}

/// Delete a user with its sessions and API tokens. What it did stays in the audit log.
#[utoipa::path(
    delete, path = "/users/{id}", operation_id = "delete_user", tag = "users",
    params(("id" = String, Path, description = "Id of the user"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` that was read: only that version is deleted")),
    responses((status = 204, description = "There is no such user any more")),
    security(("token" = ["user:write"]))
)]
pub(crate) async fn delete(
    app: Data<App>,
    caller: Caller,
    id: Id<UserId>,
    seen: IfMatchGiven,
) -> Result<HttpResponse, Failure> {
    let (seen, reach, now) = (seen.0.as_deref(), &caller.user.scopes, app.clock.now());
    app.registry.delete_account(id.0, seen, reach, &caller.actor, now).await??;
    Ok(HttpResponse::NoContent().finish())
}

/// Set a password: one's own with the one in force, another's with the scope `user:write`.
///
/// It ends every session of that user, also the one in which one's own was changed: log in anew. Its API tokens are
/// deleted too, since whoever knew the password may have made some, unless `keep_api_tokens` is true. After 10 wrong ones
/// in this session within 15 minutes it is 429. An API token is not enough for this.
#[utoipa::path(
    post, path = "/users/{id}/password", operation_id = "set_password", tag = "users", request_body = NewPassword,
    params(("id" = String, Path, description = "Id of the user")),
    responses((status = 204, description = "It is in force, and every session has ended")),
    security(("token" = []))
)]
pub(crate) async fn set_password(
    app: Data<App>,
    caller: Caller,
    session: Session,
    id: Id<UserId>,
    body: Body<NewPassword>,
) -> Result<HttpResponse, Failure> {
    let NewPassword { current_password, password, keep_api_tokens } = body.0;
    if let Some(current) = &current_password {
        bounded("current_password", current, 1..=MAX_PASSWORD_BYTES)?;
    }
    let own = caller.user.id == id.0;
    if !own && !caller.user.scopes.contains(&Scope::UserWrite) {
        return Err(insufficient_scope(Scope::UserWrite).into());
    }
    let account = app.registry.account(id.0).await?.ok_or_else(Problem::not_found)?;
    policy::check("password", &password, &[&account.username, account.email.as_deref().unwrap_or_default()])?;
    let epoch = match own {
        true => {
            let current =
                current_password.ok_or_else(|| invalid_body("current_password is required for one's own"))?;
            prove(&app, &caller, session, "current_password", current).await?;
            // It must not have changed when the new one is set.
            Some(caller.user.epoch)
        }
        false => None,
    };
    let hash = hashed(&app, password).await?;
    let change = PasswordChange { hash: &hash, epoch, ends_tokens: !keep_api_tokens };
    let (reach, now) = (&caller.user.scopes, app.clock.now());
    app.registry.set_password(id.0, change, reach, &caller.actor, now).await??;
    Ok(HttpResponse::NoContent().finish())
}

fn answer(with: HttpResponseBuilder, account: Account) -> HttpResponse {
    tagged(with, account.version, UserItem::from(account))
}

async fn hashed(app: &App, password: String) -> Result<String, Failure> {
    let turn = app.turn_to_hash().await?;
    let hash = password::hash(password, random()).await;
    drop(turn);
    Ok(hash.map_err(|error| {
        tracing::error!(%error, "a request failed");
        Problem::internal()
    })?)
}

/// Checks an e-mail address loosely, since nothing is sent to it: one line with something on each side of one `@`.
fn address(text: String) -> Result<String, Problem> {
    let text = label("email", text)?;
    let well_formed = text.len() <= MAX_EMAIL
        && !text.contains(|c: char| c.is_whitespace() || c == '\u{fffd}')
        && text
            .split_once('@')
            .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty() && !domain.contains('@'));
    if well_formed { Ok(text) } else { Err(invalid_body("email is not an e-mail address")) }
}

impl FromParameters for Users {
    fn take(parameters: &mut Parameters, now: Millis) -> Result<Self, Problem> {
        let disabled = parameters.flag("disabled")?;
        let filter = AccountFilter { q: parameters.one("q")?, role: parameters.one("role")?, disabled };
        let Paging(page) = Paging::take(parameters, now)?;
        Ok(Self { filter, page })
    }
}

impl utoipa::IntoParams for Users {
    fn into_params(place: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let mut parameters = vec![
            parameter("q", "User name or e-mail address contains this, regardless of case", text()),
            parameter("role", "With the role of this name", text()),
            parameter("disabled", "Disabled, or not", flag()),
        ];
        parameters.extend(Paging::into_params(place));
        parameters
    }
}

impl From<Account> for UserItem {
    fn from(account: Account) -> Self {
        let Account { id, username, email, role, disabled_at, created_at, updated_at, .. } = account;
        let disabled = disabled_at.is_some();
        Self { id, username, email, role, disabled, disabled_at, created_at, updated_at }
    }
}
