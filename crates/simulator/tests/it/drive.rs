use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, http::header, web};
use fleet::{
    Interval, Snapshot,
    wire::v1::{Accepted, Bulletin, Report},
};
use simulator::{Load, drive};
use testkit::{Proxy, eventually};
use tokio::{io::AsyncReadExt, net::TcpStream, sync::watch};
use tokio_util::sync::CancellationToken;

use crate::fleet;

/// A gate that takes everything and answers the first so many, and the others once it may.
struct Gate {
    /// Whose, and what.
    taken: Mutex<Vec<(String, Snapshot)>>,
    answers: watch::Sender<usize>,
}

impl Gate {
    fn answering(first: usize) -> Arc<Self> {
        Arc::new(Self { taken: Mutex::default(), answers: watch::Sender::new(first) })
    }

    fn taken(&self) -> MutexGuard<'_, Vec<(String, Snapshot)>> {
        self.taken.lock().unwrap()
    }

    fn start(self: &Arc<Self>) -> SocketAddr {
        let gate = web::Data::from(self.clone());
        let app = move || App::new().app_data(gate.clone()).default_service(web::to(take));
        let server = HttpServer::new(app).workers(1).disable_signals().bind(("127.0.0.1", 0)).unwrap();
        let addr = server.addrs()[0];
        tokio::spawn(server.run());
        addr
    }
}

async fn take(request: HttpRequest, report: web::Json<Report>, gate: web::Data<Gate>) -> HttpResponse {
    let bearer = request.headers().get(header::AUTHORIZATION).unwrap().to_str().unwrap();
    let interval = Interval::try_from(report.interval_ms).unwrap();
    let accepted = report.snapshots.len();
    let number = {
        let mut taken = gate.taken();
        for snapshot in report.into_inner().snapshots {
            taken.push((bearer.to_owned(), Snapshot::check(snapshot, interval).unwrap()));
        }
        taken.len()
    };
    gate.answers.subscribe().wait_for(|answers| number <= *answers).await.unwrap();
    HttpResponse::Accepted().json(Accepted { accepted, bulletin: Bulletin { now: 0, ..Bulletin::default() } })
}

fn load(requests: u64) -> Load {
    Load { connections: 4, lasting: Duration::from_secs(60), requests, ..Load::default() }
}

#[tokio::test]
async fn every_snapshot_is_new_and_none_overlaps() {
    let gate = Gate::answering(usize::MAX);
    let url = format!("http://{}", gate.start());
    let mut servers = fleet(10);
    let journal = drive(&[&url], &mut servers, &load(100), &CancellationToken::new()).await.unwrap();
    assert_eq!((journal.entries.len(), journal.acknowledged()), (100, 100));
    let mut taken = gate.taken().clone();
    taken.sort_by_key(|(server, snapshot)| (server.clone(), snapshot.sampled_at()));
    assert_eq!(taken.len(), 100);
    for pair in taken.windows(2) {
        let ((server, snapshot), (next_server, next)) = (&pair[0], &pair[1]);
        assert!(server != next_server || next.from() == snapshot.sampled_at(), "{snapshot:?} {next:?}");
    }
}

#[tokio::test]
async fn what_was_not_answered_is_sent_again_until_it_is() {
    let gate = Gate::answering(20);
    let proxy = Proxy::start(gate.start()).await;
    let url = format!("http://{}", proxy.addr());
    let mut servers = fleet(10);
    let stop = CancellationToken::new();
    let breaking = async {
        eventually("four are taken, unanswered", async || gate.taken().len() == 24).await;
        proxy.cut();
        eventually("connections are closed", async || closed(proxy.addr()).await).await;
        gate.answers.send_replace(usize::MAX);
        proxy.mend();
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
    let gate = Gate::answering(20);
    let url = format!("http://{}", gate.start());
    let mut servers = fleet(10);
    let stop = CancellationToken::new();
    let stopping = async {
        eventually("four are taken, unanswered", async || gate.taken().len() == 24).await;
        stop.cancel();
    };
    let load = load(u64::MAX);
    let urls = [url.as_str()];
    let (journal, ()) = tokio::join!(drive(&urls, &mut servers, &load, &stop), stopping);
    let journal = journal.unwrap();
    for (_, snapshot) in gate.taken().iter() {
        assert!(journal.entries.iter().any(|entry| entry.sampled_at == snapshot.sampled_at()));
    }
    assert_eq!((journal.acknowledged(), journal.unanswered(), servers.len()), (20, 4, 10));
}
