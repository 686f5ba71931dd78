use crate::rabbitmq::{self, BrokerAway};

/// The dead letters of a queue: what no store takes, kept for a person to look at.
#[derive(Debug, Clone)]
pub enum DeadLetters {
    /// There are none: what is refused goes back to its publisher.
    InProcess,
    /// Those of this queue on a broker.
    RabbitMq(Box<rabbitmq::Settings>),
}

impl DeadLetters {
    /// How many wait. Asking a broker opens a connection each time, and takes 15 s at most: ask every few seconds.
    pub async fn count(&self) -> Result<u32, BrokerAway> {
        match self {
            Self::InProcess => Ok(0),
            Self::RabbitMq(settings) => rabbitmq::dead_letters(settings).await,
        }
    }
}
