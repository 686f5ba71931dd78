//! What the processes of a fleet tell on `/metrics`.

use std::collections::{BTreeMap, BTreeSet};

use simulator::{Kind, Service};
use testkit::{documented_metrics, eventually, families, promtool};

use crate::stage::Stage;

const PAGE: &str = include_str!("../../../../docs/operations.md");

async fn scrape(service: &Service) -> String {
    service.http().get(format!("{}/metrics", service.url)).send().await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn promtool_finds_no_fault_with_any_process_of_a_fleet_and_every_metric_is_in_the_documentation() {
    let mut stage = Stage::new(1, 1).await;
    let mail = stage.fleet.start(Kind::Mail).await.unwrap();
    let notifier = stage.fleet.start(Kind::Notifier).await.unwrap();
    let driving = stage.drive().await;
    stage.all_up().await;
    let documented: BTreeMap<String, String> = documented_metrics(PAGE, "## Every metric")
        .into_iter()
        .filter(|metric| metric.told_by != "rollcall alone")
        .map(|metric| (metric.name, metric.kind))
        .collect();
    eventually("the processes tell every documented metric", async || {
        let mut told = BTreeSet::new();
        for service in [&stage.gates[0], &stage.workers[0], &stage.management, &mail, &notifier] {
            told.extend(families(&scrape(service).await).into_keys());
        }
        documented.keys().all(|name| told.contains(name))
    })
    .await;
    for service in [&stage.gates[0], &stage.workers[0], &stage.management, &mail, &notifier] {
        let text = scrape(service).await;
        promtool(&text);
        for (name, kind) in families(&text) {
            assert_eq!(documented.get(&name), Some(&kind), "{name}");
        }
        assert!(
            text.contains("rollcall_build_info{version=") && text.contains("process_open_fds "),
            "{text}"
        );
    }
    let all = format!("rollcall_servers{{status=\"up\"}} {}\n", crate::stage::SERVERS);
    eventually("all servers are counted", async || scrape(&stage.management).await.contains(&all)).await;
    let bytes = stage.management.metric("rollcall_history_bytes").await.unwrap();
    assert!(bytes >= 0.0 && stage.management.metric("rollcall_registry_bytes").await.unwrap() > 0.0);
    let journal = driving.end(&mut stage).await;
    mail.stop().await.unwrap();
    notifier.stop().await.unwrap();
    stage.finish(&journal).await;
}
