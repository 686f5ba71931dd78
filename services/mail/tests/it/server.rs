//! A scripted SMTP server, in a Python environment of its own under the build folder.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use testkit::{TempDir, python, tempdir};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

const AIOSMTPD: &str = "aiosmtpd==1.4.6";

pub struct Server {
    pub port: u16,
    folder: TempDir,
    _process: Child,
}

impl Server {
    /// Without TLS and without a password.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With these arguments of the script.
    pub async fn start_with(arguments: &[&str]) -> Self {
        let folder = tempdir().unwrap();
        let python = python(Path::new(env!("CARGO_TARGET_TMPDIR")), AIOSMTPD);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/smtp_server.py");
        let mut command = Command::new(python.join("python"));
        command.arg(script).arg(folder.path()).args(arguments).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
        Self { port: line.trim().parse().unwrap(), folder, _process: process }
    }

    pub fn url(&self) -> String {
        format!("smtp://127.0.0.1:{}?tls=none", self.port)
    }

    /// The mails that it took for this local part, in their order, whatever it answered.
    pub fn taken(&self, name: &str) -> Vec<String> {
        let files = fs::read_dir(self.folder.path()).unwrap().map(|file| file.unwrap().path());
        let of = |path: &PathBuf| {
            let stem = path.file_stem().unwrap().to_str().unwrap();
            stem.rsplit_once('-').is_some_and(|(found, _)| found == name)
        };
        let mut files: Vec<_> = files.filter(of).collect();
        files.sort_unstable();
        files.into_iter().map(|path| fs::read_to_string(path).unwrap()).collect()
    }
}
