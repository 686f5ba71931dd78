//! Fields of bodies about alerts, and what is told of those that cannot work.

use chassis::Problem;
use fleet::ServerId;
use registry::WindowMatch;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{http::failure::invalid_body, servers};

/// Which servers: those that have all of these labels and, if any are named, are among these. `{}`: all.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct ServerMatch {
    /// Each `key:value`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 16, example = json!(["env:prod"]))]
    pub(super) labels: Vec<String>,
    /// Ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 500, example = json!([]))]
    pub(super) servers: Vec<String>,
}

pub(super) fn faulty(field: &'static str, reason: impl std::fmt::Display) -> Problem {
    invalid_body(format!("{field} {reason}")).with("field", field)
}

/// A text that may be absent, which is not the same as empty. No text of a store holds a NUL.
pub(super) fn text(field: &'static str, text: Option<String>) -> Result<String, Problem> {
    let good = text.as_ref().is_none_or(|text| !text.is_empty() && !text.contains('\0'));
    if good { Ok(text.unwrap_or_default()) } else { Err(faulty(field, "must not be empty, nor have a NUL")) }
}

pub(super) fn ids(field: &'static str, texts: Vec<String>) -> Result<Vec<ServerId>, Problem> {
    texts.iter().map(|text| text.parse().map_err(|bad| faulty(field, format!("is {bad}")))).collect()
}

pub(super) fn labels(field: &'static str, texts: Vec<String>) -> Result<Vec<(String, String)>, Problem> {
    let mut read = Vec::new();
    for one in texts {
        let pair = servers::read_label(&one).map_err(|reason| faulty(field, reason))?;
        if one.len() > 512 || one.contains('\0') {
            return Err(faulty(field, "must have labels of at most 512 bytes and no NUL"));
        }
        if !read.contains(&pair) {
            read.push(pair);
        }
    }
    Ok(read)
}

pub(super) fn spelt(matches: &WindowMatch) -> ServerMatch {
    ServerMatch {
        labels: matches.labels.iter().map(|(key, value)| format!("{key}:{value}")).collect(),
        servers: matches.servers.iter().map(ServerId::to_string).collect(),
    }
}
