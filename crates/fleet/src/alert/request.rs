//! The request by which a message is sent: where to, with which headers, and what stands in it. Pure: the time and the
//! message's id are arguments.

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use url::Url;

use super::{
    channel::{Config, Form, Kind, Secret},
    message::{self, Item, Manner},
};
use crate::{Millis, calendar::Zone};

/// Most incidents in the body of a webhook; all others are counted in `truncated`.
const MOST_INCIDENTS: usize = 100;

/// A POST of JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Where to.
    pub url: Url,
    /// Beside those that every request has.
    pub headers: Vec<(&'static str, String)>,
    /// JSON.
    pub body: Vec<u8>,
}

/// What is to be told.
#[derive(Debug, Clone, Copy)]
pub enum Content<'a> {
    /// These incidents.
    Incidents(&'a [Item]),
    /// That the channel of this name works.
    Test(&'a str),
}

/// A message.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// What it is known by. No two messages have the same.
    pub id: &'a str,
    /// When it is sent, in Unix ms.
    pub at: Millis,
    /// What it tells.
    pub content: Content<'a>,
    /// How.
    pub manner: Manner<'a>,
}

/// Where services are looked for instead of where they are: so that tests have stand-ins.
#[derive(Debug, Clone, Default)]
pub struct Bases(Vec<(Kind, Url)>);

impl Bases {
    /// These, by kind.
    pub fn new(bases: Vec<(Kind, Url)>) -> Self {
        Self(bases)
    }

    fn of(&self, kind: Kind) -> Option<&Url> {
        self.0.iter().find(|(of, _)| *of == kind).map(|(_, base)| base)
    }

    /// The same URL, at the stand-in.
    fn moved(&self, kind: Kind, mut url: Url) -> Url {
        if let Some(base) = self.of(kind) {
            // None of it fails: both are URLs of http or https with a host.
            let _ = url.set_scheme(base.scheme());
            let _ = url.set_port(base.port());
            let _ = url.set_host(base.host_str());
        }
        url
    }
}

/// Why there is no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRequest {
    /// The channel is of a kind that is not sent so, or its secret is of another.
    #[error("its secret is not one of its kind; set it again")]
    OtherSecret,
    /// The URL cannot be put together.
    #[error("its secret makes no URL; set it again")]
    Url,
}

/// The request that tells `message` on such a channel.
pub fn request(
    config: &Config,
    secret: &Secret,
    bases: &Bases,
    message: &Message<'_>,
) -> Result<Request, NoRequest> {
    let kind = config.kind();
    let text = || match message.content {
        Content::Incidents(items) => message::text(kind, items, &message.manner),
        Content::Test(channel) => message::test_text(kind, channel, &message.manner),
    };
    let json = |url: Url, body: Value| Request {
        url: bases.moved(kind, url),
        headers: Vec::new(),
        body: body.to_string().into_bytes(),
    };
    let parse = |text: String| text.parse::<Url>().map_err(|_| NoRequest::Url);
    Ok(match (config, secret) {
        (Config::Wecom, Secret::Wecom { key }) => {
            let url = parse(format!("https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key={key}"))?;
            json(url, json!({"msgtype": "markdown", "markdown": {"content": text()}}))
        }
        (Config::Telegram { chat_id }, Secret::Telegram { token }) => {
            let url = parse(format!("https://api.telegram.org/bot{token}/sendMessage"))?;
            let chat = chat_id.parse::<i64>().map_or_else(|_| json!(chat_id), |number| json!(number));
            json(url, json!({"chat_id": chat, "text": text()}))
        }
        (Config::Slack, Secret::Slack { url }) => json(url.clone(), json!({"text": text()})),
        (Config::Discord, Secret::Discord { url }) => {
            let mut url = url.clone();
            url.query_pairs_mut().append_pair("wait", "true");
            json(url, json!({"content": text(), "allowed_mentions": {"parse": []}}))
        }
        (Config::Webhook { form: Form::Plain }, Secret::Webhook { url, key }) => {
            let request = json(url.clone(), json!({"user": "rollcall", "message": text()}));
            signed(request, key.as_ref().map(super::channel::SigningKey::bytes), message)
        }
        (Config::Webhook { form: Form::Standard }, Secret::Webhook { url, key }) => {
            let request = json(url.clone(), standard(message));
            signed(request, key.as_ref().map(super::channel::SigningKey::bytes), message)
        }
        _ => return Err(NoRequest::OtherSecret),
    })
}

/// The body for programs.
fn standard(message: &Message<'_>) -> Value {
    let (kind, items) = match message.content {
        Content::Incidents(items) => ("incidents.changed", items),
        Content::Test(_) => ("test", [].as_slice()),
    };
    let base = message.manner.url;
    let told = |item: &Item| {
        let Item { incident, transition, level, rule, server, instance, metric, value, since, .. } = item;
        json!({
            "id": incident, "transition": transition, "state": item.state(), "change": item.what.as_str(),
            "level": level.as_str(), "rule": rule, "server": server, "instance": instance, "metric": metric,
            "value": value, "since": Zone::UTC.rfc3339(*since), "url": base.map(|_| item.url(base)),
        })
    };
    let incidents: Vec<Value> = items.iter().take(MOST_INCIDENTS).map(told).collect();
    json!({
        "type": kind,
        "timestamp": Zone::UTC.rfc3339(message.at),
        "data": {"incidents": incidents, "truncated": items.len().saturating_sub(MOST_INCIDENTS)},
    })
}

/// Standard Webhooks: an id by which the receiver knows a message, its time, and, with a key, who sent it.
fn signed(mut request: Request, key: Option<&[u8]>, message: &Message<'_>) -> Request {
    let seconds = message.at.div_euclid(1_000).to_string();
    // A key of any length serves HMAC.
    let mac = key.and_then(|key| Hmac::<Sha256>::new_from_slice(key).ok());
    if let Some(mac) = mac {
        let mac = mac.chain_update(format!("{}.{seconds}.", message.id)).chain_update(&request.body);
        let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        request.headers.push(("webhook-signature", signature));
    }
    request.headers.push(("webhook-id", message.id.to_owned()));
    request.headers.push(("webhook-timestamp", seconds));
    request
}

#[cfg(test)]
mod tests {
    use super::{
        super::message::{
            What,
            tests::{item, manner},
        },
        *,
    };
    use crate::words::Language;

    fn message<'a>(items: &'a [Item]) -> Message<'a> {
        let content = Content::Incidents(items);
        Message { id: "msg_1", at: 1_790_000_000_123, content, manner: manner(Language::English) }
    }

    fn read(kind: Kind, config: Value, secret: Value) -> (Config, Secret) {
        (Config::read(kind, &config).unwrap(), Secret::read(kind, &secret).unwrap())
    }

    fn body(request: &Request) -> Value {
        serde_json::from_slice(&request.body).unwrap()
    }

    #[test]
    fn each_kind_is_asked_as_its_documents_say() {
        let items = [item(What::Alert, "<b> & @all")];
        let ask = |kind, config, secret| {
            let (config, secret) = read(kind, config, secret);
            request(&config, &secret, &Bases::default(), &message(&items)).unwrap()
        };
        let wecom = ask(Kind::Wecom, json!({}), json!({"key": "k-1"}));
        assert_eq!(wecom.url.as_str(), "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=k-1");
        assert_eq!(body(&wecom)["msgtype"], "markdown");
        assert!(body(&wecom)["markdown"]["content"].as_str().unwrap().contains("＜b＞ & @all"));
        let telegram = ask(Kind::Telegram, json!({"chat_id": "-5"}), json!({"token": "1:a"}));
        assert_eq!(telegram.url.as_str(), "https://api.telegram.org/bot1:a/sendMessage");
        let told = body(&telegram);
        assert_eq!((told["chat_id"].as_i64(), told.as_object().unwrap().len()), (Some(-5), 2));
        let slack = ask(Kind::Slack, json!({}), json!({"url": "https://hooks.slack.com/x"}));
        assert!(body(&slack)["text"].as_str().unwrap().contains("&lt;b&gt; &amp; @all"));
        let discord =
            ask(Kind::Discord, json!({}), json!({"url": "https://discord.com/api/webhooks/1/x?thread_id=2"}));
        assert_eq!(discord.url.query(), Some("thread_id=2&wait=true"));
        assert_eq!(body(&discord)["allowed_mentions"], json!({"parse": []}));
        assert!(body(&discord)["content"].as_str().unwrap().contains("\\<b\\> & \\@all"));
        let plain = ask(Kind::Webhook, json!({"form": "plain"}), json!({"url": "https://example.org/"}));
        assert_eq!(body(&plain)["user"], "rollcall");
        assert!(body(&plain)["message"].as_str().unwrap().contains("<b> & @all"));
    }

    #[test]
    fn a_webhook_is_signed_as_standard_webhooks_says() {
        // The example of the specification, with its id, time and body replaced by ours: verified by the rule itself.
        let key = STANDARD.encode([7; 32]);
        let (config, secret) = read(
            Kind::Webhook,
            json!({}),
            json!({"url": "https://example.org/h", "key": format!("whsec_{key}")}),
        );
        let items = [item(What::Recovery, "web-1")];
        let request = request(&config, &secret, &Bases::default(), &message(&items)).unwrap();
        let header = |name: &str| {
            request.headers.iter().find(|(of, _)| *of == name).map(|(_, value)| value.clone()).unwrap()
        };
        assert_eq!(
            (header("webhook-id").as_str(), header("webhook-timestamp").as_str()),
            ("msg_1", "1790000000")
        );
        let mac = Hmac::<Sha256>::new_from_slice(&[7; 32]).unwrap();
        let signed = [b"msg_1.1790000000.".as_slice(), &request.body].concat();
        let expected = STANDARD.encode(mac.chain_update(signed).finalize().into_bytes());
        assert_eq!(header("webhook-signature"), format!("v1,{expected}"));
        let told = body(&request);
        assert_eq!((&told["type"], &told["data"]["truncated"]), (&json!("incidents.changed"), &json!(0)));
        assert_eq!(told["data"]["incidents"][0]["state"], "resolved");
    }

    #[test]
    fn a_webhook_without_a_key_is_not_signed_and_a_large_one_is_truncated() {
        let (config, secret) = read(Kind::Webhook, json!({}), json!({"url": "https://example.org/h"}));
        let items = vec![item(What::Alert, "web-1"); 130];
        let request = request(&config, &secret, &Bases::default(), &message(&items)).unwrap();
        assert!(!request.headers.iter().any(|(name, _)| *name == "webhook-signature"));
        let told = body(&request);
        assert_eq!(
            (told["data"]["incidents"].as_array().unwrap().len(), &told["data"]["truncated"]),
            (100, &json!(30))
        );
    }

    #[test]
    fn a_stand_in_is_asked_by_the_same_path() {
        let bases = Bases::new(vec![
            (Kind::Wecom, "http://127.0.0.1:9".parse().unwrap()),
            (Kind::Slack, "http://[::1]:8".parse().unwrap()),
        ]);
        let items = [item(What::Alert, "a")];
        let (config, secret) = read(Kind::Wecom, json!({}), json!({"key": "k"}));
        let wecom = request(&config, &secret, &bases, &message(&items)).unwrap();
        assert_eq!(wecom.url.as_str(), "http://127.0.0.1:9/cgi-bin/webhook/send?key=k");
        let (config, secret) = read(Kind::Slack, json!({}), json!({"url": "https://hooks.slack.com/a/b?c"}));
        assert_eq!(
            request(&config, &secret, &bases, &message(&items)).unwrap().url.as_str(),
            "http://[::1]:8/a/b?c"
        );
        assert_eq!(
            request(&config, &Secret::Wecom { key: "k".to_owned() }, &bases, &message(&items)),
            Err(NoRequest::OtherSecret)
        );
    }
}
