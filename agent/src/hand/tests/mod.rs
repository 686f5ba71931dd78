use std::{
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Stdio},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use fleet::id::OrderId;
use ring::signature::{Ed25519KeyPair, KeyPair};
use testkit::{TempDir, tempdir};
use wire::v1::Signature;

use super::*;

const SUITE: [u8; 32] = [1; 32];
const ANN: [u8; 32] = [2; 32];
const STRANGER: [u8; 32] = [3; 32];
const MINUTE: Millis = 60_000;

/// A hand, its host's owner, and a process that it may end.
struct Rig {
    dir: TempDir,
    hand: Hand,
    clock: Clock,
    server: ServerId,
    child: Child,
    orders: u64,
}

impl Drop for Rig {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn pair(seed: [u8; 32]) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&seed).unwrap()
}

fn public(seed: [u8; 32]) -> String {
    URL_SAFE_NO_PAD.encode(pair(seed).public_key())
}

fn signature(name: &str, seed: [u8; 32], payload: &[u8]) -> Signature {
    order::sign(payload, &name.parse().unwrap(), |message| pair(seed).sign(message).as_ref().to_vec())
}

/// `None`, and says so, where the tests do not run as root: `hand.conf` has to be root's.
fn rig(conf: &str) -> Option<Rig> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("left out: hand.conf has to belong to root, and this is not root");
        return None;
    }
    let dir = tempdir().unwrap();
    let program = dir.path().join("shop");
    fs::copy("/usr/bin/sleep", &program).unwrap();
    let child = Command::new(&program).arg("1000").stdout(Stdio::null()).spawn().unwrap();
    let path = dir.path().join("hand.conf");
    let keys = format!("keys = suite:{} ann:{}\n", public(SUITE), public(ANN));
    let allowed = format!("executables = {}/*\nusers = 0\n", dir.path().display());
    fs::write(&path, format!("{keys}{allowed}{conf}")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let clock = Clock::system();
    let systemctl = dir.path().join("systemctl");
    let places = Places { conf: path, dir: dir.path().join("hand"), systemctl };
    let hand = Hand::new(places, clock.clone());
    let server = ServerId::new(clock.now(), [7; 10]);
    let rig = Rig { dir, hand, clock, server, child, orders: 0 };
    // The program runs once its file is what its process says.
    let started = || rig.seen().and_then(|seen| seen.executable) == Some(program.display().to_string());
    while !started() {
        std::thread::yield_now();
    }
    Some(rig)
}

impl Rig {
    fn seen(&self) -> Option<policy::Seen> {
        Held::open(self.child.id()).unwrap()?.look()
    }

    /// An order to end the process, as management would write it.
    fn order(&mut self, kind: Kind) -> v1::Order {
        self.orders += 1;
        let seen = self.seen().unwrap();
        let mut random = [0; 10];
        random[..8].copy_from_slice(&self.orders.to_le_bytes());
        v1::Order {
            version: v1::VERSION,
            order: OrderId::new(self.clock.now(), random).to_string(),
            server: self.server.to_string(),
            boot: boot().unwrap(),
            kind: kind.to_string(),
            process: Some(ProcessTarget {
                pid: seen.pid,
                start_ms: seen.start_ms,
                pin: seen.pin,
                executable: seen.executable,
            }),
            unit: None,
            dry_run: false,
            not_after: self.clock.now() + 5 * MINUTE,
            by: "ann".to_owned(),
            reason: "it fills the disk".to_owned(),
        }
    }

    fn ask(&self, order: SignedOrder) -> Ask {
        Ask { order, now: self.clock.now(), server: self.server.to_string() }
    }

    fn sealed(&self, order: &v1::Order) -> Ask {
        let sealed = order::seal(order, &"suite".parse().unwrap(), |message| {
            pair(SUITE).sign(message).as_ref().to_vec()
        });
        self.ask(sealed.unwrap())
    }

    fn carry_out(&mut self, order: &v1::Order) -> OrderResult {
        let ask = self.sealed(order);
        self.hand.carry_out(&ask).unwrap()
    }

    fn lives(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    fn again(&mut self) {
        // The journal is locked until the earlier hand is gone.
        self.hand.journal = None;
        self.hand = Hand::new(self.hand.places.clone(), self.clock.clone());
    }
}

fn said(result: &OrderResult) -> (&str, &str) {
    (&result.state, result.code.as_deref().unwrap_or_default())
}

#[test]
fn an_order_ends_the_process_that_it_names_once() {
    let Some(mut rig) = rig("signals = term") else { return };
    let order = rig.order(Kind::Terminate);
    let trial = v1::Order { dry_run: true, order: rig.order(Kind::Terminate).order, ..order.clone() };
    let tried = rig.carry_out(&trial);
    assert_eq!((said(&tried), tried.dry_run), (("done", ""), true));
    assert!(rig.lives(), "a trial ended it");
    let result = rig.carry_out(&order);
    assert_eq!(said(&result), ("done", ""), "{result:?}");
    assert!(!rig.lives());
    assert_eq!(rig.carry_out(&order), result, "it is told again, and not done again");
    rig.again();
    assert_eq!(rig.carry_out(&order), result, "after the hand was started again too");
    let another = v1::Order { order: OrderId::new(rig.clock.now(), [9; 10]).to_string(), ..order };
    assert_eq!(said(&rig.carry_out(&another)), ("refused", "gone"));
}

#[test]
fn each_fault_is_refused_by_its_code_and_nothing_is_done() {
    let Some(mut rig) = rig("signals = term") else { return };
    type Spoil = fn(&mut v1::Order);
    let cases: [(&str, Spoil); 11] = [
        ("wrong_server", |order| order.server = ServerId::new(1, [8; 10]).to_string()),
        ("wrong_boot", |order| order.boot = "00000000-7f7d-4915-a506-6de3d7583991".to_owned()),
        ("expired", |order| order.not_after = 1),
        ("expired", |order| order.not_after -= 6 * MINUTE),
        ("invalid", |order| order.not_after += 1_500 * MINUTE),
        ("mismatch", |order| order.process.as_mut().unwrap().start_ms += 10),
        ("mismatch", |order| order.process.as_mut().unwrap().executable = Some("/bin/sh".to_owned())),
        ("mismatch", |order| *order.process.as_mut().unwrap().pin.get_or_insert(0) += 1),
        ("not_allowed", |order| order.kind = "process.kill".to_owned()),
        // Its own process, which holds no file that is allowed; and one that nobody has.
        ("not_allowed", |order| {
            let seen = Held::open(std::process::id()).unwrap().unwrap().look().unwrap();
            order.process =
                Some(ProcessTarget { pid: seen.pid, start_ms: seen.start_ms, ..ProcessTarget::default() });
        }),
        ("gone", |order| order.process.as_mut().unwrap().pid = i32::MAX.unsigned_abs()),
    ];
    for (code, spoil) in cases {
        rig.again();
        fs::remove_dir_all(&rig.hand.places.dir).unwrap();
        rig.again();
        let mut order = rig.order(Kind::Terminate);
        spoil(&mut order);
        let result = rig.carry_out(&order);
        assert_eq!(said(&result), ("refused", code), "{result:?}");
        assert!(rig.lives(), "{code}");
    }
}

#[test]
fn signatures_come_first_and_count_by_their_keys() {
    let Some(mut rig) = rig("signals = term\nneed = 2") else { return };
    let order = rig.order(Kind::Terminate);
    let mut ask = rig.sealed(&v1::Order { server: ServerId::new(1, [8; 10]).to_string(), ..order.clone() });
    let payload = order::open(&ask.order).unwrap();
    let own = ask.order.signatures[0].clone();
    let mut code = |signatures: &[Signature]| {
        ask.order.signatures = signatures.to_vec();
        said(&rig.hand.carry_out(&ask).unwrap()).1.to_owned()
    };
    assert_eq!(code(&[]), "bad_signature");
    assert_eq!(code(&[signature("stranger", STRANGER, &payload)]), "bad_signature");
    assert_eq!(code(&[signature("suite", STRANGER, &payload)]), "bad_signature");
    assert_eq!(code(std::slice::from_ref(&own)), "too_few_signatures");
    assert_eq!(code(&[own.clone(), own.clone()]), "too_few_signatures");
    assert_eq!(code(&[own.clone(), signature("stranger", STRANGER, &payload)]), "too_few_signatures");
    assert_eq!(code(&[own.clone(), signature("ann", SUITE, &payload)]), "bad_signature");
    assert_eq!(code(&[own, signature("ann", ANN, &payload)]), "wrong_server");
    assert!(rig.lives());

    let mut ask = rig.sealed(&order);
    let payload = order::open(&ask.order).unwrap();
    ask.order.signatures.push(signature("ann", ANN, &payload));
    assert_eq!(said(&rig.hand.carry_out(&ask).unwrap()), ("done", ""));
}

#[test]
fn without_a_conf_that_root_alone_can_write_nothing_is_done() {
    let Some(mut rig) = rig("signals = term") else { return };
    let path = rig.hand.places.conf.clone();
    let order = rig.order(Kind::Terminate);
    let inert = |rig: &mut Rig, why: &str| {
        let result = rig.carry_out(&order);
        assert_eq!(said(&result), ("refused", "no_hand"), "{why}");
        assert!(result.detail.unwrap().contains(why), "{why}");
        assert!(allowed(&path).unwrap_err().contains(why));
        assert!(rig.lives(), "{why}");
    };
    for mode in [0o664, 0o646, 0o666] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        inert(&mut rig, "must belong to root");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    std::os::unix::fs::chown(&path, Some(1_000), None).unwrap();
    inert(&mut rig, "must belong to root");
    std::os::unix::fs::chown(&path, Some(0), None).unwrap();
    fs::set_permissions(rig.dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    inert(&mut rig, "must belong to root");
    fs::set_permissions(rig.dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{text}\nanything = all\n")).unwrap();
    inert(&mut rig, "nothing that it can say");
    fs::remove_file(&path).unwrap();
    inert(&mut rig, "is absent");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(said(&rig.carry_out(&order)), ("done", ""));
}

#[test]
fn a_host_whose_clock_is_wrong_says_so() {
    let Some(mut rig) = rig("signals = term") else { return };
    let order = rig.order(Kind::Terminate);
    let ask = rig.sealed(&order);
    rig.clock.step(60 * MINUTE);
    let result = rig.hand.carry_out(&ask).unwrap();
    assert_eq!(said(&result), ("refused", "host_clock"));
    assert!((result.host_ahead_ms.unwrap() - 60 * MINUTE).abs() < MINUTE, "{result:?}");
    // Behind, the gate's clock decides alone.
    rig.clock.step(-120 * MINUTE);
    let late = Ask { now: order.not_after, ..ask.clone() };
    assert_eq!(said(&rig.hand.carry_out(&late).unwrap()), ("refused", "expired"));
    assert!(rig.lives());
    assert_eq!(said(&rig.hand.carry_out(&ask).unwrap()), ("done", ""));
}

#[test]
fn six_a_minute_are_carried_out_and_no_more() {
    let Some(mut rig) = rig("signals = term") else { return };
    for count in 0..8 {
        let order = v1::Order { dry_run: true, ..rig.order(Kind::Terminate) };
        let result = rig.carry_out(&order);
        let wanted = if count < 6 { ("done", "") } else { ("refused", "rate") };
        assert_eq!(said(&result), wanted);
        rig.again();
    }
}

#[test]
fn where_the_journal_cannot_be_written_nothing_is_done() {
    let Some(mut rig) = rig("signals = term") else { return };
    let dir = rig.hand.places.dir.clone();
    rig.hand.journal = None;
    fs::remove_dir_all(&dir).unwrap();
    fs::write(&dir, "").unwrap();
    let order = rig.order(Kind::Terminate);
    assert_eq!(said(&rig.carry_out(&order)), ("refused", "no_journal"));
    fs::remove_file(&dir).unwrap();
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("journal.jsonl"), "nonsense\n").unwrap();
    assert_eq!(said(&rig.carry_out(&order)), ("refused", "no_journal"));
    assert!(rig.lives());
    fs::remove_file(dir.join("journal.jsonl")).unwrap();
    assert_eq!(said(&rig.carry_out(&order)), ("done", ""));
}

#[test]
fn ten_thousand_hostile_orders_do_nothing() {
    let Some(mut rig) = rig("signals = term, kill") else { return };
    let mut seed = 5_u64;
    let mut random = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize
    };
    // One that was carried out: as a trial, so that the process lives.
    let trial = v1::Order { dry_run: true, ..rig.order(Kind::Kill) };
    let carried_out = rig.sealed(&trial);
    assert_eq!(said(&rig.hand.carry_out(&carried_out).unwrap()), ("done", ""));
    let journal = rig.hand.places.dir.join("journal.jsonl");
    let before = fs::metadata(&journal).unwrap().len();
    for round in 0..10_000 {
        let order = rig.order(if round % 2 == 0 { Kind::Kill } else { Kind::Terminate });
        let mut ask = rig.sealed(&order);
        match round % 8 {
            // Forged: by a key that nobody knows, under a name that everybody does.
            0 => {
                let payload = order::open(&ask.order).unwrap();
                ask.order.signatures = vec![signature("suite", STRANGER, &payload)];
            }
            // Replayed.
            1 => ask = carried_out.clone(),
            // Foreign: for another server, or another boot.
            2 => {
                ask = rig.sealed(&v1::Order {
                    server: ServerId::new(2, [random() as u8; 10]).to_string(),
                    ..order
                });
            }
            3 => ask = rig.sealed(&v1::Order { boot: format!("{}-{}", order.boot, random()), ..order }),
            // Expired.
            4 => ask = rig.sealed(&v1::Order { not_after: rig.clock.now() - random() as Millis, ..order }),
            // A bit of what was signed differs.
            5 => {
                let mut payload = order::open(&ask.order).unwrap();
                let at = random() % payload.len();
                payload[at] ^= 1 << (random() % 8);
                ask.order.payload = URL_SAFE_NO_PAD.encode(payload);
            }
            // A byte of the signature differs, or it is another order's.
            6 => {
                let mut bytes = URL_SAFE_NO_PAD.decode(&ask.order.signatures[0].sig).unwrap();
                let at = random() % bytes.len();
                bytes[at] ^= 1 << (random() % 8);
                ask.order.signatures[0].sig = URL_SAFE_NO_PAD.encode(bytes);
            }
            _ => ask.order.signatures.clone_from(&carried_out.order.signatures),
        }
        if let Some(result) = rig.hand.carry_out(&ask) {
            let replayed = round % 8 == 1;
            assert_eq!(result.state, if replayed { "done" } else { "refused" }, "{round}: {result:?}");
            assert_eq!(result.dry_run, replayed);
        }
    }
    assert!(rig.lives());
    assert_eq!(fs::metadata(&journal).unwrap().len(), before, "nothing more was begun");
    let good = rig.order(Kind::Kill);
    assert_eq!(said(&rig.carry_out(&good)), ("done", ""));
}

#[test]
fn a_process_that_ignores_sigterm_is_told_as_still_running_and_not_killed() {
    let Some(mut rig) = rig("signals = term") else { return };
    drop(rig.child.kill());
    drop(rig.child.wait());
    // What a shell ignores, the program that takes its place ignores too.
    let program = rig.dir.path().join("shop");
    let script = format!("trap '' TERM; exec {} 1000", program.display());
    rig.child = Command::new("/bin/sh").args(["-c", &script]).stdout(Stdio::null()).spawn().unwrap();
    while rig.seen().unwrap().executable != Some(program.display().to_string()) {
        std::thread::yield_now();
    }
    let order = rig.order(Kind::Terminate);
    let result = rig.carry_out(&order);
    assert_eq!(said(&result), ("failed", "still_running"), "{result:?}");
    assert!(rig.lives());
}

#[test]
fn units_are_controlled_by_their_exact_names_through_systemctl() {
    let Some(mut rig) = rig("units = shop.service ssh.service") else { return };
    let systemctl = rig.hand.places.systemctl.clone();
    let log = rig.dir.path().join("asked");
    let script = format!(
        "#!/bin/sh\necho \"$* $(env | cut -d= -f1 | sort | tr '\\n' ' ')\" >>{}\n\
         case \"$*\" in *show*) printf 'MainPID=77\\nResult=success\\nActiveState=active\\nSubState=running\\n';;\n\
         *stop*) echo 'Failed to stop: no' >&2; exit 5;; esac\n",
        log.display()
    );
    fs::write(&systemctl, script).unwrap();
    fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755)).unwrap();
    let order = |rig: &mut Rig, kind: Kind, unit: &str, dry_run: bool| {
        let order = rig.order(Kind::Kill);
        let order = v1::Order {
            kind: kind.to_string(),
            process: None,
            unit: Some(unit.to_owned()),
            dry_run,
            ..order
        };
        rig.carry_out(&order)
    };
    let tried = order(&mut rig, Kind::Restart, "shop.service", true);
    assert_eq!((said(&tried), tried.unit.as_ref().unwrap().main_pid), (("done", ""), 77));
    let asked = fs::read_to_string(&log).unwrap();
    assert!(!asked.contains("restart") && asked.contains("show"), "{asked}");
    let done = order(&mut rig, Kind::Restart, "shop.service", false);
    let unit = done.unit.clone().unwrap();
    assert_eq!(said(&done), ("done", ""));
    assert_eq!(
        (&*unit.active, &*unit.sub, &*unit.result, unit.main_pid),
        ("active", "running", "success", 77)
    );
    let failed = order(&mut rig, Kind::Stop, "shop.service", false);
    assert_eq!(said(&failed), ("failed", ""));
    assert!(failed.detail.unwrap().contains("Failed to stop: no") && failed.unit.is_some());
    assert_eq!(said(&order(&mut rig, Kind::Start, "other.service", false)), ("refused", "not_allowed"));
    assert_eq!(said(&order(&mut rig, Kind::Start, "ssh.service", false)), ("refused", "denied"));
    let asked = fs::read_to_string(&log).unwrap();
    assert!(asked.contains("--no-ask-password --no-pager restart -- shop.service"), "{asked}");
    assert!(!asked.contains("ssh") && !asked.contains("other"), "{asked}");
    assert!(!asked.contains("CARGO"), "the environment goes along: {asked}");
}

#[test]
fn what_a_person_signs_offline_counts_as_the_second_signature() {
    let Some(mut rig) = rig("signals = term\nneed = 2") else { return };
    let order = rig.order(Kind::Terminate);
    let ask = rig.sealed(&order);
    let envelope = rig.dir.path().join("envelope.json");
    for text in [serde_json::to_string(&ask.order).unwrap(), ask.order.payload.clone()] {
        fs::write(&envelope, text).unwrap();
        let text = fs::read_to_string(&envelope).unwrap();
        let (payload, shown) = keys::understood(&text).unwrap();
        assert_eq!(payload, order::open(&ask.order).unwrap());
        assert!(keys::shown(&shown).contains("it fills the disk"));
    }
    for nonsense in ["", "{}", "e30", "no order"] {
        assert!(keys::understood(nonsense).is_err(), "{nonsense}");
    }
}
