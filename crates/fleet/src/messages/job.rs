//! What management hands to mail: the id of a delivery. The rest is in the registry.

use serde::{Deserialize, Serialize, Serializer};

use wire::v1::{self, VERSION};

use crate::id::{BadId, DeliveryId};

/// A mail to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "v1::MailJob")]
pub struct MailJob {
    /// Which delivery.
    pub delivery: DeliveryId,
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
}

impl TryFrom<v1::MailJob> for MailJob {
    type Error = BadJob;

    fn try_from(job: v1::MailJob) -> Result<Self, BadJob> {
        if job.version != VERSION {
            return Err(BadJob::Version(job.version));
        }
        Ok(Self { delivery: job.delivery_id.parse().map_err(BadJob::Id)? })
    }
}

impl Serialize for MailJob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        v1::MailJob { version: VERSION, delivery_id: self.delivery.to_string() }.serialize(serializer)
    }
}
