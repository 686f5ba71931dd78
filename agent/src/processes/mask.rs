//! Masks what may be a secret in a command line. What is doubtful is masked: whoever reads may see what runs, and never
//! needs a secret for that.

/// What stands in place of a secret.
const MASK: &str = "***";
/// A key that holds one of these, whatever its case, has a secret for its value. `_` and `-` may stand in the last ones.
const KEYS: [&str; 9] =
    ["password", "passwd", "pwd", "secret", "token", "credential", "auth", "private", "apikey"];

/// The arguments of a process as one text, what may be a secret masked.
pub fn masked(arguments: &[String]) -> String {
    let mut text = String::new();
    let mut next_is_secret = false;
    for (place, argument) in arguments.iter().enumerate() {
        if place > 0 {
            text.push(' ');
        }
        if std::mem::take(&mut next_is_secret) {
            text.push_str(MASK);
            // `--token --secret abc`: whatever the first one's value is, the second has one too.
            next_is_secret = matches!(Key::find(argument), Some(Key { rest: "", .. }));
            continue;
        }
        // First, as a key may be found in the middle of a password.
        let argument = without_tokens(&without_passwords(argument));
        match Key::find(&argument) {
            // The program's own name is no key, but what its title goes on with may be.
            Some(Key { before, rest: "" }) => {
                text.push_str(before);
                next_is_secret = place > 0;
            }
            Some(Key { before, .. }) => {
                text.push_str(before);
                text.push_str(MASK);
            }
            None => text.push_str(&argument),
        }
    }
    text
}

/// A key in an argument.
struct Key<'a> {
    /// The argument up to where the value begins.
    before: &'a str,
    /// The value, and all that follows it: nobody knows where a secret ends.
    rest: &'a str,
}

impl<'a> Key<'a> {
    /// The first key of an argument that has a secret for its value.
    fn find(argument: &'a str) -> Option<Self> {
        let mut from = 0;
        while let Some(end) = word_after(argument, from) {
            let key_ends = argument[end..].find(|c| !of_a_key(c)).map_or(argument.len(), |at| end + at);
            let rest = &argument[key_ends..];
            // `/run/secrets/db` and `auth/x` are paths.
            let path = rest.starts_with(['/', '\\']);
            let value = rest.find(|c| !separates(c)).map_or(argument.len(), |at| key_ends + at);
            let alone = rest.is_empty() && argument[..key_ends].contains('/') && !argument.contains('=');
            if !path && !alone {
                return Some(Self { before: &argument[..value], rest: &argument[value..] });
            }
            from = key_ends;
        }
        None
    }
}

/// Where the first of [`KEYS`] from `from` on ends.
fn word_after(argument: &str, from: usize) -> Option<usize> {
    let bytes = argument.as_bytes();
    (from..bytes.len())
        .find_map(|at| KEYS.iter().find_map(|key| ends(&bytes[at..], key)).map(|length| at + length))
}

/// How many bytes a key takes at the beginning of a text, if it is there.
fn ends(text: &[u8], key: &str) -> Option<usize> {
    let mut length = 0;
    for (place, letter) in key.bytes().enumerate() {
        // `api_key` and `api-key`.
        if key == "apikey" && place == 3 && matches!(text.get(length), Some(b'_' | b'-')) {
            length += 1;
        }
        if text.get(length)?.to_ascii_lowercase() != letter {
            return None;
        }
        length += 1;
    }
    Some(length)
}

fn of_a_key(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.')
}

/// What may stand between a key and its value.
fn separates(c: char) -> bool {
    c.is_whitespace() || matches!(c, '=' | ':' | '"' | '\'' | ',' | '[' | ']' | '(' | ')' | '{' | '}' | '>')
}

/// `scheme://user:…@` without what is between the colon and the last `@` before a space.
fn without_passwords(text: &str) -> String {
    let mut masked = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        masked.push_str(before);
        let ends = after.find(char::is_whitespace).unwrap_or(after.len());
        let (address, behind) = after.split_at(ends);
        let user_ends = address.find([':', '/', '?', '#', '@']).filter(|at| address[*at..].starts_with(':'));
        match (user_ends, address.rfind('@')) {
            (Some(colon), Some(last)) if colon < last => {
                masked.push_str(&address[..=colon]);
                masked.push_str(MASK);
                masked.push_str(&address[last..]);
                rest = behind;
            }
            // Another address may follow in it.
            _ => rest = after,
        }
    }
    masked.push_str(rest);
    masked
}

/// Without JWTs, keys of AWS and tokens of GitHub.
fn without_tokens(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        match shaped(rest) {
            Some(length) => {
                masked.push_str(MASK);
                rest = &rest[length..];
            }
            None => {
                masked.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    masked
}

/// The length of the secret that a text begins with.
fn shaped(text: &str) -> Option<usize> {
    let run = |from: usize, allowed: fn(u8) -> bool| {
        text.bytes().skip(from).take_while(|byte| allowed(*byte)).count()
    };
    let base64: fn(u8) -> bool = |byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if text.starts_with("eyJ") {
        let head = run(0, base64);
        let dotted = text.as_bytes().get(head) == Some(&b'.');
        let whole = run(0, |byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        return (dotted && whole > head + 1).then_some(whole);
    }
    if text.starts_with("AKIA") {
        let length = run(0, |byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
        return (length >= 20).then_some(length);
    }
    for prefix in ["ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"] {
        if text.starts_with(prefix) {
            let length = run(0, base64);
            return (length >= prefix.len() + 16).then_some(length);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};

    use super::*;

    fn of(arguments: &[&str]) -> String {
        masked(&arguments.iter().map(|argument| (*argument).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn what_is_no_secret_stays() {
        for arguments in [
            &["/usr/lib/postgresql/17/bin/postgres", "-D", "/srv/data"][..],
            &["/usr/sbin/sshd", "-D"],
            &["nginx: worker process"],
            &["java", "-Xmx4g", "-jar", "/opt/app.jar", "--server.port=8080"],
            &["/opt/auth/run", "--listen", "0.0.0.0:80"],
            &["cat", "/run/secrets/db"],
            &["/usr/libexec/polkit-auth", "--no-debug"],
            &["curl", "https://example.org:8443/a"],
            &["eyJust", "a", "AKIA", "ghp_short"],
        ] {
            assert_eq!(of(arguments), arguments.join(" "));
        }
    }

    #[test]
    fn what_may_be_a_secret_goes() {
        for (arguments, expected) in [
            (&["mysql", "--password=abc", "-u", "x"][..], "mysql --password=*** -u x"),
            (&["mysql", "--password", "abc", "-u"], "mysql --password *** -u"),
            (&["env", "DB_PASSWORD=a b", "x"], "env DB_PASSWORD=*** x"),
            (&["sh", "-c", "mysql --password abc"], "sh -c mysql --password ***"),
            (&["x", "-Dspring.Api_Key=abc"], "x -Dspring.Api_Key=***"),
            (&["x", "--api-key", "abc"], "x --api-key ***"),
            (&["curl", "-H", "Authorization: Bearer abc"], "curl -H Authorization: ***"),
            (&["x", r#"{"secret": "abc"}"#], r#"x {"secret": "***"#),
            (&["x", "postgres://u:p@ss@db/x?a=1"], "x postgres://u:***@db/x?a=1"),
            (&["x", "redis://:abc@db"], "x redis://:***@db"),
            (&["x", "h://db/x?user=a&password=abc"], "x h://db/x?user=a&password=***"),
            (&["x", "eyJhbGciOi.eyJzdWIi.c2ln"], "x ***"),
            (&["x", "AKIAIOSFODNN7EXAMPLE/x"], "x ***/x"),
            (&["x", "a=ghp_0123456789abcdefABCDEF"], "x a=***"),
            (&["x", "--token", "--secret", "abc"], "x --token *** ***"),
            (&["/opt/tool password=abc"], "/opt/tool password=***"),
        ] {
            assert_eq!(of(arguments), expected);
        }
    }

    fn key() -> impl Strategy<Value = String> {
        let word = select(vec![
            "password",
            "passwd",
            "pwd",
            "secret",
            "token",
            "apikey",
            "api_key",
            "api-key",
            "credential",
            "auth",
            "private",
        ]);
        (word, any::<u64>(), "[a-zA-Z_.-]{0,6}", "[a-zA-Z0-9_.-]{0,6}").prop_map(
            |(word, bits, before, after)| {
                let cased = word.chars().enumerate().map(|(place, letter)| match bits >> (place % 64) & 1 {
                    0 => letter,
                    _ => letter.to_ascii_uppercase(),
                });
                format!("{before}{}{after}", cased.collect::<String>())
            },
        )
    }

    /// Ends in what nothing else has, so that it can be told whether any of it is left.
    fn secret() -> impl Strategy<Value = String> {
        "[!-~]{0,20}".prop_map(|text| format!("{text}Zq9Zq9"))
    }

    proptest! {
        #[test]
        fn no_masked_value_survives(
            key in key(), secret in secret(), other in "[a-z/=-]{0,12}", dash in select(vec!["", "-", "--"]),
            form in 0..8_usize, user in "[a-z]{0,5}"
        ) {
            let mut arguments = vec!["/bin/x".to_owned()];
            match form {
                0 => arguments.push(format!("{dash}{key}={secret}")),
                1 => arguments.extend([format!("{dash}{key}"), secret]),
                2 => arguments.push(format!("{key}: {secret}")),
                3 => arguments.push(format!("run {dash}{key} {secret}")),
                4 => arguments.push(format!("https://{user}:{secret}@host")),
                5 => arguments.push(format!("a=b&{key}={secret}")),
                6 => arguments.push(format!("{{\"{key}\":\"{secret}\"}}")),
                _ => arguments.push(format!("PATH=/bin:/usr/bin {key}='{secret}'")),
            }
            arguments.push(other);
            let text = masked(&arguments);
            prop_assert!(!text.contains("Zq9Zq9"), "{arguments:?}: {text}");
        }

        #[test]
        fn any_arguments_are_masked_without_a_panic(arguments in proptest::collection::vec("\\PC{0,40}|[a-z=:/@. -]{0,40}", 0..6)) {
            let _ = masked(&arguments);
        }
    }
}
