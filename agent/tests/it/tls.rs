//! A gate behind TLS, by a certificate of an authority that no system knows.

use std::{fs, net::SocketAddr, path::Path, process::Command, sync::Arc};

use rollcall_agent::{Args, Settings, healthcheck};
use testkit::eventually;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use crate::rig::Rig;

/// The extensions of the gate's certificate.
const EXTENSIONS: &str = "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n";

fn openssl(dir: &Path, arguments: &str) {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(dir).output();
    let output = output.unwrap_or_else(|error| panic!("{error}: openssl is needed"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// `ca.pem`, and `gate.pem` with `gate.key` for 127.0.0.1.
fn certify(dir: &Path) {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    fs::write(dir.join("extensions"), EXTENSIONS).unwrap();
    openssl(dir, &format!("req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=authority"));
    openssl(dir, &format!("req {key} -keyout gate.key -out gate.csr -subj /CN=gate"));
    let signed = "x509 -req -in gate.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2";
    openssl(dir, &format!("{signed} -extfile extensions -out gate.pem"));
}

/// Ends TLS in front of `gate`.
async fn front(dir: &Path, gate: SocketAddr) -> SocketAddr {
    drop(rustls::crypto::ring::default_provider().install_default());
    let certificate = CertificateDer::from_pem_file(dir.join("gate.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(dir.join("gate.key")).unwrap();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key);
    let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut outside = acceptor.accept(socket).await?;
                let mut inside = TcpStream::connect(gate).await?;
                tokio::io::copy_bidirectional(&mut outside, &mut inside).await
            });
        }
    });
    address
}

fn settings(rig: &Rig, address: SocketAddr, ca_file: Option<&Path>) -> Settings {
    let args = Args {
        url: Some(format!("https://{address}")),
        state_dir: Some(rig.dir.path().join("state").display().to_string()),
        interval: Some("1".to_owned()),
        ca_file: ca_file.map(|path| path.display().to_string()),
        ..Args::default()
    };
    Settings::read(&args, Some("token".to_owned())).unwrap()
}

#[tokio::test]
async fn https_where_there_is_no_tls_says_so() {
    let mut rig = Rig::new().await;
    // What actix, nginx and others answer to the first message of TLS.
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = plain.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = plain.accept().await.unwrap();
            assert!(socket.read(&mut [0; 4_096]).await.unwrap() > 0);
            socket.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        }
    });
    rig.start_with(settings(&rig, address, None));
    let state = rig.dir.path().join("state");
    eventually("the agent says what to do", async || {
        healthcheck(&state).unwrap_err().to_string().contains("is it http:// instead of https://")
    })
    .await;
    rig.stop().await;
}

#[tokio::test]
async fn an_authority_of_ones_own_is_trusted_once_it_is_named() {
    let mut rig = Rig::new().await;
    let dir = rig.dir.path().to_owned();
    certify(&dir);
    let address = front(&dir, rig.gate.addr).await;
    let state = dir.join("state");
    rig.start_with(settings(&rig, address, None));
    eventually("the certificate is refused", async || {
        healthcheck(&state).unwrap_err().to_string().contains("certificate")
    })
    .await;
    rig.stop().await;
    assert!(rig.gate.script().asked.is_empty());

    rig.start_with(settings(&rig, address, Some(&dir.join("ca.pem"))));
    eventually("samples arrive", async || rig.gate.taken() >= 2).await;
    rig.stop().await;
}
