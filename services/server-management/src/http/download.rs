//! A sheet that is passed on while it is made: neither all rows nor the file are ever in memory as a whole.

use std::io;

use actix_web::{HttpResponse, http::header::CONTENT_DISPOSITION, web::Bytes};
use futures_util::stream::poll_fn;
use registry::RegistryError;
use sheets::{Cell, Chunks, Column, Format, WriteError, Writer};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, mpsc},
    task::spawn_blocking,
    time::{Duration, timeout},
};

/// Rows that are read at once.
pub(crate) const PART: u32 = 1_000;
/// Chunks of 64 KiB that may wait for the client.
const WAITING: usize = 4;
/// How long the client may take for a chunk.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a sheet of `R` looks like.
pub(crate) struct Sheet<R, const N: usize> {
    pub(crate) format: Format,
    /// Of the sheet, and of the file without its extension.
    pub(crate) name: &'static str,
    /// Names and widths.
    pub(crate) columns: [(&'static str, u16); N],
    /// A row, in the order of the columns.
    pub(crate) cells: fn(&R) -> [Cell; N],
}

/// Why a sheet broke off.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Sheet(#[from] WriteError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

type Pass = mpsc::Sender<io::Result<Bytes>>;

impl<R: Send + 'static, const N: usize> Sheet<R, N> {
    /// Answers with the `first` rows and then with those that `after` reads behind the last one, until there are none.
    /// The caller has read the first rows before the answer begins, so that a store that is away can still be a 503.
    /// `turn` is held until the sheet is sent.
    pub(crate) fn answer(
        self,
        turn: OwnedSemaphorePermit,
        first: Vec<R>,
        after: impl AsyncFn(&R) -> Result<Vec<R>, RegistryError> + Send + 'static,
    ) -> HttpResponse {
        let (pass, mut passed) = mpsc::channel(WAITING);
        let (runtime, format, name) = (Handle::current(), self.format, self.name);
        drop(spawn_blocking(move || {
            if let Err(error) = self.write(first, &after, &pass, &runtime) {
                if !pass.is_closed() {
                    tracing::warn!(%error, sheet = name, "an export broke off");
                }
                // The error cuts the connection; without it the body would end as if it were whole.
                drop(pass.try_send(Err(io::ErrorKind::BrokenPipe.into())));
            }
            drop(turn);
        }));
        let disposition = format!("attachment; filename=\"{name}.{}\"", format.extension());
        HttpResponse::Ok()
            .content_type(format.mime_type())
            .insert_header((CONTENT_DISPOSITION, disposition))
            .streaming(poll_fn(move |context| passed.poll_recv(context)))
    }

    fn write(
        &self,
        first: Vec<R>,
        after: &impl AsyncFn(&R) -> Result<Vec<R>, RegistryError>,
        pass: &Pass,
        runtime: &Handle,
    ) -> Result<(), Broken> {
        let sink = Chunks::new(|chunk| {
            let sent = runtime.block_on(timeout(PATIENCE, pass.send(Ok(Bytes::from(chunk)))));
            sent.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
                .map_err(|_| io::ErrorKind::BrokenPipe.into())
        });
        let columns = self.columns.map(|(name, width)| Column::new(name, width));
        let mut writer = Writer::new(self.format, self.name, &columns, sink)?;
        let mut part = first;
        loop {
            for row in &part {
                writer.write(&(self.cells)(row))?;
            }
            let Some(last) = part.last() else { break };
            part = runtime.block_on(after(last))?;
        }
        writer.finish()?;
        Ok(())
    }
}
