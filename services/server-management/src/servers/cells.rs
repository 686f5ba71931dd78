//! The whole fleet at once, for a picture of it.

use std::{collections::VecDeque, sync::Arc};

use actix_web::web::{Data, Json};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chassis::Problem;
use fleet::{Millis, ServerId, Status};
use registry::{Entry, ServerFilter};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;
use utoipa::{
    ToSchema,
    openapi::path::{Parameter, ParameterIn},
};

use crate::{
    app::App,
    http::{
        document::{parameter, text},
        failure::Failure,
        query::{FromParameters, Parameters, Parsed},
    },
    servers::figures::{FRESH, Figures, MOST, Shares, bounded},
};

/// Pictures of which changes can be told: those of the last two minutes, if somebody looks all the time.
const FRAMES: usize = 24;
/// Keys by which pictures are kept grouped.
const GROUPS: usize = 8;

/// The pictures of this process, the one that was looked at last first.
#[derive(Default)]
pub(crate) struct Pictures(Mutex<Vec<Picture>>);

/// What was shown lately of the fleet by one key.
struct Picture {
    key: Option<String>,
    at: Millis,
    shape: Arc<Shape>,
    frames: VecDeque<(Millis, Arc<Columns>)>,
}

/// What stays the same while nobody changes servers.
#[derive(Default)]
struct Shape {
    /// Equal in all processes where it is the same.
    hash: String,
    ids: Vec<ServerId>,
    names: Vec<String>,
    groups: Vec<String>,
    group: Vec<u16>,
}

/// What changes by itself, a value a server.
#[derive(Default)]
struct Columns {
    state: String,
    shares: Vec<Shares>,
}

/// The fleet as columns: the n-th value of each is that of the n-th server, by name. With `since`, what changed alone.
#[derive(Serialize, ToSchema)]
pub(crate) struct Cells {
    /// For `since` of the next request.
    version: String,
    /// Left out, as are `names`, `groups` and `group`, where they are those of `since`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    ids: Option<Vec<ServerId>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    names: Option<Vec<String>>,
    /// The values of the label `group`, sorted; empty for servers without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<String>>,
    /// Which of `groups` a server is in, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<i32>>)]
    group: Option<Vec<u16>>,
    /// The places, from 0, of the servers that the columns below are about; null: all of them, in order.
    changed: Option<Vec<u32>>,
    /// A letter a server: `u` up, `d` down, `n` never heard, `p` paused.
    state: String,
    /// In whole percent; null: not known.
    #[schema(value_type = Vec<Option<i32>>)]
    cpu: Vec<Option<u8>>,
    #[schema(value_type = Vec<Option<i32>>)]
    memory: Vec<Option<u8>>,
    /// Of the fullest disk.
    #[schema(value_type = Vec<Option<i32>>)]
    disk: Vec<Option<u8>>,
}

/// By which label a picture is grouped, and which one there is already.
pub(crate) struct Look {
    group: Option<String>,
    since: Option<String>,
}

impl FromParameters for Look {
    fn take(parameters: &mut Parameters, _: Millis) -> Result<Self, Problem> {
        Ok(Self { group: parameters.one("group")?, since: parameters.one("since")? })
    }
}

impl utoipa::IntoParams for Look {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![
            parameter("group", "Group by the value of this label", text()),
            parameter("since", "The `version` that there is: what changed since is answered alone", text()),
        ]
    }
}

/// Show the whole fleet at once.
///
/// Made at most every 5 s. Beyond 50,000 servers it is 400 `too_many_servers`.
#[utoipa::path(
    get, path = "/servers/cells", operation_id = "show_cells", tag = "servers", params(Look),
    responses((status = 200, description = "The fleet", body = Cells)),
    security(("token" = ["server:read"]))
)]
pub(crate) async fn show(
    app: Data<App>,
    figures: Data<Figures>,
    pictures: Data<Pictures>,
    look: Parsed<Look>,
) -> Result<Json<Cells>, Failure> {
    let Look { group, since } = look.0;
    let mut pictures = pictures.0.lock().await;
    let now = app.clock.now();
    let known = pictures.iter().position(|picture| picture.key == group);
    let mut picture = match known {
        Some(place) => pictures.remove(place),
        None => Picture { key: group, at: 0, shape: Arc::default(), frames: VecDeque::new() },
    };
    if now.saturating_sub(picture.at) >= FRESH {
        picture.take(&app, &figures, now).await?;
    }
    let cells = picture.cells(since.as_deref());
    // The keys that were asked for last stay.
    pictures.truncate(GROUPS - 1);
    pictures.insert(0, picture);
    Ok(Json(cells))
}

impl Picture {
    async fn take(&mut self, app: &App, figures: &Figures, now: Millis) -> Result<(), Failure> {
        let roll = app.roll().await?;
        let entries = bounded(
            app.registry.roster(&ServerFilter::default(), self.key.as_deref(), MOST + 1, &roll).await?,
        )?;
        let shares = figures.shares(app, &roll).await?;
        let columns = Columns {
            state: entries.iter().map(|entry| letter(entry.status)).collect(),
            shares: entries.iter().map(|entry| shares.get(&entry.id).copied().unwrap_or_default()).collect(),
        };
        let shape = Shape::of(entries);
        if shape.hash != self.shape.hash {
            self.shape = Arc::new(shape);
            self.frames.clear();
        }
        self.frames.truncate(FRAMES - 1);
        self.frames.push_front((now, Arc::new(columns)));
        self.at = now;
        Ok(())
    }

    fn cells(&self, since: Option<&str>) -> Cells {
        let Some((at, columns)) = self.frames.front() else {
            return Shape::default().cells(String::new(), &Columns::default(), None);
        };
        let version = format!("{}.{at}", self.shape.hash);
        let (hash, frame) = since.and_then(|since| since.split_once('.')).unwrap_or_default();
        if hash != self.shape.hash {
            return self.shape.whole(version, columns);
        }
        let before = self.frames.iter().find(|(at, _)| at.to_string() == frame);
        let changed = before.map(|(_, before)| columns.differences(before));
        self.shape.cells(version, columns, changed)
    }
}

impl Shape {
    fn of(entries: Vec<Entry>) -> Self {
        let mut groups: Vec<String> =
            entries.iter().map(|entry| entry.label.clone().unwrap_or_default()).collect();
        groups.sort_unstable();
        groups.dedup();
        let mut hash = Sha256::new();
        let (mut ids, mut names, mut group) = (Vec::new(), Vec::new(), Vec::new());
        for Entry { id, name, label, .. } in entries {
            let label = label.unwrap_or_default();
            // No text holds a NUL.
            hash.update(format!("{id}\0{name}\0{label}\0"));
            let place = groups.binary_search(&label).unwrap_or_default();
            group.push(u16::try_from(place).unwrap_or(u16::MAX));
            ids.push(id);
            names.push(name);
        }
        Self { hash: URL_SAFE_NO_PAD.encode(&hash.finalize()[..12]), ids, names, groups, group }
    }

    fn whole(&self, version: String, columns: &Columns) -> Cells {
        Cells {
            ids: Some(self.ids.clone()),
            names: Some(self.names.clone()),
            groups: Some(self.groups.clone()),
            group: Some(self.group.clone()),
            ..self.cells(version, columns, None)
        }
    }

    fn cells(&self, version: String, columns: &Columns, changed: Option<Vec<u32>>) -> Cells {
        // Where most of them changed, all of them are shorter than which they are.
        let changed =
            changed.filter(|changed| 2 * changed.len() < columns.shares.len() || changed.is_empty());
        let places: Vec<usize> = match &changed {
            Some(changed) => changed.iter().map(|place| *place as usize).collect(),
            None => (0..columns.shares.len()).collect(),
        };
        let letters = columns.state.as_bytes();
        let of = |part: fn(&Shares) -> Option<u8>| {
            places.iter().map(|place| part(&columns.shares[*place])).collect()
        };
        Cells {
            version,
            ids: None,
            names: None,
            groups: None,
            group: None,
            changed,
            state: places.iter().map(|place| char::from(letters[*place])).collect(),
            cpu: of(|shares| shares.cpu),
            memory: of(|shares| shares.memory),
            disk: of(|shares| shares.disk),
        }
    }
}

impl Columns {
    /// The places at which it is not what it was.
    fn differences(&self, before: &Self) -> Vec<u32> {
        let now = self.state.bytes().zip(&self.shares);
        let was = before.state.bytes().zip(&before.shares);
        (0..).zip(now.zip(was)).filter(|(_, (now, was))| now != was).map(|(place, _)| place).collect()
    }
}

fn letter(status: Status) -> char {
    match status {
        Status::Up => 'u',
        Status::Down => 'd',
        Status::Unknown => 'n',
        Status::Paused => 'p',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_different_is_told() {
        let columns = |state: &str, cpu: [u8; 3]| Columns {
            state: state.to_owned(),
            shares: cpu.map(|cpu| Shares { cpu: Some(cpu), ..Shares::default() }).to_vec(),
        };
        let before = columns("uud", [1, 2, 3]);
        assert_eq!(columns("uud", [1, 2, 3]).differences(&before), Vec::<u32>::new());
        assert_eq!(columns("uuu", [9, 2, 3]).differences(&before), [0, 2]);
    }
}
