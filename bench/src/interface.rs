//! What `bench management` asks by REST, and how long each answer took.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use fleet::{Millis, retention::DAY};
use serde_json::{Value, json};
use simulator::{
    http::{Connection, Target},
    process::{forget_peak, memory, peak},
};
use tokio::time::sleep;

use crate::registered::Described;

const BASE: &str = "/server-management/v1";
/// How long a sheet or a report may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often to ask whether a report is there.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const BOUNDARY: &str = "a-boundary-of-the-bench";

/// Who is logged in at a suite, over one connection.
pub struct Interface {
    pid: u32,
    target: Target,
    connection: Connection,
    http: reqwest::Client,
    url: String,
    token: String,
}

/// Times in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Took {
    pub p50: f64,
    pub p99: f64,
}

/// How long something took, and by how much the process's peak exceeded what it held before, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    pub seconds: f64,
    pub grown: u64,
}

impl Interface {
    pub async fn log_in(url: &str, pid: u32, password: &str) -> Result<Self> {
        drop(rustls::crypto::ring::default_provider().install_default());
        let http = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build()?;
        let target = Target::resolve(url).await?;
        let mut connection = Connection::open(&target).await?;
        let body = json!({"username": "admin", "password": password});
        let session =
            connection.call(&target, "POST", &format!("{BASE}/sessions"), None, Some(&body)).await?;
        let token = session["access_token"].as_str().context("no access_token")?.to_owned();
        Ok(Self { pid, target, connection, http, url: url.to_owned(), token })
    }

    /// One page, so many times over, after three that do not count. Answers how many servers matched as well.
    pub async fn list(&mut self, query: &str, times: usize) -> Result<(Took, u64)> {
        let request = format!(
            "GET {BASE}/servers?{query} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\r\n",
            self.target.host, self.token
        );
        let mut took = Vec::with_capacity(times);
        let mut total = 0;
        for number in 0..times + 3 {
            let begun = Instant::now();
            let reply = self.connection.exchange(request.as_bytes()).await?;
            let elapsed = begun.elapsed();
            ensure!(reply.status == 200, "{query}: {} {}", reply.status, String::from_utf8_lossy(reply.body));
            if number < 3 {
                let page: Value = serde_json::from_slice(reply.body)?;
                total = page["total"].as_u64().context("no total")?;
                continue;
            }
            took.push(elapsed.as_secs_f64() * 1e3);
        }
        took.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| took.get((took.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN);
        Ok((Took { p50: at(0.5), p99: at(0.99) }, total))
    }

    /// A sheet of all servers, read to its end; its bytes.
    pub async fn export(&self, format: &str) -> Result<(Cost, usize)> {
        let url = format!("{}{BASE}/servers/export?format={format}", self.url);
        let request = self.http.get(url).bearer_auth(&self.token);
        let read = async {
            let mut answer = request.send().await?;
            ensure!(answer.status() == 200, "an export: {}", answer.status());
            let mut bytes = 0;
            while let Some(chunk) = answer.chunk().await? {
                bytes += chunk.len();
            }
            Ok(bytes)
        };
        self.cost(read).await
    }

    /// A sheet of these servers, with a label more than those have that are there.
    pub async fn import(&self, numbers: Range<usize>, dry: bool) -> Result<Cost> {
        let (count, sheet) = (numbers.len(), sheet(numbers));
        let url = format!("{}{BASE}/servers/import?dry_run={dry}", self.url);
        let form = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"servers.csv\"\r\n\
             Content-Type: text/csv\r\n\r\n{sheet}\r\n--{BOUNDARY}--\r\n"
        );
        let request = self.http.post(url).bearer_auth(&self.token);
        let request = request.header("content-type", format!("multipart/form-data; boundary={BOUNDARY}"));
        let send = async {
            let answer = request.body(form).send().await?;
            let status = answer.status();
            let result: Value = answer.json().await?;
            ensure!(status == 200, "an import: {status} {result}");
            Ok(result)
        };
        let (cost, result) = self.cost(send).await?;
        let done = ["create", "update"].map(|what| result[what].as_u64().unwrap_or(0));
        ensure!(done.iter().sum::<u64>() == count as u64, "an import did {done:?} of {count} rows");
        Ok(cost)
    }

    /// A report of the last day, from when it was asked for until it is computed.
    pub async fn report(&mut self, label: &str, now: Millis) -> Result<Cost> {
        let body = json!({
            "from": now - DAY, "to": now, "recipients": ["bench@example.org"], "filter": {"label": [label]},
        });
        // The sheets took longer than an idle connection is kept.
        self.connection = Connection::open(&self.target).await?;
        forget_peak(self.pid)?;
        let before = memory(&[self.pid])?.rss;
        let begun = Instant::now();
        let asked = self.call("POST", "reports", Some(&body)).await?;
        let path = format!("reports/{}", asked["id"].as_str().context("no id")?);
        loop {
            let report = self.call("GET", &path, None).await?;
            match report["state"].as_str() {
                Some("ready") => break,
                Some("queued") if begun.elapsed() < PATIENCE => sleep(LOOK_EVERY).await,
                _ => bail!("a report is not ready: {report}"),
            }
        }
        let seconds = begun.elapsed().as_secs_f64();
        Ok(Cost { seconds, grown: peak(self.pid)?.saturating_sub(before) })
    }

    async fn cost<T>(&self, work: impl Future<Output = Result<T>>) -> Result<(Cost, T)> {
        forget_peak(self.pid)?;
        let before = memory(&[self.pid])?.rss;
        let begun = Instant::now();
        let done = work.await?;
        let seconds = begun.elapsed().as_secs_f64();
        Ok((Cost { seconds, grown: peak(self.pid)?.saturating_sub(before) }, done))
    }

    async fn call(&mut self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let path = format!("{BASE}/{path}");
        self.connection.call(&self.target, method, &path, Some(&self.token), body).await
    }
}

fn sheet(numbers: Range<usize>) -> String {
    let mut sheet = String::from("name,address,labels\n");
    for number in numbers {
        let Described { name, address, labels } = Described::new(number);
        let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}:{value}")).collect();
        sheet.push_str(&format!("{name},{address},\"{}\nimported:yes\"\n", labels.join("\n")));
    }
    sheet
}
