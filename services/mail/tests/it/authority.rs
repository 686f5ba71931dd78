//! A certificate authority of the test's own, made with openssl(1).

use std::{path::PathBuf, process::Command};

use testkit::{TempDir, tempdir};

pub struct Authority {
    folder: TempDir,
}

impl Authority {
    /// With one certificate, for 127.0.0.1.
    pub fn new() -> Self {
        let authority = Self { folder: tempdir().unwrap() };
        authority.issue("authority", &["-addext", "basicConstraints=critical,CA:TRUE"]);
        let (certificate, key) = (authority.path("authority.pem"), authority.path("authority.key"));
        let issuer = ["-CA", certificate.to_str().unwrap(), "-CAkey", key.to_str().unwrap()];
        let whose =
            ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"];
        authority.issue("server", &[issuer, whose].concat());
        authority
    }

    fn issue(&self, name: &str, arguments: &[&str]) {
        let made = Command::new("openssl")
            .args(["req", "-x509", "-batch", "-nodes", "-days", "2", "-newkey", "ec"])
            .args(["-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", &format!("/CN={name}")])
            .arg("-keyout")
            .arg(self.path(&format!("{name}.key")))
            .arg("-out")
            .arg(self.path(&format!("{name}.pem")))
            .args(arguments)
            .output()
            .unwrap_or_else(|error| panic!("openssl 3 is needed: {error}"));
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What trusts it.
    pub fn file(&self) -> PathBuf {
        self.path("authority.pem")
    }

    /// The arguments with which a server shows its certificate.
    pub fn arguments(&self) -> [String; 3] {
        let text = |name| self.path(name).to_str().unwrap().to_owned();
        ["--certificate".to_owned(), text("server.pem"), text("server.key")]
    }
}
