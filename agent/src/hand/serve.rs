//! How the agent reaches the hand: a Unix socket, one request a connection, one after the other.

use std::{
    fs,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            fs::{FileTypeExt, PermissionsExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use fleet::order::Kind;
use rustix::{
    event::{PollFd, PollFlags, Timespec},
    io::Errno,
    process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open},
};

use super::{Ask, Hand, Places};
use crate::{
    clock::Clock,
    settings::{Args, HandPlace, HandSettings},
};

/// What one that connects has to say everything in, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// With the socket of systemd it ends when nobody asks for so long: systemd starts it again.
const IDLE: Duration = Duration::from_secs(30);
/// More than any request.
const MAX_REQUEST: u64 = 64 * 1_024;
/// The first of the sockets that systemd passes on (sd_listen_fds(3)).
const PASSED: i32 = 3;

/// What `rollcall-agent hand` is told.
#[derive(Debug, Clone, clap::Args)]
pub struct HandArgs {
    /// Folder for its journal
    #[arg(long, value_name = "DIR", default_value = "/var/lib/rollcall-hand")]
    dir: PathBuf,
    /// The program that controls units
    #[arg(long, value_name = "FILE", default_value = "/usr/bin/systemctl")]
    systemctl: PathBuf,
    /// Seconds without a request after which it ends [default: 30 with the socket of systemd, never with its own]
    #[arg(long, value_name = "SECONDS")]
    idle: Option<u64>,
    /// Say what this host's owner allows, and end: with 0 if that is anything
    #[arg(long)]
    check: bool,
}

/// Serves the socket that systemd passed, or the one of `--hand-socket`, until nobody asks.
///
/// # Errors
/// In words, for a person.
pub fn serve(agent: &Args, args: HandArgs) -> Result<(), String> {
    let HandSettings { conf, place } = HandSettings::read(agent);
    if args.check {
        let (_, kinds) = super::allowed(&conf)?;
        let kinds: Vec<&str> = kinds.into_iter().map(Kind::as_str).collect();
        println!("this host takes orders: {}", kinds.join(", "));
        return Ok(());
    }
    let passed = passed().map_err(|error| format!("cannot take the socket of systemd: {error}"))?;
    let idle = args.idle.map(Duration::from_secs).or(passed.as_ref().map(|_| IDLE));
    let listener = match (passed, &place) {
        (Some(listener), _) => listener,
        (None, HandPlace::Socket(path)) => {
            bind(path).map_err(|error| format!("cannot listen on {}: {error}", path.display()))?
        }
        (None, HandPlace::Here(_)) => return Err("orders are carried out elsewhere".to_owned()),
    };
    let places = Places { conf, dir: args.dir, systemctl: args.systemctl };
    let mut hand = Hand::new(places, Clock::system());
    while waited_for(&listener, idle).map_err(|error| format!("cannot wait for requests: {error}"))? {
        let answered = listener.accept().and_then(|(stream, _)| answer(&mut hand, stream));
        if let Err(error) = answered {
            tracing::warn!(%error, "a request was not answered");
        }
    }
    Ok(())
}

/// The socket that systemd listens on, if it started this process for that.
fn passed() -> io::Result<Option<UnixListener>> {
    let of = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<i32>().ok());
    let own = getpid();
    if of("LISTEN_PID") != Some(own.as_raw_nonzero().get()) || of("LISTEN_FDS").is_none_or(|count| count < 1)
    {
        return Ok(None);
    }
    // A number becomes a descriptor that somebody owns: by a copy of what this process has under it.
    let this = pidfd_open(own, PidfdFlags::empty())?;
    let socket: OwnedFd = pidfd_getfd(&this, PASSED, PidfdGetfdFlags::empty())?;
    Ok(Some(UnixListener::from(socket)))
}

/// A socket of its own, for its user and group alone. A socket that an earlier process left is removed.
fn bind(path: &Path) -> io::Result<UnixListener> {
    if fs::symlink_metadata(path).is_ok_and(|about| about.file_type().is_socket()) {
        fs::remove_file(path)?;
    }
    // Nobody may connect before its mode is set.
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = listener?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// Whether somebody connects within this time.
fn waited_for(listener: &UnixListener, idle: Option<Duration>) -> io::Result<bool> {
    let until = idle.map(|idle| Instant::now() + idle);
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let timeout = left.map(|left| Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        });
        let mut polled = [PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN)];
        match rustix::event::poll(&mut polled, timeout.as_ref()) {
            Ok(0) if left.is_some_and(|left| left.is_zero()) => return Ok(false),
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Reads one request up to its line's end, and answers with one line, or with none when it names no order.
fn answer(hand: &mut Hand, stream: UnixStream) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut request = Vec::new();
    let mut piece = [0; 4_096];
    while request.last() != Some(&b'\n') {
        // For all of it together: one that sends a byte now and then would keep everybody else out.
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || request.len() as u64 > MAX_REQUEST {
            return Err(io::Error::other("the request is too slow, or too long"));
        }
        stream.set_read_timeout(Some(left))?;
        match (&stream).read(&mut piece)? {
            0 => break,
            read => request.extend_from_slice(&piece[..read]),
        }
    }
    let ask: Ask = serde_json::from_slice(&request)?;
    if let Some(result) = hand.carry_out(&ask) {
        let mut line = serde_json::to_vec(&result)?;
        line.push(b'\n');
        (&stream).write_all(&line)?;
    }
    Ok(())
}
