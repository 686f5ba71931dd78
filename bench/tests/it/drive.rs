use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, http::header, web};
use bench::{Load, drive};
use fleet::{
    Interval, Snapshot,
    wire::v1::{Accepted, Bulletin, Report},
};
use testkit::{Proxy, eventually};
use tokio::{io::AsyncReadExt, net::TcpStream};
use tokio_util::sync::CancellationToken;

use crate::fleet;

/// What a gate took: whose, and what.
type Taken = Arc<Mutex<Vec<(String, Snapshot)>>>;

/// A gate that takes everything.
fn gate(taken: &Taken) -> SocketAddr {
    let taken = taken.clone();
    let app = move || App::new().app_data(web::Data::new(taken.clone())).default_service(web::to(take));
    let server = HttpServer::new(app).workers(1).disable_signals().bind(("127.0.0.1", 0)).unwrap();
    let addr = server.addrs()[0];
    tokio::spawn(server.run());
    addr
}

async fn take(request: HttpRequest, report: web::Json<Report>, taken: web::Data<Taken>) -> HttpResponse {
    let bearer = request.headers().get(header::AUTHORIZATION).unwrap().to_str().unwrap();
    let interval = Interval::try_from(report.interval_ms).unwrap();
    let accepted = report.snapshots.len();
    for snapshot in report.into_inner().snapshots {
        taken.lock().unwrap().push((bearer.to_owned(), Snapshot::check(snapshot, interval).unwrap()));
    }
    HttpResponse::Accepted().json(Accepted { accepted, bulletin: Bulletin { now: 0, credential: None } })
}

fn load(requests: u64) -> Load {
    Load { connections: 4, lasting: Duration::from_secs(60), requests, ..Load::default() }
}

#[tokio::test]
async fn every_snapshot_is_new_and_none_overlaps() {
    let taken = Taken::default();
    let url = format!("http://{}", gate(&taken));
    let mut servers = fleet(10);
    let journal = drive(&[&url], &mut servers, &load(100), &CancellationToken::new()).await.unwrap();
    assert_eq!((journal.entries.len(), journal.acknowledged()), (100, 100));
    let mut taken = taken.lock().unwrap().clone();
    taken.sort_by_key(|(server, snapshot)| (server.clone(), snapshot.sampled_at()));
    assert_eq!(taken.len(), 100);
    for pair in taken.windows(2) {
        let ((server, snapshot), (next_server, next)) = (&pair[0], &pair[1]);
        assert!(server != next_server || next.from() == snapshot.sampled_at(), "{snapshot:?} {next:?}");
    }
}

#[tokio::test]
async fn what_was_not_answered_is_sent_again_until_it_is() {
    let taken = Taken::default();
    let proxy = Proxy::start(gate(&taken)).await;
    let url = format!("http://{}", proxy.addr());
    let mut servers = fleet(10);
    let stop = CancellationToken::new();
    let breaking = async {
        eventually("snapshots are taken", async || taken.lock().unwrap().len() > 20).await;
        proxy.swallow_replies();
        let then = taken.lock().unwrap().len();
        eventually("four are taken, unanswered", async || taken.lock().unwrap().len() >= then + 4).await;
        proxy.cut();
        eventually("connections are closed", async || closed(proxy.addr()).await).await;
        let then = taken.lock().unwrap().len();
        proxy.mend();
        eventually("snapshots are taken again", async || taken.lock().unwrap().len() > then + 50).await;
    };
    let load = load(500);
    let urls = [url.as_str()];
    let (journal, ()) = tokio::join!(drive(&urls, &mut servers, &load, &stop), breaking);
    let journal = journal.unwrap();
    assert_eq!(journal.acknowledged(), 500);
    assert!(journal.unanswered() >= 4);
    let distinct: HashSet<_> = journal.entries.iter().map(|entry| (entry.server, entry.sampled_at)).collect();
    assert_eq!(distinct.len(), 500, "the same ones are sent again");
}

async fn closed(addr: SocketAddr) -> bool {
    match TcpStream::connect(addr).await {
        Ok(mut stream) => !matches!(stream.read(&mut [0]).await, Ok(1..)),
        Err(_) => true,
    }
}

#[tokio::test]
async fn a_cancelled_drive_ends_at_once_and_knows_what_was_in_flight() {
    let taken = Taken::default();
    let proxy = Proxy::start(gate(&taken)).await;
    let url = format!("http://{}", proxy.addr());
    let mut servers = fleet(10);
    let stop = CancellationToken::new();
    let breaking = async {
        eventually("snapshots are taken", async || taken.lock().unwrap().len() > 20).await;
        proxy.swallow_replies();
        let then = taken.lock().unwrap().len();
        eventually("more are taken, unanswered", async || taken.lock().unwrap().len() >= then + 4).await;
        stop.cancel();
    };
    let load = load(u64::MAX);
    let urls = [url.as_str()];
    let (journal, ()) = tokio::join!(drive(&urls, &mut servers, &load, &stop), breaking);
    let journal = journal.unwrap();
    let taken = taken.lock().unwrap();
    for (_, snapshot) in taken.iter() {
        assert!(journal.entries.iter().any(|entry| entry.sampled_at == snapshot.sampled_at()));
    }
    assert_eq!((journal.unanswered(), servers.len()), (4, 10));
}
