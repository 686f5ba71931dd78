//! What a person does with a suite, by its interface.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::services::{ADMIN_PASSWORD, Service};

/// Who is logged in at a `server-management`.
pub struct Operator {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl Operator {
    /// Logs in as `admin`.
    pub async fn log_in(management: &Service) -> Result<Self> {
        let http = management.http();
        let base = format!("{}/server-management/v1", management.url);
        let body = json!({"username": "admin", "password": ADMIN_PASSWORD});
        let answer = http.post(format!("{base}/sessions")).json(&body).send().await?;
        ensure!(answer.status().is_success(), "log-in: {}", answer.status());
        let session: Value = answer.json().await?;
        let token = session["access_token"].as_str().context("no access_token")?.to_owned();
        Ok(Self { http, base, token })
    }

    /// The same session, at another process.
    pub fn at(self, management: &Service) -> Self {
        Self { base: format!("{}/server-management/v1", management.url), ..self }
    }

    /// GET of a path below `/server-management/v1/`: status and body.
    pub async fn get(&self, path: &str) -> Result<(u16, Value)> {
        let answer = self.http.get(format!("{}/{path}", self.base)).bearer_auth(&self.token).send().await?;
        Ok((answer.status().as_u16(), answer.json().await.unwrap_or_default()))
    }

    /// POST of JSON to a path below `/server-management/v1/`: status and body.
    pub async fn post(&self, path: &str, body: &Value) -> Result<(u16, Value)> {
        let request = self.http.post(format!("{}/{path}", self.base)).bearer_auth(&self.token).json(body);
        let answer = request.send().await?;
        Ok((answer.status().as_u16(), answer.json().await.unwrap_or_default()))
    }

    /// `GET status`, which always answers while the registry does.
    pub async fn status(&self) -> Result<Value> {
        let (status, body) = self.get("status").await?;
        ensure!(status == 200, "GET status: {status} {body}");
        Ok(body)
    }
}
