//! Where mails go: to an SMTP server, or where there is none into a folder.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use fleet::id::DeliveryId;
use tokio::{fs, io::AsyncWriteExt, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    attempt::{Ending, Stage},
    authorities::Authorities,
    letter::Letter,
    smtp::{self, SmtpUrl},
};

/// A conversation that takes longer is ended. RFC 5321 gives the answer to the final dot ten minutes.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// How mails are sent.
#[derive(Debug, Clone)]
pub enum Sender {
    /// Over SMTP, to a server for which these authorities or the usual ones vouch.
    Smtp(SmtpUrl, Authorities),
    /// As a file `<delivery>.eml` in this folder, which only its owner can read.
    Folder(PathBuf),
}

impl Sender {
    /// Sends a letter once. An error says how far the conversation had got. `stop` ends it early.
    pub async fn send(
        &self,
        id: DeliveryId,
        letter: &Letter,
        stop: &CancellationToken,
    ) -> Result<(), (Stage, Ending)> {
        match self {
            Self::Smtp(url, authorities) => {
                let progress = smtp::Progress::default();
                let talk = timeout(PATIENCE, smtp::send(url, authorities, letter, &progress));
                let reason = match stop.run_until_cancelled(talk).await {
                    Some(Ok(done)) => return done.map_err(|ending| (progress.stage(), ending)),
                    Some(Err(_)) => "no answer within 10 minutes",
                    None => "this process stopped before it had an answer",
                };
                Err((progress.stage(), Ending::Lost(reason.to_owned())))
            }
            Self::Folder(folder) => {
                let lost = |error: io::Error| {
                    (Stage::Content, Ending::Lost(format!("cannot write to {}: {error}", folder.display())))
                };
                write(folder, &format!("{id}.eml"), &letter.content).await.map_err(lost)
            }
        }
    }
}

/// Writes a file whole or not at all.
async fn write(folder: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    fs::create_dir_all(folder).await?;
    let part = folder.join(format!("{name}.part"));
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&part).await?;
    file.write_all(content).await?;
    file.sync_all().await?;
    fs::rename(&part, folder.join(name)).await?;
    fs::File::open(folder).await?.sync_all().await
}
