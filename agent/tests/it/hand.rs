//! The hand as a process, killed and replaced, on processes of the test's own.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use fleet::{
    Millis, ServerId,
    id::OrderId,
    order::{self, Kind},
};
use ring::signature::{Ed25519KeyPair, KeyPair};
use rollcall_agent::{
    Clock,
    hand::{Ask, Hand, Places},
};
use serde_json::json;
use testkit::{TempDir, tempdir};
use wire::v1::{self, OrderResult, ProcessTarget, SignedOrder};

use crate::gate::{SERVER, rig_now};

const SEED: [u8; 32] = [1; 32];

/// A host: its `hand.conf`, a program that may be ended, and where the hand listens.
pub struct Host {
    pub dir: TempDir,
    hand: Option<Child>,
    processes: Vec<Child>,
    orders: u64,
}

impl Drop for Host {
    fn drop(&mut self) {
        for child in self.processes.iter_mut().chain(&mut self.hand) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn pair() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&SEED).unwrap()
}

/// Waits without a runtime.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < end, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

impl Host {
    /// `None`, and says so, where the tests do not run as root: `hand.conf` has to be root's.
    pub fn new(signals: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("left out: hand.conf has to belong to root, and this is not root");
            return None;
        }
        let dir = tempdir().unwrap();
        fs::copy("/usr/bin/sleep", dir.path().join("shop")).unwrap();
        let key = URL_SAFE_NO_PAD.encode(pair().public_key());
        let text = format!(
            "signals = {signals}\nexecutables = {0}/*\nusers = 0\nkeys = suite:{key}\n",
            dir.path().display()
        );
        fs::write(dir.path().join("hand.conf"), text).unwrap();
        fs::set_permissions(dir.path().join("hand.conf"), fs::Permissions::from_mode(0o644)).unwrap();
        Some(Self { dir, hand: None, processes: Vec::new(), orders: 0 })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rollcall-agent"));
        command
            .env_clear()
            .arg("hand")
            .arg("--hand-conf")
            .arg(self.path("hand.conf"))
            .arg("--dir")
            .arg(self.path("hand"))
            .stdout(Stdio::null());
        command
    }

    /// Starts a hand with a socket of its own.
    pub fn start(&mut self) {
        let socket = self.path("hand.sock");
        let _ = fs::remove_file(&socket);
        self.hand = Some(self.command().arg("--hand-socket").arg(&socket).spawn().unwrap());
        until("the hand listens", || UnixStream::connect(&socket).is_ok());
    }

    pub fn kill_hand(&mut self) {
        let mut hand = self.hand.take().unwrap();
        hand.kill().unwrap();
        hand.wait().unwrap();
    }

    /// Starts the program; a shell before it may set what signals do.
    pub fn program(&mut self, before: &str) -> u32 {
        let program = self.path("shop");
        let script = format!("{before} exec {} 1000", program.display());
        let child = Command::new("/bin/sh").args(["-c", &script]).stdout(Stdio::null()).spawn().unwrap();
        let pid = child.id();
        self.processes.push(child);
        until("it runs", || fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|path| path == program));
        pid
    }

    pub fn has_ended(&mut self, pid: u32) -> bool {
        let child = self.processes.iter_mut().find(|child| child.id() == pid).unwrap();
        child.try_wait().unwrap().is_some()
    }

    /// An order about this process, signed.
    pub fn order(&mut self, kind: Kind, pid: u32) -> SignedOrder {
        self.orders += 1;
        let mut random = [0; 10];
        random[..8].copy_from_slice(&self.orders.to_le_bytes());
        signed(random, kind, target(pid))
    }

    /// Asks the hand; `None` when it ends without an answer.
    pub fn ask(&self, order: &SignedOrder) -> Option<OrderResult> {
        ask(&self.path("hand.sock"), order)
    }

    pub fn journal(&self) -> String {
        fs::read_to_string(self.path("hand/journal.jsonl")).unwrap_or_default()
    }
}

pub fn target(pid: u32) -> ProcessTarget {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let ticks: u64 = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap().parse().unwrap();
    let start_ms = ticks * 1_000 / rustix::param::clock_ticks_per_second();
    ProcessTarget { pid, start_ms, pin: pin(pid), executable: None }
}

/// As the agent tells it: where the kernel makes it unique.
fn pin(pid: u32) -> Option<u64> {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
    let unique = rustix::fs::fstatfs(&pidfd).unwrap().f_type == 0x5049_4446;
    unique.then(|| rustix::fs::fstat(&pidfd).unwrap().st_ino)
}

pub fn signed(random: [u8; 10], kind: Kind, process: ProcessTarget) -> SignedOrder {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let now: Millis = rig_now();
    let order = v1::Order {
        version: v1::VERSION,
        order: OrderId::new(now, random).to_string(),
        server: SERVER.parse::<ServerId>().unwrap().to_string(),
        boot: boot.trim().to_owned(),
        kind: kind.to_string(),
        process: Some(process),
        unit: None,
        dry_run: false,
        not_after: now + 300_000,
        by: "ann".to_owned(),
        reason: "a test".to_owned(),
    };
    order::seal(&order, &"suite".parse().unwrap(), |message| pair().sign(message).as_ref().to_vec()).unwrap()
}

fn request(order: &SignedOrder) -> String {
    format!("{}\n", json!({"order": order, "now": rig_now(), "server": SERVER}))
}

fn ask(socket: &Path, order: &SignedOrder) -> Option<OrderResult> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.write_all(request(order).as_bytes()).ok()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    serde_json::from_str(&line).ok()
}

/// Rounds of this many kills; `KILLS` makes them more.
fn kills() -> u64 {
    std::env::var("KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(40)
}

#[test]
fn killed_at_any_step_it_carries_an_order_out_once_at_the_most() {
    let Some(mut host) = Host::new("term") else { return };
    // Each SIGTERM is one more line, and none of them ends it.
    let shell = host.path("counts");
    fs::copy(fs::canonicalize("/bin/sh").unwrap(), &shell).unwrap();
    let (mut nothing, mut begun, mut counted_rounds) = (0, 0, 0);
    for round in 0..kills() {
        let _ = fs::remove_dir_all(host.path("hand"));
        let count = host.path(&format!("count-{round}"));
        let script =
            format!("trap 'echo x >>{0}' TERM; : >{0}; while ! read -r line; do :; done", count.display());
        let mut child = Command::new(&shell)
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let (pid, stdin) = (child.id(), child.stdin.take());
        host.processes.push(child);
        until("it counts", || count.exists());
        host.start();
        let order = host.order(Kind::Terminate, pid);
        let mut stream = UnixStream::connect(host.path("hand.sock")).unwrap();
        stream.write_all(request(&order).as_bytes()).unwrap();
        // From before it has read the request to long after it has sent the signal, most of them where that is near.
        let after = Duration::from_micros((round % 40) * (round % 40) * 25);
        let sent = Instant::now();
        while sent.elapsed() < after {
            std::hint::spin_loop();
        }
        host.kill_hand();
        let journalled = host.journal();
        host.start();
        // What was not begun may be begun now; what was is not done again.
        let first = if journalled.contains("begun") { host.ask(&order) } else { None };
        if let Some(result) = &first {
            assert_eq!(result.state, "unknown", "{result:?}");
            assert_eq!(host.ask(&order).as_ref(), Some(result), "it is told alike");
            begun += 1;
        } else {
            nothing += 1;
        }
        // A line wakes the shell, which then has counted all that it was sent.
        stdin.unwrap().write_all(b"\n").unwrap();
        host.processes.pop().unwrap().wait().unwrap();
        let counted = fs::read_to_string(&count).unwrap().lines().count();
        assert!(counted <= 1, "round {round}: {counted} signals; {journalled}");
        assert!(
            counted == 0 || journalled.contains("begun"),
            "round {round}: it acted before it was journalled"
        );
        counted_rounds += counted;
        host.kill_hand();
    }
    eprintln!(
        "killed before it began {nothing} times, after {begun} times, of which {counted_rounds} had sent it"
    );
    assert!(begun > 0 && counted_rounds > 0, "no kill came after it had begun");
}

/// Says to the test that runs it that this process is in a namespace of its own.
const INSIDE: &str = "ROLLCALL_TEST_INSIDE";

#[test]
fn a_number_that_somebody_else_gets_while_it_is_checked_costs_nobody_anything() {
    if std::env::var_os(INSIDE).is_some() {
        return reuse_numbers();
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!(
            "left out: numbers of processes are chosen in a namespace of processes, and this is not root"
        );
        return;
    }
    let own = std::env::current_exe().unwrap();
    let name = "hand::a_number_that_somebody_else_gets_while_it_is_checked_costs_nobody_anything";
    let mut inside = Command::new("unshare");
    inside.args(["--pid", "--fork", "--mount-proc", "--kill-child=KILL"]).arg(own).args([
        "--exact",
        name,
        "--nocapture",
    ]);
    let output = inside.env(INSIDE, "1").output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    if said.contains("unshare failed") {
        eprintln!("left out: there is no namespace of processes here");
        return;
    }
    assert!(output.status.success() && said.contains("numbers were reused"), "{said}");
    said.lines().filter(|line| line.contains("reused")).for_each(|line| eprintln!("{line}"));
}

/// While an order to end one process is checked, that process ends, and another one gets its number.
fn reuse_numbers() {
    let Some(mut host) = Host::new("term") else { return };
    let program = host.path("shop");
    let start =
        || Command::new(&program).arg("1000").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let runs = |child: &Child| {
        until("it runs", || {
            fs::read_link(format!("/proc/{}/exe", child.id())).is_ok_and(|path| path == program)
        });
    };
    let (mut reused, mut done, mut refused) = (0, 0, 0);
    for round in 0..5 * kills() {
        let places = Places {
            conf: host.path("hand.conf"),
            dir: host.path(&format!("hand-{round}")),
            ..Places::default()
        };
        let mut hand = Hand::new(places, Clock::system());
        let mut first = start();
        runs(&first);
        let pid = first.id();
        let order = host.order(Kind::Terminate, pid);
        let ask = Ask { order, now: rig_now(), server: SERVER.to_owned() };
        let after = Duration::from_micros(round * 20 % 2_000);
        let other = std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                let begun = Instant::now();
                while begun.elapsed() < after {
                    std::hint::spin_loop();
                }
                first.kill().unwrap();
                first.wait().unwrap();
                fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).unwrap();
                start()
            });
            let result = hand.carry_out(&ask).unwrap();
            match (&*result.state, result.code.as_deref()) {
                ("done", None) => done += 1,
                ("refused", Some("gone" | "mismatch" | "not_allowed")) => refused += 1,
                _ => panic!("round {round}: {result:?}"),
            }
            other.join().unwrap()
        });
        let mut other = other;
        reused += u64::from(other.id() == pid);
        runs(&other);
        assert!(other.try_wait().unwrap().is_none(), "round {round}: another process got the signal");
        other.kill().unwrap();
        other.wait().unwrap();
    }
    eprintln!(
        "{reused} numbers were reused, {done} orders found their process, {refused} were refused, 0 hit another one"
    );
    assert!(reused > 2 * kills(), "only {reused} numbers were reused");
    assert!(done > 0 && refused > 0, "all came too early, or too late");
}

#[test]
fn it_takes_the_socket_of_systemd_and_ends_when_nobody_asks() {
    let Some(mut host) = Host::new("kill") else { return };
    let Ok(activate) = fs::canonicalize("/usr/bin/systemd-socket-activate") else {
        eprintln!("left out: there is no systemd-socket-activate");
        return;
    };
    let (socket, own) = (host.path("hand.sock"), host.command());
    let pid = host.program("");
    let mut command = Command::new(activate);
    command.arg("--listen").arg(&socket).arg(own.get_program()).args(own.get_args()).args(["--idle", "1"]);
    let mut listening = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("systemd listens", || socket.exists());
    let order = host.order(Kind::Kill, pid);
    let result = host.ask(&order).unwrap();
    assert_eq!((&*result.state, result.code.as_deref()), ("done", None), "{result:?}");
    assert!(host.has_ended(pid));
    until("it ends", || listening.try_wait().unwrap().is_some());
    assert!(listening.wait().unwrap().success());
}

#[test]
fn whoever_says_nothing_or_nonsense_keeps_nobody_out() {
    let Some(mut host) = Host::new("kill") else { return };
    host.start();
    let mode = fs::metadata(host.path("hand.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let pid = host.program("");
    let silent = UnixStream::connect(host.path("hand.sock")).unwrap();
    for nonsense in ["\n", "{}\n", "[1,2]\n", &"x".repeat(70_000)] {
        let mut stream = UnixStream::connect(host.path("hand.sock")).unwrap();
        // It may close before all is said.
        let _ = stream.write_all(nonsense.as_bytes());
    }
    let order = host.order(Kind::Kill, pid);
    assert_eq!(host.ask(&order).unwrap().state, "done");
    drop(silent);
}

#[test]
fn a_full_disk_lets_nothing_be_done() {
    let Some(mut host) = Host::new("kill") else { return };
    fs::create_dir(host.path("hand")).unwrap();
    let (socket, own) = (host.path("hand.sock"), host.command());
    let arguments: Vec<_> = own.get_args().map(|argument| argument.to_str().unwrap().to_owned()).collect();
    let script = format!(
        "mount -t tmpfs -o size=64k tmpfs {0} && {{ dd if=/dev/zero of={0}/fill bs=4k 2>/dev/null; exec {1} {2} --hand-socket {3}; }}",
        host.path("hand").display(),
        own.get_program().to_str().unwrap(),
        arguments.join(" "),
        socket.display()
    );
    let mut hand = Command::new("unshare").args(["--mount", "sh", "-c", &script]).spawn().unwrap();
    until("the hand listens, or may not have a namespace", || {
        UnixStream::connect(&socket).is_ok() || hand.try_wait().unwrap().is_some()
    });
    if hand.try_wait().unwrap().is_some() {
        eprintln!("left out: there is no namespace for a full disk");
        return;
    }
    let pid = host.program("");
    let order = host.order(Kind::Kill, pid);
    let result = host.ask(&order).unwrap();
    assert_eq!(result.code.as_deref(), Some("no_journal"), "{result:?}");
    assert!(!host.has_ended(pid));
    hand.kill().unwrap();
    hand.wait().unwrap();
}

#[test]
fn a_key_is_made_once_and_what_it_signs_is_true() {
    let dir = tempdir().unwrap();
    let file = dir.path().join("ann.key");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rollcall-agent"));
        command.env_clear().args(arguments).output().unwrap()
    };
    let path = file.to_str().unwrap();
    let made = run(&["order-key", path, "--name", "ann"]);
    assert!(made.status.success());
    let line = String::from_utf8(made.stdout).unwrap();
    let key = line.trim().strip_prefix("keys = ann:").unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!run(&["order-key", path]).status.success(), "it overwrote a key");

    let envelope =
        signed([3; 10], Kind::Kill, ProcessTarget { pid: 7, start_ms: 9, ..ProcessTarget::default() });
    fs::write(dir.path().join("order.json"), serde_json::to_string(&envelope).unwrap()).unwrap();
    let order = dir.path().join("order.json");
    let signing = run(&["sign", "--key", path, "--name", "ann", order.to_str().unwrap()]);
    assert!(signing.status.success(), "{}", String::from_utf8_lossy(&signing.stderr));
    assert!(String::from_utf8_lossy(&signing.stderr).contains("asked by ann: a test"));
    let signature: v1::Signature = serde_json::from_slice(&signing.stdout).unwrap();
    order::check_signature(&signature).unwrap();
    let public = base64::engine::general_purpose::STANDARD.decode(key).unwrap();
    let message = [v1::ORDER_CONTEXT, &order::open(&envelope).unwrap()].concat();
    let bytes = URL_SAFE_NO_PAD.decode(&signature.sig).unwrap();
    ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, public)
        .verify(&message, &bytes)
        .unwrap();
    fs::write(&order, "{\"payload\":\"e30\",\"signatures\":[]}").unwrap();
    assert!(
        !run(&["sign", "--key", path, order.to_str().unwrap()]).status.success(),
        "it signed what is no order"
    );
}
