//! A TCP proxy that cuts, stalls, or swallows replies: the network breaks, the code under test does not.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Pass,
    Cut,
    Stall,
    SwallowReplies,
}

/// Stands between a client and its server on loopback. Clones are the same one; when the last is dropped, it cuts.
#[derive(Debug, Clone)]
pub struct Proxy {
    addr: SocketAddr,
    mode: Arc<watch::Sender<Mode>>,
}

impl Proxy {
    /// Listens on a free port and passes on to `upstream`.
    ///
    /// # Panics
    /// When loopback has no port to give, which fails the test.
    #[expect(clippy::expect_used, reason = "a test fails by panicking")]
    pub async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("a bound port");
        let mode = Arc::new(watch::Sender::new(Mode::Pass));
        tokio::spawn(serve(listener, upstream, mode.subscribe()));
        Self { addr, mode }
    }

    /// Where clients connect.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Passes everything again, for new connections and for stalled ones.
    pub fn mend(&self) {
        self.mode.send_replace(Mode::Pass);
    }

    /// Ends every connection that there is, and lets new ones pass.
    ///
    /// # Panics
    /// When it is not passing to begin with.
    #[expect(clippy::expect_used, reason = "a test fails by panicking")]
    pub async fn drop_connections(&self) {
        let mut witness = TcpStream::connect(self.addr).await.expect("a proxy that passes");
        self.cut();
        while witness.read(&mut [0; 64]).await.is_ok_and(|read| read > 0) {}
        self.mend();
    }

    /// Closes every connection, and each new one at once.
    pub fn cut(&self) {
        self.mode.send_replace(Mode::Cut);
    }

    /// Accepts, and passes nothing in either direction.
    pub fn stall(&self) {
        self.mode.send_replace(Mode::Stall);
    }

    /// Passes requests on, and keeps the replies for itself.
    pub fn swallow_replies(&self) {
        self.mode.send_replace(Mode::SwallowReplies);
    }
}

async fn serve(listener: TcpListener, upstream: SocketAddr, mode: watch::Receiver<Mode>) {
    let mut gone = mode.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = gone.wait_for(|_| false) => return,
        };
        let Ok((client, _)) = accepted else { continue };
        if *mode.borrow() == Mode::Cut {
            continue;
        }
        let mode = mode.clone();
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect(upstream).await else { return };
            let (client_read, client_write) = client.into_split();
            let (server_read, server_write) = server.into_split();
            let mut cut = mode.clone();
            tokio::select! {
                () = pass(client_read, server_write, mode.clone(), false) => {}
                () = pass(server_read, client_write, mode, true) => {}
                _ = cut.wait_for(|mode| *mode == Mode::Cut) => {}
            }
        });
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut mode: watch::Receiver<Mode>,
    replies: bool,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        let Ok(mode) = mode.wait_for(|mode| *mode != Mode::Stall).await.map(|mode| *mode) else { return };
        if replies && mode == Mode::SwallowReplies {
            continue;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
