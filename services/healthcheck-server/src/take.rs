//! `POST /healthcheck/v1/snapshots`: cheap checks first, and 202 only once the queue confirmed.

use std::time::Instant;

use actix_web::{HttpRequest, HttpResponse, web};
use chassis::{Problem, http::bearer};
use fleet::{
    Credential, Interval, Message, Millis, Record,
    access::UNKNOWN_SERVER,
    retention,
    wire::v1::{Accepted, Bulletin, Refusal},
};
use queue::{PublishError, Refused};
use tracing::{Instrument, debug_span};

use crate::{
    Inner, body,
    pack::NotTaken,
    rejection::Rejection,
    report::{self, Report, Window},
};

pub async fn post(
    request: HttpRequest,
    payload: web::Payload,
    gate: web::Data<Inner>,
) -> Result<HttpResponse, Problem> {
    let taken = gate.take(&request, payload).await;
    taken.map(|accepted| HttpResponse::Accepted().json(accepted)).map_err(|rejection| {
        let problem = rejection.problem(gate.clock.now());
        gate.instruments.refused(problem.code());
        problem
    })
}

pub async fn wrong_method(gate: web::Data<Inner>) -> Result<HttpResponse, Problem> {
    let problem = Problem::only("POST");
    gate.instruments.refused(problem.code());
    Err(problem.with("now", gate.clock.now()))
}

impl Inner {
    async fn take(&self, request: &HttpRequest, payload: web::Payload) -> Result<Accepted, Rejection> {
        let credential = bearer(request)
            .and_then(|text| self.settings.keyring.verify(text))
            .filter(|credential| !self.denied(credential))
            .ok_or(Rejection::Unauthorized)?;
        let server = credential.server;
        self.rates.knock(server, self.clock.now()).map_err(Rejection::RateLimited)?;
        if self.is_unknown(server) {
            return Err(Rejection::UnknownServer);
        }
        let under_way = self.rates.body(server).map_err(Rejection::RateLimited)?;
        let body = body::read(request, payload).instrument(debug_span!(target: "steps", "gate.body")).await?;
        drop(under_way);
        // The time of receipt is when the body is complete, and it may have taken its time.
        let now = self.clock.now();
        let oldest = retention::oldest_retained(now, self.settings.history_days);
        let check = debug_span!(target: "steps", "gate.check");
        let report = check.in_scope(|| report::parse(body.as_ref(), Window { now, oldest }))?;
        drop(check);
        if self.full() {
            return Err(Rejection::Unavailable(report.interval));
        }
        let bytes = body.as_ref().len();
        drop(body);
        self.rates
            .bring(server, report.interval, report.snapshots.len(), bytes, now)
            .map_err(Rejection::RateLimited)?;
        let accepted = report.snapshots.len();
        self.publish(&credential, report, now).await?;
        self.instruments.accepted.increment(accepted as u64);
        let replaced = credential.outdated.then(|| {
            self.instruments.previous_key.increment(1);
            self.settings.keyring.issue(credential.server, credential.generation)
        });
        let watch = self.reporting.told(server, now);
        Ok(Accepted {
            accepted,
            bulletin: Bulletin { now, credential: replaced, watch, ..Bulletin::default() },
        })
    }

    #[tracing::instrument(target = "steps", level = "debug", name = "gate.publish", skip_all)]
    async fn publish(
        &self,
        credential: &Credential,
        report: Report,
        received_at: Millis,
    ) -> Result<(), Rejection> {
        let Report { interval, snapshots } = report;
        let Credential { server, generation, outdated: _ } = *credential;
        let record = |snapshot| Record { server, generation, received_at, interval, snapshot };
        let records: Vec<Record> = snapshots.into_iter().map(record).collect();
        let begun = Instant::now();
        match &self.packer {
            Some(packer) => packer.publish(records).await.map_err(|why| match why {
                NotTaken::Unavailable => Rejection::Unavailable(interval),
                NotTaken::TooLarge(refused) => Rejection::Snapshots(refused),
            })?,
            None => self.publish_alone(records, interval).await?,
        }
        self.instruments.confirm.record(begun.elapsed());
        Ok(())
    }

    /// Publishes to a consumer in this process, which may refuse single snapshots.
    async fn publish_alone(&self, records: Vec<Record>, interval: Interval) -> Result<(), Rejection> {
        let sampled: Vec<Millis> = records.iter().map(|record| record.snapshot.sampled_at()).collect();
        let published = self.publisher.publish(Message::Snapshots(records)).await;
        tracing::debug!(settled = published.is_ok(), "was a message of its own");
        published.map_err(|why| match why {
            PublishError::Unavailable(_) => Rejection::Unavailable(interval),
            PublishError::Refused(refused) if refused.iter().any(|one| one.reason == UNKNOWN_SERVER) => {
                Rejection::UnknownServer
            }
            PublishError::Refused(refused) => {
                let oldest = retention::oldest_retained(self.clock.now(), self.settings.history_days);
                Rejection::Snapshots(refusals(&sampled, &refused, oldest))
            }
        })
    }
}

/// Which snapshots a store refused, by their place in the request. They are known by the time of their sample. Midnight may
/// have passed since they were checked, so that one may be `too_old` by now.
fn refusals(sampled: &[Millis], refused: &[Refused<Message>], oldest: Millis) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    for Refused { message, reason } in refused {
        let Message::Snapshots(records) = message else { continue };
        for (index, at) in sampled.iter().enumerate() {
            if records.iter().any(|record| record.snapshot.sampled_at() == *at) {
                let code = if *at < oldest { "too_old" } else { "invalid_snapshot" };
                refusals.push(Refusal { index, code: code.to_owned(), reason: reason.clone() });
            }
        }
    }
    refusals.sort_by_key(|refusal| refusal.index);
    refusals.dedup_by_key(|refusal| refusal.index);
    refusals
}
