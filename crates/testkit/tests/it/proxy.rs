use std::{net::SocketAddr, time::Duration};

use testkit::{Proxy, eventually};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};

/// A server that echoes, and tells what it got.
async fn echo() -> (SocketAddr, mpsc::UnboundedReceiver<u8>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (heard, hears) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let heard = heard.clone();
            tokio::spawn(async move {
                while let Ok(byte) = stream.read_u8().await {
                    let _ = heard.send(byte);
                    let _ = stream.write_u8(byte).await;
                }
            });
        }
    });
    (addr, hears)
}

#[tokio::test]
async fn it_passes_cuts_and_mends() {
    let (upstream, _hears) = echo().await;
    let proxy = Proxy::start(upstream).await;
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    stream.write_u8(1).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), 1);
    proxy.cut();
    assert!(stream.read_u8().await.is_err());
    proxy.mend();
    let mut again = TcpStream::connect(proxy.addr()).await.unwrap();
    again.write_u8(2).await.unwrap();
    assert_eq!(again.read_u8().await.unwrap(), 2);
}

#[tokio::test]
async fn a_swallowed_reply_was_a_heard_request() {
    let (upstream, mut hears) = echo().await;
    let proxy = Proxy::start(upstream).await;
    proxy.swallow_replies();
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    stream.write_u8(3).await.unwrap();
    assert_eq!(hears.recv().await, Some(3));
    assert!(timeout(Duration::from_millis(50), stream.read_u8()).await.is_err());
}

#[tokio::test]
async fn a_stalled_request_goes_on_when_it_is_mended() {
    let (upstream, mut hears) = echo().await;
    let proxy = Proxy::start(upstream).await;
    proxy.stall();
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    stream.write_u8(4).await.unwrap();
    assert!(timeout(Duration::from_millis(50), hears.recv()).await.is_err());
    proxy.mend();
    eventually("the byte arrives", async || hears.try_recv() == Ok(4)).await;
    assert_eq!(stream.read_u8().await.unwrap(), 4);
}
