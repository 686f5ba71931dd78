//! Settings are flags with environment variables of the same meaning; secrets are never flags, since every user of a
//! host may read another's command line.

use std::{env::VarError, fmt, fs, path::Path, str::FromStr};

/// A text that never prints.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one call that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// All that is wrong with the settings, so that it is told at once and not one by one.
#[derive(Debug, Default)]
pub struct Mistakes(Vec<String>);

impl From<Mistakes> for BadSettings {
    fn from(Mistakes(mistakes): Mistakes) -> Self {
        Self(mistakes)
    }
}

impl Mistakes {
    /// Notes one.
    pub fn add(&mut self, mistake: impl Into<String>) {
        self.0.push(mistake.into());
    }

    /// Notes the error of `result`, named by the setting it belongs to.
    pub fn take<T, E: fmt::Display>(&mut self, setting: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.add(format!("{setting}: {error}"))).ok()
    }

    /// The secret `name`: from the environment variable of that name or from the file that `<name>_FILE` names
    /// (without the line's end). Both at once, an unreadable or an empty one is a mistake.
    pub fn secret(&mut self, name: &str) -> Option<Secret> {
        let plain = match std::env::var(name) {
            Ok(text) => Some(text).filter(|text| !text.is_empty()),
            Err(VarError::NotPresent) => None,
            Err(VarError::NotUnicode(_)) => {
                self.add(format!("{name}: is not UTF-8"));
                None
            }
        };
        let file = std::env::var_os(format!("{name}_FILE")).filter(|path| !path.is_empty());
        match (plain, file) {
            (Some(_), Some(_)) => {
                self.add(format!("{name}: set either {name} or {name}_FILE, not both"));
                None
            }
            (Some(text), None) => Some(Secret(text)),
            (None, Some(path)) => self.take(&format!("{name}_FILE"), read_secret(Path::new(&path))),
            (None, None) => None,
        }
    }

    /// The secret `name` as a `T`. A secret that cannot be parsed is a mistake; the message does not contain its text.
    pub fn parsed<T: FromStr<Err: fmt::Display>>(&mut self, name: &str) -> Option<T> {
        let secret = self.secret(name)?;
        self.take(name, secret.expose().parse())
    }

    /// As [`parsed`](Self::parsed), but a secret that is not set is a mistake too.
    pub fn required<T: FromStr<Err: fmt::Display>>(&mut self, name: &str) -> Option<T> {
        let known = self.0.len();
        let value = self.parsed(name);
        if value.is_none() && self.0.len() == known {
            self.add(format!(
                "{name}: is not set; set it, or {name}_FILE to the path of a file that holds it"
            ));
        }
        value
    }

    /// `Err` with all of them, a line each, if there is one.
    pub fn check(self) -> Result<(), BadSettings> {
        if self.0.is_empty() { Ok(()) } else { Err(BadSettings(self.0)) }
    }
}

/// Settings that the process refuses to start with.
#[derive(Debug, thiserror::Error)]
#[error("the settings are wrong:{}", .0.iter().map(|mistake| format!("\n  {mistake}")).collect::<String>())]
pub struct BadSettings(Vec<String>);

/// A secret from a file, without the line's end.
pub fn read_secret(path: &Path) -> Result<Secret, String> {
    let text =
        fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(format!("{} is empty", path.display()));
    }
    Ok(Secret(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_prints() {
        let secret = Secret::new("hunter2");
        assert!(!format!("{secret:?} {secret}").contains("hunter2"));
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let mut mistakes = Mistakes::default();
        mistakes.add("LISTEN: no address");
        assert_eq!(mistakes.take("AGENT_KEY", Err::<(), _>("too short")), None);
        let told = mistakes.check().unwrap_err().to_string();
        assert!(told.contains("LISTEN: no address") && told.contains("AGENT_KEY: too short"), "{told}");
    }

    #[test]
    fn a_missing_secret_file_is_named() {
        assert!(read_secret(Path::new("/nonexistent/key")).unwrap_err().contains("/nonexistent/key"));
    }
}
