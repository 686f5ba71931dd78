//! Users, their roles, and by what they prove who they are: sessions and API tokens.

mod account;
mod api_token;
mod login;
mod role;
mod session;

pub(crate) use account::hold_user;
pub(crate) use api_token::delete_every_token;
pub(crate) use session::end_every_session;

pub use account::{Account, AccountChange, AccountFilter, NewAccount, PasswordChange};
pub use api_token::ApiToken;
pub use login::User;
pub use role::{Role, RoleChange, RoleId};
pub use session::{OpenSession, ROTATED_LATELY, Refresh, RefreshToken, SessionOf};
