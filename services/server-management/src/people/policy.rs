//! Which passwords are taken, after NIST SP 800-63B, 5.1.1.2: long enough, and none that is tried first. No rule asks
//! for digits or signs, and none for a change now and then.

use chassis::Problem;
use registry::fold_name;

use crate::{http::failure::invalid_body, people::password::MAX_PASSWORD_BYTES};

/// Why a text is not taken as a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPassword {
    /// It is too short or too long, or holds NUL.
    #[error("must have at least {SHORTEST} characters, at most {MAX_PASSWORD_BYTES} bytes, and no NUL")]
    Bounds,
    /// Many people have it.
    #[error("is one of those that are tried first; take another one")]
    Common,
    /// It is a name of its user or of the suite, but for digits and signs around it.
    #[error("is made of a name that anybody knows; take another one")]
    Derived,
}

/// In characters.
const SHORTEST: usize = 8;

const COMMON: &str = include_str!("common-passwords.txt");

/// What this service is called; its users' names are added.
const OURS: [&str; 4] = ["rollcall", "admin", "administrator", "server-management"];

/// 422 unless `password` can be that of the user with these names: user name, e-mail address.
pub(crate) fn check(field: &str, password: &str, names: &[&str]) -> Result<(), Problem> {
    judge(password, names).map_err(|bad| invalid_body(format!("{field} {bad}")))
}

/// Whether `password` can be that of the user with these names, wherever it is set.
pub(crate) fn judge(password: &str, names: &[&str]) -> Result<(), BadPassword> {
    if password.chars().count() < SHORTEST || password.len() > MAX_PASSWORD_BYTES || password.contains('\0') {
        return Err(BadPassword::Bounds);
    }
    if is_common(password) {
        return Err(BadPassword::Common);
    }
    if is_derived(password, names) {
        return Err(BadPassword::Derived);
    }
    Ok(())
}

fn is_common(password: &str) -> bool {
    let folded = password.to_lowercase();
    let one_character = folded.chars().all(|c| folded.starts_with(c));
    one_character || COMMON.lines().filter(|line| !line.starts_with('#')).any(|common| common == folded)
}

/// Whether it is one of `names` or of ours but for digits and signs around it.
fn is_derived(password: &str, names: &[&str]) -> bool {
    let bare = |text: &str| fold_name(text.trim_matches(|c: char| !c.is_alphabetic()));
    let password = bare(password);
    let local = names.iter().filter_map(|name| Some(name.split_once('@')?.0));
    let mut names = OURS.into_iter().chain(names.iter().copied()).chain(local).map(bare);
    !password.is_empty() && names.any(|name| name == password)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(password: &str) -> bool {
        check("password", password, &["Jürgen.Groß", "jg-ops@example.org"]).is_ok()
    }

    #[test]
    fn long_passwords_of_anything_are_taken() {
        for good in [
            "17384920",
            "correct horse",
            "aaaaaaab",
            "        x",
            "пароль-мой",
            "🐎🐎🐎🐎🐎🐎🐎🔋",
            &"ab".repeat(512),
        ] {
            assert!(takes(good), "{good}");
        }
    }

    #[test]
    fn short_over_long_and_nul_are_refused() {
        for bad in ["", "1a2b3c4", "äöüäöüä", "with\0a NUL", &"ab".repeat(513)] {
            assert!(!takes(bad), "{bad}");
        }
    }

    #[test]
    fn what_is_tried_first_is_refused() {
        for bad in ["password", "PassWord1", "12345678", "qwertyuiop", "bbbbbbbbbbbb", "########", "iloveyou"]
        {
            assert!(!takes(bad), "{bad}");
        }
    }

    #[test]
    fn names_with_a_number_behind_are_refused() {
        for bad in
            ["JÜRGEN.groß", "jürgen.groß2026!", "Rollcall1", "jg-ops@example.org", "!jg-ops99", "admin123!"]
        {
            assert!(!takes(bad), "{bad}");
        }
        assert!(takes("jürgen.groß at home"));
    }
}
