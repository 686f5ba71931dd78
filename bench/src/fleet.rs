//! The fleet composition as it runs: what a snapshot costs each process as load grows, what PostgreSQL has to write, and
//! how a backlog drains.

use anyhow::{Result, ensure};
use simulator::{Fleet, Operator, enrol, services};

use crate::{
    drain, load,
    servers::{Party, SERVERS},
    stage::{PATIENCE, Settings, Stage},
    steady,
    table::{Table, megabytes, thousands},
};

pub async fn run(settings: &Settings) -> Result<()> {
    let mut parties = Vec::new();
    for server in SERVERS {
        parties.push(Party::server(server).await?);
    }
    let fleet = Fleet::new(&settings.binaries).await?;
    measure(&fleet, parties, settings).await
}

async fn measure(fleet: &Fleet, servers: Vec<Party>, settings: &Settings) -> Result<()> {
    let mut stage = Stage::set(fleet, settings).await?;
    let mut memories = vec![("started", stage.memory()?)];
    eprintln!("enrolling {} servers", settings.servers);
    stage.servers = enrol(&stage.management.url, services::ADMIN_PASSWORD, settings.servers).await?;
    let operator = Operator::log_in(&stage.management).await?;

    steady::run(&mut stage, settings).await?;
    load::run(&mut stage, servers, settings).await?;
    memories.push(("after the loads", stage.memory()?));
    let stage = drain::run(stage, settings).await?;

    eprintln!("comparing {} attempts with what is stored", stage.journal.entries.len());
    let listed = operator.get("servers?page_size=500").await?.0;
    ensure!(listed == 200, "the list of servers: {listed}");
    memories.push(("at the end", stage.memory()?));
    let found = fleet.settled(&stage.journal, PATIENCE).await?;
    print_memory(&memories, settings);
    println!(
        "\nThe suite: {} acknowledged, {found}; {} dead letters.",
        thousands(stage.journal.acknowledged() as f64),
        fleet.dead_letters().await?
    );
    ensure!(found.clean(), "what is stored is not what was acknowledged");
    stage.stop().await
}

fn print_memory(memories: &[(&str, [(u64, u64); 3])], settings: &Settings) {
    let mut table = Table::new(&["PSS / RSS, MB", "gate", "worker", "management"]);
    for (when, services) in memories {
        let [gate, worker, management] =
            services.map(|(pss, rss)| format!("{} / {}", megabytes(pss), megabytes(rss)));
        table.row([(*when).to_owned(), gate, worker, management]);
    }
    table.print(&format!(
        "Fleet: memory of our services with {} servers, the target is 100 MB each",
        thousands(settings.servers as f64)
    ));
}
