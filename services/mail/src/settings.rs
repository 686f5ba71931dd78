//! The settings of `mail`: flags with environment variables of the same meaning, and secrets.

use std::{path::PathBuf, time::Duration};

use chassis::{
    Mistakes,
    http::Bounds,
    service::{ConsumerCommand, ServiceArguments},
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
    mail_from: Option<Recipient>,
    /// Domains that mail may go to, separated by commas; * for any
    #[arg(long, env = "MAIL_ALLOWED_DOMAINS")]
    mail_allowed_domains: Option<AllowedDomains>,
    /// PEM file of certificate authorities that may vouch for the SMTP server, besides the usual ones
    #[arg(long, env = "SMTP_CA_FILE")]
    smtp_ca_file: Option<PathBuf>,
    /// Address under which people reach the suite, for links in mails about incidents
    #[arg(long, env = "PUBLIC_URL", value_name = "URL")]
    public_url: Option<String>,
    #[command(subcommand)]
    pub command: Option<ConsumerCommand>,
}

/// Settings that were checked.
#[derive(Debug)]
pub struct Settings {
    pub letterhead: Letterhead,
    pub sender: Sender,
    pub queue: rabbitmq::Settings,
    pub database_url: PostgresUrl,
    pub drain: Duration,
    pub bounds: Bounds,
}

impl Settings {
    /// Checks everything and tells all mistakes at once. Opens nothing but the files of secrets and authorities.
    pub fn check(arguments: &Arguments) -> Result<Self, BadSettings> {
        let mut mistakes = Mistakes::default();
        let (amqp_url, database_url) = (mistakes.required("AMQP_URL"), mistakes.required("DATABASE_URL"));
        let sender = sender(arguments, &mut mistakes);
        let letterhead = letterhead(arguments, &mut mistakes);
        let (Some(amqp_url), Some(database_url), Some(sender), Some(letterhead)) =
            (amqp_url, database_url, sender, letterhead)
        else {
            return Err(mistakes.into());
        };
        mistakes.check()?;
        // A job is a mail. Jobs in hand beyond those that are sent at once would wait here, while another process may
        // be free.
        let queue = rabbitmq::Settings { prefetch: crate::AT_ONCE, ..queue_at(amqp_url, arguments) };
        let (drain, bounds) = (arguments.service.drain(), arguments.service.doors.bounds(0));
        Ok(Self { letterhead, sender, queue, database_url, drain, bounds })
    }

    /// The queue alone, for what needs nothing else.
    pub fn queue(arguments: &Arguments) -> Result<rabbitmq::Settings, BadSettings> {
        let mut mistakes = Mistakes::default();
        let amqp_url = mistakes.required("AMQP_URL");
        let Some(amqp_url) = amqp_url else { return Err(mistakes.into()) };
        mistakes.check()?;
        Ok(queue_at(amqp_url, arguments))
    }
}

fn queue_at(url: rabbitmq::Url, arguments: &Arguments) -> rabbitmq::Settings {
    rabbitmq::Settings::new(url, &arguments.service.prefix, "mail")
}

fn sender(arguments: &Arguments, mistakes: &mut Mistakes) -> Option<Sender> {
    let url = mistakes.required("SMTP_URL");
    let authorities = arguments.smtp_ca_file.as_deref().map_or(Ok(Authorities::default()), Authorities::read);
    let authorities = mistakes.take("SMTP_CA_FILE", authorities);
    Some(Sender::Smtp(url?, authorities?))
}

fn letterhead(arguments: &Arguments, mistakes: &mut Mistakes) -> Option<Letterhead> {
    if arguments.mail_from.is_none() {
        mistakes.add("MAIL_FROM: is not set; set it to the address that reports come from");
    }
    if arguments.mail_allowed_domains.is_none() {
        mistakes.add("MAIL_ALLOWED_DOMAINS: is not set; set it to the domains that mail may go to, or to *");
    }
    let url = arguments.public_url.as_deref().map(|url| url.trim_end_matches('/').to_owned());
    Some(Letterhead {
        from: arguments.mail_from.clone()?,
        allowed: arguments.mail_allowed_domains.clone()?,
        url,
    })
}
