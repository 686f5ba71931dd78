//! What `docker_swarm/setup` leaves on the machine when it fails half way, and how it treats a file with a password. A
//! script stands in for Docker.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use testkit::{TempDir, tempdir};

/// A manager of a Swarm that has no secret yet. It keeps those that end in what `$FAILS` says from being made.
const DOCKER: &str = r#"#!/bin/sh
case "$1 $2" in
"info --format") echo active true ;;
"secret create") cat > /dev/null; case "$5" in *"${FAILS:-nothing}"*) exit 1 ;; esac ;;
esac
"#;

/// A machine: a folder of programs, one for temporary files, and one to run setup in.
struct Machine {
    dir: TempDir,
}

impl Machine {
    fn new(settings: &str, mode: u32) -> Self {
        let machine = Self { dir: tempdir().unwrap() };
        for folder in ["bin", "temporary"] {
            fs::create_dir(machine.path(folder)).unwrap();
        }
        machine.put("bin/docker", DOCKER, 0o755);
        machine.put("settings", settings, mode);
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn put(&self, name: &str, text: &str, mode: u32) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), Permissions::from_mode(mode)).unwrap();
    }

    /// Runs it until it has made what it can, or fails.
    fn setup(&self, fails: &str) -> Output {
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        let socket = std::os::unix::net::UnixListener::bind(self.path("docker.sock"));
        let output = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docker_swarm/setup"))
            .env_clear()
            .env("PATH", path)
            .env("TMPDIR", self.path("temporary"))
            .env("ENV_FILE", self.path("settings"))
            .env("DOCKER_SOCKET", self.path("docker.sock"))
            .env("FAILS", fails)
            .env("PATIENCE", "0")
            .current_dir(self.dir.path())
            .output()
            .unwrap();
        drop(socket);
        output
    }

    fn left(&self) -> Vec<PathBuf> {
        fs::read_dir(self.path("temporary")).unwrap().map(|file| file.unwrap().path()).collect()
    }

    fn mode(&self) -> u32 {
        fs::metadata(self.path("settings")).unwrap().permissions().mode() & 0o777
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn no_key_is_left_behind_when_a_certificate_cannot_be_made() {
    let machine = Machine::new("ROLLCALL_HOST=rollcall.example.org\n", 0o644);
    // It makes the authority's key, and fails at the certificate.
    let openssl =
        "#!/bin/sh\n[ \"$1\" = req ] && exec /usr/bin/openssl \"$@\"\necho no such curve >&2\nexit 1\n";
    machine.put("bin/openssl", openssl, 0o755);
    let output = machine.setup("");
    let told = said(&output);
    assert!(
        !output.status.success() && told.contains("made no certificate") && told.contains("no such curve"),
        "{told}"
    );
    assert_eq!(machine.left(), Vec::<PathBuf>::new(), "{told}");
}

#[test]
fn no_key_is_left_behind_when_docker_takes_none() {
    let machine = Machine::new("ROLLCALL_HOST=rollcall.example.org\n", 0o644);
    let output = machine.setup("_tls_key.");
    let told = said(&output);
    assert!(!output.status.success() && !told.contains("made the secrets of tls"), "{told}");
    assert_eq!(machine.left(), Vec::<PathBuf>::new(), "{told}");
}

#[test]
fn a_file_with_a_password_is_its_owners_alone_from_then_on() {
    let secret = "ROLLCALL_HOST=rollcall.example.org\nSMTP_URL=smtps://user:hunter2@host:465\nMAIL_FROM=a@example.org\n";
    let machine = Machine::new(secret, 0o644);
    let told = said(&machine.setup("_authority."));
    assert_eq!(machine.mode(), 0o600, "{told}");
    assert!(told.contains("others could read it (mode 644)") && !told.contains("hunter2"), "{told}");
    // Said once: nobody else can read it now.
    fs::remove_file(machine.path("docker.sock")).unwrap();
    assert!(!said(&machine.setup("_authority.")).contains("others could read it"));

    let open = "# SMTP_URL=smtps://user:password@host:465\nROLLCALL_HOST=rollcall.example.org\nSMTP_URL_FILE=/root/smtp-url\n";
    let machine = Machine::new(open, 0o644);
    let told = said(&machine.setup("_authority."));
    assert!(machine.mode() == 0o644 && !told.contains("others could read it"), "{told}");
}
