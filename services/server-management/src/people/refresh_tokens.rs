//! Refresh tokens: what all of one session have in common, and what each has alone.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chassis::random;
use registry::RefreshToken;

use crate::http::secret::{digest, mint};

/// Length of the common part: 16 bytes that cannot be guessed, in base64url.
const FAMILY_CHARS: usize = 22;

/// A refresh token as the client has it, and as we store it.
pub(super) struct MintedRefresh {
    pub(super) text: String,
    pub(super) token: RefreshToken,
}

/// The first one of a session.
pub(super) fn first() -> MintedRefresh {
    of(&URL_SAFE_NO_PAD.encode(random::<16>()))
}

/// The one after `presented`. One of an earlier release has no common part; the next begins one.
pub(super) fn next(presented: &str) -> MintedRefresh {
    family(presented).map_or_else(first, of)
}

/// What the registry knows of a token, whatever was presented.
pub(super) fn read(presented: &str) -> RefreshToken {
    RefreshToken { hash: digest(presented), family: digest(family(presented).unwrap_or_default()) }
}

fn of(family: &str) -> MintedRefresh {
    let text = format!("{family}{}", mint().text);
    let token = read(&text);
    MintedRefresh { text, token }
}

/// The common part, of what is as long as a token.
fn family(text: &str) -> Option<&str> {
    let whole = FAMILY_CHARS + 43;
    if text.len() == whole { text.get(..FAMILY_CHARS) } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tokens_of_one_session_have_one_family_and_nothing_else_in_common() {
        let one = first();
        let two = next(&one.text);
        let three = next(&two.text);
        assert_eq!(one.text.len(), 65);
        assert_eq!((one.token.family, two.token.family), (three.token.family, three.token.family));
        assert!(one.token.hash != two.token.hash && two.token.hash != three.token.hash);
        assert_ne!(first().token.family, one.token.family);
        assert_ne!(one.text[FAMILY_CHARS..], two.text[FAMILY_CHARS..]);
    }

    #[test]
    fn a_token_of_an_earlier_release_begins_a_family() {
        let old = mint().text;
        let next = next(&old);
        assert_eq!(next.text.len(), 65);
        assert_ne!(next.token.family, read(&old).family);
    }

    proptest! {
        #[test]
        fn whatever_is_presented_is_read(text in "\\PC{0,80}") {
            prop_assert_eq!(read(&text).hash, digest(&text));
            prop_assert_eq!(next(&text).text.len(), 65);
        }
    }
}
