//! RabbitMQ's own load generator, PerfTest, as a reference.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

/// Publishes messages of `size` bytes to a new quorum queue, `window` of them without a confirm at most. Answers
/// messages per second, by its own account: its start does not count.
pub async fn publish(
    jars: &Path,
    amqp: &str,
    queue: &str,
    size: usize,
    window: usize,
    lasting: Duration,
) -> Result<f64> {
    let mut command = Command::new("java");
    command.arg("-cp").arg(jars.join("*")).arg("com.rabbitmq.perf.PerfTest");
    command.args(["--quorum-queue", "--flag", "persistent", "--producers", "1", "--consumers", "0"]);
    command.args(["--uri", amqp, "--queue", queue, "--size", &size.to_string()]);
    command.args(["--confirm", &window.to_string(), "--time", &lasting.as_secs().to_string()]);
    let asked = command.stdin(Stdio::null()).kill_on_drop(true).output().await.context("java")?;
    let told = String::from_utf8_lossy(&asked.stdout);
    ensure!(asked.status.success(), "PerfTest: {told}{}", String::from_utf8_lossy(&asked.stderr));
    sending_rate(&told).with_context(|| format!("no rate in what PerfTest tells: {told}"))
}

fn sending_rate(told: &str) -> Option<f64> {
    let (_, after) = told.rsplit_once("sending rate avg: ")?;
    after.split_whitespace().next()?.replace(',', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_summary() {
        let told = "id: test, time: 1.0 s, sent: 12000 msg/s\ntest stopped (Reached time limit)\nid: test, sending rate avg: 26179 msg/s\n";
        assert_eq!(sending_rate(told), Some(26_179.0));
        assert_eq!(sending_rate("error"), None);
    }
}
