//! A message about incidents as a mail, in the language of its channel.

use askama::Template;
use fleet::{
    Zone,
    alert::{
        channel::Kind,
        message::{self, Item, Manner, What},
    },
    words::Words,
};
use registry::{Channel, NotificationKind};

/// What is told.
pub struct Alert {
    subject: String,
    lines: Vec<String>,
    link: Option<String>,
    look: &'static str,
    why: String,
    language: &'static str,
}

#[derive(Template)]
#[template(path = "alert.txt")]
struct Text<'a> {
    of: &'a Alert,
}

#[derive(Template)]
#[template(path = "alert.html")]
struct Html<'a> {
    of: &'a Alert,
}

impl Alert {
    /// `url`: where people look at incidents.
    pub fn new(channel: &Channel, kind: NotificationKind, items: &[Item], url: Option<&str>) -> Self {
        let (words, template) = (channel.language.words(), channel.template.as_deref());
        // By a zone that only a newer database knows: in UTC.
        let zone = channel.time_zone.parse().unwrap_or(Zone::UTC);
        let manner = Manner { language: channel.language, zone, template, url: None };
        let (subject, text) = match kind {
            NotificationKind::Incidents => (subject(items, words), message::text(Kind::Mail, items, &manner)),
            NotificationKind::Test => {
                let text = message::test_text(Kind::Mail, &channel.name, &manner);
                (format!("Rollcall: {}", channel.name), text)
            }
        };
        let link = match items {
            [one] => Some(one.url(url)).filter(|link| !link.is_empty()),
            _ => url.map(|url| format!("{url}/#/incidents")),
        };
        Self {
            subject,
            lines: text.lines().map(str::to_owned).collect(),
            link,
            look: words.look,
            why: (words.why)(&channel.name),
            language: channel.language.as_str(),
        }
    }

    /// One line.
    pub fn subject(&self) -> String {
        self.subject.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(200).collect()
    }

    pub fn text(&self) -> Result<String, askama::Error> {
        Ok(Text { of: self }.render()? + "\n")
    }

    /// Line breaks and indentation of the template are not part of it: no value of it breaks a line.
    pub fn html(&self) -> Result<String, askama::Error> {
        let html = Html { of: self }.render()?;
        Ok(html.lines().map(str::trim_start).chain(["\n"]).collect())
    }
}

fn subject(items: &[Item], words: &Words) -> String {
    match items {
        [one] => {
            let server = if one.server.is_empty() { words.suite } else { &one.server };
            (words.subject_of_one)(&one.title(words), &one.rule, server)
        }
        items => {
            let over =
                items.iter().filter(|item| matches!(item.what, What::Recovery | What::Unwatched)).count();
            (words.subject)(items.len() - over, over)
        }
    }
}

#[cfg(test)]
mod tests {
    use fleet::{
        alert::{
            Level,
            channel::{Config, target_key},
        },
        id::{ChannelId, IncidentId},
        words::Language,
    };

    use super::*;

    fn channel(language: Language) -> Channel {
        let (id, config) = (ChannelId::new(1, [1; 10]), Config::Mail { recipients: Vec::new() });
        Channel {
            id,
            name: "ops".to_owned(),
            target_key: target_key(id, &config, None),
            language,
            time_zone: "Europe/Berlin".to_owned(),
            template: None,
            config,
            secret: None,
            secret_origin: None,
            secret_set_at: None,
            disabled: None,
            version: 1,
            created_at: 0,
            updated_at: 0,
        }
    }

    fn item(what: What, server: &str) -> Item {
        Item {
            what,
            incident: IncidentId::new(1, [1; 10]),
            transition: 1,
            level: Level::Critical,
            rule: "Silent".to_owned(),
            server: server.to_owned(),
            instance: String::new(),
            metric: String::new(),
            value: None,
            since: 1_790_000_000_000,
        }
    }

    #[test]
    fn an_alert_is_told_in_every_language_and_a_name_is_text() {
        for language in Language::ALL {
            let items = [item(What::Alert, "<b>web</b>\r\nBcc: x")];
            let alert = Alert::new(
                &channel(language),
                NotificationKind::Incidents,
                &items,
                Some("https://rollcall.example.org"),
            );
            let (text, html) = (alert.text().unwrap(), alert.html().unwrap());
            assert!(!alert.subject().contains(['\r', '\n']) && !text.contains("\nBcc"), "{text}");
            assert!(!html.contains("<b>") && html.contains("&lt;b&gt;web"), "{html}");
            assert!(text.contains("2026-09-21 16:13 CEST") && text.contains("/#/incidents/"), "{text}");
            assert!(html.contains(&format!("lang=\"{language}\"")), "{html}");
        }
    }

    #[test]
    fn a_subject_counts_what_is_open_and_what_is_over() {
        let items = [item(What::Alert, "a"), item(What::Recovery, "b"), item(What::Alert, "c")];
        let subject = |items: &[Item]| {
            Alert::new(&channel(Language::English), NotificationKind::Incidents, items, None).subject()
        };
        assert_eq!(subject(&items), "Rollcall: 2 alerts, 1 recovered");
        assert_eq!(subject(&items[..1]), "CRITICAL: Silent on a");
        let test = Alert::new(&channel(Language::English), NotificationKind::Test, &[], None);
        assert!(test.text().unwrap().contains("This is a test of the channel ops."));
    }
}
