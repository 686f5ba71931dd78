//! What is in the daily indices of Elasticsearch, read past the library that wrote it: the oracle must not believe what
//! it judges.
//!
//! All that this crate knows of the layout is here: indices `<prefix>-snapshots-*`, and in each document the fields
//! `server` and `sampled_at`.

use anyhow::{Context, Result, ensure};
use fleet::ServerId;
use serde_json::{Value, json};

use crate::stored::Identity;

/// Documents of a page.
const PAGE: usize = 10_000;

/// Every snapshot in the indices of `prefix`, once for each document. `http` is asked for `elasticsearch`, its URL.
pub async fn indexed_snapshots(
    http: &reqwest::Client,
    elasticsearch: &str,
    prefix: &str,
) -> Result<Vec<Identity>> {
    let elasticsearch = elasticsearch.trim_end_matches('/');
    let indices = format!("{elasticsearch}/{prefix}-snapshots-*");
    let post = async |url: String, body: Option<Value>| -> Result<Value> {
        let mut request = http.post(&url);
        if let Some(body) = &body {
            request = request.json(body);
        }
        let answer = request.send().await?;
        ensure!(answer.status().is_success(), "{url}: {} {}", answer.status(), answer.text().await?);
        Ok(answer.json().await?)
    };
    post(format!("{indices}/_refresh?ignore_unavailable=true"), None).await?;
    let opened = post(format!("{indices}/_pit?keep_alive=1m"), None).await?;
    let moment = json!({"id": opened["id"], "keep_alive": "1m"});
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let mut page = json!({
            "size": PAGE, "pit": moment, "_source": false, "track_total_hits": false,
            "docvalue_fields": ["server", "sampled_at"], "sort": [{"_shard_doc": "asc"}],
        });
        if let Some(after) = after {
            page["search_after"] = after;
        }
        let answer = post(format!("{elasticsearch}/_search"), Some(page)).await?;
        let hits = answer["hits"]["hits"].as_array().context("a search without hits")?;
        for hit in hits {
            let fields = &hit["fields"];
            let server: ServerId = fields["server"][0].as_str().context("no server")?.parse()?;
            found.push((server, fields["sampled_at"][0].as_i64().context("no sampled_at")?));
        }
        match hits.last() {
            Some(last) if hits.len() == PAGE => after = Some(last["sort"].clone()),
            _ => break,
        }
    }
    let closed =
        http.delete(format!("{elasticsearch}/_pit")).json(&json!({"id": opened["id"]})).send().await?;
    ensure!(closed.status().is_success(), "the point in time stays open: {}", closed.status());
    Ok(found)
}
