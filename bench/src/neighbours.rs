//! The agents of others, started by hand on loopback ports, and polled as their servers poll them.

use std::{
    fs,
    io::{Error, ErrorKind},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use simulator::process::{Started, free_address};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
    time::{Instant, sleep, timeout},
};

const NODE_EXPORTER: &str = "/usr/bin/prometheus-node-exporter";
const ZABBIX_AGENT: &str = "/usr/sbin/zabbix_agentd";
const PATIENCE: Duration = Duration::from_secs(10);

/// What a snapshot of ours holds, in the words of zabbix-agent.
const KEYS: [&str; 14] = [
    "system.cpu.util[,user]",
    "system.cpu.util[,system]",
    "system.cpu.util[,iowait]",
    "system.cpu.load[all,avg1]",
    "system.cpu.load[all,avg5]",
    "system.cpu.load[all,avg15]",
    "vm.memory.size[total]",
    "vm.memory.size[available]",
    "system.swap.size[,total]",
    "system.swap.size[,used]",
    "vfs.fs.size[/,total]",
    "vfs.fs.size[/,used]",
    "net.if.in[lo]",
    "net.if.out[lo]",
];

/// A running agent of somebody else's.
pub struct Neighbour {
    pub kind: Kind,
    pub process: Started,
    pub binary: PathBuf,
    addr: SocketAddr,
}

#[derive(Clone, Copy)]
pub enum Kind {
    NodeExporter,
    ZabbixAgent,
}

impl Kind {
    pub fn name(self) -> String {
        match self {
            Self::NodeExporter => "node_exporter, a scrape".to_owned(),
            Self::ZabbixAgent => format!("zabbix-agent, {} keys", KEYS.len()),
        }
    }
}

impl Neighbour {
    /// Starts it and waits until it answers. `None` where it is not installed.
    pub async fn start(kind: Kind, folder: &Path) -> Result<Option<Self>> {
        let addr = match kind {
            Kind::NodeExporter => free_address()?,
            Kind::ZabbixAgent => free_zabbix_address().context("no free port for zabbix-agent")?,
        };
        let (binary, mut command) = match kind {
            Kind::NodeExporter => {
                let mut command = Command::new(NODE_EXPORTER);
                command.arg(format!("--web.listen-address={addr}"));
                (NODE_EXPORTER, command)
            }
            Kind::ZabbixAgent => {
                let settings = folder.join("zabbix_agentd.conf");
                let text = format!(
                    "LogType=console\nServer=127.0.0.1\nListenIP=127.0.0.1\nListenPort={}\nAllowRoot=1\nPidFile={}\n",
                    addr.port(),
                    folder.join("zabbix_agentd.pid").display()
                );
                fs::write(&settings, text)?;
                let mut command = Command::new(ZABBIX_AGENT);
                command.arg("--foreground").arg("--config").arg(settings);
                (ZABBIX_AGENT, command)
            }
        };
        if !Path::new(binary).exists() {
            return Ok(None);
        }
        let log = fs::File::create(folder.join("neighbour.log"))?;
        command.stdout(log.try_clone()?).stderr(log);
        let process = Started::spawn(&mut command)?;
        let neighbour = Self { kind, process, binary: binary.into(), addr };
        let until = Instant::now() + PATIENCE;
        while neighbour.poll().await.is_err() {
            ensure!(Instant::now() < until, "{binary} does not answer");
            sleep(Duration::from_millis(50)).await;
        }
        Ok(Some(neighbour))
    }

    /// One scrape, or one value of each key.
    pub async fn poll(&self) -> Result<()> {
        match self.kind {
            Kind::NodeExporter => {
                let page = self.ask(b"GET /metrics HTTP/1.0\r\n\r\n").await?;
                ensure!(page.starts_with(b"HTTP/1.0 200") && page.len() > 1_000, "not a page of metrics");
            }
            Kind::ZabbixAgent => {
                for key in KEYS {
                    let answer = self.ask(&zabbix_request(key)).await?;
                    let value = answer.get(13..).context("a short answer")?;
                    if value.starts_with(b"ZBX_NOTSUPPORTED") {
                        bail!("{key} is not supported");
                    }
                }
            }
        }
        Ok(())
    }

    /// Both answer one question a connection and close it.
    async fn ask(&self, request: &[u8]) -> Result<Vec<u8>> {
        let exchange = async {
            let mut stream = TcpStream::connect(self.addr).await?;
            stream.write_all(request).await?;
            let mut answer = Vec::new();
            match stream.read_to_end(&mut answer).await {
                // Closed with something of ours unread; the answer is whole.
                Err(error) if error.kind() == ErrorKind::ConnectionReset && !answer.is_empty() => {}
                read => drop(read?),
            }
            Ok::<_, Error>(answer)
        };
        Ok(timeout(PATIENCE, exchange).await??)
    }
}

/// zabbix-agent takes no port above 32767, which is where the system's own choice begins.
fn free_zabbix_address() -> Option<SocketAddr> {
    let addresses = (10_150..10_250).map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    addresses.into_iter().find(|addr| TcpListener::bind(addr).is_ok())
}

/// Header `ZBXD`, flags 1, the length in eight bytes little-endian, then the key.
fn zabbix_request(key: &str) -> Vec<u8> {
    let mut request = b"ZBXD\x01".to_vec();
    request.extend_from_slice(&(key.len() as u64).to_le_bytes());
    request.extend_from_slice(key.as_bytes());
    request
}
