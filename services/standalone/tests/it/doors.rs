//! What somebody without rights can hold of the suite: little, and nobody else waits for it. The attacks run against a
//! process that may have only so much memory; ROLLCALL_PROVE=1 makes them as large as they were when they succeeded.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use chassis::lifecycle::allow_open_files;
use serde_json::json;
use testkit::{eventually, eventually_within, tempdir};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{binary::Running, suite::Client};

/// From where everybody else asks.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 9, 9);
/// In bytes: three times what requests may hold by default. Their connections take something too, and no allocator is exact.
const MOST: u64 = 3 * 64 * 1024 * 1024;

/// Whether the attacks are to have their full size.
fn proving() -> bool {
    std::env::var_os("ROLLCALL_PROVE").is_some()
}

/// How long others may wait for their answer.
fn patience() -> Duration {
    // Without optimisation, and beside other tests, little time says nothing.
    Duration::from_secs(if proving() { 1 } else { 10 })
}

/// The `n`th connection of an attack; a few addresses share the blame.
async fn connect(to: SocketAddr, n: usize) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    // Answers that are not read are to stay where they come from.
    socket.set_recv_buffer_size(4 * 1024)?;
    let from = Ipv4Addr::new(127, 0, 1, u8::try_from(n / 500 + 1).unwrap());
    socket.bind(SocketAddr::new(from.into(), 0))?;
    socket.connect(to).await
}

/// Sends `text`, `times` over; stops where the other end takes no more, or closes. Returns the connection, open.
async fn send(to: SocketAddr, n: usize, text: &[u8], times: usize) -> Option<TcpStream> {
    let mut stream = connect(to, n).await.ok()?;
    let all = async {
        for _ in 0..times {
            stream.write_all(text).await?;
        }
        Ok::<_, std::io::Error>(())
    };
    match timeout(Duration::from_secs(2), all).await {
        Ok(Err(_)) => None,
        Ok(Ok(())) | Err(_) => Some(stream),
    }
}

/// So many connections at once, each with `text` so often; those that stayed open.
async fn attack(to: SocketAddr, connections: usize, text: Vec<u8>, times: usize) -> Vec<TcpStream> {
    let mut sending = JoinSet::new();
    for n in 0..connections {
        let text = text.clone();
        sending.spawn(async move { send(to, n, &text, times).await });
    }
    sending.join_all().await.into_iter().flatten().collect()
}

/// Others are served, soon, on connections of their own. Where more come than may be ahead of those that are leaving one may be
/// sent away, and come back.
async fn others_are_served(address: SocketAddr) {
    let client = reqwest::Client::builder().local_address(Some(ELSEWHERE.into())).pool_max_idle_per_host(0);
    let client = client.build().unwrap();
    for path in ["health/ready", "server-management/v1/docs.js"] {
        let begun = Instant::now();
        loop {
            let request = client.get(format!("http://{address}/{path}")).timeout(patience());
            let answer = request.send().await;
            let served = answer.as_ref().is_ok_and(|answer| answer.status() == 200);
            assert!(begun.elapsed() < patience(), "{path}: {answer:?} after {:?}", begun.elapsed());
            if served {
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Does so again and again while `attacking` goes on.
async fn served_beside<T>(address: SocketAddr, attacking: impl Future<Output = T>) -> T {
    let serving = async {
        loop {
            others_are_served(address).await;
            sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::select! {
        done = attacking => done,
        () = serving => unreachable!("it has no end"),
    }
}

/// A suite that may have so many bytes of memory.
async fn limited(dir: &std::path::Path, most: u64) -> (Running, u64) {
    testkit::http();
    allow_open_files();
    let rollcall = Running::start_limited(most, dir, &["--no-agent"]);
    let client = Client::new(rollcall.address);
    eventually("it is ready", async || client.ready().await).await;
    others_are_served(rollcall.address).await;
    let before = rollcall.memory("VmRSS");
    (rollcall, before)
}

/// It lived, in little memory, and gives that back once the attack is over.
async fn it_recovers(mut rollcall: Running, before: u64) {
    let (peak, now) = (rollcall.memory("VmHWM"), rollcall.memory("VmRSS"));
    println!("{before} B at rest, {peak} B at most, {now} B at the end");
    assert!(peak - before < MOST, "{before} B became {peak} B");
    others_are_served(rollcall.address).await;
    eventually_within(Duration::from_secs(60), "the memory is given back", async || {
        rollcall.memory("VmRSS") < before + 32 * 1024 * 1024
    })
    .await;
    assert!(rollcall.lives());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_reads_take_little_and_nobody_elses_time() {
    let dir = tempdir().unwrap();
    let (rollcall, before) = limited(dir.path(), 512 << 20).await;
    let request = b"GET /server-management/v1/docs.js HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1_000);
    let open = served_beside(rollcall.address, attack(rollcall.address, 100, request, 100)).await;
    drop(open);
    it_recovers(rollcall, before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_bodies_take_little_and_nobody_elses_time() {
    let dir = tempdir().unwrap();
    let (connections, most) = if proving() { (6_100, 768 << 20) } else { (1_500, 256 << 20) };
    let (rollcall, before) = limited(dir.path(), most).await;
    let head = "POST /server-management/v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Length: 65536\r\n\r\n";
    let most_of_it = [head.as_bytes(), &[b' '; 65_000]].concat();
    let open = served_beside(rollcall.address, attack(rollcall.address, connections, most_of_it, 1)).await;
    served_beside(rollcall.address, sleep(Duration::from_secs(4))).await;
    drop(open);
    it_recovers(rollcall, before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_sent_bodies_of_one_credential_take_little_and_nobody_elses_time() {
    let dir = tempdir().unwrap();
    let (rollcall, before) = limited(dir.path(), 256 << 20).await;
    let mut client = Client::new(rollcall.address);
    client.log_in(dir.path()).await;
    let (culprit, other) = (client.enrol("culprit").await, client.enrol("other").await);
    let head = format!(
        "POST /healthcheck/v1/snapshots HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: 262144\r\n\r\n",
        culprit.credential
    );
    let half = [head.as_bytes(), &[b' '; 250_000]].concat();
    let attacking = async {
        // Requests have a rate too, and these are to be taken for what they hold.
        let mut open = Vec::new();
        for _ in 0..6 {
            open.extend(attack(rollcall.address, 90, half.clone(), 1).await);
            sleep(Duration::from_secs(4)).await;
        }
        open
    };
    let open = served_beside(rollcall.address, attacking).await;
    let now = chassis::Clock::system().now();
    timeout(patience(), client.beat(&other, now)).await.unwrap();
    drop(open);
    it_recovers(rollcall, before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_has_four_bodies_under_way_and_is_told_to_come_back_with_the_fifth() {
    let dir = tempdir().unwrap();
    let (rollcall, _) = limited(dir.path(), 512 << 20).await;
    let mut client = Client::new(rollcall.address);
    client.log_in(dir.path()).await;
    let host = client.enrol("host").await;
    let head = format!(
        "POST /healthcheck/v1/snapshots HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: 1000\r\n\r\n",
        host.credential
    );
    let open = attack(rollcall.address, 4, head.into_bytes(), 1).await;
    let body = json!({"interval_ms": 1_000, "snapshots": [{"sampled_at": 0, "covers_ms": 0}]});
    let fifth = async || client.post_as("/healthcheck/v1/snapshots", &host.credential, &body).await;
    eventually("a fifth is refused", async || fifth().await.0 == 429).await;
    let (_, refused) = fifth().await;
    assert_eq!(refused["code"], "rate_limited", "{refused}");
    assert!(refused["detail"].as_str().unwrap().starts_with("4 bodies"), "{refused}");
    drop(open);
    eventually("there is room again", async || fifth().await.0 == 422).await;
}

/// The status of the answer to one small request.
async fn status(stream: &mut TcpStream) -> Option<u16> {
    stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n").await.ok()?;
    let mut answer = [0; 2_048];
    let read = timeout(patience(), stream.read(&mut answer)).await.ok()?.ok()?;
    String::from_utf8_lossy(&answer[..read]).split(' ').nth(1)?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_has_so_many_connections_and_the_next_is_sent_away_with_503() {
    let dir = tempdir().unwrap();
    testkit::http();
    let rollcall = Running::start(dir.path(), &["--no-agent", "--max-connections-per-address", "20"]);
    let client = Client::new(rollcall.address);
    eventually("it is ready", async || client.ready().await).await;
    let mut inside = Vec::new();
    for _ in 0..20 {
        let mut stream = connect(rollcall.address, 0).await.unwrap();
        assert_eq!(status(&mut stream).await, Some(200));
        inside.push(stream);
    }
    let mut beyond = connect(rollcall.address, 0).await.unwrap();
    let mut answer = String::new();
    timeout(patience(), beyond.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("Retry-After: ") && answer.contains("\"code\":\"unavailable\""), "{answer}");
    others_are_served(rollcall.address).await;
    inside.pop();
    eventually("there is room again", async || {
        let stream = connect(rollcall.address, 0).await;
        status(&mut stream.unwrap()).await == Some(200)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_it_is_full_whoever_has_waited_longest_makes_room() {
    let dir = tempdir().unwrap();
    testkit::http();
    allow_open_files();
    let rollcall = Running::start(dir.path(), &["--no-agent", "--max-connections", "2000"]);
    let client = Client::new(rollcall.address);
    eventually("it is ready", async || client.ready().await).await;
    // Half a request each: these wait for nobody but their own client.
    let half = b"GET /server-management/v1/docs.js HTTP/1.1\r\n".to_vec();
    let open = served_beside(rollcall.address, attack(rollcall.address, 3_000, half, 1)).await;
    others_are_served(rollcall.address).await;
    assert!(rollcall.memory("VmHWM") < MOST);
    drop(open);
}
