//! What management hands to mail: the id of a delivery, and what it is about. The rest is in the registry.

use serde::{Deserialize, Serialize, Serializer};

use wire::v1::{self, VERSION};

use crate::id::{BadId, DeliveryId, NotificationId, ReportId};

/// What a delivery is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A report.
    Report(ReportId),
    /// A message of a channel of the kind mail.
    Notification(NotificationId),
    /// What a later release sends. Nobody here can write it, so it is left for those who can.
    Other {
        /// Its kind.
        kind: String,
        /// Which of them.
        id: String,
    },
}

/// A mail to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "v1::MailJob")]
pub struct MailJob {
    /// Which delivery.
    pub delivery: DeliveryId,
    /// What it is about; `None` in a job of a release that did not say so. The registry knows it in any case.
    pub about: Option<Subject>,
}

/// Why a job is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadJob {
    /// Written by a later release.
    #[error("version {0} is not known here; upgrade mail first")]
    Version(u32),
    /// It names no delivery.
    #[error("delivery_id: {0}")]
    Id(BadId),
    /// What it is about is no id of its kind.
    #[error("about: {0}")]
    About(BadId),
}

impl Subject {
    /// How a report is written.
    const REPORT: &str = "report";
    /// How a message is written.
    const NOTIFICATION: &str = "notification";

    /// The subject of this kind and id. An error: the id is none of this kind.
    pub fn new(kind: &str, id: &str) -> Result<Self, BadId> {
        match kind {
            Self::REPORT => id.parse().map(Self::Report),
            Self::NOTIFICATION => id.parse().map(Self::Notification),
            kind => Ok(Self::Other { kind: kind.to_owned(), id: id.to_owned() }),
        }
    }

    /// Its kind, as it is written in jobs and in the registry.
    pub fn kind(&self) -> &str {
        match self {
            Self::Report(_) => Self::REPORT,
            Self::Notification(_) => Self::NOTIFICATION,
            Self::Other { kind, .. } => kind,
        }
    }

    /// Which of its kind, as it is written in jobs and in the registry.
    pub fn id(&self) -> String {
        match self {
            Self::Report(id) => id.to_string(),
            Self::Notification(id) => id.to_string(),
            Self::Other { id, .. } => id.clone(),
        }
    }
}

impl TryFrom<v1::MailJob> for MailJob {
    type Error = BadJob;

    fn try_from(job: v1::MailJob) -> Result<Self, BadJob> {
        if job.version != VERSION {
            return Err(BadJob::Version(job.version));
        }
        let delivery = job.delivery_id.parse().map_err(BadJob::Id)?;
        let about = job.about.map(|about| Subject::new(&about.kind, &about.id)).transpose();
        Ok(Self { delivery, about: about.map_err(BadJob::About)? })
    }
}

impl Serialize for MailJob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let about = |subject: &Subject| v1::MailSubject { kind: subject.kind().to_owned(), id: subject.id() };
        let (delivery_id, about) = (self.delivery.to_string(), self.about.as_ref().map(about));
        v1::MailJob { version: VERSION, delivery_id, about }.serialize(serializer)
    }
}
