//! Management of 1,000 to 100,000 servers by REST, on SQLite and on PostgreSQL with Elasticsearch, and how it grows.

use std::path::PathBuf;

use anyhow::Result;
use chassis::Clock;
use fleet::retention::DEFAULT_DAYS;
use history::History;
use registry::Registry;
use simulator::{Fleet, Kind, Service, Suite, process::free_address, services};

use crate::{
    interface::{Cost, Interface, Took},
    registered::Stores,
    table::{Table, megabytes, thousands},
};

/// Rows of a sheet that is imported.
const ROWS: usize = 10_000;

/// What is asked, in words and as a query.
const LISTS: [(&str, &str); 12] = [
    ("all, by name", "sort=name"),
    ("all, the last page, by name", "sort=name&page=LAST"),
    ("all, by when last heard", "sort=-last_seen_at,name"),
    ("all, by status", "sort=status,name"),
    ("status down, by name", "status=down&sort=name"),
    ("status up, by creation", "status=up&sort=-created_at"),
    ("status up, in the middle, by creation", "status=up&sort=-created_at&page=MIDDLE"),
    ("a label of half of them, by address", "label=env:production&sort=address"),
    ("a label of one in 200, by status", "label=site:rack-7&sort=status"),
    ("all, by address downwards", "sort=-address"),
    ("of one name, by change", "name=HOST-000321&sort=-updated_at"),
    ("of one address, by name", "address=10.0.1.66&sort=name"),
];
const SEARCHES: [(&str, &str); 5] = [
    ("a part of one name", "q=host-000321&sort=name"),
    ("a part of one hostname", "q=node000321&sort=name"),
    ("a part of all names", "q=HOST&sort=-last_seen_at"),
    ("in vain", "q=nowhere&sort=name"),
    ("beside a label and a status", "q=00&label=env:production&status=up&sort=status,name"),
];

/// What else is measured, and its target.
const WORK: [(&str, &str); 6] = [
    ("export as xlsx", "64 MB"),
    ("export as csv", "64 MB"),
    ("import of 10,000 rows, dry", "10 s for both"),
    ("import of 10,000 rows", ""),
    ("report of up to 10,000, few with gaps", "10 s"),
    ("report of up to 10,000, each with gaps", "10 s"),
];

#[derive(clap::Args)]
pub struct Settings {
    /// Folder with the binaries
    #[arg(long, default_value = "target/release")]
    binaries: PathBuf,
    /// Sizes of the fleet, each larger than the one before
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000, 100_000])]
    servers: Vec<usize>,
    /// Times that each page is asked for
    #[arg(long, default_value_t = 100)]
    times: usize,
    /// Folder for the data of the embedded suite
    #[arg(long, default_value = "/tmp")]
    folder: PathBuf,
    /// Lists and searches alone: no history is made, and no sheets and reports
    #[arg(long)]
    lists_only: bool,
    /// Leave out the embedded suite
    #[arg(long)]
    no_sqlite: bool,
    /// Leave out PostgreSQL and Elasticsearch
    #[arg(long)]
    no_fleet: bool,
}

/// What was measured with so many servers.
struct Stage {
    servers: usize,
    /// Of each list and search, with how many servers matched.
    pages: Vec<(Took, u64)>,
    /// In the order of [`WORK`].
    costs: Vec<Cost>,
    bytes: [usize; 2],
}

pub async fn run(settings: &Settings) -> Result<()> {
    if !settings.no_sqlite {
        let stages = embedded(settings).await?;
        print("SQLite", &stages, settings);
    }
    if !settings.no_fleet {
        let fleet = Fleet::new(&settings.binaries).await?;
        let measured = composed(&fleet, settings).await?;
        print("PostgreSQL and Elasticsearch", &measured, settings);
    }
    Ok(())
}

/// The stores are filled while the suite is not running: they belong to one process.
async fn embedded(settings: &Settings) -> Result<Vec<Stage>> {
    let folder = tempfile::tempdir_in(&settings.folder)?;
    let (binary, data) = (settings.binaries.join("rollcall"), folder.path().join("suite"));
    let mut suite = Suite::start(&binary, &data, free_address()?).await?;
    let (mut stages, mut filled) = (Vec::new(), 0);
    for servers in settings.servers.iter().copied() {
        let (registry_db, history_db) = (suite.registry_db(), suite.history_db());
        suite.stop().await?;
        let stores = Stores {
            registry: Registry::open_sqlite(&registry_db).await?,
            history: History::open_sqlite(&history_db, DEFAULT_DAYS).await?,
        };
        stores.fill(filled..servers, !settings.lists_only, Clock::system().now()).await?;
        stores.close().await;
        filled = servers;
        suite = Suite::start(&binary, &data, free_address()?).await?;
        let interface = Interface::log_in(&suite.url, suite.pid(), &suite.admin_password()?).await?;
        stages.push(measure(interface, None, servers, settings).await?);
    }
    suite.stop().await?;
    Ok(stages)
}

async fn composed(fleet: &Fleet, settings: &Settings) -> Result<Vec<Stage>> {
    let management: Service = fleet.start(Kind::Management).await?;
    let stores = Stores {
        registry: Registry::open_postgres(&fleet.urls.database.parse()?),
        history: History::open_elasticsearch(
            &fleet.urls.elasticsearch.parse()?,
            fleet.prefix(),
            DEFAULT_DAYS,
        )?,
    };
    let (mut stages, mut filled) = (Vec::new(), 0);
    for servers in settings.servers.iter().copied() {
        stores.fill(filled..servers, !settings.lists_only, Clock::system().now()).await?;
        filled = servers;
        fleet.vacuum().await?;
        let interface =
            Interface::log_in(&management.url, management.pid(), services::ADMIN_PASSWORD).await?;
        stages.push(measure(interface, Some(&stores), servers, settings).await?);
    }
    stores.close().await;
    management.stop().await?;
    Ok(stages)
}

/// `stores` where no worker tells how the pipeline stands.
async fn measure(
    mut interface: Interface,
    stores: Option<&Stores>,
    servers: usize,
    settings: &Settings,
) -> Result<Stage> {
    eprintln!("measuring {servers} servers");
    let mut pages = Vec::new();
    for (_, query) in LISTS.iter().chain(&SEARCHES) {
        if let Some(stores) = stores {
            stores.progress(Clock::system().now()).await?;
        }
        let last = servers / 50;
        let query = query.replace("LAST", &last.to_string()).replace("MIDDLE", &(last / 2).to_string());
        pages.push(interface.list(&query, settings.times).await?);
    }
    if settings.lists_only {
        return Ok(Stage { servers, pages, costs: Vec::new(), bytes: [0; 2] });
    }
    let (xlsx, xlsx_bytes) = interface.export("xlsx").await?;
    let (csv, csv_bytes) = interface.export("csv").await?;
    // Half of them change, half are new, as far as there are as many; the next stage takes the new ones over.
    let first = servers.saturating_sub(ROWS / 2);
    let dry = interface.import(first..first + ROWS, true).await?;
    let real = interface.import(first..first + ROWS, false).await?;
    let now = Clock::system().now();
    let few = interface.report("gaps:few", now).await?;
    let each = interface.report("gaps:each", now).await?;
    let costs = vec![xlsx, csv, dry, real, few, each];
    Ok(Stage { servers, pages, costs, bytes: [xlsx_bytes, csv_bytes] })
}

fn print(stores: &str, stages: &[Stage], settings: &Settings) {
    let lists = LISTS.iter().map(|(what, _)| *what).zip(0..);
    let searches = SEARCHES.iter().map(|(what, _)| *what).zip(LISTS.len()..);
    let times = settings.times;
    for (what, asked) in [("a page of the list", lists.collect()), ("a search by text", searches.collect())] {
        let title = format!("Management, {stores}: {what}, ms, {times} times; the target is a p99 of 50");
        print_pages(&title, asked, stages);
    }
    if !settings.lists_only {
        print_costs(stores, stages);
    }
}

fn print_pages(title: &str, asked: Vec<(&str, usize)>, stages: &[Stage]) {
    let mut head = vec!["what, of so many servers".to_owned()];
    for stage in stages {
        head.extend([
            format!("{}: found", thousands(stage.servers as f64)),
            "p50".to_owned(),
            "p99".to_owned(),
        ]);
    }
    head.push("p50 grows".to_owned());
    let mut table = Table::new(&head.iter().map(String::as_str).collect::<Vec<_>>());
    table.rows(asked.into_iter().map(|(what, index)| {
        let mut row = vec![what.to_owned()];
        for (took, found) in stages.iter().map(|stage| stage.pages[index]) {
            row.extend([thousands(found as f64), format!("{:.1}", took.p50), format!("{:.1}", took.p99)]);
        }
        row.push(grown(stages, |stage| stage.pages[index].0.p50));
        row
    }));
    table.print(title);
}

fn print_costs(stores: &str, stages: &[Stage]) {
    let mut head = vec!["what, of so many servers".to_owned()];
    for stage in stages {
        head.extend([format!("{}: s", thousands(stage.servers as f64)), "MB more".to_owned()]);
    }
    head.extend(["grows".to_owned(), "target".to_owned()]);
    let mut table = Table::new(&head.iter().map(String::as_str).collect::<Vec<_>>());
    table.rows(WORK.iter().enumerate().map(|(index, (what, target))| {
        let mut row = vec![(*what).to_owned()];
        for cost in stages.iter().map(|stage| stage.costs[index]) {
            row.extend([format!("{:.2}", cost.seconds), megabytes(cost.grown)]);
        }
        row.extend([grown(stages, |stage| stage.costs[index].seconds), (*target).to_owned()]);
        row
    }));
    table.print(&format!(
        "Management, {stores}: sheets and reports, seconds and growth of the peak of memory"
    ));
    let sizes = stages.last().map_or([0; 2], |stage| stage.bytes);
    let [xlsx, csv] = sizes.map(|bytes| megabytes(bytes as u64));
    println!("\nThe largest exports are {xlsx} MB as xlsx and {csv} MB as csv.");
}

/// How many times as long it takes with the most servers as with the fewest.
fn grown(stages: &[Stage], figure: impl Fn(&Stage) -> f64) -> String {
    match stages {
        [first, .., last] => format!("{:.1}×", figure(last) / figure(first)),
        _ => "-".to_owned(),
    }
}
