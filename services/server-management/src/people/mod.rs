//! Who may do what, and who did. `guard` is the only way to any handler, of the other domains too.

mod access_tokens;
mod api_tokens;
mod audit;
mod cookie;
mod elevation;
mod first_admin;
mod guard;
mod own_sessions;
mod password;
mod policy;
mod refresh_tokens;
mod reset_password;
mod roles;
mod sessions;
mod upkeep;
mod users;

use fleet::Scope;
use utoipa::OpenApi;

use self::guard::Access::{Elevated, LoggedIn, Needs, Public};
pub use self::{
    access_tokens::{ShortTokenKey, TokenKey},
    first_admin::{FirstAdmin, FirstAdminError, admin_password, admin_password_applies, first_admin},
    policy::BadPassword,
    reset_password::{ResetPassword, ResetPasswordError, reset_password},
};
pub(crate) use self::{
    first_admin::given_first_admin,
    guard::{Access, By, Caller, Endpoint, Resource, delete, get, list, patch, post},
    upkeep::run,
};

/// What is documented of them.
#[derive(OpenApi)]
#[openapi(paths(
    sessions::log_in,
    sessions::refresh,
    sessions::log_out,
    sessions::show,
    own_sessions::list,
    own_sessions::end,
    own_sessions::end_all,
    elevation::elevate,
    roles::list_scopes,
    roles::list,
    roles::make,
    roles::show,
    roles::change,
    roles::delete,
    users::list,
    users::make,
    users::show,
    users::change,
    users::delete,
    users::set_password,
    api_tokens::list,
    api_tokens::make,
    api_tokens::delete,
    audit::list,
    audit::export
))]
pub(crate) struct Document;

/// Where their URLs lead.
pub(crate) fn routes() -> Vec<Resource> {
    let (read, write) = (Scope::UserRead, Scope::UserWrite);
    vec![
        (
            "/sessions",
            vec![
                get(LoggedIn, sessions::show),
                post(Public, sessions::log_in),
                delete(LoggedIn, sessions::log_out),
            ],
        ),
        ("/sessions/refresh", vec![post(Public, sessions::refresh)]),
        ("/sessions/own", vec![list(LoggedIn, own_sessions::list), delete(LoggedIn, own_sessions::end_all)]),
        ("/sessions/own/{id}", vec![delete(LoggedIn, own_sessions::end)]),
        ("/sessions/elevate", vec![post(LoggedIn, elevation::elevate)]),
        ("/scopes", vec![list(Needs(read), roles::list_scopes)]),
        ("/roles", vec![list(Needs(read), roles::list), post(Needs(write), roles::make)]),
        (
            "/roles/{id}",
            vec![
                get(Needs(read), roles::show),
                patch(Needs(write), roles::change),
                delete(Needs(write), roles::delete),
            ],
        ),
        ("/users", vec![list(Needs(read), users::list), post(Needs(write), users::make)]),
        (
            "/users/{id}",
            vec![
                get(Needs(read), users::show),
                patch(Needs(write), users::change),
                delete(Needs(write), users::delete),
            ],
        ),
        ("/users/{id}/password", vec![post(LoggedIn, users::set_password)]),
        ("/tokens", vec![list(LoggedIn, api_tokens::list), post(Elevated, api_tokens::make)]),
        ("/tokens/{id}", vec![delete(LoggedIn, api_tokens::delete)]),
        ("/audit", vec![list(Needs(Scope::AuditRead), audit::list)]),
        ("/audit/export", vec![get(Needs(Scope::AuditRead), audit::export)]),
    ]
}
