//! What `bench index` asks an Elasticsearch, past the library that it measures.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::{Client, Method, header::CONTENT_TYPE};
use serde_json::{Value, json};

/// A merge of everything may take this long.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Elastic {
    http: Client,
    url: String,
}

/// What indices hold.
pub struct Kept {
    pub documents: f64,
    /// Bytes on disk of a document.
    pub bytes: f64,
    /// The same by what they are for, in an order that is always the same.
    pub parts: Vec<(String, f64)>,
}

impl Elastic {
    pub fn new(url: &str) -> Result<Self> {
        drop(rustls::crypto::ring::default_provider().install_default());
        let http = Client::builder().timeout(PATIENCE).no_proxy().build()?;
        Ok(Self { http, url: url.trim_end_matches('/').to_owned() })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// An index with the settings and the mapping that the server chooses.
    pub async fn make(&self, index: &str) -> Result<()> {
        self.ask(Method::PUT, index, None).await.map(drop)
    }

    pub async fn bulk(&self, index: &str, body: Vec<u8>) -> Result<()> {
        let path = format!("{index}/_bulk?filter_path=errors");
        let answer = self.ask(Method::POST, &path, Some(body)).await?;
        ensure!(answer["errors"] == json!(false), "a bulk request had errors");
        Ok(())
    }

    pub async fn refresh(&self, indices: &str) -> Result<()> {
        self.ask(Method::POST, &format!("{indices}/_refresh"), None).await.map(drop)
    }

    /// Into one segment, as a day's index becomes in the end.
    pub async fn merge(&self, indices: &str) -> Result<()> {
        self.ask(Method::POST, &format!("{indices}/_forcemerge?max_num_segments=1&flush=true"), None).await?;
        self.ask(Method::POST, &format!("{indices}/_flush?force=true&wait_if_ongoing=true"), None).await?;
        self.refresh(indices).await
    }

    pub async fn kept(&self, indices: &str) -> Result<Kept> {
        let stats = self.ask(Method::GET, &format!("{indices}/_stats/store,docs"), None).await?;
        let primaries = &stats["_all"]["primaries"];
        let documents = primaries["docs"]["count"].as_f64().context("no count")?;
        let bytes = primaries["store"]["size_in_bytes"].as_f64().context("no size")? / documents;
        let path = format!("{indices}/_disk_usage?run_expensive_tasks=true");
        let usage = self.ask(Method::POST, &path, None).await?;
        let mut parts = parts(&usage);
        for (_, bytes) in &mut parts {
            *bytes /= documents;
        }
        Ok(Kept { documents, bytes, parts })
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Value> {
        let mut request = self.http.request(method, format!("{}/{path}", self.url));
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/x-ndjson").body(body);
        }
        let answer = request.send().await?;
        let (status, body) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{path}: {status} {body}");
        Ok(serde_json::from_str(&body)?)
    }
}

/// By the server's account of the fields of each index, in bytes.
fn parts(usage: &Value) -> Vec<(String, f64)> {
    const NAMED: [&str; 6] = ["_source", "_id", "_seq_no", "_version", "server", "sampled_at"];
    let mut named = [0.0; NAMED.len()];
    let [mut columns, mut indexed] = [0.0; 2];
    let indices = usage.as_object().into_iter().flatten().filter(|(name, _)| *name != "_shards");
    for (_, index) in indices {
        for (name, field) in index["fields"].as_object().into_iter().flatten() {
            let bytes = |part: &str| field[part].as_f64().unwrap_or(0.0);
            match NAMED.iter().position(|known| known == name) {
                Some(at) => named[at] += bytes("total_in_bytes"),
                None => {
                    let values = bytes("doc_values_in_bytes");
                    columns += values;
                    indexed += bytes("total_in_bytes") - values;
                }
            }
        }
    }
    let mut parts: Vec<(String, f64)> = NAMED.iter().map(|name| (*name).to_owned()).zip(named).collect();
    parts.push(("columns of the other fields".to_owned(), columns));
    parts.push(("indexes of the other fields".to_owned(), indexed));
    parts
}
