//! The settings of `mail`: flags with environment variables of the same meaning, and secrets.

use std::{path::PathBuf, time::Duration};

use chassis::{
    Mistakes,
    service::{Command, ServiceArguments},
    settings::BadSettings,
};
use clap::Parser;
use fleet::{AllowedDomains, Recipient};
use queue::rabbitmq;
use registry::PostgresUrl;

use crate::{Authorities, Letterhead, Sender};

/// Mail: sends the reports that management computed, each at most once, over SMTP.
///
/// From the environment alone, each also as a file named by NAME_FILE: AMQP_URL, DATABASE_URL, SMTP_URL.
#[derive(Debug, Parser)]
#[command(name = "mail", version, about)]
pub struct Arguments {
    #[command(flatten)]
    pub service: ServiceArguments,
    /// Address that reports come from
    #[arg(long, env = "MAIL_FROM")]
    mail_from: Recipient,
    /// Domains that mail may go to, separated by commas; * for any
    #[arg(long, env = "MAIL_ALLOWED_DOMAINS")]
    mail_allowed_domains: AllowedDomains,
    /// PEM file of certificate authorities that may vouch for the SMTP server, besides the usual ones
    #[arg(long, env = "SMTP_CA_FILE")]
    smtp_ca_file: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Settings that were checked.
#[derive(Debug)]
pub struct Settings {
    pub letterhead: Letterhead,
    pub sender: Sender,
    pub queue: rabbitmq::Settings,
    pub database_url: PostgresUrl,
    pub drain: Duration,
}

impl Settings {
    /// Checks everything and tells all mistakes at once. Opens nothing but the files of secrets.
    pub fn check(arguments: &Arguments) -> Result<Self, BadSettings> {
        let mut mistakes = Mistakes::default();
        let amqp_url = mistakes.required("AMQP_URL");
        let database_url = mistakes.required("DATABASE_URL");
        let smtp_url = mistakes.required("SMTP_URL");
        let authorities =
            arguments.smtp_ca_file.as_deref().map_or(Ok(Authorities::default()), Authorities::read);
        let authorities = mistakes.take("SMTP_CA_FILE", authorities);
        let (Some(amqp_url), Some(database_url), Some(smtp_url), Some(authorities)) =
            (amqp_url, database_url, smtp_url, authorities)
        else {
            return Err(mistakes.into());
        };
        mistakes.check()?;
        let (from, allowed) = (arguments.mail_from.clone(), arguments.mail_allowed_domains.clone());
        // A job is a mail: more in hand than are sent at once would only wait here instead of with a neighbour.
        let queue = rabbitmq::Settings {
            prefetch: crate::AT_ONCE,
            ..rabbitmq::Settings::new(amqp_url, &arguments.service.prefix, "mail")
        };
        Ok(Self {
            letterhead: Letterhead { from, allowed },
            sender: Sender::Smtp(smtp_url, authorities),
            queue,
            database_url,
            drain: arguments.service.drain(),
        })
    }
}
