//! Making a file as small as what is in it.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use fleet::retention::{self, Kept};
use sqlx::{
    Connection, SqliteConnection,
    sqlite::{SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode},
};

use super::Sqlite;
use crate::HistoryError;

impl Sqlite {
    /// See [`crate::History::compact_sqlite`].
    pub async fn compact(path: &Path) -> Result<(u64, u64), HistoryError> {
        // Refuses what is no history file, or one of a later release; and moves the log into the file.
        Self::open(path, Kept::from(retention::DEFAULT_DAYS)).await?.close().await;
        let (log, part) = (beside(path, "-wal"), beside(path, ".compact"));
        if fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
            return Err(HistoryError::Unavailable("something else has the history file open".into()));
        }
        let before = size(path)?;
        let made = copy(path, &part).await;
        if made.is_err() {
            let _ = fs::remove_file(&part);
        }
        made?;
        let after = size(&part)?;
        fs::rename(&part, path).map_err(sqlx::Error::Io)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(sqlx::Error::Io)?;
        Ok((before, after))
    }
}

/// Writes what is in the file, without what is not, to `part`; it is on the disk when this returns.
async fn copy(path: &Path, part: &Path) -> Result<(), HistoryError> {
    // What a run left that was broken off.
    match fs::remove_file(part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(sqlx::Error::Io(error).into()),
        _ => {}
    }
    let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(part);
    let file = file.map_err(sqlx::Error::Io)?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        // The copy takes it over, whatever the file was made with.
        .auto_vacuum(SqliteAutoVacuum::Incremental)
        .journal_mode(SqliteJournalMode::Wal);
    let mut connection = SqliteConnection::connect_with(&options).await?;
    let name = part.to_str().ok_or_else(|| HistoryError::Schema("the path is not UTF-8".into()))?;
    sqlx::query("VACUUM INTO $1").bind(name).execute(&mut connection).await?;
    connection.close().await?;
    file.sync_all().map_err(sqlx::Error::Io)?;
    Ok(())
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn size(path: &Path) -> Result<u64, HistoryError> {
    Ok(fs::metadata(path).map_err(sqlx::Error::Io)?.len())
}
