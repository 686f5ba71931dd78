//! Where this agent tells that no gate answers: a file of the host's owner, which the suite never sees.

use std::{fs, path::Path};

use fleet::{
    alert::{
        channel::{Config, Kind, Secret},
        guard::Allowed,
    },
    words::Language,
};
use serde::Deserialize;
use serde_json::{Value, json};

/// Where to tell, and how.
#[derive(Debug, Clone)]
pub struct WatchChannel {
    pub(crate) config: Config,
    pub(crate) secret: Secret,
    pub(crate) language: Language,
    /// Internal targets that may be told.
    pub(crate) allowed: Allowed,
}

/// The file, as a channel's body is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    kind: String,
    #[serde(default = "nothing")]
    config: Value,
    #[serde(default = "nothing")]
    secret: Value,
    #[serde(default)]
    language: Option<String>,
}

fn nothing() -> Value {
    json!({})
}

impl WatchChannel {
    /// Reads the file, which must be its owner's alone. An error says what to mend, and nothing of the secret.
    pub(crate) fn read(path: &Path, allowed: Allowed) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|error| format!("it cannot be read: {error}"))?;
        private(path)?;
        // The error of serde says where, and may repeat what stands there.
        let file: File = serde_json::from_str(&text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            format!(
                "line {line}, column {column}: it must be {{\"kind\":…,\"config\":{{…}},\"secret\":{{…}}}}"
            )
        })?;
        let kind: Kind = file.kind.parse().map_err(|error| format!("kind {error}"))?;
        if !kind.has_secret() {
            return Err("kind mail needs the suite, which is away then: take another one".to_owned());
        }
        let told = |bad: fleet::alert::channel::BadChannel| bad.to_string();
        let (config, secret) = (
            Config::read(kind, &file.config).map_err(told)?,
            Secret::read(kind, &file.secret).map_err(told)?,
        );
        if let Some(url) = secret.url() {
            allowed.judge_unresolved(url).map_err(|refused| setting(&refused.to_string()))?;
        }
        let language = file.language.as_deref().map(str::parse::<Language>).transpose();
        let language = language.map_err(|error| format!("language {error}"))?.unwrap_or_default();
        Ok(Self { config, secret, language, allowed })
    }

    pub(crate) fn kind(&self) -> Kind {
        self.config.kind()
    }
}

/// The guard names the notifier's setting; an agent has its own.
pub(super) fn setting(refused: &str) -> String {
    refused.replace("NOTIFY_ALLOW", "ROLLCALL_WATCH_ALLOW")
}

/// Whoever reads a webhook may write to it.
#[cfg(unix)]
fn private(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(path).map_err(|error| error.to_string())?.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(format!("others than its owner may open it (mode {mode:o}): chmod 600 {}", path.display()))
}

#[cfg(not(unix))]
fn private(_: &Path) -> Result<(), String> {
    Ok(())
}
