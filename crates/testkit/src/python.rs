//! Python programs that are in no Rust, for tests alone.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

/// The `bin` of an environment that holds `package` (`name==version`), made at first use in a folder of its own below
/// `folder`, which is the build's.
///
/// # Panics
/// When it cannot be made, which fails the test.
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
pub fn python(folder: &Path, package: &str) -> PathBuf {
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock().expect("nobody failed to make one");
    let environment = folder.join(package.replace("==", "-"));
    let (bin, done) = (environment.join("bin"), environment.join("done"));
    if !done.exists() {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment));
        run(Command::new(bin.join("python")).args(["-m", "pip", "install", "--quiet", package]));
        fs::write(done, "").expect("a file in the environment");
    }
    bin
}

fn run(command: &mut Command) {
    let status =
        command.status().unwrap_or_else(|error| panic!("{command:?}: {error}; python3-venv is needed"));
    assert!(status.success(), "{command:?}: {status}");
}
