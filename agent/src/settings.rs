//! What an agent is told: flags and environment, checked whole before any socket opens.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use fleet::{
    alert::{guard::BadAllowed, lease::SLOWEST},
    snapshot::Interval,
};
use reqwest::Certificate;
use serde::{Deserialize, Serialize};

use crate::{clock::Clock, processes::Level, watch::WatchChannel};

/// Where the state is kept unless told.
const STATE_DIR: &str = "/var/lib/rollcall-agent";
/// What the owner of a host allows, unless told.
pub(crate) const HAND_CONF: &str = "/etc/rollcall/hand.conf";
/// Where the hand listens unless told.
const HAND_SOCKET: &str = "/run/rollcall/hand.sock";
/// Longest name that is accepted, in bytes.
const MAX_NAME_BYTES: usize = 256;

/// The flags, as they were given. An empty one counts as not given.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Args {
    /// Addresses of the gates, comma separated: when one fails the next is used
    #[arg(long, env = "ROLLCALL_URL", value_name = "URL,…", global = true)]
    pub url: Option<String>,
    /// File that holds the enrolment token (or give it in the environment, as ROLLCALL_TOKEN)
    #[arg(long, env = "ROLLCALL_TOKEN_FILE", value_name = "FILE", global = true)]
    pub token_file: Option<String>,
    /// Where credential, counters and what could not be sent are kept [default: /var/lib/rollcall-agent]
    #[arg(long, env = "ROLLCALL_STATE_DIR", value_name = "DIR", global = true)]
    pub state_dir: Option<String>,
    /// Where to enrol [default: the first URL]
    #[arg(long, env = "ROLLCALL_ENROL_URL", value_name = "URL", global = true)]
    pub enrol_url: Option<String>,
    /// Seconds between samples, 1 to 3600 [default: 30]
    #[arg(long, env = "ROLLCALL_INTERVAL", value_name = "SECONDS", global = true)]
    pub interval: Option<String>,
    /// PEM file of certificate authorities to trust besides the system's
    #[arg(long, env = "ROLLCALL_CA_FILE", value_name = "FILE", global = true)]
    pub ca_file: Option<String>,
    /// Name under which to enrol [default: the hostname]
    #[arg(long, env = "ROLLCALL_NAME", value_name = "NAME", global = true)]
    pub name: Option<String>,
    /// How much to tell of what runs on this host: full, basic or off [default: full; off in a container]
    #[arg(long, env = "ROLLCALL_PROCESSES", value_name = "LEVEL", global = true)]
    pub processes: Option<String>,
    /// File in which the owner of this host says which orders are carried out [default: /etc/rollcall/hand.conf]
    #[arg(long, env = "ROLLCALL_HAND_CONF", value_name = "FILE", global = true)]
    pub hand_conf: Option<String>,
    /// Socket of what carries them out, `rollcall-agent hand` [default: /run/rollcall/hand.sock]
    #[arg(long, env = "ROLLCALL_HAND_SOCKET", value_name = "SOCKET", global = true)]
    pub hand_socket: Option<String>,
    /// File of a channel, {"kind","config","secret"}, on which this agent tells when no gate answers, if it is elected
    #[arg(long, env = "ROLLCALL_WATCH_FILE", value_name = "FILE", global = true)]
    pub watch_file: Option<String>,
    /// Internal targets that it may lead to, hosts or networks with their ports; only these may be http
    #[arg(long, env = "ROLLCALL_WATCH_ALLOW", value_name = "HOST:PORT,…", global = true)]
    pub watch_allow: Option<String>,
}

/// What an agent runs with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Base addresses of the gates, without a slash at the end; at least one.
    pub urls: Vec<String>,
    /// Base address of server-management.
    pub enrol_url: String,
    /// Whom to trust besides the system's certificate authorities.
    pub authorities: Vec<Certificate>,
    /// With what to enrol.
    pub token: Token,
    /// The folder that belongs to this agent alone.
    pub state_dir: PathBuf,
    /// How often to sample.
    pub interval: Interval,
    /// The name under which to enrol.
    pub name: String,
    /// Where the time comes from.
    pub clock: Clock,
    /// How much to tell of what runs; `None`: all, but nothing in a container.
    pub processes: Option<Level>,
    /// Who carries out orders.
    pub hand: HandSettings,
    /// Where to tell that no gate answers; `None`: nowhere.
    pub watch: Option<WatchChannel>,
}

/// Who carries out orders, and what they may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandSettings {
    /// The file in which the owner of the host says that.
    pub conf: PathBuf,
    /// Where orders are carried out.
    pub place: HandPlace,
}

/// Where orders are carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandPlace {
    /// By a process that listens on this socket.
    Socket(PathBuf),
    /// In this process, which keeps its journal in this folder.
    Here(PathBuf),
}

/// Where the enrolment token is. Needed until the agent holds a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// Nowhere: fine for an agent that is enrolled.
    Absent,
    /// In this file, which is read at each try.
    File(PathBuf),
    /// Here.
    Text(Secret),
}

/// Text that never prints.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

/// All that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("these settings need mending:\n  {}", .0.join("\n  "))]
pub struct BadSettings(Vec<String>);

impl Secret {
    /// Wraps it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("redacted")
    }
}

impl Settings {
    /// Checks the flags and `ROLLCALL_TOKEN`, which is no flag as other users of a host see those. Tells every mistake.
    pub fn read(args: &Args, token: Option<String>) -> Result<Self, BadSettings> {
        let mut wrong = Vec::new();
        let urls = urls(args.url.as_deref(), &mut wrong);
        let enrol_url = match given(args.enrol_url.as_deref()) {
            Some(text) => url("ROLLCALL_ENROL_URL", text, &mut wrong),
            None => urls.first().cloned().unwrap_or_default(),
        };
        let token = match (given(args.token_file.as_deref()), given(token.as_deref())) {
            (Some(_), Some(_)) => {
                wrong.push("ROLLCALL_TOKEN_FILE and ROLLCALL_TOKEN are both set: keep one".to_owned());
                Token::Absent
            }
            (Some(file), None) => Token::File(file.into()),
            (None, Some(text)) => Token::Text(Secret::new(text)),
            (None, None) => Token::Absent,
        };
        let authorities = authorities(args.ca_file.as_deref(), &mut wrong);
        let interval = interval(args.interval.as_deref(), &mut wrong);
        let name = name(args.name.as_deref(), &mut wrong);
        let processes = processes(args.processes.as_deref(), &mut wrong);
        let watch = watch(args, interval, &mut wrong);
        let state_dir = state_dir(args);
        if !wrong.is_empty() {
            return Err(BadSettings(wrong));
        }
        let (clock, hand) = (Clock::system(), HandSettings::read(args));
        Ok(Self {
            urls,
            enrol_url,
            authorities,
            token,
            state_dir,
            interval,
            name,
            clock,
            processes,
            hand,
            watch,
        })
    }
}

impl HandSettings {
    /// What the flags say.
    pub(crate) fn read(args: &Args) -> Self {
        Self {
            conf: given(args.hand_conf.as_deref()).unwrap_or(HAND_CONF).into(),
            place: HandPlace::Socket(given(args.hand_socket.as_deref()).unwrap_or(HAND_SOCKET).into()),
        }
    }
}

/// The one setting that `healthcheck` needs.
pub fn state_dir(args: &Args) -> PathBuf {
    given(args.state_dir.as_deref()).unwrap_or(STATE_DIR).into()
}

fn given(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}

fn urls(text: Option<&str>, wrong: &mut Vec<String>) -> Vec<String> {
    let parts = text.unwrap_or_default().split(',').filter_map(|part| given(Some(part)));
    let urls: Vec<String> = parts.map(|part| url("ROLLCALL_URL", part, wrong)).collect();
    if urls.is_empty() {
        wrong.push(
            "ROLLCALL_URL is missing: set it to the suite's address, e.g. https://rollcall.example.org"
                .into(),
        );
    }
    urls
}

fn url(setting: &str, text: &str, wrong: &mut Vec<String>) -> String {
    let fault = match reqwest::Url::parse(text) {
        // `host:8080` is a URL too, with the scheme `host`.
        _ if !text.contains("://") => Some(
            "it does not say how to get there: put https:// in front, or http:// if there is no TLS".to_owned(),
        ),
        Err(error) => Some(error.to_string()),
        Ok(url) if !matches!(url.scheme(), "http" | "https") => {
            Some("it must begin with https://, or http:// if there is no TLS".to_owned())
        }
        Ok(url) if of_the_interface(url.path()) => Some(
            "it must end before /healthcheck, /server-management or /install.sh: the agent adds the rest itself"
                .to_owned(),
        ),
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            Some("must not hold a user or password".to_owned())
        }
        Ok(url) if url.query().is_some() || url.fragment().is_some() => {
            Some("must end with the path".to_owned())
        }
        Ok(_) => None,
    };
    if let Some(fault) = fault {
        // Not the text itself: it may hold a password.
        wrong.push(format!("{setting} is no address of the suite: {fault}"));
    }
    text.trim_end_matches('/').to_owned()
}

/// Whether this is the path of a page or an endpoint, which people copy, and not one under which a proxy has the suite.
fn of_the_interface(path: &str) -> bool {
    let known = ["healthcheck", "server-management", "install.sh"];
    path.split('/').any(|part| known.contains(&part))
}

fn authorities(path: Option<&str>, wrong: &mut Vec<String>) -> Vec<Certificate> {
    let Some(path) = given(path) else { return Vec::new() };
    let read = fs::read(path).map_err(|error| error.to_string());
    let fault = match read.map(|pem| Certificate::from_pem_bundle(&pem)) {
        Ok(Ok(found)) if !found.is_empty() => return found,
        Ok(_) => "it holds no certificate in PEM".to_owned(),
        Err(error) => error,
    };
    wrong.push(format!("ROLLCALL_CA_FILE: {path} cannot be used: {fault}"));
    Vec::new()
}

fn interval(text: Option<&str>, wrong: &mut Vec<String>) -> Interval {
    let Some(text) = given(text) else { return Interval::DEFAULT };
    let seconds = text.parse::<u32>().ok();
    seconds.and_then(|seconds| Interval::try_from(i64::from(seconds) * 1_000).ok()).unwrap_or_else(|| {
        wrong.push(format!("ROLLCALL_INTERVAL must be whole seconds, 1 to 3600, not {text:?}"));
        Interval::DEFAULT
    })
}

fn processes(text: Option<&str>, wrong: &mut Vec<String>) -> Option<Level> {
    match given(text)? {
        "full" => Some(Level::Full),
        "basic" => Some(Level::Basic),
        "off" => Some(Level::Off),
        other => {
            wrong.push(format!("ROLLCALL_PROCESSES must be full, basic or off, not {other:?}"));
            None
        }
    }
}

fn watch(args: &Args, interval: Interval, wrong: &mut Vec<String>) -> Option<WatchChannel> {
    let path = given(args.watch_file.as_deref())?;
    let allowed = given(args.watch_allow.as_deref()).unwrap_or_default().parse();
    let read = allowed.map_err(|error: BadAllowed| format!("ROLLCALL_WATCH_ALLOW {error}"));
    let read = read.and_then(|allowed| {
        WatchChannel::read(Path::new(path), allowed)
            .map_err(|error| format!("ROLLCALL_WATCH_FILE {path}: {error}"))
    });
    if interval.millis() > SLOWEST {
        wrong.push("ROLLCALL_WATCH_FILE needs a ROLLCALL_INTERVAL of at most 60 s: who samples more rarely notices too late".to_owned());
    }
    read.map_err(|error| wrong.push(error)).ok()
}

fn name(text: Option<&str>, wrong: &mut Vec<String>) -> String {
    let name = given(text).map(str::to_owned).or_else(|| sysinfo::System::host_name().ok());
    let name = name.filter(|name| !name.is_empty()).unwrap_or_else(|| {
        wrong.push("ROLLCALL_NAME is missing and this host has no name: set it".to_owned());
        String::new()
    });
    if name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
        wrong
            .push(format!("ROLLCALL_NAME must be at most {MAX_NAME_BYTES} bytes without control characters"));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn one_address_is_enough() {
        let args = Args { url: some("https://a.example/suite/, http://b:8080"), ..Args::default() };
        let settings = Settings::read(&args, None).unwrap();
        assert_eq!(settings.urls, ["https://a.example/suite", "http://b:8080"]);
        assert_eq!(settings.enrol_url, "https://a.example/suite");
        assert_eq!((settings.interval, settings.token), (Interval::DEFAULT, Token::Absent));
        assert_eq!(settings.state_dir, PathBuf::from(STATE_DIR));
    }

    #[test]
    fn all_mistakes_are_told_at_once_and_no_secret() {
        let args = Args {
            url: some("ftp://x,https://me:hunter2@x,nonsense"),
            enrol_url: some("https://x/?token=hunter2"),
            token_file: some("/token"),
            interval: some("3601"),
            name: some("a\nb"),
            processes: some("all"),
            ..Args::default()
        };
        let told = Settings::read(&args, some("hunter2")).unwrap_err().to_string();
        assert_eq!(told.lines().count(), 9, "{told}");
        assert!(!told.contains("hunter2"), "{told}");
    }

    #[test]
    fn an_address_that_cannot_be_one_says_what_to_write() {
        let told = |url: &str| {
            let args = Args { url: some(url), ..Args::default() };
            Settings::read(&args, None).map(|settings| settings.urls).map_err(|wrong| wrong.to_string())
        };
        for url in ["rollcall.example.org", "rollcall.example.org:8080", "localhost:8199", "10.0.0.7:8199"] {
            assert!(told(url).unwrap_err().contains("put https:// in front"), "{url}: {:?}", told(url));
        }
        for url in ["ftp://a", "rollcall://a"] {
            assert!(told(url).unwrap_err().contains("must begin with https://"), "{url}: {:?}", told(url));
        }
        for path in ["/healthcheck/v1/snapshots", "/suite/server-management/v1", "/install.sh"] {
            let told = told(&format!("https://a{path}")).unwrap_err();
            assert!(told.contains("must end before /healthcheck"), "{path}: {told}");
        }
        assert_eq!(told("https://a/healthcheck-of-mine/").unwrap(), ["https://a/healthcheck-of-mine"]);
    }

    #[test]
    fn a_file_without_a_certificate_is_a_mistake() {
        let dir = testkit::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n";
        for content in [None, Some(""), Some("no certificate"), Some(broken)] {
            content.into_iter().for_each(|content| fs::write(&path, content).unwrap());
            let args =
                Args { url: some("https://a"), ca_file: path.to_str().map(str::to_owned), ..Args::default() };
            let told = Settings::read(&args, None).unwrap_err().to_string();
            assert!(told.contains("ROLLCALL_CA_FILE") && told.contains("ca.pem"), "{content:?}: {told}");
        }
    }

    #[test]
    fn empty_is_not_given() {
        let args =
            Args { url: some("http://a"), interval: some(""), token_file: some(" "), ..Args::default() };
        assert_eq!(Settings::read(&args, some("")).unwrap().token, Token::Absent);
        for url in [None, some(""), some(","), some(" , ,")] {
            let args = Args { url, interval: some("0"), ..Args::default() };
            let told = Settings::read(&args, None).unwrap_err().to_string();
            assert!(told.contains("ROLLCALL_URL is missing") && told.contains("ROLLCALL_INTERVAL"), "{told}");
        }
    }

    #[test]
    fn a_secret_never_prints() {
        assert!(!format!("{:?}", Token::Text(Secret::new("hunter2"))).contains("hunter2"));
    }
}
