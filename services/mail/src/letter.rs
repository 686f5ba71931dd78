//! A report, or a message about incidents, as the mail of one delivery.

use std::time::{Duration, UNIX_EPOCH};

use crate::{alert::Alert, render::Told};
use fleet::{Millis, Recipient, id::DeliveryId};
use lettre::{
    Address, Message,
    address::Envelope,
    error::Error,
    message::{
        Attachment, Mailbox, MultiPart,
        header::{ContentType, Header, HeaderName, HeaderValue},
    },
};

/// A mail as it goes over the wire.
#[derive(Debug, Clone)]
pub struct Letter {
    pub envelope: Envelope,
    pub content: Vec<u8>,
    /// The name with which we greet the server.
    pub hello: String,
}

/// Why there is no letter. Trying again does not help.
#[derive(Debug, thiserror::Error)]
pub enum BadLetter {
    #[error("an address cannot be written: {0}")]
    Address(#[from] lettre::address::AddressError),
    #[error("the mail cannot be put together: {0}")]
    Content(#[from] Error),
    #[error("its text cannot be written: {0}")]
    Text(#[from] askama::Error),
    #[error("the sheet cannot be written: {0}")]
    Sheet(#[from] sheets::WriteError),
    #[error("the sheet's type cannot be written: {0}")]
    Type(#[from] lettre::message::header::ContentTypeErr),
}

/// The `Message-ID` of a delivery. It is the same at every attempt, so that a recipient of two copies can tell.
pub fn message_id(id: DeliveryId, from: &Recipient) -> String {
    format!("<{id}@{}>", from.domain())
}

/// Writes the letter of a report. Blocks: the sheet of a large fleet takes a while.
pub fn write(
    told: &Told<'_>,
    message_id: &str,
    from: &Recipient,
    to: &Recipient,
    now: Millis,
) -> Result<Letter, BadLetter> {
    let sheet_type = ContentType::parse(told.format.mime_type())?;
    let sheet = Attachment::new(told.file_name()).body(told.sheet()?, sheet_type);
    let both = MultiPart::alternative_plain_html(told.text()?, told.html()?);
    let content = MultiPart::mixed().multipart(both).singlepart(sheet);
    put_together(told.subject()?, content, message_id, from, to, now)
}

/// Writes the letter of a message about incidents.
pub fn write_alert(
    alert: &Alert,
    message_id: &str,
    from: &Recipient,
    to: &Recipient,
    now: Millis,
) -> Result<Letter, BadLetter> {
    let content = MultiPart::alternative_plain_html(alert.text()?, alert.html()?);
    put_together(alert.subject(), content, message_id, from, to, now)
}

fn put_together(
    subject: String,
    content: MultiPart,
    message_id: &str,
    from: &Recipient,
    to: &Recipient,
    now: Millis,
) -> Result<Letter, BadLetter> {
    let message = Message::builder()
        .from(Mailbox::new(Some("Rollcall".to_owned()), address(from)?))
        .to(Mailbox::new(None, address(to)?))
        .subject(subject)
        .date(UNIX_EPOCH + Duration::from_millis(now.unsigned_abs()))
        .message_id(Some(message_id.to_owned()))
        .header(ListUnsubscribe(format!("<mailto:{from}?subject=unsubscribe>")))
        .header(AutoSubmitted)
        .multipart(content)?;
    let (envelope, content) = (message.envelope().clone(), message.formatted());
    Ok(Letter { envelope, content, hello: from.domain().to_owned() })
}

fn address(recipient: &Recipient) -> Result<Address, lettre::address::AddressError> {
    Address::new(recipient.local(), recipient.domain())
}

/// RFC 2369: where a recipient asks for no more mails.
#[derive(Debug, Clone)]
struct ListUnsubscribe(String);

/// RFC 3834: keeps vacation notices and other automatic answers from being sent.
#[derive(Debug, Clone)]
struct AutoSubmitted;

impl Header for ListUnsubscribe {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("List-Unsubscribe")
    }

    fn parse(text: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self(text.to_owned()))
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), self.0.clone())
    }
}

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use fleet::Status;

    use super::*;
    use crate::{render::tests::report, summary::tests::row};

    #[test]
    fn a_letter_has_the_headers_that_servers_and_people_need() {
        let (report, rows) = (report(), [row("web-1\r\nBcc: evil@x.example", Status::Up, 86_400_000, 0)]);
        let (from, to) = ("rollcall@example.org".parse().unwrap(), "ops@example.com".parse().unwrap());
        let id = DeliveryId::new(1_790_000_000_000, [3; 10]);
        let told = Told::new(&report, &rows);
        let letter = write(&told, &message_id(id, &from), &from, &to, 1_790_000_000_000).unwrap();
        let text = String::from_utf8(letter.content).unwrap();
        let head = text.split("\r\n\r\n").next().unwrap();
        for line in [
            "From: Rollcall <rollcall@example.org>",
            "To: ops@example.com",
            "Date: Mon, 21 Sep 2026 14:13:20 +0000",
            &format!("Message-ID: <{id}@example.org>"),
            "List-Unsubscribe: <mailto:rollcall@example.org?subject=unsubscribe>",
            "Auto-Submitted: auto-generated",
            "MIME-Version: 1.0",
        ] {
            assert!(head.lines().any(|found| found == line), "{line} is not in\n{head}");
        }
        assert!(!text.contains("\nBcc") && text.is_ascii());
        assert_eq!(letter.envelope.to().len(), 1);
        assert!(text.contains("filename=\"rollcall-2026-09-21.xlsx\""));
        assert!(
            text.contains("Content-Type: application/vnd.openxmlformats-officedocument.spreadsheetml.sheet")
        );
    }

    #[test]
    fn a_sheet_is_attached_as_what_was_asked_for() {
        let (mut report, rows) = (report(), [row("web-1", Status::Up, 86_400_000, 0)]);
        report.format = "csv".to_owned();
        let told = Told::new(&report, &rows);
        let (from, to) = ("rollcall@example.org".parse().unwrap(), "ops@example.com".parse().unwrap());
        let text =
            String::from_utf8(write(&told, "<1@example.org>", &from, &to, 0).unwrap().content).unwrap();
        assert!(text.contains("filename=\"rollcall-2026-09-21.csv\""), "{text}");
        assert!(text.contains("Content-Type: text/csv; charset=utf-8"), "{text}");
        let sheet = String::from_utf8(told.sheet().unwrap()).unwrap();
        assert!(
            sheet.starts_with("\u{feff}name,status,uptime_percent,") && sheet.contains("\r\nweb-1,up,"),
            "{sheet}"
        );
        // What only a later release knows.
        report.format = "parquet".to_owned();
        assert_eq!(Told::new(&report, &rows).file_name(), "rollcall-2026-09-21.xlsx");
    }
}
