//! The first user. There is no default password, and whoever visits a new suite first gets no rights by that.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use chassis::{Clock, Secret, random, settings::read_secret};
use fleet::id::UserId;
use registry::{Registry, RegistryError};
use tokio::task::spawn_blocking;

use crate::people::{
    password::{self, HashError},
    policy::{self, BadPassword},
};

/// What the first user is called.
const USERNAME: &str = "admin";

/// How [`first_admin`] found things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstAdmin {
    /// There are users; nothing was done.
    NotNeeded,
    /// `admin` was made, with the password that was given.
    Given,
    /// `admin` was made; the file holds the password.
    Generated,
}

/// Why there is nobody who could log in.
#[derive(Debug, thiserror::Error)]
pub enum FirstAdminError {
    /// There is no user yet, and no password for the first one.
    #[error("there is no user yet: set ADMIN_PASSWORD, or ADMIN_PASSWORD_FILE, for the first one, `admin`")]
    NoPassword,
    /// The given password cannot be one.
    #[error("the password of the first user {0}")]
    BadPassword(#[from] BadPassword),
    /// The generated password cannot be left where it is looked for.
    #[error("cannot write the admin password to {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The password cannot be hashed.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The registry did not answer.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// `password` if it can be one: [`first_admin`] takes it, and one can log in with it.
///
/// # Errors
/// When it would not be taken for any other user either.
pub fn admin_password(password: Secret) -> Result<Secret, BadPassword> {
    policy::judge(password.expose(), &[USERNAME])?;
    Ok(password)
}

/// Makes the user `admin` if there is no user at all. Without a `password` one is generated, and stands in
/// `password_file`, readable for its owner alone, before the user exists. A crash in between leaves a file whose
/// password is taken the next time.
pub async fn first_admin(
    registry: &Registry,
    password: Option<Secret>,
    password_file: &Path,
    clock: &Clock,
) -> Result<FirstAdmin, FirstAdminError> {
    if registry.has_users().await? {
        return Ok(FirstAdmin::NotNeeded);
    }
    let (password, how) = match password {
        Some(password) => (password, FirstAdmin::Given),
        None => (generated(password_file).await?, FirstAdmin::Generated),
    };
    let made = make(registry, password, clock).await?;
    Ok(if made { how } else { FirstAdmin::NotNeeded })
}

/// Whether one can log in as `admin` with the password in `password_file`. One that was changed since, or a registry that came
/// from a backup, may have another; then the file says nothing.
pub async fn admin_password_applies(
    registry: &Registry,
    password_file: &Path,
) -> Result<bool, RegistryError> {
    let path = password_file.to_owned();
    let Ok(Ok(password)) = spawn_blocking(move || read_secret(&path)).await else { return Ok(false) };
    let admin = registry.user_by_name(USERNAME).await?.filter(|user| !user.disabled);
    Ok(password::verify(password.expose().to_owned(), admin.map(|user| user.password_hash)).await)
}

/// As [`first_admin`], where no password can be generated: several processes have no folder in common to leave it in.
pub(crate) async fn given_first_admin(
    registry: &Registry,
    password: Option<Secret>,
    clock: &Clock,
) -> Result<(), FirstAdminError> {
    if !registry.has_users().await? {
        make(registry, password.ok_or(FirstAdminError::NoPassword)?, clock).await?;
    }
    Ok(())
}

/// Makes the user; false when another process was quicker.
async fn make(registry: &Registry, password: Secret, clock: &Clock) -> Result<bool, FirstAdminError> {
    let password = admin_password(password)?;
    let hash = password::hash(password.expose().to_owned(), random()).await?;
    let now = clock.now();
    Ok(registry.make_first_admin(UserId::new(now, random()), USERNAME, &hash, now).await?)
}

async fn generated(path: &Path) -> Result<Secret, FirstAdminError> {
    let path = path.to_owned();
    let failed = |path: PathBuf| move |source| FirstAdminError::File { path, source };
    let (file, told) = (path.clone(), path.clone());
    let written = spawn_blocking(move || keep_or_write(&file)).await;
    written.map_err(io::Error::other).map_err(failed(path))?.map_err(failed(told))
}

/// The password in `path`, or a new one that is on the disk when this returns. It is renamed into place, so that a file
/// of that name is always whole.
fn keep_or_write(path: &Path) -> io::Result<Secret> {
    if path.try_exists()? {
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        return read_secret(path).map_err(io::Error::other);
    }
    let password = password::generate();
    let unfinished = path.with_extension("new");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    writeln!(file, "{}", password.expose())?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    File::open(path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")))?
        .sync_all()?;
    Ok(password)
}
