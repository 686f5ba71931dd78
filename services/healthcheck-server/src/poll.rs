//! `GET /healthcheck/v1/bulletin`: is answered as soon as there is an order that the agent has not, or when it has waited.
//! And `POST /healthcheck/v1/results`, what became of orders: 202 only once the queue confirmed.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, http::header::HeaderName, web};
use chassis::{Problem, http::bearer};
use fleet::{
    Credential, Interval, Message, Millis, Outcome,
    messages::HostResult,
    wire::v1::{Accepted, Bulletin, Results},
};
use queue::PublishError;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use crate::{Inner, body, rejection::Rejection};

/// Longest time that a poll is held, in ms.
const MOST_WAIT: Millis = 25_000;

/// After which an agent asks again that found no place to wait.
const AGAIN: Millis = 20_000;
const AGAIN_MS: HeaderName = HeaderName::from_static("again-ms");

/// What an agent asks with. What else a later one asks is ignored.
#[derive(Deserialize)]
pub struct Asked {
    #[serde(default)]
    wait_ms: Millis,
    /// Ids of orders that the agent has, with commas between.
    #[serde(default)]
    have: String,
}

pub async fn get(request: HttpRequest, gate: web::Data<Inner>) -> Result<HttpResponse, Problem> {
    // Boxed, so that a poll that is held keeps no more than it needs.
    let polled = Box::pin(gate.poll(&request)).await;
    let bulletin = polled.map_err(|rejection| gate.refuse(rejection))?;
    Ok(match bulletin {
        Some(bulletin) => HttpResponse::Ok().json(bulletin),
        None => HttpResponse::NoContent().insert_header((AGAIN_MS, AGAIN)).finish(),
    })
}

pub async fn post(
    request: HttpRequest,
    payload: web::Payload,
    gate: web::Data<Inner>,
) -> Result<HttpResponse, Problem> {
    let taken = gate.take_results(&request, payload).await;
    taken.map(|accepted| HttpResponse::Accepted().json(accepted)).map_err(|rejection| gate.refuse(rejection))
}

pub async fn not_get(gate: web::Data<Inner>) -> Result<HttpResponse, Problem> {
    Err(gate.wrong_method("GET"))
}

impl Inner {
    /// Who asks, if they may.
    pub fn admit(&self, request: &HttpRequest) -> Result<Credential, Rejection> {
        let credential = bearer(request)
            .and_then(|text| self.settings.keyring.verify(text))
            .filter(|credential| !self.denied(credential))
            .ok_or(Rejection::Unauthorized)?;
        self.rates.knock(credential.server, self.clock.now()).map_err(Rejection::RateLimited)?;
        if self.is_unknown(credential.server) {
            return Err(Rejection::UnknownServer);
        }
        Ok(credential)
    }

    /// What the suite has to tell this agent now.
    pub fn bulletin(&self, credential: &Credential, now: Millis) -> Bulletin {
        let replaced = credential.outdated.then(|| {
            self.instruments.previous_key.increment(1);
            self.settings.keyring.issue(credential.server, credential.generation)
        });
        let orders = self.notices.orders(credential.server, now);
        let watch = self.reporting.told(credential.server, now);
        Bulletin { now, credential: replaced, watch, orders }
    }

    /// `None`: there is no place to wait.
    async fn poll(&self, request: &HttpRequest) -> Result<Option<Bulletin>, Rejection> {
        let credential = self.admit(request)?;
        let asked = web::Query::<Asked>::from_query(request.query_string());
        let Asked { wait_ms, have } =
            asked.map_err(|_| Rejection::Body("wait_ms must be a number of ms".to_owned()))?.into_inner();
        let server = credential.server;
        let have: Vec<&str> = have.split(',').filter(|id| !id.is_empty()).collect();
        // Before the first look, so that what changes after it is not missed.
        let mut changes = self.notices.changes();
        let has_other = || self.notices.has_other(server, &have, self.clock.now());
        let wait = Duration::from_millis(wait_ms.clamp(0, MOST_WAIT).unsigned_abs());
        if !has_other() && !wait.is_zero() {
            let Some(_place) = self.notices.place(server).filter(|_| !self.closing.is_cancelled()) else {
                return Ok(None);
            };
            self.instruments.held_polls.increment(1);
            let until = Instant::now() + wait;
            let changed = async {
                while timeout_at(until, changes.changed()).await.is_ok_and(|change| change.is_ok()) {
                    if has_other() {
                        break;
                    }
                }
            };
            self.closing.run_until_cancelled(changed).await;
            // The credential may have been revoked meanwhile.
            if self.denied(&credential) {
                return Err(Rejection::Unauthorized);
            }
        }
        Ok(Some(self.bulletin(&credential, self.clock.now())))
    }

    async fn take_results(
        &self,
        request: &HttpRequest,
        payload: web::Payload,
    ) -> Result<Accepted, Rejection> {
        let credential = self.admit(request)?;
        let Credential { server, generation, .. } = credential;
        let under_way = self.rates.body(server).map_err(Rejection::RateLimited)?;
        let body = body::read(request, payload).await?;
        drop(under_way);
        let received_at = self.clock.now();
        let results = parse(body.as_ref())?;
        let accepted = results.len();
        if self.full() {
            return Err(Rejection::Unavailable(Interval::DEFAULT));
        }
        let outcome = |result| Outcome { server, generation, received_at, result };
        let message = Message::Results(results.into_iter().map(outcome).collect());
        self.publisher.publish(message).await.map_err(|error| match error {
            PublishError::Unavailable(_) => Rejection::Unavailable(Interval::DEFAULT),
            // Whoever refuses results in this process does so because the registry does not know their server.
            PublishError::Refused(_) => Rejection::UnknownServer,
        })?;
        self.instruments.results.increment(accepted as u64);
        Ok(Accepted { accepted, bulletin: self.bulletin(&credential, received_at) })
    }
}

fn parse(body: &[u8]) -> Result<Vec<HostResult>, Rejection> {
    let Results { results } = serde_json::from_slice(body).map_err(|error| match error.is_data() {
        true => Rejection::Body("the body must be an object with 1 to 64 results".to_owned()),
        false => Rejection::Json("the body is not JSON".to_owned()),
    })?;
    if results.is_empty() {
        return Err(Rejection::Body("results must be 1 to 64".to_owned()));
    }
    let mut checked = Vec::with_capacity(results.len());
    for (index, result) in results.into_iter().enumerate() {
        let result = HostResult::check(result);
        checked.push(result.map_err(|reason| Rejection::Body(format!("result {index}: {reason}")))?);
    }
    Ok(checked)
}
