//! The operator's own words for an incident.

/// Longest template, in bytes.
const MAX_TEMPLATE_BYTES: usize = 1_000;

/// What a template may name.
const PLACES: [&str; 6] = ["server", "level", "metric", "value", "since", "url"];

/// A text that is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTemplate {
    /// It is too long, or has nothing in it.
    #[error("must have 1 to 1,000 bytes")]
    Length,
    /// It names what there is not.
    #[error(
        "may name {{server}}, {{level}}, {{metric}}, {{value}}, {{since}} and {{url}}; a brace alone is written twice"
    )]
    Place,
}

pub(super) enum Piece<'a> {
    Text(&'a str),
    Place(&'a str),
}

/// Checks a template when it is saved.
pub fn check_template(template: &str) -> Result<(), BadTemplate> {
    if template.trim().is_empty() || template.len() > MAX_TEMPLATE_BYTES {
        return Err(BadTemplate::Length);
    }
    pieces(template).map(drop)
}

pub(super) fn pieces(template: &str) -> Result<Vec<Piece<'_>>, BadTemplate> {
    let (mut pieces, mut rest) = (Vec::new(), template);
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at(at);
        pieces.push(Piece::Text(before));
        let doubled = from.starts_with("{{") || from.starts_with("}}");
        if doubled {
            pieces.push(Piece::Text(&from[..1]));
            rest = &from[2..];
            continue;
        }
        let inner =
            from.strip_prefix('{').and_then(|inner| inner.split_once('}')).ok_or(BadTemplate::Place)?;
        let name = PLACES.into_iter().find(|place| *place == inner.0).ok_or(BadTemplate::Place)?;
        pieces.push(Piece::Place(name));
        rest = inner.1;
    }
    pieces.push(Piece::Text(rest));
    Ok(pieces)
}
